"""Task 5.9: drop traces that the reasoner could not have written."""

import math

import torch

from varcore.exercises.t05_a_language_model_end_to_end.rows import random_rows, unclosed, wrong
from varcore.exercises.t05_a_language_model_end_to_end.weights import weights
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(questions, traces, **settings):
        return random_rows(generator, questions, traces, **settings)

    mixed = draw(2, 4)
    mixed[1], mixed[6] = wrong(mixed[1]), unclosed(mixed[6])
    level = draw(2, 3)
    level[1] = {**level[1], "log_q": level[1]["log_pi"].clone()}  # all its ratios are 0
    return [
        Case("two questions of five traces, gate at -1", (draw(2, 5), 1.0, -1.0)),
        Case("three questions of three traces, exponent None, gate at -0.8", (draw(3, 3), None, -0.8)),
        Case("traces that are wrong or were cut", (mixed, 0.0, -1.2)),
        Case("a gate at -3", (draw(2, 4, apart=3.0), 1.0, -3.0)),
        Case("a gate at +0.2", (draw(2, 6, most_tokens=2), 1.0, 0.2)),
        Case("a gate at 0, and a trace that just reaches it", (level, 1.0, 0.0)),
        Case("a gate so high that nothing passes", (draw(2, 2), 1.0, 20.0)),
        Case("no gate, the threshold is -inf", (draw(2, 2), 1.0, -math.inf)),
    ]


def gated_weights(rows, exponent, threshold):
    kept = []
    for row in rows:
        worst = (row["log_pi"] - row["log_q"]).min()
        kept.append(row if worst >= threshold else {**row, "num_correct": 0})
    return weights(kept, exponent)


def afterwards(rows, exponent, threshold):
    found = weights(rows, exponent)
    for n, row in enumerate(rows):
        if any(p - q < threshold for p, q in zip(row["log_pi"].tolist(), row["log_q"].tolist(), strict=True)):
            found[n] = 0.0
    for question in {row["question_id"] for row in rows}:
        own = torch.tensor([row["question_id"] == question for row in rows])
        found[own] = found[own] / (found[own].sum() or 1.0)
    return found


def by_closed(rows, exponent, threshold):
    passed = [bool(((row["log_pi"] - row["log_q"]) >= threshold).all()) for row in rows]
    return weights([{**row, "closed": row["closed"] and ok} for row, ok in zip(rows, passed, strict=True)], exponent)


def _gated(rows, exponent, passes):
    return weights(
        [row if passes(row["log_pi"] - row["log_q"]) else {**row, "num_correct": 0} for row in rows], exponent
    )


def not_gated(rows, exponent, threshold):
    """no trace is dropped: these are the weights of task 5.6."""
    return weights(rows, exponent)


def sum_gated(rows, exponent, threshold):
    """it looks at the sum over the trace. One impossible token hides behind many likely ones: look at the worst
    token."""
    return _gated(rows, exponent, lambda ratio: ratio.sum() >= threshold)


def mean_gated(rows, exponent, threshold):
    """it looks at the mean over the trace. One impossible token hides behind many likely ones: look at the worst
    token."""
    return _gated(rows, exponent, lambda ratio: ratio.mean() >= threshold)


def best_token(rows, exponent, threshold):
    """it keeps a trace if *any* token passes. All have to: the worst decides."""
    return _gated(rows, exponent, lambda ratio: ratio.max() >= threshold)


def kept_below(rows, exponent, threshold):
    """it keeps the traces that it should drop: those whose worst token falls below the threshold."""
    return _gated(rows, exponent, lambda ratio: ratio.min() < threshold)


def at_the_gate_dropped(rows, exponent, threshold):
    """a trace whose worst token lies exactly at the threshold is dropped. Only what falls below it is."""
    return _gated(rows, exponent, lambda ratio: ratio.min() > threshold)


def upside_down(rows, exponent, threshold):
    """it compares log q - log π. A suspicious token is one that the helper likes better than the reasoner: log π - log
    q is far below zero there."""
    return _gated(rows, exponent, lambda ratio: (-ratio).min() >= threshold)


def unlikely_alone(rows, exponent, threshold):
    """it looks at log π alone. A token may be rare under both: then the helper did not need the hint for it."""
    kept = [row if row["log_pi"].min() >= threshold else {**row, "num_correct": 0} for row in rows]
    return weights(kept, exponent)


def absolute(rows, exponent, threshold):
    """it drops traces for tokens that the reasoner likes *better* than the helper as well. Only log π - log q below
    the threshold is suspicious."""
    return _gated(rows, exponent, lambda ratio: (-ratio.abs()).min() >= threshold)


def whole_question(rows, exponent, threshold):
    """it drops the whole question as soon as one of its traces fails. The others may be honest; only if all fail does
    the question abstain."""
    failed = {row["question_id"] for row in rows if (row["log_pi"] - row["log_q"]).min() < threshold}
    kept = [{**row, "num_correct": 0} if row["question_id"] in failed else row for row in rows]
    return weights(kept, exponent)


def not_renormalized(rows, exponent, threshold):
    """the weights that are left no longer sum to one in their question: normalise after the gate."""
    found = weights(rows, exponent)
    passed = torch.tensor([bool((row["log_pi"] - row["log_q"]).min() >= threshold) for row in rows])
    return found * passed


def nothing_passed_uniform(rows, exponent, threshold):
    """where no trace passes, it falls back on the weights without a gate. The question should abstain, with zeros:
    that is what the gate is there for."""
    found = gated_weights(rows, exponent, threshold)
    free = weights(rows, exponent)
    for question in {row["question_id"] for row in rows}:
        own = torch.tensor([row["question_id"] == question for row in rows])
        if found[own].sum() == 0:
            found[own] = free[own]
    return found


TASK = Task(
    name="5.9",
    title="A gate",
    tier="stretch",
    hints=(
        "A trace that the gate drops counts nothing, like one after which no answer is right. You have a function that "
        "knows what to do with such rows.",
        "drop the row if min_t (log_pi_t - log_q_t) < threshold; then the weights of 5.6 over what is left.",
        'kept = []\nfor row in rows:\n    worst = (row["log_pi"] - ...).min()\n'
        '    kept.append(row if worst >= threshold else {**row, "num_correct": ...})\nreturn weights(kept, exponent)',
    ),
    cases=cases,
    solution=gated_weights,
    alternatives=(afterwards, by_closed),
    mistakes=(
        not_gated,
        sum_gated,
        mean_gated,
        best_token,
        kept_below,
        at_the_gate_dropped,
        upside_down,
        unlikely_alone,
        absolute,
        whole_question,
        not_renormalized,
        nothing_passed_uniform,
    ),
    library="varcore.llm.weighing.WeightRule",
)
