"""Task 3.1: the likelihood estimator of how right a thought is."""

import math

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return log_probs(generator, *shape, **settings)

    def sizes(*shape):
        return torch.randint(2, 9, shape, generator=generator)

    references = draw(3, 4, 2)
    return [
        Case("three questions of four traces with two references", (references, sizes(3)), (0,)),
        Case("one question of five traces with two references", (draw(5, 2), 4)),
        Case("the same |Y| = 6 for three questions", (draw(3, 4, 2), 6)),
        Case("a tensor of shape (2, 3, 4, 5)", (draw(2, 3, 4, 5), sizes(2, 3))),
        Case("a single reference (R = 1)", (draw(3, 4, 1), sizes(3))),
        Case("all of Y once, R = |Y| = 3", (draw(2, 4, 3), torch.tensor([3, 3]))),
        Case("answers of thousands of tokens", (draw(3, 4, 2) - 2000, sizes(3))),
        Case("a reference that the reasoner never gives", (without(references, (1, 2, 0)), sizes(3))),
        Case("a trace after which no reference is possible", (without(references, (1, 2)), sizes(3))),
        Case("float32", (draw(3, 4, 2, dtype=torch.float32), sizes(3))),
    ]


def log_likelihood_correctness(log_answers, answer_set_size):
    size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)
    log_mean = log_answers.logsumexp(-1) - math.log(log_answers.shape[-1])
    return size.log()[..., None] + log_mean  # one size for all the traces of a question


def by_largest(log_answers, answer_set_size):
    size = torch.as_tensor(answer_set_size).to(log_answers.dtype).unsqueeze(-1)
    largest = log_answers.amax(-1, keepdim=True).detach()
    largest = torch.where(largest == -math.inf, 0.0, largest)
    mean = (log_answers - largest).exp().mean(-1)
    return (size * mean).log() + largest.squeeze(-1)


def in_one_sum(log_answers, answer_set_size):
    size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)
    log_shares = (size / log_answers.shape[-1]).log()
    return torch.logsumexp(log_answers + log_shares[..., None, None], dim=-1)


def size_forgotten(log_answers, answer_set_size):
    """|Y| is missing: this is the probability of *one* right answer, on average. The thought is right if any of the |Y|
    comes."""
    return log_answers.logsumexp(-1) - math.log(log_answers.shape[-1])


def mean_of_logs(log_answers, answer_set_size):
    """it takes the mean of the logarithms. The estimator is a mean of probabilities, and a geometric mean lies below
    it."""
    return log_likelihood_correctness(log_answers.mean(-1, keepdim=True), answer_set_size)


def summed(log_answers, answer_set_size):
    """the references are summed and not averaged: R times too large. With R = |Y| every right answer would count |Y|
    times."""
    return log_likelihood_correctness(log_answers, answer_set_size) + math.log(log_answers.shape[-1])


def only_summed(log_answers, answer_set_size):
    """it is the sum over the given references: their number R stands where |Y| belongs. Where a part of Y is given, it
    stands for the whole: take the mean of the part, times |Y|."""
    return log_answers.logsumexp(-1)


def size_multiplied(log_answers, answer_set_size):
    """the *logarithm* of the mean is multiplied by |Y|. The probability is to be multiplied; what does that do to its
    logarithm?"""
    size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)
    return size[..., None] * (log_answers.logsumexp(-1) - math.log(log_answers.shape[-1]))


def size_added(log_answers, answer_set_size):
    """|Y| itself is added to a logarithm. A factor of |Y| adds its logarithm."""
    size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)
    return size[..., None] + (log_answers.logsumexp(-1) - math.log(log_answers.shape[-1]))


def over_traces(log_answers, answer_set_size):
    """it averages over the traces: the references are on the last axis, and each trace has a value of its own."""
    return log_likelihood_correctness(log_answers.transpose(-1, -2), answer_set_size)


def left_the_logarithms(log_answers, answer_set_size):
    """it takes `exp` of the log-probabilities as they are; for an answer near -2000 nats that is 0, and a possible
    answer becomes an impossible one."""
    size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)
    return (size[..., None] * log_answers.exp().mean(-1)).log()


def at_most_one(log_answers, answer_set_size):
    """it is cut off at a probability of 1. An estimate may exceed what it estimates: cutting off the high ones leaves a
    mean that is too low."""
    return log_likelihood_correctness(log_answers, answer_set_size).clamp(max=0.0)


def a_probability(log_answers, answer_set_size):
    """it is the probability; its logarithm is asked for."""
    return log_likelihood_correctness(log_answers, answer_set_size).exp()


def best_reference(log_answers, answer_set_size):
    """it takes the most probable reference alone. All references count; a favourite does not speak for the others."""
    return log_likelihood_correctness(log_answers.amax(-1, keepdim=True), answer_set_size)


TASK = Task(
    name="3.1",
    title="The likelihood of the right answers",
    tier="warm-up",
    hints=(
        "Think of probabilities first: the mean over the references, times how many right answers there are. Then do "
        "it in logarithms: the logarithm of a mean is a `logsumexp` and a `log R`; what does a factor become? And on "
        "which axis has a question's |Y| to be repeated?",
        "log |Y| + log Σ_r exp(log π(y_r|x,z)) - log R, the sum over the last axis; |Y| [...] gets one axis more, for "
        "the K traces.",
        "size = torch.as_tensor(answer_set_size, dtype=log_answers.dtype)\n"
        "log_mean = log_answers.logsumexp(...) - math.log(...)\n"
        "return size.log()[..., None] + ...",
    ),
    cases=cases,
    solution=log_likelihood_correctness,
    alternatives=(by_largest, in_one_sum),
    mistakes=(
        size_forgotten,
        mean_of_logs,
        summed,
        only_summed,
        size_multiplied,
        size_added,
        over_traces,
        left_the_logarithms,
        at_most_one,
        a_probability,
        best_reference,
    ),
    library="varcore.log_likelihood_correctness",
)
