"""The one visual language of every figure: who has which colour, marker and dash, and how panels are laid out.

Colours are Okabe and Ito's, which stay apart for colour-blind readers.  No figure needs them: bars stand beside their
names, and lines also differ by dash and marker and carry their name at their end.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

INK, GRID, FONT = "#1f2933", "#d9dee3", "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MUTED, WEIGHTED = "#9aa5b1", "#0072B2"
TOKEN_SHADES = {"decode": "#0072B2", "prefill": "#79B4DA", "scored": "#009E73", "trained": "#E69F00"}
BOTTOM, NAME = 56, 30  # pixels below the panels, and above them for a panel's name
LOG_TICKS = [digit * 10.0**power for power in range(-6, 5) for digit in (1, 3)]
LOG_AXIS: dict[str, Any] = {"type": "log", "tickvals": LOG_TICKS, "ticktext": [f"{tick:g}" for tick in LOG_TICKS]}
GLYPHS = {"circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "triangle-down": "▼"}
GLYPHS |= {"star": "★", "hexagon": "⬢"}


@dataclass(frozen=True)
class Look:
    """How a role is named and drawn, the same in every figure."""

    label: str
    colour: str
    dash: str = "solid"
    symbol: str = "circle"

    @property
    def glyph(self) -> str:
        """The marker in its colour, as a label's first character: text itself stays in ink, which all can read."""
        return f'<span style="color:{self.colour}">{GLYPHS.get(self.symbol, "✚")}</span>'


LOOKS = {
    "base": Look("base", "#7d8790", "dot", "x"),
    "pi0": Look("π₀, the start", "#7d8790", "dash", "square"),
    "q": Look("q", "#7B5EA7"),
    "sft": Look("more SFT", "#E69F00", "solid", "diamond"),
    "rft": Look("RFT", "#56B4E9", "dash", "triangle-up"),
    "nohint": Look("VR (no hint)", "#009E73", "dashdot", "triangle-down"),
    "accuracy": Look("VR (no π/q)", "#CC79A7", "longdash", "cross"),
    "direct": Look("answer as trace", "#D55E00", "dot", "star"),
    "vr": Look("VR", "#0072B2", "solid", "circle"),
    # the lessons: distributions over traces, directions of KL, estimators, and rules that weigh questions
    "prior": Look("prior π(z|x)", "#E69F00", "dash", "square"),
    "posterior": Look("posterior q", "#7B5EA7", "solid", "circle"),
    "true posterior": Look("true posterior", "#009E73", "dot", "diamond"),
    "reasoner": Look("reasoner π", "#0072B2", "longdash", "triangle-up"),
    "forward kl": Look("forward KL", "#0072B2", "solid", "circle"),
    "reverse kl": Look("reverse KL", "#D55E00", "dash", "square"),
    "floored reverse": Look("floored reverse KL", "#CC79A7", "longdash", "triangle-up"),
    "likelihood estimator": Look("likelihood", "#D55E00", "dash", "square"),
    "accuracy estimator": Look("accuracy", "#0072B2", "solid", "circle"),
    "maximum likelihood": Look("maximum likelihood", INK, "dot", "square"),
    "reinforce": Look("REINFORCE", "#56B4E9", "dash", "triangle-up"),
    "grpo": Look("GRPO", "#8C564B", "longdashdot", "hexagon"),
    "dapo": Look("DAPO", "#E69F00", "dash", "diamond"),
    "dr grpo": Look("Dr. GRPO", "#009E73", "dashdot", "triangle-down"),
    "rloo": Look("RLOO", "#7B5EA7", "longdash", "cross"),
    "maxrl": Look("MaxRL", "#0072B2", "longdashdot", "star"),
    "your rule": Look("your rule", "#CC79A7", "solid", "star"),
}


def look(role: str) -> Look:
    """The look of a role; roles of a round ("q2", "vr-round1") look like their kind and say the round."""
    if role in LOOKS:
        return LOOKS[role]
    if role.startswith("q") and role[1:].isdigit():
        dash = ("solid", "dash", "dot")[(int(role[1:]) - 1) % 3]
        return Look(f"q, round {role[1:]}", LOOKS["q"].colour, dash, LOOKS["q"].symbol)
    kind, _, round_ = role.partition("-round")
    if round_ and kind in LOOKS:
        return Look(f"{LOOKS[kind].label}, round {round_}", LOOKS[kind].colour, "dash", LOOKS[kind].symbol)
    return Look(plain(role), INK, "solid", "hexagon")


def in_order(roles: Iterable[str]) -> list[str]:
    """Roles in the order in which every figure and table lists them: start, baselines, ablations, the method."""
    known = list(LOOKS)
    return sorted(roles, key=lambda role: (known.index(role) if role in known else len(known), role))


def plain(text: str) -> str:
    """Text that plotly shows as it is: its labels understand a little HTML otherwise."""
    return html.escape(text, quote=False)


