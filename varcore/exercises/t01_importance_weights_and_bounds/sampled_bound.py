"""Task 1.7: a bound that exceeds log p(x)."""

import math

import torch

from varcore.exercises.drawing import log_probs, log_table, normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(temperature, shift=0.0):
        tables = log_table(generator, 6) - shift, log_probs(generator, 6), normal(generator, 6) + shift
        groups = torch.randint(6, (5, 3), generator=generator)
        return (*tables, temperature, groups)

    return [
        Case("traces drawn at temperature 0.7", draw(0.7)),
        Case("traces drawn at temperature 1", draw(1.0)),
        Case("traces drawn at temperature 1.6", draw(1.6)),
        Case("traces of thousands of tokens", draw(0.7, shift=2000.0)),
    ]


def sampled_bound(log_prior, log_likelihood, q_logits, temperature, groups):
    log_posterior = (q_logits / temperature).log_softmax(-1)
    log_weights = (log_prior + log_likelihood - log_posterior)[groups]
    largest = log_weights.amax(-1, keepdim=True)
    mean_weight = (log_weights - largest).exp().mean(-1)
    bounds = mean_weight.log() + largest.squeeze(-1)
    return bounds.mean()


def gathered_first(log_prior, log_likelihood, q_logits, temperature, groups):
    scaled = q_logits / temperature
    log_q = scaled[groups] - scaled.logsumexp(0)
    log_weights = log_prior[groups] + log_likelihood[groups] - log_q
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def looped(log_prior, log_likelihood, q_logits, temperature, groups):
    log_q = torch.log_softmax(q_logits / temperature, 0)
    bounds = []
    for group in groups:
        log_weights = torch.stack([log_prior[z] + log_likelihood[z] - log_q[z] for z in group])
        bounds.append(torch.logsumexp(log_weights, 0) - math.log(len(group)))
    return torch.stack(bounds).mean()


def as_it_was(log_prior, log_likelihood, q_logits, temperature, groups):
    """this does what the function at the start does: right at temperature 1, and at no other. Which line does not know
    how the traces were drawn?"""
    log_weights = (log_prior + log_likelihood - q_logits.log_softmax(-1))[groups]
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def multiplied(log_prior, log_likelihood, q_logits, temperature, groups):
    """the logits are multiplied by the temperature; who samples at a temperature divides by it."""
    log_weights = (log_prior + log_likelihood - (q_logits * temperature).log_softmax(-1))[groups]
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def divided_too_late(log_prior, log_likelihood, q_logits, temperature, groups):
    """the log-probabilities are divided by the temperature. What comes out does not sum to one any more, so it is the
    probability of nothing; the traces were drawn from something that does."""
    log_weights = (log_prior + log_likelihood - q_logits.log_softmax(-1) / temperature)[groups]
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def logits_as_they_are(log_prior, log_likelihood, q_logits, temperature, groups):
    """the logits are divided by the temperature, and then taken for log-probabilities: `log_softmax` is missing."""
    log_weights = (log_prior + log_likelihood - q_logits / temperature)[groups]
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def tempered_weights(log_prior, log_likelihood, q_logits, temperature, groups):
    """the whole log weight is divided by the temperature. Only q was sampled at one; π is asked as it is."""
    log_weights = (log_prior + log_likelihood - q_logits.log_softmax(-1))[groups] / temperature
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def reasoner_tempered(log_prior, log_likelihood, q_logits, temperature, groups):
    """log q is mended, but π is taken at the temperature as well. Only q was sampled at one; π is asked as it is."""
    log_weights = (log_prior / temperature + log_likelihood - (q_logits / temperature).log_softmax(-1))[groups]
    return (log_weights.logsumexp(-1) - math.log(groups.shape[-1])).mean()


def mean_of_logs(log_prior, log_likelihood, q_logits, temperature, groups):
    """it takes the mean of the log weights, which lies lower for another reason. The bound of K traces was right; what
    went into it was not."""
    return (log_prior + log_likelihood - (q_logits / temperature).log_softmax(-1))[groups].mean()


def log_k_missing(log_prior, log_likelihood, q_logits, temperature, groups):
    """log q is mended, but the weights of a group are now summed and not averaged: log K is missing."""
    log_weights = (log_prior + log_likelihood - (q_logits / temperature).log_softmax(-1))[groups]
    return log_weights.logsumexp(-1).mean()


def capped(log_prior, log_likelihood, q_logits, temperature, groups):
    """it is cut off at log p(x). A cap hides the fault, and for a real model log p(x) is not known."""
    bound = as_it_was(log_prior, log_likelihood, q_logits, temperature, groups)
    return torch.minimum(bound, (log_prior + log_likelihood).logsumexp(-1))


def mean_too_early(log_prior, log_likelihood, q_logits, temperature, groups):
    """the weights of all groups are averaged before the logarithm. That is one big group, not the mean of many."""
    log_weights = (log_prior + log_likelihood - (q_logits / temperature).log_softmax(-1))[groups]
    return log_weights.flatten().logsumexp(0) - math.log(groups.numel())


def reasoner_normalised(log_prior, log_likelihood, q_logits, temperature, groups):
    """log q is mended, but π was tempered too, and normalised again. Only q was sampled at a temperature; π is asked as
    it is."""
    tempered = (log_prior / temperature).log_softmax(-1)
    return sampled_bound(tempered, log_likelihood, q_logits, temperature, groups)


TASK = Task(
    name="1.7",
    title="A bound above log p(x)",
    tier="core",
    kind="debugging",
    hints=(
        "A bound that is wrong only at some temperatures is right in everything that has nothing to do with "
        "temperature. Go through the lines and say for each tensor at which temperature it was taken. One quantity "
        "appears twice in this story: once when the traces are drawn, once when they are weighed.",
        "ρ divides by the probability with which the trace was drawn. At temperature T that is "
        "softmax(logits / T), not softmax(logits). Test: the mean of ρ over the draws must be p(x).",
        "log_posterior = (...).log_softmax(-1)        # the first line; the others are right",
    ),
    cases=cases,
    solution=sampled_bound,
    alternatives=(gathered_first, looped),
    mistakes=(
        as_it_was,
        multiplied,
        divided_too_late,
        logits_as_they_are,
        tempered_weights,
        reasoner_tempered,
        mean_of_logs,
        log_k_missing,
        capped,
        mean_too_early,
        reasoner_normalised,
    ),
)
