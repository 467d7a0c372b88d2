"""Figures of a weighed ledger: one question's weights, and how many traces really count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from varcore.bounds import normalized_weights
from varcore.estimators import effective_sample_size
from varcore.llm import ledger
from varcore.viz.style import MUTED, WEIGHTED, bare, finish, panels, place

MOST_BARS = 64


def weight_bars(table: pa.Table, question_id: str) -> go.Figure:
    """The weights of one question's K traces; a trace without weight says why.  KeyError for an unknown question.

    Of more than 64 traces the 64 heaviest are drawn.
    """
    ledger.check(table, needs=["weight", "flags", "log_weight"])
    rows = table.filter(pc.field("question_id") == question_id).to_pylist()
    if not rows:
        raise KeyError(f"weight_bars: the ledger has no question {question_id!r}; see ledger.question_ids(table).")
    count, usable = len(rows), any(row["weight"] for row in rows)
    size = effective_sample_size(torch.tensor([row["log_weight"] for row in rows], dtype=torch.float64)).item()
    if count > MOST_BARS:
        rows = sorted(rows, key=lambda row: -row["weight"])[:MOST_BARS]
    weights = [row["weight"] for row in rows]
    notes = [
        f"{w:.2f}" if w >= 0.01 else f"{w:.1g}" if w else ", ".join(row["flags"]) or "weight 0"
        for w, row in zip(weights, rows, strict=True)
    ]
    names = [f"trace {row['trace_index']}: {row['num_correct']}/{row['num_answers']} right" for row in rows]
    figure = panels([""], 1, panel_height=30 * len(rows))
    figure.add_bar(
        x=weights,
        y=names,
        orientation="h",
        text=notes,
        textposition="outside",
        cliponaxis=False,
        marker_color=[WEIGHTED if w else MUTED for w in weights],
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="weight", range=[0, 1.25 * (max(weights) or 1)], exponentformat="none")
    bare(figure)
    said = f"{size:.1f} effective traces out of {count:,}" if usable else f"none of its {count:,} traces is usable"
    caption = f"Question {rows[0]['question']}: {said}."
    caption += f" Drawn are its {MOST_BARS} heaviest traces." if count > MOST_BARS else ""
    words = "; ".join(f"{name}, {note}" for name, note in zip(names, notes, strict=True))
    return finish(figure, "How one question's weight is shared", caption, f"{words}.")


def effective_sample_sizes(table: pa.Table, *, columns: int = 2) -> go.Figure:
    """How many questions have which effective sample size and which largest weight; those without any stand apart."""
    ledger.check(table, needs=["log_weight"])
    log_weights = ledger.matrix(table, table["log_weight"].to_pylist())
    usable = (log_weights > -math.inf).any(-1)
    some, count = log_weights[usable], log_weights.shape[1]
    names, bars, step = _size_bars(some, count)
    bars = [int((~usable).sum()), *bars]
    titles = (f"Effective traces of {count}", "Weight of the heaviest trace")
    figure = panels(titles, columns, panel_height=230)
    ticks = list(range(len(bars)))
    _count_bars(figure, ticks, bars, [MUTED, *[WEIGHTED] * len(names[1:])], place(0, columns))
    marks = {"tickvals": ticks[::step], "ticktext": names[::step]}
    figure.update_xaxes(title_text="effective sample size, rounded", **marks, **place(0, columns))
    tenths = _tenths(normalized_weights(some).amax(-1) if len(some) else some.new_zeros(0))
    _count_bars(figure, [0.1 * i + 0.05 for i in range(10)], tenths, [WEIGHTED] * 10, place(1, columns))
    shares = {"range": [0, 1.02], "dtick": 0.25, "tickformat": ".0%"}
    figure.update_xaxes(title_text="share of the question's weight", **shares, **place(1, columns))
    figure.update_yaxes(title_text="questions")
    caption = (
        "At 1, a single trace carries its question. Grey: questions without a usable trace; they have no heaviest one."
    )
    words = ", ".join(f"{name} {number}" for name, number in zip(names, bars, strict=True))
    return finish(figure, "How many traces really count?", caption, f"Questions by effective sample size: {words}.")


def _size_bars(log_weights: Tensor, count: int) -> tuple[list[str], list[int], int]:
    """Names of the bars, "none" first; questions of every rounded size, without "none"; how many bars a tick spans.

    With more than 64 traces neighbouring sizes share a bar.
    """
    width = -(-count // MOST_BARS)
    rounded = effective_sample_size(log_weights).round().int() if len(log_weights) else log_weights.int()
    sizes = Counter(((rounded - 1) // width).flatten().tolist())
    firsts = range(1, count + 1, width)
    names = [str(first) if width == 1 else f"{first}–{min(count, first + width - 1)}" for first in firsts]
    return (
        ["none", *names],
        [sizes[place_] for place_ in range(len(firsts))],
        -(-len(firsts) // (16 if width == 1 else 4)),
    )


def _count_bars(
    figure: go.Figure, xs: Sequence[int | float], counts: list[int], colours: list[str], where: dict[str, Any]
) -> None:
    text = [str(count) if count else "" for count in counts]
    bar = {"x": list(xs), "y": counts, "text": text, "textposition": "outside", "constraintext": "none"}
    figure.add_bar(**bar, marker_color=colours, cliponaxis=False, hoverinfo="skip", showlegend=False, **where)
    figure.update_xaxes(showgrid=False, **where)
    figure.update_yaxes(range=[0, 1.12 * max(*counts, 1)], **where)


def _tenths(shares: Tensor) -> list[int]:
    """How many shares lie in [0, .1), [.1, .2), ... [.9, 1]."""
    places = Counter((shares * 10).int().clamp(max=9).tolist())
    return [places[place_] for place_ in range(10)]
