"""One question's traces under a rule of the reader's choice: what the explorers of notebooks and of the report show.

Nothing here needs a widget.  Reads the ledger of any run.  Text from traces is shown as text, whatever it contains.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc
import torch

from varcore.bounds import iwae_bound
from varcore.estimators import effective_sample_size, pareto_k
from varcore.llm import ledger
from varcore.llm.weighing import WeightRule, weigh
from varcore.viz.drawing import sentence, shown, signed
from varcore.viz.lesson_figures import token_log_ratio
from varcore.viz.style import MUTED, WEIGHTED, bare, finish, panels

EXPONENTS = ("0", "1/|z|", "0.05", "0.1", "0.2", "0.3", "0.5", "0.7", "0.85", "1")
NEEDS = {"accuracy": ("num_correct", "num_answers"), "gml": ("log_pi_reference",), "likelihood": ("log_pi_reference",)}
FEWEST_FOR_TAIL = 25  # traces that Pareto k-hat needs
MOST_ROWS, MOST_CHARACTERS = 64, 240
UNREADABLE, MOST_PIECES = "\ufffd", 4  # what a decoder makes of part of a character, which is 1 to 4 bytes in UTF-8


@dataclass(frozen=True)
class Weighing:
    """One question under one rule: its ledger rows, weights aligned with them (0 if dropped), and what they imply."""

    rows: list[dict[str, Any]]
    weights: list[float]
    notes: list[str]  # why a trace has no weight, "" if it has some
    effective: float
    pareto_k: float | None  # None below K = 25
    bound: float  # log (1/K) sum rho over the K traces kept, nats; the paper's L^K at exponent 1 only


def estimators_of(table: pa.Table) -> list[str]:
    """The estimators of pi(Y|x,z) whose columns this ledger has; LedgerError if log pi or log q is missing."""
    ledger.check(table, needs=["log_pi", "log_q"])
    found = [name for name, columns in NEEDS.items() if all(ledger.is_filled(table, column) for column in columns)]
    if not found:
        raise ledger.LedgerError("No estimator: num_correct and log_pi_reference are empty. Run verify or score first.")
    return found


def rule_of(exponent: str, estimator: str, selection: str = "soft") -> WeightRule:
    """The rule of an explorer's controls; `exponent` is one of EXPONENTS."""
    return WeightRule(estimator, None if exponent == "1/|z|" else float(exponent), selection=selection)


def is_broken(row: dict[str, Any]) -> bool:
    """A log-probability is NaN, or log q is -inf, which no trace drawn from q can have: the trace takes no part."""
    log_q = sum(row["log_q"])
    return math.isnan(sum(row["log_pi"]) + log_q + sum(row["log_pi_reference"] or [])) or log_q == -math.inf


def weigh_question(
    table: pa.Table, question_id: str, *, exponent: str, estimator: str, selection: str, dropped: Sequence[int] = ()
) -> Weighing:
    """One question's weights.  `exponent` is one of EXPONENTS; traces `dropped`, or with a NaN, take no part."""
    found = table.filter(pc.field("question_id") == question_id)
    if len(found) == 0:
        raise KeyError(f"weigh_question: the ledger has no question {question_id!r}; see ledger.question_ids(table).")
    rows = found.to_pylist()
    notes = ["dropped" if k in dropped else "not a number" if is_broken(row) else "" for k, row in enumerate(rows)]
    kept = [k for k, note in enumerate(notes) if not note]
    if not kept:
        return Weighing(rows, [0.0] * len(rows), notes, 0.0, None, -math.inf)
    part = ledger.with_columns(found.take(kept), trace_index=list(range(len(kept))))
    weighed, _ = weigh(part, rule_of(exponent, estimator, selection), seed=0)
    weights = [0.0] * len(rows)
    for k, row in zip(kept, weighed.to_pylist(), strict=True):
        weights[k] = row["weight"]
        notes[k] = "" if row["weight"] else ", ".join(row["flags"]) or "not selected"
    logs = torch.tensor(weighed["log_weight"].to_pylist(), dtype=torch.float64)
    tail = pareto_k(logs).item() if len(kept) >= FEWEST_FOR_TAIL and bool((logs > -math.inf).any()) else None
    return Weighing(rows, weights, notes, effective_sample_size(logs).item(), tail, iwae_bound(logs).item())


