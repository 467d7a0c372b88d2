"""Pictures of a run: `figures` (pure functions to plotly figures) and `report` (one self-contained page).

Nothing is imported here: plotly loads when a figure is first asked for.
"""
