"""Task 7.5: micro-batches whose gradients add up to that of the batch."""

import math

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(size, *lengths, dtype=torch.float64):
        kind = torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.long)
        for row, length in zip(kind, lengths, strict=True):
            row[: length + 1] = 2
            row[0], row[length] = 1, 3 if length > 1 else 2
        weights = (torch.rand(len(lengths), generator=generator, dtype=torch.float64) + 0.1).to(dtype)
        constant = 20 + 10 * torch.rand((), generator=generator).item()
        return log_probs(generator, *kind.shape, dtype=dtype), kind, weights, size, constant

    tokens, kind, weights, size, constant = draw(3, 2, 5, 1, 4, 3)
    half = weights * torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])
    padded = without(tokens, (1, 0), (2, 6), (4, 5))
    return [
        Case("four rows, two at a time", draw(2, 2, 5, 3, 4), slopes=(0, 2)),
        Case("three rows at once", draw(3, 4, 1, 2), slopes=(0, 2)),
        Case("seven rows, three at a time", draw(3, 2, 5, 3, 4, 1, 2, 6), slopes=(0, 2)),
        Case("a size larger than the batch", draw(8, 3, 1), slopes=(0, 2)),
        Case("a micro-batch of weight 0", (tokens, kind, half, size, constant), slopes=(0, 2)),
        Case("padding that holds -inf", (padded, kind, weights, size, constant), slopes=(0, 2)),
        Case("float32", draw(2, 5, 1, 6, 2, 3, dtype=torch.float32)),
    ]


def micro_losses(log_probs, kind, weights, size, constant):
    rows = -weights.detach() * log_probs.where(kind >= 2, 0.0).sum(-1) / constant
    parts = rows.split(size)
    return torch.stack([part.sum() for part in parts]) * len(parts)  # the loop divides by len(parts)


def one_by_one(log_probs, kind, weights, size, constant):
    losses = []
    steps = math.ceil(len(weights) / size)
    for start in range(0, len(weights), size):
        loss = 0.0
        for i in range(start, min(start + size, len(weights))):
            loss = loss - weights[i].item() * log_probs[i][kind[i] >= 2].sum() / constant
        losses.append(loss * steps)
    return torch.stack(losses)


def by_matrix(log_probs, kind, weights, size, constant):
    rows = torch.arange(len(weights)) // size
    member = torch.nn.functional.one_hot(rows).T.to(log_probs)  # [micro-batches, rows]
    sums = torch.where(kind >= 2, log_probs, torch.zeros_like(log_probs)).sum(-1)
    return -(member @ (sums * weights.detach())) * len(member) / constant


def _cut(log_probs, kind, weights, size):
    """The pieces, padding made harmless."""
    tokens = log_probs.where(kind >= 2, 0.0)
    return list(zip(tokens.split(size), (kind >= 2).split(size), weights.detach().split(size), strict=True))


def mean_of_means(log_probs, kind, weights, size, constant):
    """each micro-batch is divided by the weight of its own tokens: a mean of means. A token in a micro-batch of short
    responses pulls harder than one among long ones. Divide by the constant."""
    cut = _cut(log_probs, kind, weights, size)
    return torch.stack([-(w * t.sum(-1)).sum() / (w * c.sum(-1)).sum().clamp(min=1e-8) for t, c, w in cut])


def token_means(log_probs, kind, weights, size, constant):
    """each micro-batch is divided by the number of its own tokens: a mean of means, whose gradients add up to another
    one for every cut. Divide by the constant."""
    return torch.stack([-(w * t.sum(-1)).sum() / c.sum() for t, c, w in _cut(log_probs, kind, weights, size)])


def row_means(log_probs, kind, weights, size, constant):
    """each micro-batch is divided by the number of its own rows. The last one may hold fewer, and its rows would pull
    harder. Divide by the constant."""
    return torch.stack([-(w * t.sum(-1)).mean() for t, c, w in _cut(log_probs, kind, weights, size)])


def row_means_too(log_probs, kind, weights, size, constant):
    """it divides by the constant and by the number of rows of the micro-batch as well. The constant stands in the place
    of every count."""
    return row_means(log_probs, kind, weights, size, constant) / constant


def not_made_up_for(log_probs, kind, weights, size, constant):
    """the sum of the losses is that of the whole batch, which is right for a loop that only adds. This loop divides
    each of them by their number before `backward`: the step would shrink with every further cut."""
    return torch.stack([-(w * t.sum(-1)).sum() / constant for t, c, w in _cut(log_probs, kind, weights, size)])


def divided_again(log_probs, kind, weights, size, constant):
    """it divides by the number of micro-batches, and the loop does so once more. Make up for the loop's division; do
    not repeat it."""
    found = not_made_up_for(log_probs, kind, weights, size, constant)
    return found / len(found)


