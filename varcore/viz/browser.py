"""What the report's trace browser reads: a bounded number of questions with all their traces, decoded, and the frames
of its explorer.

Questions are taken by the hash of their id: the same ones on every machine, from all levels alike.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from varcore.llm import ledger
from varcore.llm.templates import Template
from varcore.llm.weighing import WeightRule
from varcore.viz import frames
from varcore.viz.explore import token_texts
from varcore.viz.style import visible

MOST_QUESTIONS, MOST_TRACES = 200, 3200
LONGEST_TEXT = 6000  # characters of a trace that are shown; of a longer one its beginning and its end
MOST_TOKENS, LONGEST_TOKEN = 100_000, 34  # tokens that can be coloured on the page, and characters shown of each


def choose(ids: Sequence[str], traces_per_question: int) -> list[str]:
    """At most 200 questions, and at most 3,200 traces in all, but one question; in the order of `ids`."""
    count = max(1, min(MOST_QUESTIONS, MOST_TRACES // max(1, traces_per_question)))
    chosen = set(sorted(ids, key=lambda id_: hashlib.sha256(id_.encode()).digest())[:count])
    return [id_ for id_ in ids if id_ in chosen]


def payload(
    tables: dict[str, pa.Table], labels: dict[str, str], template: Template, rule: WeightRule
) -> dict[str, Any]:
    """Questions; per source of traces, a list of traces for each of them; and the explorer's frames.

    Args:
        tables: ledgers by source; later columns may still be empty, and a question may miss in some.
        labels: each source in words.
        rule: the run's own, where the explorer starts.
    """
    total = list(dict.fromkeys(id_ for table in tables.values() for id_ in ledger.question_ids(table)))
    chosen = choose(total, sum(ledger.num_traces(table) for table in tables.values()))
    shown = {name: table.filter(pc.field("question_id").isin(chosen)) for name, table in tables.items()}
    rows = {name: table.to_pylist() for name, table in shown.items()}
    most = MOST_TOKENS // max(1, sum(has_ratios(row) for of_source in rows.values() for row in of_source))
    questions: dict[str, dict[str, Any]] = {}
    words: dict[str, int] = {}  # a token's text to its place among the page's words
    sources = []
    for name, table in shown.items():
        traces: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in chosen}
        for row in rows[name]:
            traces[row["question_id"]].append(trace(row, template) | coloured(row, template, words, most))
            questions.setdefault(row["question_id"], question(row, template))
        explorer = frames.explorer(table)
        explorer["questions"] = [explorer["questions"].get(id_) for id_ in chosen]
        sources.append({"label": labels[name], "traces": [traces[id_] for id_ in chosen], "explorer": explorer})
    return {
        "total": len(total),
        "questions": [questions[id_] for id_ in chosen],
        "sources": sources,
        "words": list(words),
        "controls": frames.controls(rule),
    }


def question(row: dict[str, Any], template: Template) -> dict[str, Any]:
    return {
        "id": row["question_id"],
        "text": row["question"],
        "level": row["level"],
        "reference": template.read_answer(row["reference_ids"]),
        "answers": row["num_correct_answers"],
    }


def trace(row: dict[str, Any], template: Template) -> dict[str, Any]:
    """One trace in the browser's words; what a later stage has not filled yet is None."""
    length = len(row["trace_ids"])
    log_pi, log_q = row["log_pi"], row["log_q"]
    ratios = None if log_pi is None or log_q is None else [p - q for p, q in zip(log_pi, log_q, strict=True)]
    text = template.read_trace(row["trace_ids"])
    return {
        "index": row["trace_index"],
        "text": _shortened(text),
        "closed": row["closed"],
        "tokens": length,
        "ratio": None if ratios is None else _rounded(sum(ratios)),
        "worst": _rounded(min(ratios)) if ratios and not any(map(math.isnan, ratios)) else None,
        "correct": row["num_correct"],
        "answers": row["num_answers"],
        "given": _answers(row, template),
        "copied": _rounded(row["hint_copied"]) if row["hint_ids"] else None,
        "weight": _rounded(row["weight"]),
        "chosen": row["chosen"],
        "flags": row["flags"] or [],
    }


def has_ratios(row: dict[str, Any]) -> bool:
    """Scored, and not drawn by the reasoner itself: then log pi - log q is zero on every token."""
    return row["log_pi"] is not None and row["log_q"] is not None and row["log_pi"] != row["log_q"]


def coloured(row: dict[str, Any], template: Template, words: dict[str, int], most: int) -> dict[str, Any]:
    """The first `most` tokens as places in `words`, which grows, and log pi - log q of each, in nats; or None, None."""
    if not has_ratios(row):
        return {"words": None, "ratios": None}
    ratios = [_two_digits(p - q) for p, q in zip(row["log_pi"][:most], row["log_q"][:most], strict=True)]
    texts = token_texts(row["trace_ids"][:most], lambda ids: str(template.tokenizer.decode(list(ids))))
    texts = [visible(text)[:LONGEST_TOKEN] for text in texts]
    return {"words": [words.setdefault(text, len(words)) for text in texts], "ratios": ratios}


def _two_digits(value: float) -> float | int | str:
    """As the page writes it; what JSON cannot hold as text."""
    if math.isfinite(value):
        return round(value, 2) or 0
    return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "∞")


def _answers(row: dict[str, Any], template: Template) -> list[list[Any]]:
    """[text, verdict, how often], the most frequent first."""
    pairs = zip(row["answer_ids"] or [], row["verdicts"] or [], strict=True)
    counts = Counter((template.read_answer(ids), verdict) for ids, verdict in pairs)
    return [[text[:LONGEST_TEXT], verdict, count] for (text, verdict), count in counts.most_common()]


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    begin, end = text[: 2 * LONGEST_TEXT // 3], text[-LONGEST_TEXT // 3 :]
    return f"{begin}\n[… {len(text) - len(begin) - len(end):,} characters left out …]\n{end}"


def _rounded(value: int | float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