def weighing_picture(found: Weighing) -> go.Figure:
    """The weights as bars; a trace without weight says why."""
    count, broken = len(found.rows), found.notes.count("not a number")
    kept = count - broken - found.notes.count("dropped")
    texts = [f"{w:.3f}" if w else note for w, note in zip(found.weights, found.notes, strict=True)]
    figure = panels([""], 1, panel_height=max(60, min(28 * count, 900)))
    bar = {"x": found.weights, "y": list(range(count)), "orientation": "h", "text": texts, "textposition": "outside"}
    colours = [WEIGHTED if weight else MUTED for weight in found.weights]
    figure.add_bar(**bar, cliponaxis=False, marker_color=colours, hoverinfo="skip")
    ticks = list(range(0, count, max(1, count // 32)))
    figure.update_xaxes(title_text="weight, share of the question", range=[0, 1.25 * (max(found.weights) or 1)])
    figure.update_yaxes(tickvals=ticks, ticktext=[f"trace {k}" for k in ticks])
    bare(figure)
    tail = "" if found.pareto_k is None else f", Pareto k-hat {found.pareto_k:.2f}"
    caption = (
        f"{found.effective:.2f} effective traces of {kept}{tail}; log mean weight {signed(found.bound, 3)[2:]} nats,"
    )
    caption += " a bound on log p(x) at exponent 1 only."
    caption += f" {broken} of the traces have NaN log-probabilities and are left out." if broken else ""
    return finish(figure, "How the weight is shared", caption, sentence(f"trace {k}: {t}" for k, t in enumerate(texts)))


def rows_html(found: Weighing, decode: Callable[[Sequence[int]], str]) -> str:
    """The K traces as a table: text, length, log pi - log q, correctness, weight.  All text is escaped."""
    head = "".join(f"<th>{name}</th>" for name in ("", "trace", "|z|", "log π − log q", "right", "weight"))
    lines = []
    for k, (row, weight, note) in enumerate(zip(found.rows, found.weights, found.notes, strict=True)):
        text = shown(decode(row["trace_ids"])[:MOST_CHARACTERS]) if row["trace_ids"] else "∅ (empty)"
        right = "–" if row["num_correct"] is None else f"{row['num_correct']}/{row['num_answers']}"
        ratio = math.fsum(row["log_pi"]) - math.fsum(row["log_q"])
        cells = (f"{len(row['trace_ids'])}", signed(ratio), right, f"{weight:.3f} {html.escape(note)}")
        body = f"<td dir='auto'>{text}</td>" + "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr><th scope='row'>{k}</th>{body}</tr>")
    more = f"<p>{len(lines) - MOST_ROWS:,} more traces are not listed.</p>" if len(lines) > MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines[:MOST_ROWS])}</tbody></table>{more}"


def token_picture(table: pa.Table, question_id: str, trace: int, decode: Callable[[Sequence[int]], str]) -> go.Figure:
    """The token heat map of one trace of the ledger."""
    row = table.filter(pc.field("question_id") == question_id).to_pylist()[trace]
    ratios = [pi - q for pi, q in zip(row["log_pi"], row["log_q"], strict=True)]
    return token_log_ratio(token_texts(row["trace_ids"], decode), ratios)


def token_texts(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """The text of each token.  A character that several tokens spell stands at the first of them, "…" at the others."""
    texts = [decode([token]) for token in ids]
    for start in range(len(texts)):
        for end in range(start + 2, min(start + MOST_PIECES, len(texts)) + 1):
            if UNREADABLE in texts[start] and UNREADABLE not in (joined := decode(ids[start:end])):
                texts[start:end] = [joined, *["…"] * (end - start - 1)]
    return texts
