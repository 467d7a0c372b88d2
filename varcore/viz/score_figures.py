"""Figures of scores and how far to trust them, as pure functions: numbers in, a plotly `Figure` out.

Rows and curves are named by the caller, as in `varcore.viz.lesson_figures`; so are title and caption, which say what
question a figure answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from varcore.viz.drawing import (
    Numbers,
    curve_words,
    label_ends,
    left_out,
    line,
    looks_of,
    refuse,
    sentence,
    short,
    vector,
)
from varcore.viz.style import INK, MUTED, bare, finish, panels, plain


def interval_rows(
    intervals: Mapping[str, tuple[float, float, float]], *, unit: str, title: str, caption: str
) -> go.Figure:
    """A row per name: mean and interval, with a line at zero.

    Args:
        intervals: by name (mean, lower end, upper end); rows with an end that is not finite show the mean alone.
        unit: the horizontal axis' title.
    """
    refuse("interval_rows", not intervals, "needs a row", "none", "Pass {name: (mean, lower, upper)}.")
    crossed = [name for name, (mean, low, high) in intervals.items() if low > mean or mean > high]
    refuse("interval_rows", bool(crossed), "lower <= mean <= upper", f"{crossed}", "Pass (mean, lower, upper).")
    figure = panels([""], 1, panel_height=26 * len(intervals))
    whole = {name: row for name, row in intervals.items() if all(math.isfinite(value) for value in row)}
    error = {name: (high - mean, mean - low) for name, (mean, low, high) in whole.items()}
    figure.add_scatter(
        x=[mean for mean, _, _ in intervals.values()],
        y=list(range(len(intervals))),
        mode="markers",
        marker={"color": INK, "size": 8},
        error_x={
            "array": [error.get(name, (0.0, 0.0))[0] for name in intervals],
            "arrayminus": [error.get(name, (0.0, 0.0))[1] for name in intervals],
            "color": INK,
        },
        hovertemplate="%{x:.4g}<extra></extra>",
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": MUTED, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title_text=plain(unit))
    bare(figure)
    figure.update_yaxes(tickvals=list(range(len(intervals))), ticktext=[short(name) for name in intervals])
    words = sentence(
        f"{short(name)} {mean:.3g} [{low:.3g}, {high:.3g}]" for name, (mean, low, high) in intervals.items()
    )
    return finish(figure, title, caption + left_out(len(intervals) - len(whole), "interval"), words)


def named_curves(
    xs: Numbers, curves: Mapping[str, Numbers], *, axes: tuple[str, str], title: str, caption: str
) -> go.Figure:
    """Curves over one axis, their names at their ends; zero is in the picture.

    Args:
        xs: the horizontal positions, [N].
        curves: by name the heights, [N]; what is not a finite number is left out, and the caption says so.
        axes: titles of the horizontal and the vertical axis, with their units.
    """
    at = vector("named_curves", "xs", xs)
    refuse("named_curves", not curves, "needs a curve", "none", "Pass {name: heights}.")
    heights = {name: vector("named_curves", name, ys, len(at)) for name, ys in curves.items()}
    looks, lines = looks_of(heights), {name: (at, ys) for name, ys in heights.items()}
    figure = panels([""], 1, panel_height=320)
    for name, ys in heights.items():
        line(figure, looks[name], at, ys, legend=False)
    label_ends(figure, lines, looks)
    figure.update_xaxes(title_text=plain(axes[0]))
    figure.update_yaxes(title_text=plain(axes[1]))
    missing = sum(int((~ys.isfinite()).sum()) for ys in heights.values())
    return finish(figure, title, caption + left_out(missing), curve_words(lines, looks))
