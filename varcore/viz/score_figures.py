"""Figures of scores and how far to trust them, as pure functions: numbers in, a plotly `Figure` out.

Rows and curves are named by the caller, as in `varcore.viz.lesson_figures`; so are title and caption, which say what
question a figure answers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

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
from varcore.viz.style import INK, LOOKS, MUTED, Look, bare, finish, legend_below, panels, plain, visible

Interval = tuple[float, float, float]  # mean, lower end, upper end
GROUP_CHARACTERS = 18  # in a line of a group's name


def interval_rows(intervals: Mapping[str, Interval], *, unit: str, title: str, caption: str) -> go.Figure:
    """A row per name: mean and interval, with a line at zero.

    Args:
        intervals: by name (mean, lower end, upper end); rows with an end that is not finite show the mean alone.
        unit: the horizontal axis' title.
    """
    refuse("interval_rows", not intervals, "needs a row", "none", "Pass {name: (mean, lower, upper)}.")
    _require_order("interval_rows", intervals)
    figure = panels([""], 1, panel_height=26 * len(intervals))
    figure.add_scatter(
        x=[mean for mean, _, _ in intervals.values()],
        y=list(range(len(intervals))),
        mode="markers",
        marker={"color": INK, "size": 8},
        error_x={**_whiskers(intervals.values()), "color": INK},
        hovertemplate="%{x:.4g}<extra></extra>",
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": MUTED, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title_text=plain(unit))
    bare(figure)
    figure.update_yaxes(tickvals=list(range(len(intervals))), ticktext=[short(name) for name in intervals])
    return finish(figure, title, caption + _endless(intervals.values()), sentence(_words(intervals)))


def interval_groups(groups: Mapping[str, Mapping[str, Interval]], *, unit: str, title: str, caption: str) -> go.Figure:
    """Groups side by side, in each a marker per name: mean and interval.

    Args:
        groups: by group and name (mean, lower end, upper end); every group has the same names.  Intervals with an end
            that is not finite show the mean alone.
        unit: the vertical axis' title.
    """
    names = list(next(iter(groups.values()), ()))
    refuse("interval_groups", not names, "needs a group with a name", "none", "Pass {group: {name: (mean, ...)}}.")
    odd = [group for group, found in groups.items() if set(found) != set(names)]
    refuse("interval_groups", bool(odd), f"every group has the names {names}", f"others in {odd}", "Pass all names.")
    for found in groups.values():
        _require_order("interval_groups", found)
    figure = panels([""], 1, panel_height=320)
    for index, (name, drawn) in enumerate(looks_of(names).items()):
        shift = 0.7 * ((index + 0.5) / len(names) - 0.5)
        _markers(figure, drawn, shift, [found[name] for found in groups.values()])
    ticks = ["<br>".join(map(plain, textwrap.wrap(visible(group), GROUP_CHARACTERS))) for group in groups]
    figure.update_xaxes(tickvals=list(range(len(groups))), ticktext=ticks, tickangle=0, showgrid=False)
    figure.update_xaxes(range=[-0.5, len(groups) - 0.5])
    figure.update_yaxes(title_text=plain(unit))
    legend_below(figure, -(-len(names) // 4))
    words = sentence(f"{short(group)}: {', '.join(_words(found))}" for group, found in groups.items())
    every = [interval for found in groups.values() for interval in found.values()]
    return finish(figure, title, caption + _endless(every), words)


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


def _require_order(function: str, intervals: Mapping[str, Interval]) -> None:
    crossed = [name for name, (mean, low, high) in intervals.items() if low > mean or mean > high]
    refuse(function, bool(crossed), "lower <= mean <= upper", f"{crossed}", "Pass (mean, lower, upper).")


def _whole(interval: Interval) -> bool:
    return all(math.isfinite(value) for value in interval)


def _whiskers(intervals: Iterable[Interval]) -> dict[str, list[float]]:
    """Plotly's error bars, of no length where an end is not finite."""
    ends = [(high - mean, mean - low) if _whole((mean, low, high)) else (0.0, 0.0) for mean, low, high in intervals]
    return {"array": [up for up, _ in ends], "arrayminus": [down for _, down in ends]}


def _endless(intervals: Iterable[Interval]) -> str:
    return left_out(sum(not _whole(interval) for interval in intervals), "interval")


def _markers(figure: go.Figure, drawn: Look, shift: float, intervals: Sequence[Interval]) -> None:
    """One name's means and whiskers, beside the middle of every group."""
    figure.add_scatter(
        x=[place + shift for place in range(len(intervals))],
        y=[mean for mean, _, _ in intervals],
        mode="markers",
        name=drawn.label,
        marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 9},
        error_y={**_whiskers(intervals), "color": drawn.colour, "thickness": 1.8, "width": 4},
        hovertemplate=f"{drawn.label.replace('%', '&#37;')} %{{y:.4g}}<extra></extra>",
    )


def _words(intervals: Mapping[str, Interval]) -> list[str]:
    labels = {name: LOOKS[name].label if name in LOOKS else short(name) for name in intervals}
    return [f"{labels[name]} {mean:.3g} [{low:.3g}, {high:.3g}]" for name, (mean, low, high) in intervals.items()]
