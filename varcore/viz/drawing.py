"""Parts that the lessons' figures and widgets share: checked numbers, text shown as it is, lines with their names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from varcore._shapes import ShapeError
from varcore.viz.style import INK, LOOKS, Look, finish, legend_below, plain, spread, visible

Numbers = Tensor | Sequence[float | int]
Lines = Mapping[str, tuple[Tensor, Tensor]]
DASHES = ("solid", "dash", "dot", "longdash", "dashdot", "longdashdot")
SPARE = tuple(LOOKS[role].colour for role in ("reasoner", "reverse kl", "your rule", "prior", "posterior"))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star", "cross")
NEGATIVE, POSITIVE = (240, 170, 60), (110, 175, 220)  # orange and blue, both light enough for ink on top
MOST_MARKERS, LONGEST_NAME = 16, 34


def vector(function: str, name: str, value: Numbers, length: int | None = None) -> Tensor:
    """`value` as float64 [N]; ShapeError if it has another number of axes, or not `length` entries."""
    tensor = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    wanted = "[N], N at least 1" if length is None else f"[{length}], one number for each of the {length}"
    if tensor.ndim != 1 or (len(tensor) == 0 if length is None else len(tensor) != length):
        raise ShapeError(
            f"{function}: {name} must be {wanted}, got shape {tuple(tensor.shape)}. "
            "Batched? Draw one question at a time, e.g. tensor[0]."
        )
    return tensor


def refuse(function: str, broken: bool, rule: str, arrived: str, repair: str) -> None:
    """ValueError in the house's form if the rule is broken."""
    if broken:
        raise ValueError(f"{function}: {rule}; got {arrived}. {repair}")


def left_out(count: int, what: str = "value") -> str:
    """The end of a caption: how much was not a finite number."""
    are = "is not a finite number and" if count == 1 else "s are not finite numbers and"
    return f" {count:,} {what}{' ' if count == 1 else ''}{are} left out." if count else ""


def shown(text: str) -> str:
    """Text as a label shows it: `visible`, and markup in it is text too."""
    return plain(visible(text))


