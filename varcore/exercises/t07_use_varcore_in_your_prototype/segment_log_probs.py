"""Task 7.1: from padded logits to log pi(z|x) and log pi(y|x,z)."""

import math

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.task import Case, Task

VOCABULARY = 7


def cases(generator):
    def draw(*shapes, dtype=torch.float64):
        """Rows of (left padding, prompt, trace, answer) tokens, padded on the right to one length."""
        longest = max(map(sum, shapes))
        kind = torch.zeros(len(shapes), longest, dtype=torch.long)
        for row, (left, *parts) in zip(kind, shapes, strict=True):
            row[left : left + sum(parts)] = torch.tensor([1, 2, 3]).repeat_interleave(torch.tensor(parts))
        ids = torch.randint(VOCABULARY, kind.shape, generator=generator)
        return normal(generator, *kind.shape, VOCABULARY, dtype=dtype), ids, kind

    logits, ids, kind = draw((2, 1, 3, 1), (0, 2, 2, 2), (1, 2, 1, 2))
    return [
        Case("one row without padding", draw((0, 2, 3, 1)), slopes=(0,)),
        Case("rows of different lengths, padded on the right", draw((0, 2, 3, 2), (0, 1, 2, 1)), slopes=(0,)),
        Case("rows that are padded on the left too", draw((2, 1, 2, 2), (0, 3, 1, 1), (1, 1, 4, 3)), slopes=(0,)),
        Case("a trace without an answer", draw((0, 2, 3, 0), (0, 1, 2, 1)), slopes=(0,)),
        Case("logits in bfloat16", draw((0, 2, 9, 5), (3, 1, 7, 2), dtype=torch.bfloat16)),
        Case("padding whose logits are NaN", (logits.masked_fill(kind[..., None] == 0, math.nan), ids, kind), (0,)),
    ]


def segment_log_probs(logits, ids, kind):
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = logits.masked_fill(kind[..., None] == 0, 0.0)  # a NaN would come back in the gradient
    log_probs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # column t: of token t + 1
    sums = [log_probs.where(kind[:, 1:] == part, 0.0).sum(-1) for part in (2, 3)]
    return torch.stack(sums, -1)


def row_by_row(logits, ids, kind):
    found = []
    for row, own, kinds in zip(logits, ids, kind, strict=True):
        row, own, kinds = row[kinds > 0], own[kinds > 0], kinds[kinds > 0]
        wide = row if row.dtype == torch.float64 else row.float()
        log_probs = wide.log_softmax(-1)[torch.arange(len(own) - 1), own[1:]]
        found.append(torch.stack([log_probs[kinds[1:] == 2].sum(), log_probs[kinds[1:] == 3].sum()]))
    return torch.stack(found)


def by_cross_entropy(logits, ids, kind):
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    logits = torch.where(kind.unsqueeze(-1) > 0, logits, torch.zeros_like(logits))
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    masks = torch.stack([kind[:, 1:] == 2, kind[:, 1:] == 3])
    return -(losses * masks).sum(-1).T


def _summed(logits, ids, kind, late=1, kinds_late=0, of=torch.log_softmax, parts=((2,), (3,))):
    """The solution, with the slips of the mistakes below as settings."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(kind[..., None] == 0, 0.0)
    taken = of(wide, -1)[:, : ids.shape[1] - late].gather(-1, ids[:, late:, None])[..., 0]
    kinds = kind[:, late - kinds_late : kind.shape[1] - kinds_late]
    sums = [taken.where(torch.isin(kinds, torch.tensor(part)), 0.0).sum(-1) for part in parts]
    return torch.stack(sums, -1)


def not_shifted(logits, ids, kind):
    """it reads off at token t the logits of position t. Those predict token t + 1; token t is predicted one position
    earlier."""
    return _summed(logits, ids, kind, late=0)


def shifted_forward(logits, ids, kind):
    """it is shifted the wrong way: a token is read off one position *later*, where the model has already seen it. It is
    predicted one position earlier."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(kind[..., None] == 0, 0.0)
    taken = wide[:, 1:].log_softmax(-1).gather(-1, ids[:, :-1, None])[..., 0]
    return torch.stack([taken.where(kind[:, :-1] == part, 0.0).sum(-1) for part in (2, 3)], -1)


def mask_not_shifted(logits, ids, kind):
    """logits and ids are shifted against each other, and `kind` is not: it has to say what kind the *predicted* token
    is. As it is, the last prompt position decides, and the first token of the trace is lost."""
    return _summed(logits, ids, kind, kinds_late=1)


def prompt_counts(logits, ids, kind):
    """the prompt is counted with the trace. Nobody drew the prompt; log π(z|x) is of the trace alone."""
    return _summed(logits, ids, kind, parts=((1, 2), (3,)))


