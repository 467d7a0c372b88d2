"""Task 1.5: the share of each trace."""

import math

import torch

from varcore.exercises.drawing import normal, without
from varcore.exercises.t01_importance_weights_and_bounds.log_sum_exp import log_sum_exp
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return normal(generator, *shape, **settings)

    return [
        Case("three questions of four traces", (draw(3, 4),)),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("log weights near -2000", (draw(3, 4) - 2000,)),
        Case("log weights near +2000", (draw(3, 4) + 2000,)),
        Case("a trace of weight zero", (without(draw(3, 4), (1, 2)),)),
        Case("a question whose traces all have weight zero", (without(draw(3, 4), (1,)),)),
        Case("float32", (draw(3, 4, dtype=torch.float32),)),
    ]


def normalized_weights(log_weights):
    log_total = log_sum_exp(log_weights)[..., None]
    log_total = torch.where(log_total == -math.inf, 0.0, log_total)  # no usable trace: every exp below is 0
    return (log_weights - log_total).exp()


def by_softmax(log_weights):
    return torch.softmax(log_weights, dim=-1).nan_to_num(nan=0.0)


def looped(log_weights):
    rows = []
    for row in log_weights.reshape(-1, log_weights.shape[-1]):
        if row.max() == -math.inf:
            rows.append(torch.zeros_like(row))
        else:
            rho = torch.exp(row - row.max())
            rows.append(rho / rho.sum())
    return torch.stack(rows).reshape(log_weights.shape)


def left_the_logarithms(log_weights):
    """it takes `exp` of the log weights as they are; near -2000 that is 0 over 0, near +2000 infinity over infinity."""
    rho = log_weights.exp()
    total = rho.sum(-1, keepdim=True)
    return rho / torch.where(total == 0, 1.0, total)


def nan_for_nothing(log_weights):
    """a question whose traces all have weight zero gives NaN. NaN in one question spoils the whole batch: the spec asks
    for zeros there."""
    return log_weights.softmax(-1)


def uniform_for_nothing(log_weights):
    """a question whose traces all have weight zero gives each of them a share. None is worth learning from: the spec
    asks for zeros, so that the sum tells such a question from the others."""
    return log_weights.nan_to_num(neginf=-1e30).softmax(-1)


def first_axis(log_weights):
    """it normalises over the first axis, so that questions compete with each other; the traces of *one* question
    share its 1, and they are on the last axis."""
    return log_weights.softmax(0)


def all_questions(log_weights):
    """all weights of the batch together sum to one; those of each question should."""
    return log_weights.flatten().softmax(0).reshape(log_weights.shape)


def still_logarithms(log_weights):
    """these are the logarithms of the shares; the shares themselves are asked for."""
    return log_weights.log_softmax(-1)


def logs_divided(log_weights):
    """it divides the log weights by their sum; the shares are those of the weights."""
    return log_weights / log_weights.sum(-1, keepdim=True)


def best_is_one(log_weights):
    """the largest weight of each question is 1; it is their sum that should be."""
    return (log_weights - log_weights.amax(-1, keepdim=True)).exp()


def mean_is_one(log_weights):
    """the weights of a question have mean one; they should sum to one."""
    return log_weights.softmax(-1) * log_weights.shape[-1]


def total_of_logs(log_weights):
    """it divides by the mean weight of all questions; each question is divided by the sum of its own."""
    return (log_weights - log_weights.flatten().logsumexp(0) + math.log(log_weights.numel())).exp()


TASK = Task(
    name="1.5",
    title="How much of the lesson belongs to each trace?",
    tier="core",
    hints=(
        "Each weight over the sum of its question's weights. Divide while you are still in logarithms: there a "
        "division cannot overflow. Then think of the question whose sum is zero: what do you want to come out there?",
        "w_k = exp(log ρ_k - log Σ_j ρ_j). If the sum is -inf in logarithms, subtract 0 in its place: exp(-inf) = 0.",
        "log_total = log_sum_exp(log_weights)[..., None]     # [..., 1], so that it can be subtracted\n"
        "log_total = torch.where(log_total == ..., 0.0, log_total)\n"
        "return (...).exp()",
    ),
    cases=cases,
    solution=normalized_weights,
    alternatives=(by_softmax, looped),
    mistakes=(
        left_the_logarithms,
        nan_for_nothing,
        uniform_for_nothing,
        first_axis,
        all_questions,
        still_logarithms,
        logs_divided,
        best_is_one,
        mean_is_one,
        total_of_logs,
    ),
    library="varcore.normalized_weights",
)
