"""Task 3.8: a rule of weights that is even where it may be, and right where it must be."""

import math

import torch
from torch import Tensor

import varcore
from varcore.exercises.t03_weighing_traces.world import (
    QUESTIONS,
    Listed,
    Measured,
    draw_question,
    groups_of,
    mean_of,
    measured,
)
from varcore.exercises.task import Task

EFFECTIVE, BIAS = 4.5, 0.03  # at least, of eight; at most


def examine(my_rule, generator):
    questions = [draw_question(generator) for _ in range(QUESTIONS)]
    found = []
    for question in questions:
        groups = groups_of(question)
        log_weights = my_rule(*groups)
        because = _malformed(log_weights, groups[0].shape)
        if because:
            return because
        alone = my_rule(*(column[[0, 3000, 6000]] for column in groups_of(question)))
        if not _same_shares(log_weights[[0, 3000, 6000]], alone):
            return (
                "the weights of a group depend on the other groups that came with it. Each row is a question of its "
                "own: whatever you sum or compare, do it over the last axis."
            )
        found.append(log_weights)
    return _missed(questions, found)


def _malformed(log_weights, shape) -> str:
    if log_weights is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(log_weights, Tensor) or log_weights.shape != shape or not log_weights.is_floating_point():
        return "it should return log weights: a tensor in the shape of `log_ratio`, one for each trace of each group."
    if bool(log_weights.isnan().any()):
        return "some log weight is NaN. Is there a logarithm of a negative number, or 0 times infinity?"
    if bool((log_weights == math.inf).any()):
        return "some log weight is +inf. To leave a trace out, its log weight is -inf."
    return ""


def _same_shares(a: Tensor, b) -> bool:
    if not isinstance(b, Tensor) or b.shape != a.shape:
        return False
    one, other = (varcore.normalized_weights(logs.detach()) for logs in (a, b))
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def _missed(questions: list[Listed], found: list[Tensor]) -> str:
    mean = mean_of([measured(question, logs) for question, logs in zip(questions, found, strict=True)])
    even, right = mean.effective >= EFFECTIVE, mean.bias <= BIAS
    if even and right:
        return ""
    if mean.unusable > 0.05:
        return (
            "it leaves more than one group in twenty without any weight, and such a group counts 0 effective traces. "
            "Is the threshold too strict?"
        )
    if all(bool((logs >= 0).all()) and bool((logs > 0).any()) for logs in found):
        return "none of its log weights is below 0. Are these the weights? Their logarithms are asked for."
    if mean.bias > _accuracy_alone(questions).bias + 0.03:
        return (
            "its bias is larger than that of accuracy alone: it moves weight the wrong way. Look at the sign of the "
            "log ratio, and at what the accuracy is there for."
        )
    if even:
        return (
            "its effective size reaches the target and its bias does not: even weights, on the wrong traces. Which way "
            "of thinking still holds more than P gives it, and what is its log ratio like?"
        )
    if right:
        return (
            "its bias reaches the target and its effective size does not: too few traces count. Does the rule drop "
            "honest ones, or let a few of them take nearly everything? Does the bias ask for either?"
        )
    return (
        "it misses the target on both sides. Whatever lifts the effective size here lets the rationalised traces back "
        "in: must every log ratio, low or high, be treated in the same way?"
    )


def _accuracy_alone(questions: list[Listed]) -> Measured:
    return mean_of([measured(question, groups_of(question)[2].log()) for question in questions])


def my_rule(log_ratio, num_tokens, accuracy):
    # A ratio far below 1 says that the reasoner would not write this: out. Above that it only tells styles apart.
    return torch.where(log_ratio < -3.0, -torch.inf, accuracy.log())


def capped(log_ratio, num_tokens, accuracy):
    # min(π/q, 1/e): what the reasoner would hardly write is fined in full, what it likes better is not paid for it
    return log_ratio.clamp(max=-1.0) + accuracy.log()


def saturating(log_ratio, num_tokens, accuracy):
    squared = log_ratio.exp() ** 2
    return torch.log(accuracy * squared / (squared + 0.02))


