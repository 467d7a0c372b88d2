"""What the report's trace browser reads: a bounded number of questions with all their traces, decoded.

Questions are taken by the hash of their id: the same ones on every machine, from all levels alike.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from varcore.llm import ledger
from varcore.llm.templates import Template

MOST_QUESTIONS, MOST_TRACES = 200, 6000
LONGEST_TEXT = 6000  # characters of a trace that are shown; of a longer one its beginning and its end


def choose(ids: Sequence[str], traces_per_question: int) -> list[str]:
    """At most 200 questions, and at most 6,000 traces in all; in the order of `ids`."""
    count = max(1, min(MOST_QUESTIONS, MOST_TRACES // max(1, traces_per_question)))
    chosen = set(sorted(ids, key=lambda id_: hashlib.sha256(id_.encode()).digest())[:count])
    return [id_ for id_ in ids if id_ in chosen]


def payload(tables: dict[str, pa.Table], labels: dict[str, str], template: Template) -> dict[str, Any]:
    """Questions and, per source of traces, a list of traces for each of them.

    Args:
        tables: ledgers by source, of the same questions; later columns may still be empty.
        labels: each source in words.
    """
    first = next(iter(tables.values()))
    total = ledger.question_ids(first)
    chosen = choose(total, sum(ledger.num_traces(table) for table in tables.values()))
    questions: dict[str, dict[str, Any]] = {}
    sources = []
    for name, table in tables.items():
        traces: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in chosen}
        for row in table.to_pylist():
            if row["question_id"] in traces:
                traces[row["question_id"]].append(trace(row, template))
                questions.setdefault(row["question_id"], question(row, template))
        sources.append({"name": name, "label": labels[name], "traces": [traces[id_] for id_ in chosen]})
    return {"total": len(total), "questions": [questions[id_] for id_ in chosen], "sources": sources}


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
        "ratio": None if ratios is None else _rounded(math.fsum(ratios)),
        "worst": _rounded(min(ratios)) if ratios else None,
        "correct": row["num_correct"],
        "answers": row["num_answers"],
        "given": _answers(row, template),
        "copied": _rounded(row["hint_copied"]) if row["hint_ids"] else None,
        "weight": _rounded(row["weight"]),
        "chosen": row["chosen"],
        "flags": row["flags"] or [],
    }


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
