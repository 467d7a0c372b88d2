"""Weights of traces as a function of the ledger: estimator, exponent, normalisation, gate and selection.

Nothing here samples or runs a model, so every choice can be changed after the sampling is paid for.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from varcore.bounds import iwae_bound, normalized_weights
from varcore.estimators import (
    effective_sample_size,
    log_accuracy_correctness,
    log_geometric_mean_correctness,
    tempered_log_weights,
)
from varcore.llm import ledger
from varcore.llm.templates import Ids
from varcore.llm.training import Example


@dataclass(frozen=True)
class WeightRule:
    """How a ledger becomes weights.

    estimator: of pi(Y_x|x,z): "accuracy", "gml" or "likelihood" (varcore.estimators).
    exponent: on the trace ratio pi/q: None is the paper's 1/|z|, 1 the exact weight, 0 accuracy alone.
    normalized: the K weights of a question sum to one; otherwise they are rho / K and hard questions count less.
    gate: drop traces whose log pi/q falls below `threshold` nats: "none", "sum" (of the trace) or "token" (its worst).
    selection: "soft" keeps all K weights, "resample" draws one trace by weight, "argmax" keeps the heaviest.  The one
        trace kept carries the whole weight of its question.
    """

    estimator: str = "accuracy"
    exponent: float | None = None
    normalized: bool = True
    gate: str = "none"
    threshold: float = -math.inf
    selection: str = "soft"

    def __post_init__(self) -> None:
        for name, table in (("estimator", ESTIMATORS), ("gate", GATES), ("selection", SELECTIONS)):
            if getattr(self, name) not in table:
                raise ValueError(f"WeightRule: {name} must be one of {sorted(table)}, got {getattr(self, name)!r}.")
        if self.exponent is not None and not (math.isfinite(self.exponent) and self.exponent >= 0):
            raise ValueError(f"WeightRule: exponent must be None (1/|z|) or a number >= 0, got {self.exponent}.")
        if math.isnan(self.threshold):
            raise ValueError("WeightRule: threshold must be a number of nats, got NaN.")


@dataclass(frozen=True)
class WeighingSummary:
    """What a rule does to a ledger.  `unusable` lists (question id, reason) of questions without a usable trace."""

    questions: int
    mean_effective_sample_size: float  # over questions with a usable trace; nan if there is none
    mean_max_weight: float  # likewise, of normalised weights
    mean_bound: float  # mean of log (1/K) sum rho over the same questions, nats; L^K only if the exponent is 1
    traces_with_weight: int
    unusable: list[tuple[str, str]]


@dataclass(frozen=True)
class RuleComparison:
    """How far two rules differ on one ledger, over questions that both can use (nan if there are none)."""

    total_variation: float  # mean over questions of half the summed absolute difference of normalised weights
    heaviest_changed: float  # share of questions whose heaviest trace is another one


def compare(table: pa.Table, other: pa.Table) -> RuleComparison:
    """Two weighings of the same traces."""
    ours, theirs = (ledger.matrix(t, t["weight"].to_pylist()) for t in (table, other))
    both = (ours.sum(-1) > 0) & (theirs.sum(-1) > 0)
    ours, theirs = (w[both] / w[both].sum(-1, keepdim=True) for w in (ours, theirs))
    return RuleComparison(
        total_variation=(ours - theirs).abs().sum(-1).div(2).mean().item(),
        heaviest_changed=(ours.argmax(-1) != theirs.argmax(-1)).double().mean().item(),
    )


def weigh(table: pa.Table, rule: WeightRule, seed: int) -> tuple[pa.Table, WeighingSummary]:
    """The ledger with `log_weight`, `weight`, `chosen` and `flags` filled by `rule`.

    `log_weight` is log rho, -inf for a trace without weight.  `seed` matters to "resample" alone.
    Raises LedgerError if the columns that the rule needs are not filled.
    """
    needs = ["log_pi", "log_q", "num_correct"] if rule.estimator == "accuracy" else ["log_pi", "log_q"]
    ledger.check(table, needs=needs)
    closed = ledger.matrix(table, table["closed"].to_pylist()).bool()
    kept = GATES[rule.gate](table) >= rule.threshold
    log_correctness = ESTIMATORS[rule.estimator](table).masked_fill(~closed, -math.inf)
    log_weights = tempered_log_weights(
        ledger.sums(table, "log_pi"),
        ledger.sums(table, "log_q"),
        log_correctness.masked_fill(~kept, -math.inf),
        ledger.lengths(table),
        exponent=rule.exponent,
    )
    weights = normalized_weights(log_weights) if rule.normalized else log_weights.exp() / log_weights.shape[-1]
    weights = SELECTIONS[rule.selection](weights, seed)
    flags = [
        [name for name, mark in marks.items() if mark]
        for marks in _flags(closed, kept, log_correctness, ledger.lengths(table))
    ]
    weighed = ledger.with_columns(
        table,
        log_weight=log_weights.flatten().tolist(),
        weight=weights.flatten().tolist(),
        chosen=(weights > 0).flatten().tolist(),
        flags=flags,
    )
    return weighed, _summary(weighed, log_weights, flags)


def training_examples(table: pa.Table, rule: WeightRule) -> list[Example]:
    """Weighted (prompt, trace + answer) pairs of the chosen traces.

    With the accuracy estimator a trace is paired with each distinct correct answer it led to, its weight split by
    how often that answer was drawn: the gradient is w (grad log pi(z|x) + mean over correct y of grad log pi(y|x,z)).
    The other estimators pair it with the reference answer.
    """
    ledger.check(table, needs=["weight", "chosen"])
    examples = []
    for row in table.filter(table["chosen"]).to_pylist():
        prompt, trace = tuple(row["prompt_ids"]), tuple(row["trace_ids"])
        for answer, share in _answers(row, rule):
            examples.append(Example(prompt, trace + answer, row["weight"] * share))
    return examples


def _answers(row: dict, rule: WeightRule) -> list[tuple[Ids, float]]:
    if rule.estimator != "accuracy":
        return [(tuple(row["reference_ids"]), 1.0)]
    return correct_answers(row)


def correct_answers(row: dict) -> list[tuple[Ids, float]]:
    """Distinct correct answers of a ledger row with their shares among its correct draws, in order of first draw."""
    right = [tuple(ids) for ids, verdict in zip(row["answer_ids"], row["verdicts"], strict=True) if verdict == "right"]
    return [(answer, count / len(right)) for answer, count in Counter(right).items()]


def _accuracy(table: pa.Table) -> Tensor:
    counts = (ledger.matrix(table, table[name].to_pylist()) for name in ("num_correct", "num_answers"))
    return log_accuracy_correctness(*counts)


def _geometric_mean(table: pa.Table) -> Tensor:
    ledger.check(table, needs=["log_pi_reference"])
    return log_geometric_mean_correctness(
        ledger.sums(table, "log_pi_reference"), ledger.lengths(table, "reference_ids")
    )


def _likelihood(table: pa.Table) -> Tensor:
    """log pi(y*|x,z) of the one reference answer; |Y_x| is the same for a question's K traces and left out."""
    ledger.check(table, needs=["log_pi_reference"])
    return ledger.sums(table, "log_pi_reference")


