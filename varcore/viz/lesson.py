"""What every lesson does with its reader: a table, a still picture, a figure with sliders, the answer to a checkpoint.

A page without JavaScript shows the tables, the still pictures and, in place of a live figure, a sentence that says so.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Sequence

import ipywidgets
import plotly.graph_objects as go
from IPython.display import HTML, display

from varcore.viz.widgets import explorer

PICTURE_WIDTH = 760  # pixels
UNSEEN = re.compile(r'<path class="point"[^>]*? d="M-?0,-?0[A-Z][^>]*/>')  # markers of size zero, most of a line's


def show(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> None:
    """Display a small table.  Every text in it is escaped."""
    cells = [[f"<td style='text-align:left'>{html.escape(str(cell))}</td>" for cell in row] for row in rows]
    head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    display(HTML(f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>"))


def still(figure: go.Figure, *, width: int = PICTURE_WIDTH) -> None:
    """Display the figure as an SVG picture with its description as alt text; no JavaScript is needed to see it.

    Drawing needs Chrome or Chromium on this machine.  Without one, the description is printed instead.
    """
    logging.getLogger("choreographer").setLevel(logging.CRITICAL)  # the browser that draws is talkative
    words = figure.layout.meta["alt"]
    try:
        svg = figure.to_image(format="svg", width=width).decode()
    except RuntimeError as error:
        print(f"No still picture here ({error}). In words: {words}")
        return
    svg = UNSEEN.sub("", svg).replace("<svg ", f'<svg role="img" aria-label="{html.escape(words)}" ', 1)
    display({"image/svg+xml": svg, "text/plain": words}, raw=True)


def live(draw: Callable[..., go.Figure], **controls: ipywidgets.Widget) -> None:
    """Display controls above the figure that ``draw(name=value, ...)`` gives for their values."""
    present(explorer(draw, controls))


def present(box: ipywidgets.Widget) -> None:
    """Display any explorer, with a sentence in its place where widgets do not run."""
    words = "Sliders and their figure. They move once you run this notebook; a still picture follows."
    display({**(box._repr_mimebundle_() or {}), "text/plain": words}, raw=True)


def grade(answer: float | None, truth: float, tolerance: float, hint: str) -> None:
    """Print whether a checkpoint's answer is right, without giving it away."""
    if answer is None:
        print("Not answered yet: put your number in place of None and run this cell again.")
    elif abs(answer - truth) <= tolerance:
        print("Correct.")
    else:
        print("Not yet.", hint)