def short(text: str, most: int = LONGEST_NAME) -> str:
    """`shown`, cut in the middle of long texts so that a label stays a label."""
    return shown(text if len(text) <= most else text[: most - 1] + "…")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign as a mark too, so that it does not hang on colour: ▲ +0.31, ▼ −1.20, ＝ 0.00."""
    if math.isnan(value):
        return "? NaN"
    mark = "▲ +" if value > 0 else "▼ −" if value < 0 else "= "
    return f"{mark}{'∞' if math.isinf(value) else format(abs(value), f'.{digits}f')}"


def tint(share: float) -> str:
    """Diverging colour of a share in [-1, 1]: orange below zero, white at zero, blue above; grey for NaN."""
    if math.isnan(share):
        return "#d9dee3"
    end, size = NEGATIVE if share < 0 else POSITIVE, min(abs(share), 1.0)
    return "#" + "".join(f"{round(255 + size * (part - 255)):02x}" for part in end)


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """The look of every named line, labelled with its name.

    A name whose first words are a role of `style.LOOKS` has its colour, and its dash and marker if they are free;
    others take what the roles leave.  While dashes and markers last, no two lines share one: grey has nothing else.
    """
    roles: dict[str, str | None] = {name: _role(name) for name in names}
    looks: dict[str, Look] = {}
    for name, role in sorted(roles.items(), key=lambda item: item[1] is None):
        used = [*looks.values()]
        wish = LOOKS[role] if role else Look("", _rarest(SPARE, [look.colour for look in used]))
        label = wish.label if role == name and name != "q" else name
        alike = [look for look in used if look.colour == wish.colour]  # once more: worse than another colour's dash
        dash = _rarest((wish.dash, *DASHES), [look.dash for look in [*used, *alike]])
        symbol = _rarest((wish.symbol, *SYMBOLS), [look.symbol for look in used])
        looks[name] = replace(wish, label=short(label), dash=dash, symbol=symbol)
    return {name: looks[name] for name in roles}


def line(figure: go.Figure, drawn: Look, xs: Tensor, ys: Tensor, *, legend: bool, **where: int) -> None:
    """One named line over sorted xs, with a marker here and there; points that are not finite are not bridged."""
    order = xs.argsort()
    xs, ys = xs[order], ys[order].masked_fill(~ys[order].isfinite(), math.nan)
    step = max(1, len(xs) // MOST_MARKERS)
    before = len([*figure.select_traces({"mode": "lines+markers"})])
    first = int(step * (0.618 * before % 1))  # lines that coincide show their markers in turn
    figure.add_scatter(
        x=xs.tolist(),
        y=[None if math.isnan(y) else y for y in ys.tolist()],
        mode="lines+markers",
        name=drawn.label,
        line={"color": drawn.colour, "dash": drawn.dash, "width": 2.4},
        marker={"symbol": drawn.symbol, "opacity": 1, "size": [8 * (i % step == first) for i in range(len(xs))]},
        hovertemplate=f"{drawn.label.replace('%', '&#37;')}: %{{y:.4g}} at %{{x:.4g}}<extra></extra>",
        showlegend=legend,
        **where,
    )


def label_ends(
    figure: go.Figure, lines: Lines, looks: Mapping[str, Look], *, log_axis: bool = False, top: float = math.inf
) -> None:
    """Every line's name at its last finite point, moved apart where lines crowd; sets the axes' ranges.

    On linear axes zero is in the picture, and what exceeds `top` is not.
    """
    ends = {name: end for name, (xs, ys) in lines.items() if (end := _end(xs, ys)) is not None}
    if not ends:
        return
    scale = math.log10 if log_axis else float
    seen = [scale(y) for _, ys in lines.values() for y in ys[ys.isfinite()].tolist()]
    at = [scale(x) for name in ends for x in lines[name][0][lines[name][1].isfinite()].tolist()]
    low, high = (min(seen), max(seen)) if log_axis else (min(0.0, *seen), min(max(seen), top))
    span, right = (high - low) or 1.0, max(at)
    heights = _between([min(scale(y), high) for _, y in ends.values()], low, low + span)
    for name, height in zip(ends, heights, strict=True):
        text = f"{looks[name].glyph} {looks[name].label}"
        place_ = {"x": right, "y": height, "xshift": 10, "xanchor": "left", "align": "left"}
        figure.add_annotation(text=text, showarrow=False, name="line label", **place_)
    figure.update_layout(margin_r=44 + int(7.8 * max(len(looks[name].label) for name in ends)))
    figure.update_xaxes(range=[min(at) - 0.01 * (right - min(at)), right + 0.01 * (right - min(at))])
    figure.update_yaxes(range=[low - 0.03 * span, low + (1.0 if max(seen) > high else 1.04) * span])


def wrapped(widths: Sequence[float], line_width: float | int) -> tuple[list[float], list[int]]:
    """Where boxes of these widths start, and in which row, when rows hold `line_width`."""
    starts, rows, at, row = [], [], 0.0, 0
    for width in widths:
        if at > 0 and at + width > line_width:
            at, row = 0.0, row + 1
        starts.append(at)
        rows.append(row)
        at += width
    return starts, rows


def binned(xs: Tensor, ys: Tensor, most: int = 24) -> tuple[list[float], list[float], list[list[int]], list[float]]:
    """Centres of up to `most` bins an axis, counts [y][x], and the median of ys in every bin of xs (NaN if empty)."""
    if len(xs) == 0:
        return [], [], [], []
    number = max(1, min(most, math.ceil(math.sqrt(len(xs)))))
    (x_mid, x_bin), (y_mid, y_bin) = (_bins(values, number) for values in (xs, ys))
    counts = torch.zeros(number, number, dtype=torch.int64)
    counts.index_put_((y_bin, x_bin), torch.ones(len(xs), dtype=torch.int64), accumulate=True)
    groups = [ys[x_bin == index] for index in range(number)]
    medians = [group.quantile(0.5).item() if len(group) else math.nan for group in groups]
    return x_mid, y_mid, counts.tolist(), medians


def redraw(live: go.FigureWidget, picture: go.Figure) -> None:
    """Make a live figure show another picture, in place where its traces allow, so that click handlers stay."""
    old: list[Any] = [*live.select_traces()]
    new: list[Any] = [*picture.select_traces()]
    if [trace.type for trace in old] == [trace.type for trace in new]:
        with live.batch_update():
            for trace, drawn in zip(old, new, strict=True):
                trace.update(drawn.to_plotly_json(), overwrite=True)
    else:
        live.data = []
        live.add_traces(new)
    live.layout = picture.layout


def sentence(parts: Iterable[str]) -> str:
    """At most a dozen parts as one sentence of a description in words."""
    parts = list(parts)
    more = f"; and {len(parts) - 12} more" if len(parts) > 12 else ""
    return "; ".join(itertools.islice(parts, 12)) + more + "."


def sorted_points(figure: go.Figure, values: Tensor, drawn: Look, where: dict[str, int]) -> None:
    shares = [100 * (rank + 1) / len(values) for rank in range(len(values))]
    mark = {"color": drawn.colour, "symbol": drawn.symbol, "size": 6}
    points = {"x": shares, "y": values.tolist(), "mode": "lines+markers", "marker": mark, "showlegend": False}
    figure.add_scatter(**points, line_color=drawn.colour, hovertemplate="%{y:.3g}<extra></extra>", **where)


def bar_words(texts: Sequence[str], values: Mapping[str, Tensor], looks: Mapping[str, Look]) -> str:
    def heaviest(logs: Tensor) -> str:
        best = int(logs.nan_to_num(nan=-math.inf).argmax())
        ties = int(logs.isclose(logs[best]).sum()) - 1
        return f"{texts[best]}, {logs[best].exp():.3g}" + (f" ({ties} more as likely)" if ties > 0 else "")

    return sentence(f"{looks[name].label}: most likely is {heaviest(logs)}" for name, logs in values.items())


def bound_texts(figure: go.Figure, counts: Tensor, mean: Tensor, log_evidence: float, missing: int) -> go.Figure:
    figure.add_hline(y=log_evidence, line={"dash": "dash", "color": INK, "width": 1.5})
    above = {"x": 0, "xref": "x domain", "xanchor": "left", "y": log_evidence, "yanchor": "bottom"}
    figure.add_annotation(
        text=f"log p(x) = {log_evidence:.4g}".replace("-", "−"), showarrow=False, name="log p", **above
    )
    ticks = counts.unique()
    figure.update_xaxes(title_text="K, number of traces", tickvals=ticks.log2().tolist())
    figure.update_xaxes(ticktext=[f"{k:g}" for k in ticks.tolist()])
    figure.update_yaxes(title_text="lower bound on log p(x), nats")
    legend_below(figure, 1)
    caption = f"Each bound is below log p(x), and more traces close the gap; K = 1 is the ELBO.{left_out(missing)}"
    words = sentence(f"K = {k:g}: {bound:.4g} nats" for k, bound in zip(counts.tolist(), mean.tolist(), strict=True))
    return finish(figure, "How tight is the bound?", caption, f"log p(x) is {log_evidence:.4g} nats; {words}")


def curve_words(lines: Lines, looks: Mapping[str, Look]) -> str:
    parts = []
    for name, (xs, ys) in lines.items():
        xs, ys = xs[ys.isfinite()], ys[ys.isfinite()]
        ends = [int(xs.argmin()), int(xs.argmax())] if len(xs) else []
        points = " to ".join(f"{ys[at]:.3g} at {xs[at]:,.5g}" for at in ends)
        parts.append(f"{looks[name].label}: {f'from {points}' if points else 'nothing'}")
    return sentence(parts)


def token_texts(ratios: Tensor, notes: Sequence[str], count: int, most: int) -> tuple[str, str]:
    if count == 0:
        return "The trace is empty: there is no token to draw.", "An empty trace, without tokens."
    total, cut = ratios.nan_to_num(nan=0.0).sum().item(), count - most
    caption = f"Under each token log π − log q, nats: blue ▲ π likes it more, orange ▼ q does; sum {signed(total)}."
    caption += f" The last {cut:,} of {count:,} tokens are not drawn." if cut > 0 else ""
    low = int(ratios.nan_to_num(nan=math.inf).argmin())
    words = f"{count} tokens, log ratios sum to {total:.3g} nats; the lowest is token {low + 1}, {notes[low]} nats."
    return caption + left_out(int(ratios.isnan().sum())), words


def diagnostic_texts(sizes: Tensor, fitted: Tensor, count: int, unknown: int, unfitted: int) -> tuple[str, str]:
    none, middle = int((sizes == 0).sum()), sizes.median().item() if len(sizes) else math.nan
    caption = f"Half of the questions have at most {middle:.1f} effective traces; {none} have none."
    words = f"{len(sizes)} questions with {count} traces; median effective sample size {middle:.3g}"
    if count >= 25:
        tails = f"k-hat above 0.7 for {int((fitted > 0.7).sum())} of the {len(fitted)} that have one"
        tails += f"; ties leave {unfitted} without" if unfitted else ""
        caption, words = f"{caption} {tails}. Above the dashed line, trust no weighted mean.", f"{words}; {tails}"
    return caption + left_out(unknown, "question"), words + "."


def length_texts(size: Tensor, ratio: Tensor, missing: int) -> tuple[str, str]:
    if len(size) < 2 or size.std() == 0 or ratio.std() == 0:
        return f"{len(size)} traces: too few, or too alike, for a trend.{left_out(missing, 'trace')}", "No trend."
    link = torch.corrcoef(torch.stack([size, ratio]))
    slope = (link[0, 1] * ratio.std() / size.std()).item()
    change = signed(slope, 3)[2:]
    caption = f"A token more changes log π − log q by {change} nats on average; black: the median at each length."
    words = f"{len(size)} traces of {size.min():g} to {size.max():g} tokens; correlation {link[0, 1]:.2f}."
    return caption + left_out(missing, "trace"), words


def _between(values: Sequence[float], low: float, high: float) -> list[float]:
    """Values spread apart, then pushed back into [low, high] in their order."""
    gap = min(0.058, 1 / len(values)) * (high - low)
    placed = spread(values, gap)
    for order, limit, sign in ((range(len(placed)), low, 1), (range(len(placed)), high, -1)):
        for index in sorted(order, key=lambda i: sign * placed[i]):
            placed[index] = sign * max(sign * placed[index], sign * limit)
            limit = placed[index] + sign * gap
    return placed


def _rarest(choices: Sequence[str], used: Sequence[str]) -> str:
    """The choice that is used least; of several, the first."""
    return min(choices, key=used.count)


def _role(name: str) -> str | None:
    if name in LOOKS:
        return name
    words = re.findall(r"[a-z]+", name.lower())
    return next((role for role in (" ".join(words[:2]), *words[:1]) if role in LOOKS), None)


def _bins(values: Tensor, number: int) -> tuple[list[float], Tensor]:
    low, high = values.min().item(), values.max().item()
    width = (high - low) / number or 1.0
    index = ((values - low) / width).long().clamp(0, number - 1)
    return [low + width * (i + 0.5 if high > low else i) for i in range(number)], index


def _end(xs: Tensor, ys: Tensor) -> tuple[float, float] | None:
    keep = ys.isfinite() & xs.isfinite()
    if not keep.any():
        return None
    last = xs.masked_fill(~keep, -math.inf).argmax()
    return xs[last].item(), ys[last].item()
