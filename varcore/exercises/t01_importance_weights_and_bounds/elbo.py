"""Task 1.3: the evidence lower bound, from traces drawn from q."""

import math

import torch

from varcore.exercises.t01_importance_weights_and_bounds.questions import questions
from varcore.exercises.task import Task


def cases(generator):
    return questions(generator, slopes=(0,))


def elbo(log_weights):
    return log_weights.mean(-1)


def summed_and_divided(log_weights):
    return log_weights.sum(dim=-1) / log_weights.shape[-1]


def looped(log_weights):
    total = torch.zeros_like(log_weights[..., 0])
    for k in range(log_weights.shape[-1]):
        total = total + log_weights[..., k]
    return total / log_weights.shape[-1]


def summed(log_weights):
    """it is the sum over the K traces, K times too large; the ELBO is a mean."""
    return log_weights.sum(-1)


def all_questions(log_weights):
    """it is one mean over all questions; each question has a bound of its own, and averaging is the caller's step."""
    return log_weights.mean()


def first_axis(log_weights):
    """it averages over the first axis, which holds the questions; K is the last one."""
    return log_weights.mean(0)


def k_of_the_wrong_axis(log_weights):
    """it divides by the length of the first axis, the number of questions; K is the length of the last one."""
    return log_weights.sum(-1) / len(log_weights)


def log_of_mean(log_weights):
    """it is the logarithm of the mean weight; the ELBO is the mean of the logarithms. That one is task 1.4."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def weighed_again(log_weights):
    """it lets each trace count by its weight. The traces were drawn from q, so each already counts 1/K."""
    return (log_weights.softmax(-1) * log_weights.nan_to_num(neginf=0.0)).sum(-1)


def as_a_loss(log_weights):
    """the sign is that of a loss. A bound is maximised: no minus."""
    return -log_weights.mean(-1)


def mean_of_weights(log_weights):
    """it averages the weights themselves. The ELBO averages their logarithms."""
    return log_weights.exp().mean(-1)


def zeros_left_out(log_weights):
    """it leaves out the traces of weight zero. Then it is no bound any more: one such trace makes the ELBO -inf."""
    kept = log_weights.isfinite()
    return torch.where(kept, log_weights, 0.0).sum(-1) / kept.sum(-1)


TASK = Task(
    name="1.3",
    title="The ELBO of some traces",
    tier="core",
    hints=(
        "The ELBO is an expectation under q of log ρ. You hold K draws from q. What is the plainest estimate of an "
        "expectation from draws?",
        "ELBO ≈ (1/K) Σ_k log ρ_k: a mean of logarithms over the last axis. Nothing special is needed for -inf: a mean "
        "with one -inf in it is -inf.",
        "return log_weights.mean(...)        # which axis?",
    ),
    cases=cases,
    solution=elbo,
    alternatives=(summed_and_divided, looped),
    mistakes=(
        summed,
        all_questions,
        first_axis,
        k_of_the_wrong_axis,
        log_of_mean,
        weighed_again,
        as_a_loss,
        mean_of_weights,
        zeros_left_out,
    ),
    library="varcore.elbo",
)
