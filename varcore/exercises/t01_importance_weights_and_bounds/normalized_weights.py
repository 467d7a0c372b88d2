"""Task 1.5: the share of each trace."""

import math

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.t01_importance_weights_and_bounds.log_sum_exp import log_sum_exp
from varcore.exercises.t01_importance_weights_and_bounds.questions import questions
from varcore.exercises.task import Case, Task


def cases(generator):
    apart = torch.tensor([[0.0], [-4000.0]], dtype=torch.float64)
    within = torch.tensor([-2000.0, 0.0, 1000.0, 2000.0], dtype=torch.float64)
    return [
        *questions(generator),
        Case("two questions that lie 4000 nats apart", (normal(generator, 2, 4) + apart,)),
        Case("traces of one question that lie 4000 nats apart", (normal(generator, 3, 4) + within,)),
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
    return rho / rho.sum(-1, keepdim=True)


def zero_by_underflow(log_weights):
    """it takes `exp` of the log weights as they are; near -2000 they all become 0, and a question with good traces
    looks like one without any."""
    rho = log_weights.exp()
    return rho / rho.sum(-1, keepdim=True).clamp(min=1e-300 if rho.dtype == torch.float64 else 1e-30)


def one_largest_for_all(log_weights):
    """one largest value is taken out of the whole batch. A question that lies far below it underflows, and looks like
    one without a usable trace. Each question needs its own."""
    rho = (log_weights - log_weights.max()).exp()
    return rho / rho.sum(-1, keepdim=True).clamp(min=1e-30)


def mean_taken_out(log_weights):
    """what is taken out of a question is not its largest log weight. Where its traces lie far apart, `exp` of what is
    left is infinite."""
    middle = log_weights.nan_to_num(neginf=0.0).mean(-1, keepdim=True)
    rho = (log_weights - middle).exp()
    return rho / rho.sum(-1, keepdim=True).clamp(min=1e-30)


def small_number_added(log_weights):
    """a small number was put under the fraction: the shares no longer sum to one. Only the sum 0 needs care: treat that
    by itself."""
    largest = log_weights.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    rho = (log_weights - largest).exp()
    return rho / (rho.sum(-1, keepdim=True) + 1e-8)


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
        zero_by_underflow,
        one_largest_for_all,
        mean_taken_out,
        small_number_added,
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