def _soft(weights: Tensor, seed: int) -> Tensor:
    return weights


def resampling_points(questions: int, seed: int) -> Tensor:
    """Where "resample" cuts each question's cumulative weights, as a share of their sum: [B, 1], uniform, float64."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.rand(questions, 1, generator=generator, dtype=torch.float64)


def _resample(weights: Tensor, seed: int) -> Tensor:
    uniform = resampling_points(len(weights), seed)
    cdf = weights.cumsum(-1)
    # the first trace whose cumulative weight exceeds the draw; traces of weight zero are never it
    return _keep_one(
        weights, torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True).clamp_max(weights.shape[1] - 1)
    )


def _argmax(weights: Tensor, seed: int) -> Tensor:
    return _keep_one(weights, weights.argmax(-1, keepdim=True))


def _keep_one(weights: Tensor, index: Tensor) -> Tensor:
    return torch.zeros_like(weights).scatter(-1, index, weights.sum(-1, keepdim=True))


def _no_gate(table: pa.Table) -> Tensor:
    return torch.full((len(table) // ledger.num_traces(table), ledger.num_traces(table)), math.inf, dtype=torch.float64)


def _sum_gate(table: pa.Table) -> Tensor:
    return ledger.sums(table, "log_pi") - ledger.sums(table, "log_q")


def _flags(closed: Tensor, kept: Tensor, log_correctness: Tensor, lengths: Tensor) -> list[dict[str, bool]]:
    wrong = closed & (log_correctness == -math.inf)
    columns = [~closed, closed & (lengths <= 1), wrong, closed & ~wrong & ~kept]
    names = ("unclosed", "empty", "no correct answer", "gated")
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.flatten().tolist() for c in columns), strict=True)]


def _summary(table: pa.Table, log_weights: Tensor, flags: list[list[str]]) -> WeighingSummary:
    usable = (log_weights > -math.inf).any(-1)
    some = log_weights[usable]
    count = log_weights.shape[1]
    ids = ledger.question_ids(table)
    unusable = [
        (ids[i], _reason(flags[i * count : (i + 1) * count])) for i in torch.nonzero(~usable).flatten().tolist()
    ]
    return WeighingSummary(
        questions=len(ids),
        mean_effective_sample_size=effective_sample_size(some).mean().item(),
        mean_max_weight=normalized_weights(some).amax(-1).mean().item() if len(some) else math.nan,
        mean_bound=iwae_bound(some).mean().item(),
        traces_with_weight=sum(table["chosen"].to_pylist()),
        unusable=unusable,
    )


def _reason(flags: list[list[str]]) -> str:
    """Why a question has no usable trace, from its traces' flags: ``5 no correct answer, 3 unclosed``."""
    counts = Counter(flag for row in flags for flag in row if flag != "empty")
    return ", ".join(f"{count} {flag}" for flag, count in counts.most_common()) or "all weights underflow to zero"


ESTIMATORS = {"accuracy": _accuracy, "gml": _geometric_mean, "likelihood": _likelihood}
GATES = {"none": _no_gate, "sum": _sum_gate, "token": ledger.smallest_log_ratio}
SELECTIONS = {"soft": _soft, "resample": _resample, "argmax": _argmax}


def describe(rule: WeightRule) -> str:
    """One line for tables: ``accuracy, exponent 1/|z|, normalized, gate none, soft``."""
    values = dataclasses.asdict(rule)
    exponent = "1/|z|" if values["exponent"] is None else f"{values['exponent']:g}"
    gate = "no gate" if rule.gate == "none" else f"{rule.gate} gate at {rule.threshold:g} nats"
    normalized = "normalized" if rule.normalized else "not normalized"
    return f"{rule.estimator}, exponent {exponent}, {normalized}, {gate}, {rule.selection}"
