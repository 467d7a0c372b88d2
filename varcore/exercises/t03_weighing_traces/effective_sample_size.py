"""Task 3.6: the effective number of traces."""

import math

import torch

import varcore
from varcore.exercises.drawing import normal, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return normal(generator, *shape, **settings)

    return [
        Case("three questions of four traces", (draw(3, 4),), (0,)),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("equal weights", (torch.zeros(3, 4, dtype=torch.float64),)),
        Case("a single trace (K = 1)", (draw(3, 1),)),
        Case("log weights near -2000", (draw(3, 4) - 2000,)),
        Case("log weights near +2000", (draw(3, 4) + 2000,)),
        Case("a trace of weight zero", (without(draw(3, 4), (1, 2)),)),
        Case("a question where nothing is right", (without(draw(3, 4), (1,)),)),
        Case("float32", (draw(3, 4, dtype=torch.float32),)),
    ]


def effective_sample_size(log_weights):
    squares = varcore.normalized_weights(log_weights).square().sum(-1)
    return torch.where(squares == 0, 0.0, 1 / squares.masked_fill(squares == 0, 1.0))


def in_logarithms(log_weights):
    log_size = 2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)
    return log_size.exp().nan_to_num(nan=0.0)


def by_variation(log_weights):
    scaled = (log_weights - log_weights.amax(-1, keepdim=True)).exp()
    variation = scaled.var(-1, correction=0) / scaled.mean(-1).square()
    return (log_weights.shape[-1] / (1 + variation)).nan_to_num(nan=0.0)


def looped(log_weights):
    sizes = []
    for row in log_weights.reshape(-1, log_weights.shape[-1]):
        if row.max() == -math.inf:
            sizes.append(torch.zeros_like(row[0]))
        else:
            rho = (row - row.max()).exp()
            sizes.append(rho.sum() ** 2 / (rho**2).sum())
    return torch.stack(sizes).reshape(log_weights.shape[:-1])


def upside_down(log_weights):
    """it is the sum of squares over the square of the sum: between 1/K and 1. Turn it over."""
    return varcore.normalized_weights(log_weights).square().sum(-1)


def one_over_largest(log_weights):
    """it is 1 over the largest share: also a size between 1 and K, but it looks at one trace only."""
    largest = varcore.normalized_weights(log_weights).amax(-1)
    return torch.where(largest == 0, 0.0, 1 / largest)


def by_entropy(log_weights):
    """it is the exponential of the weights' entropy: also a size between 1 and K, but another one, and larger. Kish's
    has squares."""
    w = varcore.normalized_weights(log_weights)
    return torch.where(w.sum(-1) == 0, 0.0, (-torch.special.xlogy(w, w).sum(-1)).exp())


def counted(log_weights):
    """it counts the traces with a weight above 0, however small."""
    return (log_weights > -math.inf).sum(-1).to(log_weights.dtype)


def a_share(log_weights):
    """it is a share of K, between 0 and 1; the number of traces is asked for."""
    return effective_sample_size(log_weights) / log_weights.shape[-1]


def of_logarithms(log_weights):
    """it sums and squares the *logarithms*. The weights themselves are meant."""
    return log_weights.sum(-1).square() / log_weights.square().sum(-1)


def sum_not_squared(log_weights):
    """the sum above the line is not squared, so that the value depends on the unit of ρ."""
    return log_weights.logsumexp(-1).exp() / (2 * log_weights).logsumexp(-1).exp()


def first_axis(log_weights):
    """it sums over the first axis, which holds the questions; the traces are on the last one."""
    return effective_sample_size(log_weights.movedim(0, -1))


def whole_batch(log_weights):
    """it is one number for the whole batch; each question has its own."""
    return effective_sample_size(log_weights.flatten())


def nan_for_nothing(log_weights):
    """a question where nothing is right gives NaN, 0 over 0. No trace is effective there: 0."""
    w = log_weights.softmax(-1)
    return 1 / w.square().sum(-1)


def infinite_for_nothing(log_weights):
    """a question where nothing is right gives an infinite size, 1 over 0. No trace is effective there: 0."""
    return 1 / varcore.normalized_weights(log_weights).square().sum(-1)


def full_for_nothing(log_weights):
    """a question where nothing is right gets the full size K, the best there is. No trace is effective there: 0."""
    size = effective_sample_size(log_weights)
    return torch.where(size == 0, log_weights.shape[-1], size)


def left_the_logarithms(log_weights):
    """it takes `exp` of the log weights as they are; near -2000 that is 0 over 0. Take the largest one out first, or
    start from the normalised weights: the unit cancels."""
    rho = log_weights.exp()
    size = rho.sum(-1).square() / rho.square().sum(-1)
    return torch.where((log_weights == -math.inf).all(-1), 0.0, size)


def sample_variance(log_weights):
    """it is K / (1 + variation²) with the variance over K - 1. The identity holds with the variance over K."""
    w = varcore.normalized_weights(log_weights)
    count = w.shape[-1]
    variance = (w - w.mean(-1, keepdim=True)).square().sum(-1) / max(count - 1, 1)
    mean = w.mean(-1)
    return torch.where(mean == 0, 0.0, count / (1 + variance / mean.masked_fill(mean == 0, 1.0).square()))


TASK = Task(
    name="3.6",
    title="How many traces count?",
    tier="core",
    hints=(
        "The unit of ρ cancels: with the normalised weights of a question the upper sum is 1. Near -2000 that is the "
        "only safe way. What is left to do for a question whose weights are all zero?",
        "1 / Σ_k w_k², with w the normalised weights; 0 where Σ_k w_k² = 0.",
        "squares = varcore.normalized_weights(log_weights).square().sum(...)\n"
        "return torch.where(squares == 0, ..., 1 / squares.masked_fill(squares == 0, 1.0))",
    ),
    cases=cases,
    solution=effective_sample_size,
    alternatives=(in_logarithms, by_variation, looped),
    mistakes=(
        upside_down,
        one_over_largest,
        by_entropy,
        counted,
        a_share,
        of_logarithms,
        sum_not_squared,
        first_axis,
        whole_batch,
        nan_for_nothing,
        infinite_for_nothing,
        full_for_nothing,
        left_the_logarithms,
        sample_variance,
    ),
    library="varcore.effective_sample_size",
)
