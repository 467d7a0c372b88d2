"""Task 1.4: the bound of several traces."""

import math

import torch

from varcore.exercises.t01_importance_weights_and_bounds.log_sum_exp import log_sum_exp
from varcore.exercises.t01_importance_weights_and_bounds.questions import questions
from varcore.exercises.task import Task


def cases(generator):
    return questions(generator, slopes=(0,))


def iwae_bound(log_weights):
    return log_sum_exp(log_weights) - math.log(log_weights.shape[-1])


def by_torch(log_weights):
    K = log_weights.shape[-1]
    return torch.logsumexp(log_weights, dim=-1) - torch.log(torch.tensor(K, dtype=log_weights.dtype))


def mean_inside(log_weights):
    largest = log_weights.detach().amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    return (log_weights - largest).exp().mean(-1).log() + largest.squeeze(-1)


def looped(log_weights):
    total = log_weights[..., 0]
    for k in range(1, log_weights.shape[-1]):
        total = torch.logaddexp(total, log_weights[..., k])
    return total - math.log(log_weights.shape[-1])


def log_k_missing(log_weights):
    """it is too large by log K: the logarithm of the sum of the weights, where their mean is asked for. As a bound it
    would exceed log p(x)."""
    return log_weights.logsumexp(-1)


def mean_of_logs(log_weights):
    """it is the mean of the logarithms, the ELBO again. Here the mean comes first and the logarithm after it."""
    return log_weights.mean(-1)


def k_after_the_log(log_weights):
    """it divides by K after the logarithm was taken; the mean of the weights stands inside it."""
    return log_weights.logsumexp(-1) / log_weights.shape[-1]


def k_added(log_weights):
    """log K has the wrong sign: dividing the sum by K takes log K away."""
    return log_weights.logsumexp(-1) + math.log(log_weights.shape[-1])


def k_of_the_wrong_axis(log_weights):
    """its K is the length of the first axis, the number of questions; the traces are on the last one."""
    return log_weights.logsumexp(-1) - math.log(len(log_weights))


def k_one_too_low(log_weights):
    """it divides by K - 1, as a variance does. The mean of K weights divides by K."""
    return log_weights.logsumexp(-1) - math.log(max(log_weights.shape[-1] - 1, 1))


def zeros_left_out(log_weights):
    """it averages over the traces that have weight. One of weight zero was drawn as well, and counts in K: left out, it
    makes the bound too high."""
    counted = log_weights.isfinite().sum(-1).clamp(min=1)
    return log_weights.logsumexp(-1) - counted.to(log_weights.dtype).log()


def first_axis(log_weights):
    """it averages over the first axis, which holds the questions; the traces are on the last one."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def all_questions(log_weights):
    """it gives one number for all questions; each question has a bound of its own."""
    return log_weights.flatten().logsumexp(0) - math.log(log_weights.numel())


def left_the_logarithms(log_weights):
    """it takes `exp` of the log weights as they are: near -2000 every weight is 0, near +2000 infinite."""
    return log_weights.exp().mean(-1).log()


def without_log(log_weights):
    """it is the mean weight itself, an estimate of p(x); the bound is its logarithm."""
    return log_weights.exp().mean(-1)


def best_of_k(log_weights):
    """it takes the largest of the K weights, where their mean is asked for."""
    return log_weights.amax(-1)


def as_a_loss(log_weights):
    """the sign is that of a loss. A bound is maximised: no minus."""
    return math.log(log_weights.shape[-1]) - log_weights.logsumexp(-1)


def nan_for_nothing(log_weights):
    """a question whose traces all have weight zero gives NaN; the mean weight is 0 there and its logarithm -inf."""
    largest = log_weights.amax(-1, keepdim=True)
    return (log_weights - largest).exp().mean(-1).log() + largest[..., 0]


def no_gradient(log_weights):
    """the value is right, but carries no gradient. A bound is there to be climbed: stay with torch's functions, without
    `.item()`, `.tolist()`, `.detach()` or `torch.no_grad()` on the way."""
    return (log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])).detach()


TASK = Task(
    name="1.4",
    title="The bound of K traces",
    tier="core",
    hints=(
        "Average the weights, then take one logarithm. You hold the logarithms of the weights, and task 1.1 gave you "
        "the logarithm of their sum. What turns a sum into a mean, and what does that become in logarithms?",
        "log (1/K) Σ_k ρ_k = log Σ_k exp(log ρ_k) - log K",
        "K = log_weights.shape[...]\nreturn log_sum_exp(log_weights) ...",
    ),
    cases=cases,
    solution=iwae_bound,
    alternatives=(by_torch, mean_inside, looped),
    mistakes=(
        log_k_missing,
        mean_of_logs,
        k_after_the_log,
        k_added,
        k_of_the_wrong_axis,
        k_one_too_low,
        zeros_left_out,
        first_axis,
        all_questions,
        left_the_logarithms,
        without_log,
        best_of_k,
        as_a_loss,
        nan_for_nothing,
        no_gradient,
    ),
    library="varcore.iwae_bound",
)
