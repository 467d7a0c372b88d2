"""What the exponent on pi/q buys and what it costs, as one picture: effective traces against limit gap."""

from __future__ import annotations

import plotly.graph_objects as go
import torch
from torch import Tensor

from varcore.viz.drawing import Numbers, left_out, refuse, sentence, vector
from varcore.viz.style import INK, LOOKS, finish, panels

NEAREST = 0.045  # of an axis: a point closer than this to the last one that has a label gets none


def exponent_tradeoff(
    exponents: Numbers, effective: Numbers, gaps: Numbers, *, length_rule: tuple[float, float] | None = None
) -> go.Figure:
    """One point an exponent: how many of 100 drawn traces count, and how far the weighted traces stay from the truth.

    Points that are not finite are left out, and the caption says how many.

    Args:
        exponents: alpha of each point, [P]; the points are joined in its order.
        effective: effective share of the traces, (E_q rho)^2 / E_q rho^2, between 0 and 1, [P].
        gaps: the limit gap, KL(limit of the weighted traces || true posterior), nats, at least 0, [P].
        length_rule: (share, gap) of alpha = 1/|z|, which differs from trace to trace: drawn as a star.

    Raises ShapeError unless the three have one length, ValueError for a share outside [0, 1] or a KL below 0.
    """
    name, extra = "exponent_tradeoff", [length_rule] if length_rule else []
    alphas = vector(name, "exponents", exponents)
    shares, limits = vector(name, "effective", effective, len(alphas)), vector(name, "gaps", gaps, len(alphas))
    _require_possible(shares, limits)
    for share, gap in extra:
        _require_possible(torch.tensor([share]), torch.tensor([gap]))
    keep = shares.isfinite() & limits.isfinite() & alphas.isfinite()
    order = alphas[keep].argsort()
    alphas, xs, ys = alphas[keep][order], 100 * shares[keep][order], limits[keep][order].clamp(min=0.0)
    top = max([*ys.tolist(), *(gap for _, gap in extra)], default=0.0) or 1.0
    figure = panels([""], 1, panel_height=340)
    _curve(figure, alphas, xs, ys, top)
    words = [f"exponent {a:g}: {x:.1f} of 100 traces, {y:.3g} nats" for a, x, y in zip(alphas, xs, ys, strict=True)]
    for share, gap in extra:
        _star(figure, 100 * share, gap)
        words.append(f"1/|z|: {100 * share:.1f} of 100, {gap:.3g} nats")
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="effective traces of 100 drawn", range=[0, 108])
    figure.update_yaxes(title_text="limit gap, KL(limit ‖ true posterior), nats", range=[-0.1 * top, 1.12 * top])
    caption = "To the right, more of the drawn traces count; further up, what they add up to is further from the truth."
    caption += left_out(len(keep) - int(keep.sum()), "point")
    return finish(figure, "What does an exponent on π/q buy, and what does it cost?", caption, sentence(words))


def _require_possible(shares: Tensor, gaps: Tensor) -> None:
    outside = bool(((shares < 0) | (shares > 1 + 1e-9)).any())
    refuse("exponent_tradeoff", outside, "effective is a share of the traces", str(shares.tolist()), "Divide by K.")
    below = bool((gaps < -1e-9).any())
    refuse("exponent_tradeoff", below, "a KL is at least 0", str(gaps.tolist()), "Pass KL(limit || true posterior).")


def _curve(figure: go.Figure, alphas: Tensor, xs: Tensor, ys: Tensor, top: float) -> None:
    """The points, joined, each labelled with its exponent unless the last label is too near."""
    labels, last = [], None
    for alpha, x, y in zip(alphas.tolist(), xs.tolist(), ys.tolist(), strict=True):
        far = last is None or max(abs(x - last[0]) / 100, abs(y - last[1]) / top) >= NEAREST
        labels.append(f"{'α = ' if last is None else ''}{alpha:g}" if far else "")
        last = (x, y) if far else last
    look = LOOKS["vr"]
    mark = {"symbol": look.symbol, "size": 9, "color": look.colour}
    line = {"x": xs.tolist(), "y": ys.tolist(), "line": {"color": look.colour, "width": 2.4}, "marker": mark}
    text = {"text": labels, "textposition": "bottom right", "customdata": alphas.tolist()}
    hover = "α = %{customdata:g}: %{x:.1f} of 100 traces, %{y:.4g} nats<extra></extra>"
    figure.add_scatter(**line, **text, mode="lines+markers+text", hovertemplate=hover, cliponaxis=False)


def _star(figure: go.Figure, x: float, y: float) -> None:
    mark = {"symbol": "star", "size": 16, "color": LOOKS["reverse kl"].colour, "line": {"color": INK, "width": 1}}
    text = {"text": ["1/|z|"], "textposition": "top left", "textfont": {"size": 14}}
    hover = "1/|z|: %{x:.1f} of 100 traces, %{y:.4g} nats<extra></extra>"
    figure.add_scatter(x=[x], y=[y], mode="markers+text", marker=mark, **text, hovertemplate=hover)
