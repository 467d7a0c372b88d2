"""Figures of the lessons as pure functions: tensors in, a plotly `Figure` out.

Curves and bars are named by the caller.  A name that begins with a role of `varcore.viz.style` ("prior", "q", "true
posterior", "GRPO, G = 8") has that role's colour in every figure; variants of one role differ by dash and marker.
What is not a number is left out, and the caption says how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import plotly.graph_objects as go
import torch
from torch import Tensor

from varcore._shapes import ShapeError, require_equal_shapes
from varcore.estimators import (
    accuracy_worst_case_variance,
    effective_sample_size,
    likelihood_worst_case_variance,
    pareto_k,
)
from varcore.viz.drawing import (
    DASHES,
    LONGEST_NAME,
    Lines,
    Numbers,
    bar_words,
    binned,
    bound_texts,
    curve_words,
    diagnostic_texts,
    label_ends,
    left_out,
    length_texts,
    line,
    looks_of,
    refuse,
    short,
    shown,
    signed,
    sorted_points,
    tint,
    token_texts,
    vector,
    wrapped,
)
from varcore.viz.style import INK, LOG_AXIS, LOOKS, MUTED, WEIGHTED, Look, finish, legend_below, panels, place

PATTERNS: dict[str, str] = dict(zip(DASHES, ("", "/", "x", "\\", "-", "."), strict=True))
MOST_TOKENS, LINE_CHARACTERS, HIGHEST_WEIGHT = 600, 100, 4.0


def posterior_bars(names: Sequence[str], log_probs: Mapping[str, Tensor]) -> go.Figure:
    """The probability of every trace under several distributions, e.g. prior, q and true posterior, side by side.

    Args:
        names: the K traces, as text.
        log_probs: log-probabilities in nats, [K] each, by distribution.  -inf is a bar of length zero.
    """
    values = {name: vector("posterior_bars", name, logs, len(names)) for name, logs in log_probs.items()}
    refuse("posterior_bars", not values or not names, "needs a trace and a distribution", "none", "Pass some.")
    top = max(logs.nan_to_num(nan=-math.inf).max().item() for logs in values.values())
    repair = "Take the logarithm of probabilities first."
    refuse("posterior_bars", top > 1e-5, "log-probabilities are at most 0", f"{top:.3g}", repair)
    looks, missing = looks_of(values), sum(int(logs.isnan().sum()) for logs in values.values())
    figure = panels([""], 1, panel_height=max(60, min(14 * len(values) + 8, 1600 // len(names)) * len(names)))
    for name, logs in values.items():
        drawn = looks[name]
        look_ = {
            "color": drawn.colour,
            "pattern": {"shape": PATTERNS.get(drawn.dash, "+"), "fgcolor": "#ffffff", "bgcolor": drawn.colour},
        }
        bar = {"x": logs.exp().tolist(), "y": list(range(len(names))), "orientation": "h", "name": drawn.label}
        figure.add_bar(**bar, marker={**look_, "line": {"color": drawn.colour, "width": 1}})
        figure.data[-1].update(hovertemplate="%{x:.4g}")
    texts = [shown(name) for name in names]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=texts, autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text="probability of the trace", rangemode="tozero")
    legend_below(figure, 1)
    caption = f"Where q's bars match the true posterior's, the bound has no gap.{left_out(missing)}"
    return finish(figure, "Which traces explain the answer?", caption, bar_words(texts, values, looks))


def bound_curve(
    ks: Numbers, means: Numbers, half_widths: Numbers, *, log_evidence: float | Tensor, exact: Numbers | None = None
) -> go.Figure:
    """The IWAE bound against the number of traces K, rising from the ELBO (K = 1) to log p(x).

    Args:
        ks: numbers of traces, at least 1.
        means, half_widths: estimates of the bound and half of their 95% intervals, nats, one a K.
        log_evidence: log p(x), nats.
        exact: the bound by enumeration, nats, one a K.
    """
    counts = vector("bound_curve", "ks", ks)
    refuse("bound_curve", bool((counts < 1).any()), "K is at least 1", f"{counts.min():g}", "Drop smaller ones.")
    mean = vector("bound_curve", "means", means, len(counts))
    half = vector("bound_curve", "half_widths", half_widths, len(counts))
    order, keep = counts.argsort(), mean.isfinite() & half.isfinite() & counts.isfinite()
    order = order[keep[order]]
    xs, ys, widths = counts.log2()[order].tolist(), mean[order], half[order]
    figure = panels([""], 1, panel_height=330)
    band = {"x": xs + xs[::-1], "y": (ys - widths).tolist() + (ys + widths).flip(0).tolist(), "fill": "toself"}
    figure.add_scatter(
        **band, fillcolor="rgba(123,94,167,.22)", mode="lines", line={"width": 0}, name="95% interval", hoverinfo="skip"
    )
    line = {"color": LOOKS["posterior"].colour, "width": 2.5}
    figure.add_scatter(
        x=xs, y=ys.tolist(), mode="lines", line=line, name="estimated bound", hovertemplate="%{y:.4f} nats"
    )
    if exact is not None:
        dots = {"symbol": "diamond-open", "size": 10, "color": INK, "line": {"width": 2}}
        truth = vector("bound_curve", "exact", exact, len(counts))
        figure.add_scatter(x=counts.log2().tolist(), y=truth.tolist(), mode="markers", marker=dots, name="exact bound")
    return bound_texts(figure, counts, mean, float(log_evidence), int((~keep).sum()))


def kl_fits(positions: Numbers, target: Numbers, fits: Mapping[str, Tensor]) -> go.Figure:
    """Fits q against a target density: forward KL covers all of it, reverse KL settles on a part.

    Args:
        positions: where the densities are known, [P].
        target: the target's density there, [P]; drawn as an area.
        fits: densities of the fits, [P] each, e.g. under "forward KL" and "reverse KL".
    """
    at = vector("kl_fits", "positions", positions)
    curves = {"target": vector("kl_fits", "target", target, len(at))}
    curves |= {name: vector("kl_fits", name, fit, len(at)) for name, fit in fits.items()}
    least = min(curve.nan_to_num(nan=0.0).min().item() for curve in curves.values())
    refuse("kl_fits", least < 0, "densities are at least 0", f"{least:.3g}", "Pass densities, not their logarithms.")
    looks = {**looks_of(fits), "target": replace(LOOKS["true posterior"], label="target")}
    figure = panels([""], 1, panel_height=330)
    for name, curve in curves.items():
        line(figure, looks[name], at, curve, legend=True)
    figure.data[0].update(fill="tozeroy", fillcolor="rgba(0,158,115,.18)")
    figure.update_xaxes(title_text="trace z, position on the line")
    figure.update_yaxes(title_text="density, per unit of z", rangemode="tozero")
    legend_below(figure, 1)
    missing = sum(int((~curve.isfinite()).sum()) for curve in curves.values())
    peaks = [f"{looks[n].label} peaks at z = {at[c.nan_to_num(nan=0.0).argmax()]:.3g}" for n, c in curves.items()]
    caption = f"Forward KL puts mass wherever the target has some, reverse KL only where it has.{left_out(missing)}"
    return finish(figure, "Two directions of KL, two fits", caption, "; ".join(peaks) + ".")


def question_weight_curves(p: Numbers, curves: Mapping[str, Tensor], *, log_axis: bool = False) -> go.Figure:
    """W(p): how much a training rule weighs a question that the reasoner answers with probability p.

    Args:
        p: accuracies, [P].
        curves: W at these accuracies, [P] each, by rule.
        log_axis: both axes logarithmic; powers of p show as slopes, and values that are not positive are left out.
    """
    at = vector("question_weight_curves", "p", p)
    ws = {name: vector("question_weight_curves", name, curve, len(at)) for name, curve in curves.items()}
    refuse("question_weight_curves", not ws, "needs at least one curve", "none", "Pass {name: W(p)}.")
    inside = bool(((at >= 0) & (at <= 1) | at.isnan()).all())
    refuse("question_weight_curves", not inside, "p is a probability", f"{at.min():.3g} to {at.max():.3g}", "Rescale.")
    if log_axis:
        ws = {name: w.masked_fill(~((w > 0) & (at > 0)), math.nan) for name, w in ws.items()}
    missing, looks = sum(int((~w.isfinite()).sum()) for w in ws.values()), looks_of(ws)
    figure = panels([""], 1, panel_height=360)
    for name, w in ws.items():
        line(figure, looks[name], at, w, legend=False)
    lines = {name: (at, w) for name, w in ws.items()}
    cut = _weight_axes(figure, lines, looks, log_axis)
    figure.update_xaxes(title_text="p(x), probability of a right answer")
    figure.update_yaxes(title_text="W(p), weight of the question (likelihood = 1)")
    caption = f"A curve that falls to the left neglects hard questions; maximum likelihood is flat at 1.{cut}"
    return finish(figure, "What does the rule pay for?", caption + left_out(missing), curve_words(lines, looks))


def variance_curves(sizes: Numbers, correctness: float | int | Numbers) -> go.Figure:
    """Worst-case variance of the likelihood and the accuracy estimator against |Y|, one draw of each (Theorem 1).

    Args:
        sizes: numbers of correct answers |Y|, at least 1.
        correctness: a = pi(Y|x,z); several values give a pair of lines each, told apart by dash.
    """
    counts = vector("variance_curves", "sizes", sizes)
    refuse("variance_curves", bool((counts < 1).any()), "|Y| is at least 1", f"{counts.min():g}", "Drop smaller ones.")
    shares = torch.as_tensor(correctness, dtype=torch.float64).reshape(-1)
    inside = bool(((shares >= 0) & (shares <= 1)).all())
    refuse("variance_curves", not inside, "a is a probability", str(shares.tolist()), "Pass a, not log a.")
    figure, lines, looks = panels([""], 1, panel_height=330), {}, {}
    for index, a in enumerate(shares):
        pair = {
            "likelihood": likelihood_worst_case_variance(a.expand_as(counts), counts),
            "accuracy": accuracy_worst_case_variance(a.expand_as(counts)),
        }
        for kind, variance in pair.items():
            name = f"{kind}, a = {a:g}"
            drawn = replace(LOOKS[f"{kind} estimator"], label=name)
            looks[name] = replace(drawn, dash=DASHES[index % 6]) if len(shares) > 1 else drawn
            lines[name] = (counts, variance)
            line(figure, looks[name], counts, variance, legend=False)
    label_ends(figure, lines, looks, log_axis=False)
    figure.update_xaxes(title_text="|Y|, number of correct answers")
    figure.update_yaxes(title_text="worst-case variance (of a probability)")
    cross = ", ".join(f"{1 / a:.3g}" if a > 0 else "nowhere" for a in shares.tolist())
    caption = f"Where |Y| exceeds 1/a, accuracy is the safer estimator; here from {cross} on."
    return finish(figure, "Many right answers: count, or score one?", caption, curve_words(lines, looks))


def token_log_ratio(tokens: Sequence[str], log_ratios: Numbers) -> go.Figure:
    """One trace as coloured tokens: log pi - log q of each, nats, as colour and as a signed number under the token.

    Args:
        tokens: the trace's tokens as text, [T].  T = 0 draws an empty picture that says so.
        log_ratios: log pi(z_t) - log q(z_t), nats, [T].
    """
    ratios = vector("token_log_ratio", "log_ratios", log_ratios, len(tokens))
    texts = [short(token) for token in tokens[:MOST_TOKENS]]
    widths = [min(max(len(token.strip()), 5), LONGEST_NAME) + 1.2 for token in tokens[:MOST_TOKENS]]
    starts, rows = wrapped(widths, LINE_CHARACTERS)
    size = max([abs(r) for r in ratios.tolist() if math.isfinite(r)], default=0.0) or 1.0
    notes = [signed(r) for r in ratios.tolist()]
    figure = panels([""], 1, panel_height=44 * (max(rows, default=0) + 1))
    colours = [tint(r / size) for r in ratios.tolist()[: len(texts)]]
    bar = {"base": starts, "x": [w - 0.4 for w in widths], "y": rows, "width": 0.86, "orientation": "h"}
    text = [f"{token}<br><span style='font-size:10px'>{note}</span>" for token, note in zip(texts, notes, strict=False)]
    hover = [f"{t}<br>log π − log q {note} nats" for t, note in zip(texts, notes, strict=False)]
    box = {"color": colours, "line": {"color": MUTED, "width": 1}}
    figure.add_bar(**bar, text=text, textangle=0, marker=box, hovertext=hover, hoverinfo="text", showlegend=False)
    figure.data[0].update(insidetextanchor="middle", textposition="inside", constraintext="none", cliponaxis=False)
    figure.update_xaxes(range=[0, LINE_CHARACTERS], visible=False)
    figure.update_yaxes(range=[max(rows, default=0) + 0.5, -0.5], visible=False)
    figure.update_layout(height=figure.layout.height - 40, margin_b=16)
    caption, alt = token_texts(ratios, notes, len(tokens), MOST_TOKENS)
    return finish(figure, "Which tokens would the reasoner not have written?", caption, alt)


def diagnostics_over_questions(log_weights: Tensor) -> go.Figure:
    """Effective sample size and Pareto k-hat of every question, sorted, log_weights [B, K] in nats.

    k-hat needs K >= 25.  Questions with NaN weights are left out, those without any usable trace count as 0 effective.
    """
    if log_weights.ndim != 2 or 0 in log_weights.shape:
        raise ShapeError(
            f"diagnostics_over_questions: log_weights must be [B, K], got shape {tuple(log_weights.shape)}. "
            "One question? Use log_weights.unsqueeze(0)."
        )
    known = ~(log_weights.isnan() | (log_weights == math.inf)).any(-1)
    logs, count = log_weights[known].detach().double(), log_weights.shape[1]
    usable = (logs > -math.inf).any(-1)
    sizes = effective_sample_size(logs).sort().values
    tails = pareto_k(logs[usable]) if count >= 25 else logs.new_zeros(0)
    fitted = tails[tails.isfinite()].sort().values
    titles = [f"Effective traces of {count}", "Pareto k-hat"] if count >= 25 else [f"Effective traces of {count}"]
    figure = panels(titles, len(titles), panel_height=260)
    sorted_points(figure, sizes, LOOKS["vr"], place(0, 2))
    figure.update_yaxes(title_text="effective sample size, traces", range=[0, 1.06 * count], **place(0, 2))
    if count >= 25:
        sorted_points(figure, fitted, LOOKS["reverse kl"], place(1, 2))
        figure.update_yaxes(title_text="k-hat, no unit", **place(1, 2))
        figure.add_hline(y=0.7, line={"dash": "dash", "color": INK, "width": 1}, **place(1, 2))
    figure.update_xaxes(title_text="questions, sorted, %", range=[0, 104], ticksuffix="%")
    caption, alt = diagnostic_texts(sizes, fitted, count, int((~known).sum()), int(usable.sum()) - len(fitted))
    return finish(figure, "How far can the weights be trusted?", caption, alt)


def length_ratio_density(lengths: Tensor, log_ratios: Tensor) -> go.Figure:
    """How log pi - log q of a trace goes with its length: counts of traces in boxes, and the median per length.

    Args:
        lengths: tokens a trace, any shape.
        log_ratios: log pi(z) - log q(z) summed over the trace, nats, of the same shape.
    """
    require_equal_shapes("length_ratio_density", lengths=lengths, log_ratios=log_ratios)
    size, ratio = (values.detach().double().reshape(-1) for values in (lengths, log_ratios))
    keep = size.isfinite() & ratio.isfinite()
    size, ratio = size[keep], ratio[keep]
    figure = panels([""], 1, panel_height=340)
    xs, ys, counts, medians = binned(size, ratio)
    scale = [[0, "#ffffff"], [0.02, "#d6e8f4"], [1, WEIGHTED]]
    heat = {"x": xs, "y": ys, "z": counts, "colorscale": scale, "colorbar": {"title": {"text": "traces"}}}
    figure.add_heatmap(**heat, hovertemplate="%{x:.3g} tokens, %{y:.3g} nats: %{z} traces<extra></extra>")
    middle = {"mode": "lines+markers", "line": {"color": INK, "width": 2}, "marker": {"symbol": "diamond", "size": 8}}
    figure.add_scatter(x=xs, y=medians, **middle, name="median", showlegend=False, connectgaps=True)
    figure.update_xaxes(title_text="trace length |z|, tokens", showgrid=False)
    figure.update_yaxes(title_text="log π(z) − log q(z), nats a trace", showgrid=False)
    caption, alt = length_texts(size, ratio, int((~keep).sum()))
    return finish(figure, "Do longer traces lose weight?", caption, alt)


def _weight_axes(figure: go.Figure, lines: Lines, looks: Mapping[str, Look], log_axis: bool) -> str:
    """Name the lines and set the axes; what the caption says about curves that leave the picture at the top."""
    if log_axis:
        figure.update_xaxes(**LOG_AXIS)
        figure.update_yaxes(**LOG_AXIS)
        label_ends(figure, lines, looks, log_axis=True)
        return ""
    peaks = torch.tensor([w[w.isfinite()].max().item() if w.isfinite().any() else 0.0 for _, w in lines.values()])
    top = max(HIGHEST_WEIGHT, 1.1 * peaks.median().item())
    label_ends(figure, lines, looks, top=top)
    return f" Some weights exceed {top:.3g} and leave the picture at the top." if peaks.max() > top else ""