def gate_by_length(log_ratio, num_tokens, accuracy):
    # by chance alone the log ratio of a long trace wanders farther from 0
    gated = log_ratio < -1.0 - 0.2 * num_tokens.sqrt()
    return (0.05 * log_ratio + accuracy.log()).masked_fill(gated, -math.inf)


def accuracy_alone(log_ratio, num_tokens, accuracy):
    """its effective size reaches the target and its bias does not: even weights, on the wrong traces. Which way of
    thinking still holds more than P gives it, and what is its log ratio like?"""
    return accuracy.log()


def exact(log_ratio, num_tokens, accuracy):
    """its bias reaches the target and its effective size does not: too few traces count. Does the rule drop honest
    ones, or let a few of them take nearly everything? Does the bias ask for either?"""
    return log_ratio + accuracy.log()


def in_the_middle(log_ratio, num_tokens, accuracy):
    """it misses the target on both sides. Whatever lifts the effective size here lets the rationalised traces back in:
    must every log ratio, low or high, be treated in the same way?"""
    return varcore.truncated_log_weights(0.55 * log_ratio + accuracy.log().clamp(min=-3.0))


def upside_down(log_ratio, num_tokens, accuracy):
    """its bias is larger than that of accuracy alone: it moves weight the wrong way. Look at the sign of the log ratio,
    and at what the accuracy is there for."""
    return accuracy.log() - log_ratio


def too_strict(log_ratio, num_tokens, accuracy):
    """it leaves more than one group in twenty without any weight, and such a group counts 0 effective traces. Is the
    threshold too strict?"""
    return torch.where((log_ratio < 0) | (accuracy < 0.8), -math.inf, accuracy.log())


def not_logarithms(log_ratio, num_tokens, accuracy):
    """none of its log weights is below 0. Are these the weights? Their logarithms are asked for."""
    return log_ratio.clamp(max=0.0).exp() * accuracy


def one_a_group(log_ratio, num_tokens, accuracy):
    """it should return log weights: a tensor in the shape of `log_ratio`, one for each trace of each group."""
    return (log_ratio + accuracy.log()).mean(-1)


def log_of_a_logarithm(log_ratio, num_tokens, accuracy):
    """some log weight is NaN. Is there a logarithm of a negative number, or 0 times infinity?"""
    return (log_ratio / num_tokens).log() + accuracy.log()


def without_bound(log_ratio, num_tokens, accuracy):
    """some log weight is +inf. To leave a trace out, its log weight is -inf."""
    return torch.where(log_ratio < -3.0, torch.inf, accuracy.log())


def compared_over_all(log_ratio, num_tokens, accuracy):
    """the weights of a group depend on the other groups that came with it. Each row is a question of its own: whatever
    you sum or compare, do it over the last axis."""
    return torch.where(log_ratio < log_ratio.mean(0) - 1.0, -math.inf, accuracy.log())


TASK = Task(
    name="3.8",
    title="Even where it may be, right where it must be",
    tier="core",
    kind="experiment",
    hints=(
        "Print one question, way by way: log ratio, tokens, accuracy. What gives the rationalised traces away? And "
        "what costs effective size: differences between ways of thinking, or differences inside one? One exponent "
        "shrinks both. Find a function of the log ratio that keeps the first and not the second.",
        "log weight = f(log ratio) + log accuracy, with f very low for a log ratio that no honest trace has, and "
        "(nearly) flat above: a gate, f = -inf below a threshold and 0 above; a cap, f = min(log ratio, c); or a "
        "smooth one, f = log of ratio / (ratio + c).",
        "gone = log_ratio < ...                  # where no honest trace is\n"
        "return torch.where(gone, ..., accuracy.log())",
    ),
    examine=examine,
    solution=my_rule,
    alternatives=(capped, saturating, gate_by_length),
    mistakes=(
        accuracy_alone,
        exact,
        in_the_middle,
        upside_down,
        too_strict,
        not_logarithms,
        one_a_group,
        log_of_a_logarithm,
        without_bound,
        compared_over_all,
    ),
    seconds=120.0,
)
