"""Figures of a run as pure functions: a results dict, metrics rows or a ledger in, a plotly `Figure` out.

Every figure carries its title, a caption sentence and a description in words in ``figure.layout.meta``.  `columns` is
how many panels stand side by side: 1 for a narrow page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from varcore.viz.style import (
    INK,
    LOG_AXIS,
    TOKEN_SHADES,
    bare,
    finish,
    in_order,
    legend_below,
    look,
    panels,
    place,
    spread,
)
from varcore.viz.weight_figures import effective_sample_sizes, weight_bars

__all__ = [
    "compute_bars",
    "effective_sample_sizes",
    "method_bars",
    "pass_curves",
    "training_curves",
    "weight_bars",
]

Results = dict[str, Any]
SCALES = ((1e15, "peta"), (1e12, "tera"), (1e9, "giga"), (1e6, "mega"))
COUNTS = ((1e12, "trillion "), (1e9, "billion "), (1e6, "million "), (1e3, "thousand "))


def method_bars(results: Results, *, interval: str = "over questions", columns: int = 2) -> go.Figure:
    """Avg@k of every method with its 95% interval, on all questions and on the hardest level.

    Args:
        results: as in a run's results.json.  A method's interval that is not finite is not drawn.
        interval: what the interval is taken over, for the caption.
    """
    methods = {role: results["methods"][role] for role in in_order(results["methods"])}
    k = next(method["k"] for method in methods.values())
    groups = [("all", "All questions"), *_hardest(results)]
    figure = panels([title for _, title in groups], min(columns, len(groups)), panel_height=34 * len(methods))
    for index, (group, _) in enumerate(groups):
        scores = {role: _percent(method[group]["avg"]) for role, method in methods.items()}
        where = place(index, min(columns, len(groups)))
        _score_bars(figure, scores, where)
        figure.update_xaxes(title_text=f"Avg@{k}, % of samples that are correct", ticksuffix="%", **where)
    ends = [_percent(m[g]["avg"])[end] for m in methods.values() for g, _ in groups for end in ("mean", "high")]
    bare(figure)
    figure.update_xaxes(range=[0, 1.2 * max([e for e in ends if math.isfinite(e)] + [0.5])])
    caption = f"Share of {k} answers per question that the verifier accepts; whiskers are 95% intervals {interval}."
    words = "; ".join(
        f"{look(role).label} {_words(_percent(method['all']['avg']))}" for role, method in methods.items()
    )
    return finish(figure, "How often is each reasoner right?", caption, f"Avg@{k} on all questions: {words}.")


def pass_curves(results: Results, *, columns: int = 2) -> go.Figure:
    """Pass@k against k, a line per method; names stand at the lines' ends, or in a legend where `columns` is 1."""
    curves = {
        role: {int(k): 100 * share for k, share in results["methods"][role]["pass_curve"].items()}
        for role in in_order(results["methods"])
    }
    figure = panels([""], 1, panel_height=340)
    for role, curve in curves.items():
        _pass_line(figure, role, curve, legend=columns == 1)
    if columns == 1:
        legend_below(figure, -(-len(curves) // 2))
    else:
        _name_lines(figure, curves)
    ks = sorted({k for curve in curves.values() for k in curve})
    positions = [math.log2(k) for k in ks]
    figure.update_xaxes(title_text="k, samples that may be tried", range=[-0.1, max([*positions, 1]) + 0.05])
    figure.update_xaxes(tickvals=positions, ticktext=[str(k) for k in ks])
    figure.update_yaxes(title_text="Pass@k, % of questions", ticksuffix="%", rangemode="tozero")
    caption = "Share of questions with at least one correct answer among k samples (unbiased estimator)."
    words = "; ".join(f"{look(r).label} {c[min(c)]:.1f}% at 1, {c[max(c)]:.1f}% at {max(c)}" for r, c in curves.items())
    return finish(figure, "What do more attempts buy?", caption, f"Pass@k: {words}.")


def training_curves(rows: Sequence[dict[str, Any]], *, columns: int = 3) -> go.Figure:
    """Loss and gradient norm at every step, by kind of stage; `rows` as in metrics.jsonl, others are passed over."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "loss" in row:
            stages.setdefault(row["stage"], []).append(row)
    groups = [group for group in ("base and π₀", "posterior q", "reasoners") if any(_group(s) == group for s in stages)]
    columns = min(columns, max(1, len(groups)))
    measures = {"loss": "loss (≈ nats/token)", "gradient_norm": "gradient norm"}
    cells = [(group, name) for name in measures for group in groups]
    if columns == 1:
        cells = [(group, name) for group in groups for name in measures]
    figure = panels([f"{group}: {measures[name]}" for group, name in cells] or [""], columns, panel_height=190)
    shown: set[str] = set()
    for index, (group, name) in enumerate(cells):
        where = place(index, columns)
        for stage in (stage for stage in stages if _group(stage) == group):
            steps = [row["step"] for row in stages[stage]]
            _training_line(figure, stage, steps, [row[name] for row in stages[stage]], where, stage not in shown)
            shown.add(stage)
        figure.update_xaxes(title_text="optimiser step", **where)
    figure.update_yaxes(**LOG_AXIS)
    legend_below(figure, -(-len(stages) // (2 if columns == 1 else 5)))
    caption = "Thin: every step. Thick: the mean of the last steps (a twentieth of the training). Logarithmic axes."
    words = "; ".join(f"{s} from {r[0]['loss']:.3g} to {r[-1]['loss']:.3g}" for s, r in stages.items())
    return finish(figure, "Did the training settle?", caption, f"Loss at the first and last step: {words or 'none'}.")


def compute_bars(results: Results, *, columns: int = 2) -> go.Figure:
    """What each method spent after π₀: FLOPs, and tokens drawn, read before a draw, scored and trained on."""
    spent = {role: results["spent"][role] for role in in_order(results["spent"])}
    figure = panels(["Compute", "Tokens"], columns, panel_height=34 * len(spent))
    flops = [costs["flops"] for costs in spent.values()]
    size, prefix = next((scale for scale in SCALES if max(flops) >= scale[0]), (1.0, ""))
    names = [look(role).label for role in spent]
    colours = [look(role).colour for role in spent]
    xs = [value / size for value in flops]
    figure.add_bar(x=xs, y=names, orientation="h", marker_color=colours, showlegend=False, **place(0, columns))
    figure.data[0].update(text=[f"{x:.3g}" for x in xs], textposition="outside", cliponaxis=False)
    figure.update_xaxes(title_text=f"{prefix}FLOPs", range=[0, 1.2 * (max(xs) or 1)], **place(0, columns))
    tokens = {kind: [costs[f"{kind}_tokens"] for costs in spent.values()] for kind in TOKEN_SHADES}
    most = max(sum(kinds) for kinds in zip(*tokens.values(), strict=True))
    size, prefix = next((scale for scale in COUNTS if most >= scale[0]), (1.0, ""))
    for kind, counts in tokens.items():
        bar = {"x": [count / size for count in counts], "y": names, "orientation": "h", "name": kind}
        figure.add_bar(**bar, marker_color=TOKEN_SHADES[kind], **place(1, columns))
    figure.update_xaxes(title_text=f"{prefix}tokens", rangemode="tozero", **place(1, columns))
    bare(figure)
    figure.update_yaxes(showticklabels=columns == 1, **place(1, columns))
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    legend_below(figure, 1)
    caption = "All a method needed after π₀, evaluation apart. FLOPs: 2 per parameter and token, 6 in training."
    words = "; ".join(f"{name} {costs['flops']:.3g} FLOPs" for name, costs in zip(names, spent.values(), strict=True))
    return finish(figure, "What did each method spend?", caption, f"{words}.")


def _score_bars(figure: go.Figure, scores: dict[str, dict[str, float]], where: dict[str, Any]) -> None:
    """A bar per role, its interval as a whisker, its number behind the whisker."""
    names = [look(role).label for role in scores]
    means = [score["mean"] for score in scores.values()]
    highs = [_finite(score["high"], score["mean"]) for score in scores.values()]
    lows = [_finite(score["low"], score["mean"]) for score in scores.values()]
    figure.add_bar(
        x=means,
        y=names,
        orientation="h",
        marker={"color": [look(role).colour for role in scores], "opacity": 0.8},  # the whisker stays visible
        error_x={
            "array": [high - mean for high, mean in zip(highs, means, strict=True)],
            "arrayminus": [mean - low for low, mean in zip(lows, means, strict=True)],
            "color": INK,
            "thickness": 1.8,
            "width": 5,
        },
        hovertext=[_words(score) for score in scores.values()],
        hoverinfo="text",
        showlegend=False,
        **where,
    )
    text = {"mode": "text", "text": [f" {mean:.1f}%" for mean in means], "textposition": "middle right"}
    figure.add_scatter(x=highs, y=names, **text, cliponaxis=False, hoverinfo="skip", showlegend=False, **where)
    figure.update_yaxes(showticklabels=where["col"] == 1, **where)


def _pass_line(figure: go.Figure, role: str, curve: dict[int, float], *, legend: bool) -> None:
    drawn, ks = look(role), sorted(curve)
    figure.add_scatter(
        x=[math.log2(k) for k in ks],
        y=[curve[k] for k in ks],
        mode="lines+markers",
        name=drawn.label,
        line={"color": drawn.colour, "dash": drawn.dash, "width": 2.5},
        marker={"symbol": drawn.symbol, "size": 9},
        hovertext=[f"{drawn.label}: Pass@{k} {curve[k]:.1f}%" for k in ks],
        hoverinfo="text",
        cliponaxis=False,
        showlegend=legend,
    )


def _name_lines(figure: go.Figure, curves: dict[str, dict[int, float]]) -> None:
    """Every line's name and last value at its end, moved apart where lines crowd."""
    ends = {role: (math.log2(max(curve)), curve[max(curve)]) for role, curve in curves.items()}
    top = max([share for _, share in ends.values()] + [0.5])
    heights = spread([share for _, share in ends.values()], 0.058 * top)
    for (role, (x, share)), height in zip(ends.items(), heights, strict=True):
        text = f"{look(role).glyph} {look(role).label} {share:.1f}%"
        at = {"x": x, "y": height, "xshift": 10, "xanchor": "left", "align": "left"}
        figure.add_annotation(text=text, showarrow=False, name="line label", **at)
    figure.update_layout(margin_r=180)


def _training_line(
    figure: go.Figure, stage: str, steps: list[int], values: list[float], where: dict[str, Any], legend: bool
) -> None:
    drawn = look(_role(stage))
    common = {"x": steps, "mode": "lines", "name": drawn.label, "legendgroup": stage, "hoverinfo": "skip"}
    thin, thick = ({"color": drawn.colour, "width": width} for width in (0.8, 2.2))
    figure.add_scatter(y=values, line=thin, opacity=0.25, showlegend=False, **common, **where)
    smooth = _trailing_mean(values, max(1, len(values) // 20))
    figure.add_scatter(y=smooth, line={**thick, "dash": drawn.dash}, showlegend=legend, **common, **where)


def _group(stage: str) -> str:
    if stage.startswith("train-posterior"):
        return "posterior q"
    return "reasoners" if stage.startswith("train-reasoner-") else "base and π₀"


def _role(stage: str) -> str:
    if stage.startswith("train-posterior-"):
        return "q" + stage.removeprefix("train-posterior-")
    return {"init-reasoner": "pi0"}.get(stage, stage.removeprefix("train-reasoner-"))


def _trailing_mean(values: Sequence[float], window: int) -> list[float]:
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]


def _hardest(results: Results) -> list[tuple[str, str]]:
    levels = results["levels"]
    last = max(levels, key=int, default="")
    return [(last, f"Hardest: {levels[last]}".replace(">=", "≥"))] if len(levels) > 1 else []


def _percent(cell: dict[str, float]) -> dict[str, float]:
    return {name: 100 * cell[name] for name in ("mean", "low", "high")}


def _finite(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _words(score: dict[str, float]) -> str:
    return f"{score['mean']:.1f}% (95% interval {score['low']:.1f} to {score['high']:.1f})"
