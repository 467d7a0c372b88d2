"""Task 3.2: the geometric mean over an answer's tokens."""

import math

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, shift=0.0, **settings):
        tokens = torch.randint(2, 12, shape, generator=generator)
        return log_probs(generator, *shape, **settings) + shift, tokens

    log_answer, tokens = draw(3, 4)
    padded = tokens.clone()
    padded[1, 2] = 0
    return [
        Case("three questions of four traces", (log_answer, tokens), (0,)),
        Case("one question of five traces", draw(5)),
        Case("a tensor of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("a single trace", draw(3, 1)),
        Case("answers near -2000 nats", draw(3, 4, shift=-2000.0)),
        Case("an impossible answer", (without(log_answer, (1, 2)), tokens)),
        Case("answers of one token", (log_answer, torch.ones_like(tokens))),
        Case("an answer that is certain, log_answer = 0.0", (log_answer.masked_fill(padded == 0, 0.0), tokens)),
        Case("a padded row without tokens", (log_answer.masked_fill(padded == 0, 0.0), padded)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def log_geometric_mean_correctness(log_answer, num_answer_tokens):
    mean = log_answer / num_answer_tokens.clamp(min=1)
    return mean.masked_fill(num_answer_tokens == 0, -math.inf)  # no tokens: no answer


def by_where(log_answer, num_answer_tokens):
    none = num_answer_tokens == 0
    return torch.where(none, -torch.inf, log_answer / torch.where(none, 1, num_answer_tokens))


def looped(log_answer, num_answer_tokens):
    means = [
        total / count if count > 0 else torch.full_like(total, -math.inf)
        for total, count in zip(log_answer.flatten(), num_answer_tokens.flatten().tolist(), strict=True)
    ]
    return torch.stack(means).reshape(log_answer.shape)


def not_divided(log_answer, num_answer_tokens):
    """the length does not come in: that is the likelihood. The mean over the answer's tokens is asked for."""
    return log_answer.masked_fill(num_answer_tokens == 0, -math.inf)


def a_probability(log_answer, num_answer_tokens):
    """it is the mean as a probability; its logarithm is asked for."""
    return log_geometric_mean_correctness(log_answer, num_answer_tokens).exp()


def divided_after(log_answer, num_answer_tokens):
    """the *probability* is divided by the length. Its root is asked for: in logarithms, divide the logarithm."""
    return log_answer - num_answer_tokens.to(log_answer.dtype).log()


def perplexity(log_answer, num_answer_tokens):
    """the sign is wrong: this is the loss per token, the logarithm of the perplexity, and it is large for bad
    answers."""
    return -log_geometric_mean_correctness(log_answer, num_answer_tokens)


def marker_forgotten(log_answer, num_answer_tokens):
    """it divides by one token too few. The closing marker is a token that the reasoner had to write, and it is in the
    sum."""
    return log_geometric_mean_correctness(log_answer, (num_answer_tokens - 1).clamp(min=0))


def one_for_all(log_answer, num_answer_tokens):
    """all answers of a question are divided by their mean length; each has a length of its own."""
    return log_answer / num_answer_tokens.to(log_answer.dtype).mean(-1, keepdim=True)


def longest(log_answer, num_answer_tokens):
    """all answers are divided by the longest length: padding is counted as tokens."""
    return log_answer / num_answer_tokens.amax(-1, keepdim=True)


def over_traces(log_answer, num_answer_tokens):
    """it divides by K, the number of traces; the mean is over the answer's tokens."""
    return log_answer / log_answer.shape[-1]


def nan_for_no_tokens(log_answer, num_answer_tokens):
    """a padded row without tokens gives NaN, 0 over 0. NaN spoils the whole batch; no answer has the probability
    0, so -inf."""
    return log_answer / num_answer_tokens


def certain_for_no_tokens(log_answer, num_answer_tokens):
    """a padded row without tokens gets the logarithm 0, and that is the probability 1: the best of all answers. No
    answer has probability 0, so -inf."""
    return log_answer / num_answer_tokens.clamp(min=1)


def certain_is_padding(log_answer, num_answer_tokens):
    """an answer that is certain, with a `log_answer` of 0.0, is taken for padding, and the best answer of all becomes
    impossible. What tells padding is its number of tokens."""
    return (log_answer / num_answer_tokens.clamp(min=1)).masked_fill(log_answer == 0, -math.inf)


TASK = Task(
    name="3.2",
    title="The geometric mean of an answer's tokens",
    tier="warm-up",
    hints=(
        "A geometric mean is a root of a product. Its logarithm is a plain mean of the logarithms, and their sum you "
        "have already. Then the padded row: what is 0 over 0, and which logarithm does a probability of 0 have?",
        "log π(y*|x,z) / |y*|; where |y*| = 0, -inf. Divide by at least 1, then put the -inf in.",
        "mean = log_answer / num_answer_tokens.clamp(min=...)\nreturn mean.masked_fill(num_answer_tokens == 0, ...)",
    ),
    cases=cases,
    solution=log_geometric_mean_correctness,
    alternatives=(by_where, looped),
    mistakes=(
        not_divided,
        a_probability,
        divided_after,
        perplexity,
        marker_forgotten,
        one_for_all,
        longest,
        over_traces,
        nan_for_no_tokens,
        certain_for_no_tokens,
        certain_is_padding,
    ),
    library="varcore.log_geometric_mean_correctness",
)
