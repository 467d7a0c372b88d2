"""Task 5.7: find the line that makes the loss depend on how a batch is cut."""

import torch

from varcore.exercises.drawing import log_probs
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*lengths, dtype=torch.float64):
        shares = torch.rand(len(lengths), generator=generator, dtype=torch.float64) + 0.05
        constant = 20 + 10 * torch.rand((), generator=generator).item()
        return log_probs(generator, sum(lengths), dtype=dtype), shares.to(dtype), torch.tensor(lengths), constant

    some = draw(4, 2, 3)
    return [
        Case("three responses", draw(2, 5, 3), slopes=(0, 1)),
        Case("a micro-batch of one response", draw(4), slopes=(0, 1)),
        Case(
            "a response that has weight 0", (some[0], some[1] * torch.tensor([1.0, 0.0, 1.0]), *some[2:]), slopes=(0, 1)
        ),
        Case("a micro-batch of weight 0", (some[0], some[1] * 0, *some[2:]), slopes=(0, 1)),
        Case("an empty response among them", draw(3, 0, 4), slopes=(0, 1)),
        Case("float32", draw(5, 1, 6, dtype=torch.float32)),
    ]


def dr_sft_loss(log_probs, weights, lengths, constant):
    token_weights = weights.detach().repeat_interleave(lengths)
    total = -(token_weights * log_probs).sum()
    return total / constant


def row_by_row(log_probs, weights, lengths, constant):
    total, start = log_probs.sum() * 0, 0
    for weight, length in zip(weights.tolist(), lengths.tolist(), strict=True):
        total = total - weight * log_probs[start : start + length].sum()
        start += length
    return total / constant


def by_dot_product(log_probs, weights, lengths, constant):
    row = torch.arange(len(lengths)).repeat_interleave(lengths)
    return -torch.dot(weights.detach()[row], log_probs) / constant


def as_it_was(log_probs, weights, lengths, constant):
    """this does what the function at the start does: it divides by the weight of the tokens that happen to be in the
    micro-batch, so that the same response pulls harder in small company than in large. What it divides by has to be
    the same all through the training."""
    token_weights = weights.repeat_interleave(lengths)
    total = -(token_weights * log_probs).sum()
    return total / token_weights.sum().clamp(min=1e-8)


def still_divided(log_probs, weights, lengths, constant):
    """gradient no longer reaches the weights, which is right; but what it divides by still is a sum over the tokens of
    the micro-batch. It has to be the same all through the training."""
    return as_it_was(log_probs, weights.detach(), lengths, constant)


def token_mean(log_probs, weights, lengths, constant):
    """it divides by the number of tokens in the micro-batch. That is another number for every micro-batch."""
    return -(weights.detach().repeat_interleave(lengths) * log_probs).sum() / lengths.sum()


def mean_of_rows(log_probs, weights, lengths, constant):
    """it divides by the number of responses in the micro-batch, and so depends on how the batch is cut."""
    return -(weights.detach().repeat_interleave(lengths) * log_probs).sum() / len(lengths)


def rows_as_well(log_probs, weights, lengths, constant):
    """it divides by the constant and by the number of responses as well. The constant stands in the place of every
    count."""
    return dr_sft_loss(log_probs, weights, lengths, constant) / len(lengths)


def weighted_mean(log_probs, weights, lengths, constant):
    """it divides by the sum of the micro-batch's weights. That is another number for every micro-batch."""
    return dr_sft_loss(log_probs, weights, lengths, 1.0) / weights.detach().sum().clamp(min=1e-8)


def mean_in_each_row(log_probs, weights, lengths, constant):
    """it averages over the tokens of each response. A trace of forty tokens would pull on each of them a tenth as hard
    as one of four: short traces win. log π(z|x) is a sum."""
    shares = (weights.detach() / lengths.clamp(min=1)).repeat_interleave(lengths)
    return -(shares * log_probs).sum() / constant


def renormalized(log_probs, weights, lengths, constant):
    """the weights are made to sum to one in the micro-batch. They were normalised where they belong, in their
    question; here that depends on the company again."""
    shares = weights.detach() / weights.detach().sum().clamp(min=1e-8)
    return dr_sft_loss(log_probs, shares, lengths, constant)


def divided_twice(log_probs, weights, lengths, constant):
    """it divides by the constant and by the number of tokens as well. The constant stands in the place of every
    count."""
    return dr_sft_loss(log_probs, weights, lengths, constant) / lengths.sum()


def no_constant(log_probs, weights, lengths, constant):
    """it is the plain sum; the constant is not used. It is the same for every cut, but its size grows with the data,
    and the learning rate would have to shrink with them."""
    return dr_sft_loss(log_probs, weights, lengths, 1.0)


def no_weights(log_probs, weights, lengths, constant):
    """the weights are gone: a bad trace counts like a good one."""
    return -log_probs.sum() / constant


def tiled(log_probs, weights, lengths, constant):
    """tokens get the weights of other responses: w1, w2, w3, w1, w2, w3, ... Each weight has to be repeated over its
    own response, w1, w1, w2, w2, w2, ...: `repeat_interleave`."""
    places = torch.arange(len(log_probs)) % len(weights)
    return -(weights.detach()[places] * log_probs).sum() / constant


def sign_turned(log_probs, weights, lengths, constant):
    """the sign is turned: a minimiser would push the good traces away."""
    return -dr_sft_loss(log_probs, weights, lengths, constant)


def weights_learn(log_probs, weights, lengths, constant):
    """the value is right, but gradient flows into the weights: they would be lowered instead of the log-probabilities
    raised. They are constants."""
    return -(weights.repeat_interleave(lengths) * log_probs).sum() / constant


TASK = Task(
    name="5.7",
    title="The line that depends on the cut",
    tier="core",
    kind="debugging",
    hints=(
        "Read what the sum is divided by. Which of the arguments does it depend on? Is it the same number for a batch "
        "of eight as for two micro-batches of four? And may gradient flow into it?",
        "loss = - Σ_i w_i Σ_t log p_{i,t} / constant, w without gradient. Then loss(batch) is the sum of the losses of "
        "its micro-batches, whatever the cut.",
        "token_weights = weights.....repeat_interleave(lengths)\ntotal = -(token_weights * log_probs).sum()\n"
        "return total / ...",
    ),
    cases=cases,
    solution=dr_sft_loss,
    alternatives=(row_by_row, by_dot_product),
    mistakes=(
        as_it_was,
        still_divided,
        token_mean,
        mean_of_rows,
        rows_as_well,
        weighted_mean,
        mean_in_each_row,
        renormalized,
        divided_twice,
        no_constant,
        no_weights,
        tiled,
        sign_turned,
        weights_learn,
    ),
    library="varcore.llm.training.dr_sft_loss",
)
