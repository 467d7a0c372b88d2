"""Task 4.4: find the line through which questions reach into each other's step."""

import torch

from varcore.exercises.drawing import log_probs
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        rewards = torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)
        return log_probs(generator, *shape, dtype=dtype), rewards

    logs, rewards = draw(3, 4)
    alike = rewards.clone()
    alike[0], alike[2] = 0.0, 1.0
    return [
        Case("three questions, groups of four", draw(3, 4), slopes=(0,)),
        Case("two questions, groups of five", draw(2, 5), slopes=(0,)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4), slopes=(0,)),
        Case("one group by itself, without other axes", draw(5), slopes=(0,)),
        Case("a group all wrong and a group all right", (logs, alike), slopes=(0,)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def grpo_loss(log_probs, rewards):
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = centred.square().mean(-1, keepdim=True).sqrt()
    advantages = centred / torch.where(spread == 0, 1.0, spread)
    return -(advantages.detach() * log_probs).mean(-1)


def by_torch_std(log_probs, rewards):
    std = rewards.std(-1, correction=0, keepdim=True)
    advantages = (rewards - rewards.mean(-1, keepdim=True)) / std
    return -(advantages.masked_fill(std == 0, 0.0) * log_probs).mean(-1)


def looped(log_probs, rewards):
    losses = []
    pairs = zip(log_probs.reshape(-1, log_probs.shape[-1]), rewards.reshape(-1, rewards.shape[-1]), strict=True)
    for logs, group in pairs:
        spread = group.std(correction=0)
        scale = spread if spread > 0 else 1.0
        losses.append(-((group - group.mean()) / scale * logs).mean())
    return torch.stack(losses).reshape(rewards.shape[:-1])


def _loss(log_probs, advantages):
    return -(advantages.detach() * log_probs).mean(-1)


def as_it_was(log_probs, rewards):
    """this does what the function at the start does. Give it one question, then the same question beside another: what
    in it can tell?"""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = centred.square().mean().sqrt()
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def mean_as_well(log_probs, rewards):
    """now the mean is taken over the whole batch as well. Each question has its own mean *and* its own spread."""
    centred = rewards - rewards.mean()
    spread = centred.square().mean().sqrt()
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def across_questions(log_probs, rewards):
    """the spread is taken over the first axis, across questions. It belongs to a group: the last axis."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = centred.square().mean(0, keepdim=True).sqrt()
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def averaged_spreads(log_probs, rewards):
    """each group has its own spread, but they are then averaged over the batch: the questions still hear each other."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = centred.square().mean(-1, keepdim=True).sqrt().mean()
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def guard_lost(log_probs, rewards):
    """the spread is each group's own now, and a group whose rewards are alike gives NaN: the guard against a spread of
    zero got lost."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return _loss(log_probs, centred / centred.square().mean(-1, keepdim=True).sqrt())


def sample_std(log_probs, rewards):
    """the line is found, but the spread is now taken over G - 1, as torch's `std` does by itself. This function is the
    paper's: over G."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = (centred.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)).sqrt()
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def small_number_added(log_probs, rewards):
    """the line is found, but a small number was put under the fraction in place of the guard; the paper's advantages
    have none."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return _loss(log_probs, centred / (centred.square().mean(-1, keepdim=True).sqrt() + 1e-8))


def root_lost(log_probs, rewards):
    """the line is found, but the root got lost: it divides by the variance."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = centred.square().mean(-1, keepdim=True)
    return _loss(log_probs, centred / torch.where(spread == 0, 1.0, spread))


def spread_removed(log_probs, rewards):
    """the spread is gone altogether. That does keep the questions apart, and is another method, Dr. GRPO; this one
    divides by each group's own spread."""
    return _loss(log_probs, rewards - rewards.mean(-1, keepdim=True))


def summed(log_probs, rewards):
    """the loss is summed over the group. It was the mean over G, and that line was right."""
    return grpo_loss(log_probs, rewards) * rewards.shape[-1]


def one_number(log_probs, rewards):
    """it is one number for the whole batch; there should be one loss per question."""
    return grpo_loss(log_probs, rewards).mean()


def trl_eps(log_probs, rewards):
    """the line is found, but the TRL library's eps of 0.0001 was put under the fraction in place of the guard; the
    paper's advantages have none."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return _loss(log_probs, centred / (centred.square().mean(-1, keepdim=True).sqrt() + 1e-4))


def of_verdicts_only(log_probs, rewards):
    """the spread is each group's own, but mean · (1 - mean) is the variance of verdicts of 0 and 1 alone. Scores
    between them, which the function at the start takes too, lie closer together."""
    mean = rewards.mean(-1, keepdim=True)
    spread = (mean * (1 - mean)).sqrt()
    return _loss(log_probs, (rewards - mean) / torch.where(spread == 0, 1.0, spread))


TASK = Task(
    name="4.4",
    title="The line that lets questions into each other's step",
    tier="core",
    kind="debugging",
    hints=(
        "Follow the shapes. Which quantity belongs to one question, and which to one rollout? Write down the shape "
        "that each line has for rewards of [2, 8], and compare with the shape it should have.",
        "spread of a question = √( (1/G) Σ_g (r_g - mean)² ), the sum over *its* rollouts: shape [..., 1].",
        "spread = centred.square().mean(...).sqrt()      # the other lines may stay",
    ),
    cases=cases,
    solution=grpo_loss,
    alternatives=(by_torch_std, looped),
    mistakes=(
        as_it_was,
        mean_as_well,
        across_questions,
        averaged_spreads,
        guard_lost,
        sample_std,
        small_number_added,
        root_lost,
        spread_removed,
        summed,
        one_number,
        trl_eps,
        of_verdicts_only,
    ),
)