def padding_counts(logits, ids, kind):
    """padding counts as a part of the answer. The sum of a row must not depend on how long the others are."""
    return _summed(logits, ids, kind, parts=((2,), (0, 3)))


def joint_in_both(logits, ids, kind):
    """the second column is of trace and answer together. It is asked for the answer alone, log π(y|x,z)."""
    return _summed(logits, ids, kind, parts=((2,), (2, 3)))


def swapped(logits, ids, kind):
    """the columns are swapped: the trace comes first."""
    return _summed(logits, ids, kind).flip(-1)


def means(logits, ids, kind):
    """these are means over tokens. log π(z|x) is a sum: a chain of probabilities is a product."""
    counts = torch.stack([(kind == part).sum(-1) for part in (2, 3)], -1).clamp(min=1)
    return _summed(logits, ids, kind) / counts


def no_softmax(logits, ids, kind):
    """these are sums of logits. A logit is a log-probability only after the softmax over the vocabulary."""
    return _summed(logits, ids, kind, of=lambda values, axis: values)


def over_positions(logits, ids, kind):
    """the softmax runs over the positions of the sequence. It has to run over the vocabulary, the last axis."""
    return _summed(logits, ids, kind, of=lambda values, axis: values.log_softmax(1))


def sign_turned(logits, ids, kind):
    """the sign is turned: cross entropy is minus the log-probability."""
    return -_summed(logits, ids, kind)


def one_number(logits, ids, kind):
    """it is one number for each row. Trace and answer are asked for apart: weights and gates need the trace alone."""
    return _summed(logits, ids, kind).sum(-1)


def in_bfloat16(logits, ids, kind):
    """the sums are taken in bfloat16, which holds two digits: a trace of hundreds of nats would be off by whole nats.
    Make the logits float32 first."""
    found = logits[:, :-1].masked_fill(kind[:, :-1, None] == 0, 0.0).log_softmax(-1)
    taken = found.gather(-1, ids[:, 1:, None])[..., 0]
    return torch.stack([taken.where(kind[:, 1:] == part, 0.0).sum(-1) for part in (2, 3)], -1)


def widened_late(logits, ids, kind):
    """the sums are in float32, but the softmax was taken in bfloat16: each token carries an error of two digits. Make
    the logits float32 first."""
    found = logits[:, :-1].masked_fill(kind[:, :-1, None] == 0, 0.0).log_softmax(-1)
    taken = found.gather(-1, ids[:, 1:, None])[..., 0].to(torch.promote_types(logits.dtype, torch.float32))
    return torch.stack([taken.where(kind[:, 1:] == part, 0.0).sum(-1) for part in (2, 3)], -1)


def multiplied(logits, ids, kind):
    """0 times NaN is NaN: a mask that multiplies does not keep padding out. Choose with `where` or `masked_fill`."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    taken = wide[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return torch.stack([(taken * (kind[:, 1:] == part)).sum(-1) for part in (2, 3)], -1)


def gradient_is_nan(logits, ids, kind):
    """the value is right, and the gradient in padded logits is NaN: the softmax of NaN is differentiated, and 0 times
    NaN is NaN. One such row and every parameter of the model is NaN. Take padding out *before* the softmax."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    taken = wide[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return torch.stack([taken.where(kind[:, 1:] == part, 0.0).sum(-1) for part in (2, 3)], -1)


TASK = Task(
    name="7.1",
    title="One number for the trace, one for the answer",
    tier="warm-up",
    hints=(
        "Position t predicts token t + 1. So drop the last position of the logits and the first token of the ids, and "
        "ask `kind` about the token that is predicted. What does NaN times 0 give, in the value and in the gradient?",
        "log p of token t+1 = log_softmax(logits[:, t])[ids[:, t+1]]; column 0 sums it where kind[:, t+1] = 2, column "
        "1 where it is 3. Before the softmax: float32 at least, and anything finite where kind is 0.",
        "logits = logits.to(torch.promote_types(logits.dtype, torch.float32))\n"
        "logits = logits.masked_fill(kind[..., None] == 0, ...)\n"
        "log_probs = logits[:, :-1].log_softmax(-1).gather(-1, ...)[..., 0]\n"
        "return torch.stack([log_probs.where(kind[:, 1:] == part, 0.0).sum(-1) for part in (...)], -1)",
    ),
    cases=cases,
    solution=segment_log_probs,
    alternatives=(row_by_row, by_cross_entropy),
    mistakes=(
        not_shifted,
        shifted_forward,
        mask_not_shifted,
        prompt_counts,
        padding_counts,
        joint_in_both,
        swapped,
        means,
        no_softmax,
        over_positions,
        sign_turned,
        one_number,
        in_bfloat16,
        widened_late,
        multiplied,
        gradient_is_nan,
    ),
)
