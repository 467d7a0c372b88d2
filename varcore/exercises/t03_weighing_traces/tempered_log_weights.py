"""Task 3.4: log weights with an exponent on the trace ratio."""

import math

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, exponent=None, shift=0.0, **settings):
        prior, posterior, correctness = (log_probs(generator, *shape, **settings) for _ in range(3))
        tokens = torch.randint(2, 12, shape, generator=generator)
        return prior + shift, posterior + 0.5 * shift, correctness, tokens, exponent

    prior, posterior, correctness, tokens, _ = draw(3, 4)
    wrong, impossible = without(correctness, (1, 2)), without(prior, (1, 2))
    padded = tokens.clone()
    padded[1, 2] = 0
    zeros = [x.masked_fill(padded == 0, 0.0) for x in (prior, posterior, correctness)]
    return [
        Case("three questions of four traces, the paper's exponent", draw(3, 4), (0, 1, 2)),
        Case("exponent 1", draw(3, 4, exponent=1)),
        Case("exponent 0", draw(3, 4, exponent=0)),
        Case("exponent 0.3", draw(3, 4, exponent=0.3)),
        Case("one question of five traces", draw(5)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("a single trace (K = 1)", draw(3, 1)),
        Case("traces of thousands of nats, exponent 1", draw(3, 4, exponent=1, shift=-3000.0)),
        Case("a trace that is never right", (prior, posterior, wrong, tokens, None)),
        Case("a trace that is never right, exponent 0", (prior, posterior, wrong, tokens, 0)),
        Case("a trace that π never writes, exponent 0.5", (impossible, posterior, correctness, tokens, 0.5)),
        Case("a trace that π never writes, exponent 0", (impossible, posterior, correctness, tokens, 0)),
        Case("a padded row without tokens", (*zeros, padded, None)),
        Case("a padded row without tokens, exponent 1", (*zeros, padded, 1)),
        Case("a padded row without tokens, exponent 0", (*zeros, padded, 0)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    log_ratio = log_prior - log_posterior
    if exponent is None:
        log_ratio = log_ratio / num_tokens.clamp(min=1)
    elif exponent == 0:
        log_ratio = torch.zeros_like(log_ratio)  # 0 times -inf would be NaN
    else:
        log_ratio = exponent * log_ratio
    return (log_ratio + log_correctness).masked_fill(num_tokens == 0, -math.inf)


def one_scale(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    scale = 1 / num_tokens.clamp(min=1).to(log_prior.dtype) if exponent is None else exponent
    powered = torch.zeros_like(log_prior) if exponent == 0 else scale * (log_prior - log_posterior)
    return torch.where(num_tokens > 0, powered + log_correctness, -math.inf)


def looped(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    columns = (log_prior, log_posterior, log_correctness, num_tokens)
    weights = []
    for prior, q, right, length in zip(*(column.flatten() for column in columns), strict=True):
        if length == 0:
            weights.append(torch.full_like(right, -math.inf))
        elif exponent == 0:
            weights.append(right + 0.0)
        else:
            weights.append(right + (prior - q) * (1 / length.item() if exponent is None else exponent))
    return torch.stack(weights).reshape(log_prior.shape)


def _mended(log_weights, log_prior, log_correctness, num_tokens, exponent):
    """The zeros of the spec put into log weights that are wrong elsewhere."""
    zero = (log_correctness == -math.inf) | (num_tokens == 0) | ((log_prior == -math.inf) & (exponent != 0))
    return log_weights.masked_fill(zero, -math.inf)


def whole_weight(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """the exponent is on the whole weight. It belongs on π/q alone: with the paper's 1/|z| a long trace that is right
    once in a hundred would look as good as right."""
    log_joint = log_prior + log_correctness
    scale = 1 / num_tokens.clamp(min=1).to(log_prior.dtype) if exponent is None else exponent
    weights = log_correctness * 0 if exponent == 0 else scale * (log_joint - log_posterior)
    return _mended(weights, log_prior, log_correctness, num_tokens, exponent)


def upside_down(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """the ratio is upside down: q/π pays most what the reasoner would least write. π stands above the line."""
    weights = tempered_log_weights(log_posterior, log_prior, log_correctness, num_tokens, exponent)
    return _mended(weights, log_prior, log_correctness, num_tokens, exponent)


def never_tempered(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """the ratio is not raised to anything: these are the exact weights at every exponent."""
    return tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent=1)


def zero_is_none(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """an exponent of 0 is taken for none at all. `not exponent` and `exponent or ...` are true for 0 as well: ask
    `exponent is None`."""
    return tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent or None)


def both(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """a given exponent is divided by |z| on top. 1/|z| is what `None` stands for; a number is used as it is."""
    shared = num_tokens.clamp(min=1)
    scale = 1 if exponent is None else exponent
    log_ratio = torch.zeros_like(log_prior) if scale == 0 else scale * (log_prior - log_posterior) / shared
    return (log_ratio + log_correctness).masked_fill(num_tokens == 0, -math.inf)


def prior_only(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """the exponent is on π alone, and q is divided in full. Both belong to the ratio."""
    log_power = tempered_log_weights(log_prior, torch.zeros_like(log_prior), log_correctness, num_tokens, exponent)
    return _mended(log_power - log_posterior, log_prior, log_correctness, num_tokens, exponent)


def shares_tempered(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """the weights were normalised first and tempered then. Normalising divides by a sum that has accuracies in it, so
    they are tempered too; temper the raw ratio, normalise at the very end."""
    shares = (log_prior - log_posterior + log_correctness).log_softmax(-1)
    scale = 1 / num_tokens.clamp(min=1).to(shares.dtype) if exponent is None else exponent
    weights = shares * 0 if exponent == 0 else scale * shares
    return _mended(weights, log_prior, log_correctness, num_tokens, exponent)


def number_of_traces(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """it takes 1/K, with K the number of traces. |z| is the number of *tokens* of each trace, `num_tokens`."""
    number = torch.full_like(num_tokens, log_prior.shape[-1]).where(num_tokens > 0, num_tokens)
    return tempered_log_weights(log_prior, log_posterior, log_correctness, number, exponent)


def one_length(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """all traces of a question get one exponent, 1 over their mean length; with `None` each has its own."""
    mean = num_tokens.to(log_prior.dtype).mean(-1, keepdim=True).expand(num_tokens.shape)
    return tempered_log_weights(log_prior, log_posterior, log_correctness, mean.where(num_tokens > 0, 0.0), exponent)


def without_correctness(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """log π(Y|x,z) is missing: a trace that leads to wrong answers weighs as much as any other."""
    weights = tempered_log_weights(log_prior, log_posterior, torch.zeros_like(log_prior), num_tokens, exponent)
    return _mended(weights, log_prior, log_correctness, num_tokens, exponent)


def nan_at_zero(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """at exponent 0 a trace that π never writes gives NaN, 0 times -inf. Any ratio to the power 0 is 1, whose logarithm
    is 0."""
    scale = 1 / num_tokens.clamp(min=1).to(log_prior.dtype) if exponent is None else exponent
    log_ratio = scale * (log_prior - log_posterior)
    return (log_ratio + log_correctness).masked_fill(num_tokens == 0, -math.inf)


def dropped_at_zero(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """at exponent 0 a trace that π never writes has lost its weight. There the ratio is not asked: any ratio to the
    power 0 is 1."""
    weights = tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent)
    return weights.masked_fill(log_prior == -math.inf, -math.inf)


def nan_for_no_tokens(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """a padded row without tokens gives NaN, 0 over 0. It is no trace at all: -inf."""
    if exponent is None:
        return (log_prior - log_posterior) / num_tokens + log_correctness
    return tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent)


def padding_weighed(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """a padded row without tokens gets a weight. It is no trace at all: -inf, at every exponent."""
    return tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens.clamp(min=1), exponent)


def padding_at_zero(log_prior, log_posterior, log_correctness, num_tokens, exponent=None):
    """at exponent 0 a padded row without tokens has the weight of its `log_correctness`. The ratio is not asked there,
    but a row without tokens is no trace at all: -inf, at every exponent."""
    if exponent == 0:
        return log_correctness + 0.0
    return tempered_log_weights(log_prior, log_posterior, log_correctness, num_tokens, exponent)


TASK = Task(
    name="3.4",
    title="An exponent on the ratio",
    tier="core",
    hints=(
        "A power of a ratio is, in logarithms, a factor on a difference. Only the ratio gets it. Then three traps: "
        "`None` is not 0; 0 times -inf is NaN; and a row without tokens is no trace.",
        "log ρ = α (log π(z|x) - log q(z|x,y')) + log π(Y|x,z), with α = 1/|z| for None; for α = 0 leave the first "
        "term out; -inf where |z| = 0.",
        "log_ratio = log_prior - log_posterior\nif exponent is None:\n    log_ratio = log_ratio / ...\n"
        "elif exponent == 0:\n    log_ratio = ...\nelse:\n    log_ratio = ...\n"
        "return (log_ratio + ...).masked_fill(num_tokens == 0, ...)",
    ),
    cases=cases,
    solution=tempered_log_weights,
    alternatives=(one_scale, looped),
    mistakes=(
        whole_weight,
        upside_down,
        never_tempered,
        zero_is_none,
        both,
        prior_only,
        shares_tempered,
        number_of_traces,
        one_length,
        without_correctness,
        nan_at_zero,
        dropped_at_zero,
        nan_for_no_tokens,
        padding_weighed,
        padding_at_zero,
    ),
    library="varcore.tempered_log_weights",
)
