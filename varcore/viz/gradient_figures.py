"""Figures of sampled gradients as pure functions: numbers in, a plotly `Figure` out.

Lines are named by the caller, as in `varcore.viz.lesson_figures`: a name that begins with a role of `varcore.viz.style`
("reasoner, Eq. 6", "posterior, VIMCO") has that role's colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
from torch import Tensor

from varcore.viz.drawing import Numbers, curve_words, label_ends, line, looks_of, refuse, vector
from varcore.viz.style import INK, finish, legend_below, panels

ROOM = 0.3  # of the smallest ratio: where a band that reaches zero ends, since a logarithmic axis never gets there


def signal_to_noise_curves(
    ks: Numbers, estimates: Mapping[str, tuple[Numbers, Numbers]], *, exact: Mapping[str, Numbers] | None = None
) -> go.Figure:
    """Signal-to-noise ratio of sampled gradients against the number of traces K, both axes logarithmic.

    The ratio is the mean of a gradient's component over that component's standard deviation, so it has no unit; a
    straight line is a power of K.  A ratio that is not a positive number has no place on these axes: it is left out,
    and the caption says so.

    Args:
        ks: numbers of traces, at least 1.
        estimates: by estimator, its ratios and half of their 95% intervals, one a K.
        exact: by estimator, ratios found by listing, one a K; NaN where the groups are too many to list.
    """
    function, counts = "signal_to_noise_curves", vector("signal_to_noise_curves", "ks", ks)
    refuse(function, bool((counts < 1).any()), "K is at least 1", f"{counts.min():g}", "Drop smaller ones.")
    refuse(function, not estimates, "needs an estimator", "none", "Pass {name: (ratios, half widths)}.")
    pairs = {
        name: tuple(vector(function, name, part, len(counts)) for part in pair) for name, pair in estimates.items()
    }
    ratios = {name: _positive(ratio) for name, (ratio, _) in pairs.items()}
    looks, lines = looks_of(ratios), {name: (counts, ratio) for name, ratio in ratios.items()}
    figure = panels([""], 1, panel_height=360)
    lowest = ROOM * min(ratio.nan_to_num(nan=math.inf).min().item() for ratio in ratios.values())
    for name, ratio in ratios.items():
        line(figure, looks[name], counts, ratio, legend=False)
        _band(figure, counts, ratio, pairs[name][1], looks[name].colour, lowest)
    label_ends(figure, lines, looks, log_axis=True)
    for index, (name, truth) in enumerate((exact or {}).items()):
        _diamonds(figure, counts, _positive(vector(function, name, truth, len(counts))), legend=index == 0)
    figure.update_xaxes(type="log", tickvals=counts.tolist(), ticktext=[f"{k:g}" for k in counts.tolist()])
    figure.update_yaxes(type="log", dtick=1, exponentformat="none", title_text="signal-to-noise ratio, no unit")
    figure.update_xaxes(title_text="K, number of traces in a group")
    legend_below(figure, 1)
    missing = sum(int(ratio.isnan().sum()) for ratio in ratios.values())
    cut = f" Left out, not positive: {missing} of {len(counts) * len(ratios)} ratios." if missing else ""
    caption = f"Mean over standard deviation of one sampled step, with its 95% band; below 1 noise wins.{cut}"
    return finish(figure, "How much of a step is signal?", caption, curve_words(lines, looks))


def _positive(values: Tensor) -> Tensor:
    return values.masked_fill(~(values.isfinite() & (values > 0)), math.nan)


def _band(figure: go.Figure, ks: Tensor, ratio: Tensor, half: Tensor, colour: str, lowest: float) -> None:
    order = ks.argsort()
    order = order[ratio[order].isfinite() & half[order].isfinite()]
    xs, low, high = ks[order], (ratio - half)[order].clamp_min(lowest), (ratio + half)[order]
    edge = {"x": xs.tolist() + xs.flip(0).tolist(), "y": low.tolist() + high.flip(0).tolist(), "fill": "toself"}
    figure.add_scatter(**edge, fillcolor=colour, opacity=0.25, mode="lines", line={"width": 0}, hoverinfo="skip")
    figure.data[-1].update(showlegend=False)


def _diamonds(figure: go.Figure, ks: Tensor, truth: Tensor, *, legend: bool) -> None:
    known = truth.isfinite()
    mark = {"symbol": "diamond-open", "size": 11, "color": INK, "line": {"width": 2}}
    figure.add_scatter(x=ks[known].tolist(), y=truth[known].tolist(), mode="markers", marker=mark, cliponaxis=False)
    figure.data[-1].update(name="exact, by listing", showlegend=legend, hovertemplate="%{y:.4g}<extra></extra>")
