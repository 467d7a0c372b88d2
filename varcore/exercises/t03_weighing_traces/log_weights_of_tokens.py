"""Task 3.7: find the line that lets a trace's neighbours into its weight."""

import math

import torch

from varcore.exercises.drawing import log_probs
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, T, longest=None, padding=None, **settings):
        num_tokens = torch.randint(1, (longest or T) + 1, shape, generator=generator)
        num_tokens.flatten()[0] = longest or T
        token_logs = [log_probs(generator, *shape, T, **settings) for _ in range(2)]
        if padding is not None:
            outside = torch.arange(T) >= num_tokens[..., None]
            token_logs = [logs.masked_fill(outside, padding) for logs in token_logs]
        return (*token_logs, num_tokens, log_probs(generator, *shape, **settings))

    level = draw(3, 4, T=7)
    level[1][..., 0] = level[0][..., 0]  # of the first token π and q think alike
    return [
        Case("three questions of four traces, padded to 7 tokens", draw(3, 4, T=7)),
        Case("one question of five traces, padded to 6 tokens", draw(5, T=6)),
        Case("tensors of shape (2, 3, 4, 7)", draw(2, 3, 4, T=7)),
        Case("padding beyond the longest trace", draw(3, 4, T=9, longest=5)),
        Case("padding with zeros", draw(3, 4, T=7, padding=0.0)),
        Case("padding with -inf", draw(3, 4, T=7, padding=-math.inf)),
        Case("a trace by itself, without padding", draw(1, T=1)),
        Case("tokens that π and q find equally likely", level),
        Case("float32", draw(3, 4, T=7, dtype=torch.float32)),
    ]


def log_weights_of_tokens(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    place = torch.arange(token_log_prior.shape[-1])
    log_ratio = token_log_prior - token_log_posterior
    log_ratio = torch.where(place < num_tokens[..., None], log_ratio, 0.0)
    return log_ratio.sum(-1) / num_tokens + log_correctness


def masked_before(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    outside = torch.arange(token_log_prior.shape[-1]) >= num_tokens[..., None]
    log_prior = token_log_prior.masked_fill(outside, 0.0).sum(-1)
    log_posterior = token_log_posterior.masked_fill(outside, 0.0).sum(-1)
    return (log_prior - log_posterior) / num_tokens + log_correctness


def looped(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    T, weights = token_log_prior.shape[-1], []
    columns = (token_log_prior.reshape(-1, T), token_log_posterior.reshape(-1, T), num_tokens.flatten().tolist())
    for prior, posterior, length in zip(*columns, strict=True):
        weights.append((prior[:length] - posterior[:length]).mean())
    return torch.stack(weights).reshape(num_tokens.shape) + log_correctness


def _total(token_log_prior, token_log_posterior, num_tokens):
    place = torch.arange(token_log_prior.shape[-1])
    return torch.where(place < num_tokens[..., None], token_log_prior - token_log_posterior, 0.0).sum(-1)


def as_it_was(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """this does what the function at the start does: right for the longest trace of a batch, and for no other. By which
    number does its last line divide?"""
    total = _total(token_log_prior, token_log_posterior, num_tokens)
    return total / token_log_prior.shape[-1] + log_correctness


def longest_of_the_batch(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """it divides by the length of the longest trace. That is the same fault in other words: the neighbours still
    decide. Each trace has its own |z|."""
    return _total(token_log_prior, token_log_posterior, num_tokens) / num_tokens.max() + log_correctness


def longest_of_the_question(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """it divides by the length of the question's longest trace: fewer neighbours, the same fault. Each trace has its
    own |z|."""
    longest = num_tokens.amax(-1, keepdim=True)
    return _total(token_log_prior, token_log_posterior, num_tokens) / longest + log_correctness


def mean_length(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """it divides by the mean length. Then a trace still changes its weight with the company it is in; each has its own
    |z|."""
    total = _total(token_log_prior, token_log_posterior, num_tokens)
    return total / num_tokens.to(total.dtype).mean() + log_correctness


def not_divided(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """nothing is divided any more: the neighbours are gone, and so is the exponent 1/|z|. These are exact weights."""
    return _total(token_log_prior, token_log_posterior, num_tokens) + log_correctness


def correctness_divided(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """the accuracy is divided by |z| as well. The exponent belongs on π/q alone."""
    return (_total(token_log_prior, token_log_posterior, num_tokens) + log_correctness) / num_tokens


def padding_added(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """the mask is gone, so the padding is summed with the tokens. What stands there is anything; it was right to mask
    it."""
    return (token_log_prior - token_log_posterior).sum(-1) / num_tokens + log_correctness


def one_too_many(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """the mask lets one place too many through: the first one after the trace is padding. The places of |z| tokens are
    0 to |z| - 1."""
    place = torch.arange(token_log_prior.shape[-1])
    log_ratio = torch.where(place <= num_tokens[..., None], token_log_prior - token_log_posterior, 0.0)
    return log_ratio.sum(-1) / num_tokens + log_correctness


def marker_forgotten(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """the last token of each trace is left out. The closing marker is a token like any other: when to stop thinking is
    a choice, and π and q differ in it."""
    shorter = (num_tokens - 1).clamp(min=0)
    return _total(token_log_prior, token_log_posterior, shorter) / num_tokens + log_correctness


def multiplied_mask(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """it is mended, but for padding of -inf it gives NaN: the padding is multiplied by 0, and 0 times anything infinite
    is NaN. Choose with `where` in place of multiplying."""
    inside = (torch.arange(token_log_prior.shape[-1]) < num_tokens[..., None]).to(token_log_prior.dtype)
    log_ratio = (token_log_prior - token_log_posterior) * inside
    return log_ratio.sum(-1) / num_tokens + log_correctness


def equal_not_counted(token_log_prior, token_log_posterior, num_tokens, log_correctness):
    """it divides by the number of places where the log ratio is not 0. A token that π and q find equally likely is a
    token all the same: |z| is `num_tokens`."""
    inside = torch.arange(token_log_prior.shape[-1]) < num_tokens[..., None]
    log_ratio = torch.where(inside, token_log_prior - token_log_posterior, 0.0)
    return log_ratio.sum(-1) / (log_ratio != 0).sum(-1) + log_correctness


TASK = Task(
    name="3.7",
    title="The trace that minds its neighbours",
    tier="core",
    kind="debugging",
    hints=(
        "A trace's weight has four ingredients: its tokens under π, its tokens under q, its length, its accuracy. Go "
        "through the lines and ask of each number whether it belongs to *this* trace. One belongs to the table.",
        "log ρ = (1/|z|) Σ_{t < |z|} (log π_t - log q_t) + log a. A mean over the padded axis divides by T.",
        "return log_ratio.sum(-1) / ... + log_correctness        # the last line; the others may stay",
    ),
    cases=cases,
    solution=log_weights_of_tokens,
    alternatives=(masked_before, looped),
    mistakes=(
        as_it_was,
        longest_of_the_batch,
        longest_of_the_question,
        mean_length,
        not_divided,
        correctness_divided,
        padding_added,
        one_too_many,
        marker_forgotten,
        multiplied_mask,
        equal_not_counted,
    ),
)