def visible(text: str) -> str:
    """Text with line breaks, direction marks, emptiness and blankness as visible characters; not escaped."""
    if not text:
        return "∅"
    marked = text.replace("\n", "↵").replace("\t", "⇥")
    marked = "".join(mark if mark.isprintable() else "�" for mark in marked)
    return marked if marked.strip() else marked.replace(" ", "␣")


def panels(titles: Sequence[str], columns: int, *, panel_height: int, gap: int = 76) -> go.Figure:
    """Empty panels in the house style, `columns` side by side; `titles` row by row.

    A panel without a name has the title "".  `gap` is the room in pixels between two rows, for the upper one's axis
    title and the lower one's name.
    """
    rows = -(-len(titles) // columns)
    plotted = rows * panel_height + (rows - 1) * gap
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[plain(title) for title in titles],
        vertical_spacing=gap / plotted if rows > 1 else 0,
        horizontal_spacing=0.09 if columns > 1 else 0,
    )
    figure.update_annotations(font={"size": 13}, x=0, xanchor="left", yanchor="bottom", yshift=4)
    layout: Any = figure.layout
    for index, note in enumerate(layout.annotations):
        note.xref = f"x{index + 1 if index else ''} domain"
    top = NAME if any(titles) else 8
    figure.update_layout(height=top + plotted + BOTTOM, margin={"l": 16, "r": 16, "t": top, "b": BOTTOM})
    return figure


def place(index: int, columns: int) -> dict[str, Any]:
    """Row and column of a panel, counted from zero row by row."""
    return {"row": index // columns + 1, "col": index % columns + 1}


def bare(figure: go.Figure) -> None:
    """Names of bars on the y axis, first on top, without grid lines: the bars are the lines."""
    figure.update_yaxes(autorange="reversed", showgrid=False)


def legend_below(figure: go.Figure, lines: int) -> None:
    """A legend of about `lines` lines under the panels, the figure made taller by as much.

    Its markers have one size: a line has markers here and there only, and plotly would draw the mean of their sizes.
    """
    layout: Any = figure.layout
    room = 22 * lines + 8
    place_ = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left"}
    place_ |= {"itemsizing": "constant", "itemwidth": 40}
    figure.update_layout(legend=place_, height=layout.height + room, margin_b=layout.margin.b + room)


def finish(figure: go.Figure, title: str, caption: str, alt: str) -> go.Figure:
    """House style and texts: `title` and `caption` stand above the picture, and in layout.meta for the report.

    `alt` says in words what a reader who cannot see the picture needs to know.
    """
    lines = textwrap.wrap(caption, 118)
    room = 44 + 18 * len(lines)
    heading = {"text": plain(title), "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 16, "t": 12}}
    subtitle = {"text": "<br>".join(plain(line) for line in lines), "font": {"size": 12}}
    layout: Any = figure.layout
    figure.update_layout(
        template=None,
        meta={"title": title, "caption": caption, "alt": alt, "heading_room": room},
        title={**heading, "y": 1, "yanchor": "top", "font": {"size": 16}, "subtitle": subtitle},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="#ffffff",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"family": FONT}},
        dragmode=False,
        bargap=0.32,
        height=layout.height + room,
        margin_t=layout.margin.t + room,
    )
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "ticks": ""}
    axis |= {"automargin": True, "fixedrange": True}
    figure.update_xaxes(**axis, title_standoff=8, title_font_size=12)
    figure.update_yaxes(**axis, title_standoff=8, title_font_size=12)
    return figure


def one_title(picture: go.Figure) -> go.Figure:
    """A copy of the picture whose subtitle is further lines of its title.

    A browser places a subtitle by the height that it measures of the title, which is nothing while a figure is drawn
    before it is on the page: the two would lie on each other.
    """
    copy = go.Figure(picture)
    title: Any = copy["layout"]["title"]
    if title.subtitle.text:
        size = title.subtitle.font.size or title.font.size
        title.text = f"{title.text}<br><span style='font-size:{size}px'>{title.subtitle.text}</span>"
        title.pad.t += 0.7 * title.font.size  # of several lines, the first stands on its y instead of hanging from it
        title.subtitle = None
    return copy


def spread(values: Sequence[float], gap: float) -> list[float]:
    """The values moved apart until neighbours stand at least `gap` from each other, in the same order.

    Crowded neighbours are centred on their mean (pool adjacent violators), so labels stay beside their lines.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    groups: list[list[float]] = []  # [mean of what is left after taking the ladder off, how many]
    for rank, index in enumerate(order):
        groups.append([values[index] - rank * gap, 1])
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (low, many), (high, more) = groups[-2:]
            groups[-2:] = [[(low * many + high * more) / (many + more), many + more]]
    levels = [mean for mean, count in groups for _ in range(int(count))]
    placed = [0.0] * len(values)
    for rank, index in enumerate(order):
        placed[index] = levels[rank] + rank * gap
    return placed
