"""What the report's explorer looks up: the log weights of the questions on the page under every rule, from `weigh`.

The page itself only shares the log weights out: weights, their effective number and log mean weight are a softmax and
its normaliser.  What a softmax does not give (which trace is drawn, Pareto k-hat) stands in the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from varcore.estimators import pareto_k
from varcore.llm import ledger
from varcore.llm.weighing import SELECTIONS, WeightRule, describe, resampling_points, weigh
from varcore.viz.explore import EXPONENTS, FEWEST_FOR_TAIL, NEEDS, estimators_of, is_broken, rule_of

SEED = 0  # of "resample", as in the notebooks' explorer


def controls(rule: WeightRule) -> dict[str, Any]:
    """The grid of rules, and where its controls stand at first: at the run's own rule if the grid has it."""
    own = "1/|z|" if rule.exponent is None else f"{rule.exponent:g}"
    start = {"exponent": EXPONENTS.index(own if own in EXPONENTS else "1/|z|"), "estimator": rule.estimator}
    return {
        "exponents": EXPONENTS,
        "selections": list(SELECTIONS),
        "start": {**start, "selection": rule.selection},
        "own": describe(rule),
        "cut": resampling_points(1, SEED).item(),
        "fewest": FEWEST_FOR_TAIL,
    }


def explorer(table: pa.Table) -> dict[str, Any]:
    """The frames of a ledger by question id, and in `left_out` what this ledger does not allow.

    Without `estimators` there is nothing to explore: the ledger is not scored, or has no rows.
    """
    nothing: dict[str, Any] = {"estimators": [], "questions": {}}
    if len(table) == 0:
        return {**nothing, "left_out": ""}
    try:
        estimators = estimators_of(table)
    except ledger.LedgerError as error:
        return {**nothing, "left_out": f"The weights of these traces cannot be explored. {error}"}
    absent = [name for name in NEEDS if name not in estimators]
    empty = sorted({column for name in absent for column in NEEDS[name] if not ledger.is_filled(table, column)})
    left_out = f"Left out here: {', '.join(absent)}, for {' and '.join(empty)} is not filled." if absent else ""
    found = dict(zip(ledger.question_ids(table), question_frames(table, estimators), strict=True))
    return {"estimators": estimators, "questions": found, "left_out": left_out}


def question_frames(table: pa.Table, estimators: Sequence[str]) -> list[dict[str, Any]]:
    """One dictionary a question: which traces are `broken`, and by estimator the frames that `_frames` describes."""
    count, rows = ledger.num_traces(table), table.to_pylist()
    questions = [rows[start : start + count] for start in range(0, len(rows), count)]
    kept = [[k for k, row in enumerate(question) if not is_broken(row)] for question in questions]
    found: list[dict[str, Any]] = [{"broken": sorted(set(range(count)) - set(places))} for places in kept]
    for size in sorted({len(places) for places in kept} - {0}):  # `weigh` wants the same number of traces everywhere
        alike = [b for b, places in enumerate(kept) if len(places) == size]
        traces = [{**questions[b][place], "trace_index": k} for b in alike for k, place in enumerate(kept[b])]
        part = ledger.from_rows(traces)
        for estimator in estimators:
            for b, frames in zip(alike, _frames(part, estimator, [kept[b] for b in alike], count), strict=True):
                found[b][estimator] = frames
    return found


def _frames(part: pa.Table, estimator: str, kept: list[list[int]], count: int) -> list[dict[str, Any]]:
    """The questions of `part` at every exponent; `kept` are their traces' places among the `count` of the page.

    `logs` [exponent][trace]: log weights in nats, None for a weight of zero; `resample` and `argmax` [exponent]: which
    trace these rules keep; `tails` [exponent]: k-hat, None where there is no fit; `flags` [trace].
    """
    weighed = [weigh(part, rule_of(exponent, estimator), SEED)[0] for exponent in EXPONENTS]
    logs, weights = (
        torch.stack([ledger.matrix(table, table[name].to_pylist()) for table in weighed])
        for name in ("log_weight", "weight")
    )  # [exponent, B, K]
    tails = pareto_k(logs) if logs.shape[-1] >= FEWEST_FOR_TAIL else None
    flags = weighed[0]["flags"].to_pylist()  # the same at every exponent
    frames = []
    for b, places in enumerate(kept):
        question = {
            "logs": [_spread([round(x, 4) for x in row], places, count) for row in logs[:, b].tolist()],
            "flags": _spread(flags[b * len(places) : (b + 1) * len(places)], places, count),
        }
        for name in ("resample", "argmax"):
            question[name] = [places[_kept_by(name, row)] for row in weights[:, b]]
        if tails is not None:
            question["tails"] = [round(x, 2) for x in tails[:, b].tolist()]
        frames.append(question)
    return frames


def _kept_by(selection: str, weights: Tensor) -> int:
    """The one trace that a selection rule keeps of a question's weights [K]."""
    return int(SELECTIONS[selection](weights[None], SEED).argmax())


def _spread(values: list[Any], places: list[int], count: int) -> list[Any]:
    spread = [None] * count
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread
