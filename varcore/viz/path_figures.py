"""How repeated training runs go, as a pure function: one value a run and step in, a plotly `Figure` out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
from torch import Tensor

from varcore._shapes import ShapeError
from varcore.viz.drawing import Numbers, left_out, line, looks_of, refuse, sentence, vector
from varcore.viz.style import LOG_AXIS, Look, finish, legend_below, panels, place, plain

MIDDLE = (0.05, 0.5, 0.95)  # the quantiles drawn: the band's lower edge, the line, the band's upper edge


def seed_paths(
    steps: Numbers, paths: Mapping[str, Mapping[str, Tensor]], *, columns: int = 2, log_axis: bool = False
) -> go.Figure:
    """A panel per measure: over the training steps, the median of the seeds and the band of their middle 90%.

    Seeds that end in different places show as a wide band; an interval of their mean would hide it.

    Args:
        steps: training steps, rising, [T].
        paths: by measure (its name and unit), then by method: a row per seed, [S, T].
        columns: how many panels stand side by side.
        log_axis: logarithmic vertical axes; values that are not positive are left out.
    """
    at = vector("seed_paths", "steps", steps)
    refuse("seed_paths", bool((at.diff() <= 0).any()), "steps must rise", f"{at.tolist()[:9]}", "Sort them.")
    refuse("seed_paths", not paths or not all(paths.values()), "needs a measure and a method", "none", "Pass some.")
    looks = looks_of(dict.fromkeys(name for methods in paths.values() for name in methods))
    columns = min(columns, len(paths))
    figure, missing, words, fresh = panels([""] * len(paths), columns, panel_height=250), 0, [], set(looks)
    for index, (measure, methods) in enumerate(paths.items()):
        for name, values in methods.items():
            rows = _rows(name, values, len(at), log_axis)
            missing += int(rows.isnan().sum())
            low, middle, high = rows.nanquantile(rows.new_tensor(MIDDLE), dim=0)
            _band(figure, looks[name], at, low, high, place(index, columns))
            line(figure, looks[name], at, middle, legend=name in fresh, **place(index, columns))
            fresh.discard(name)
            words.append(f"{measure}, {looks[name].label} {middle[-1]:.3g} ({low[-1]:.3g} to {high[-1]:.3g})")
        figure.update_yaxes(title_text=plain(measure), **place(index, columns))
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(rangemode="tozero")  # of linear axes alone
    if log_axis:
        figure.update_yaxes(**LOG_AXIS)
    legend_below(figure, -(-len(looks) // 3))
    caption = f"Line: the median of the seeds; band: the middle 90% of them.{left_out(missing)}"
    return finish(figure, "Where do the runs go?", caption, f"At the last step: {sentence(words)}")


def _rows(name: str, values: Tensor, count: int, log_axis: bool) -> Tensor:
    """The runs as float64 [S, T], NaN where there is nothing to draw."""
    if values.ndim != 2 or values.shape[1] != count or len(values) == 0:
        raise ShapeError(
            f"seed_paths: {name} must be [S, {count}], a row per seed with one value per step, got shape "
            f"{tuple(values.shape)}. One run? Use values[None]. Steps first? Use values.T."
        )
    rows = values.detach().double().cpu()
    return rows.masked_fill(~rows.isfinite() | (log_axis & (rows <= 0)), math.nan)


def _band(figure: go.Figure, drawn: Look, at: Tensor, low: Tensor, high: Tensor, where: dict[str, int]) -> None:
    keep = low.isfinite()
    xs, edges = at[keep].tolist(), low[keep].tolist() + high[keep].flip(0).tolist()
    band = {"x": xs + xs[::-1], "y": edges, "fill": "toself", "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(**band, mode="lines", line_width=0, opacity=0.25, fillcolor=drawn.colour, **where)