def rows_over_size(log_probs, kind, weights, size, constant):
    """it makes up for the division with `rows / size`, and the number of micro-batches is that *rounded up*: the last
    one may be short."""
    return not_made_up_for(log_probs, kind, weights, size, constant) * len(weights) / size


def rounded_down(log_probs, kind, weights, size, constant):
    """it makes up for the division with `rows // size`, and the number of micro-batches is that rounded *up*: the last
    one may be short."""
    return not_made_up_for(log_probs, kind, weights, size, constant) * (len(weights) // size)


def rest_left_out(log_probs, kind, weights, size, constant):
    """the last, short micro-batch is left out: its rows are never trained on."""
    whole = max(1, len(weights) // size)
    return not_made_up_for(log_probs, kind, weights, size, constant)[:whole] * whole


def padding_counts(log_probs, kind, weights, size, constant):
    """prompt and padding are in the sum: only tokens of kind 2 and 3 are trained on."""
    return micro_losses(log_probs, torch.full_like(kind, 2), weights, size, constant)


def padding_alone_counts_too(log_probs, kind, weights, size, constant):
    """padding is in the sum: `kind != 1` keeps the prompt out and lets padding in."""
    return micro_losses(log_probs, torch.where(kind == 1, 1, 2), weights, size, constant)


def answers_left_out(log_probs, kind, weights, size, constant):
    """the answers are left out: kind 3 is trained on as well as kind 2."""
    return micro_losses(log_probs, torch.where(kind == 3, 1, kind), weights, size, constant)


def weights_learn(log_probs, kind, weights, size, constant):
    """the values are right, and gradient flows into `weights`. They are constants."""
    parts = (-weights * log_probs.where(kind >= 2, 0.0).sum(-1) / constant).split(size)
    return torch.stack([part.sum() for part in parts]) * len(parts)


def renormalized(log_probs, kind, weights, size, constant):
    """the weights are made to sum to one in each micro-batch. They were normalised where they belong, in their
    question; here that depends on the company."""
    shares = [w / w.sum().clamp(min=1e-8) for w in weights.detach().split(size)]
    return micro_losses(log_probs, kind, torch.cat(shares), size, constant)


def no_weights(log_probs, kind, weights, size, constant):
    """the weights are gone: a bad trace counts like a good one."""
    return micro_losses(log_probs, kind, torch.ones_like(weights), size, constant)


def no_constant(log_probs, kind, weights, size, constant):
    """the constant is not used: the loss would grow with the length of the data, and the learning rate would have to
    shrink with it."""
    return micro_losses(log_probs, kind, weights, size, 1.0)


def mean_in_each_row(log_probs, kind, weights, size, constant):
    """it averages over the tokens of each row: a token of a long trace would pull less than one of a short trace.
    log π(z,y|x) is a sum."""
    return micro_losses(log_probs, kind, weights / (kind >= 2).sum(-1).clamp(min=1), size, constant)


def sign_turned(log_probs, kind, weights, size, constant):
    """the sign is turned: a minimiser would push the good traces away."""
    return -micro_losses(log_probs, kind, weights, size, constant)


def multiplied(log_probs, kind, weights, size, constant):
    """0 times -inf is NaN: a mask that multiplies does not keep padding out. Choose with `where` or `masked_fill`."""
    parts = (-weights.detach() * (log_probs * (kind >= 2)).sum(-1) / constant).split(size)
    return torch.stack([part.sum() for part in parts]) * len(parts)


TASK = Task(
    name="7.5",
    title="Micro-batches that add up",
    tier="core",
    hints=(
        "Write the loss of the whole batch as a sum over rows, and cut that sum. No piece may divide by anything that "
        "it counts itself. Then: what does the loop do to each piece, and how do you undo it?",
        "ℓ_m = - M / constant · Σ_{i in m} w_i Σ_t log p_{i,t},  M = number of micro-batches: Σ_m ℓ_m / M is the loss "
        "of the batch.",
        "rows = -weights.... * log_probs.where(kind >= ..., 0.0).sum(-1) / ...\nparts = rows.split(...)\n"
        "return torch.stack([part.... for part in parts]) * ...",
    ),
    cases=cases,
    solution=micro_losses,
    alternatives=(one_by_one, by_matrix),
    mistakes=(
        mean_of_means,
        token_means,
        row_means,
        row_means_too,
        not_made_up_for,
        divided_again,
        rows_over_size,
        rounded_down,
        rest_left_out,
        padding_counts,
        padding_alone_counts_too,
        answers_left_out,
        weights_learn,
        renormalized,
        no_weights,
        no_constant,
        mean_in_each_row,
        sign_turned,
        multiplied,
    ),
)
