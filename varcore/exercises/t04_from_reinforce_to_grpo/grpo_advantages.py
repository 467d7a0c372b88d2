"""Task 4.3: GRPO's advantages, for every group that can come up."""

import torch

from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    alike = torch.tensor([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    return [
        Case("three groups of four, ddof = 0", (draw(3, 4), 0, 0.0)),
        Case("three groups of four, ddof = 1", (draw(3, 4), 1, 1e-4)),
        Case("one group of five", (draw(5), 0, 1e-4)),
        Case("rewards of shape (2, 3, 4)", (draw(2, 3, 4), 1, 0.0)),
        Case("a large eps", (draw(3, 4), 0, 0.3)),
        Case("a group all right and a group all wrong", (alike, 0, 0.0)),
        Case("a group of one, ddof = 1", (draw(3, 1).round(), 1, 0.0)),
        Case("a group whose scores are all 0.1", (torch.full((1, 3), 0.1, dtype=torch.float64), 0, 0.0)),
        Case("scores that lie within a thousandth", (0.5 + draw(3, 4) / 1000, 0, 0.0)),
        Case("float32", (draw(3, 4, dtype=torch.float32), 1, 1e-4)),
    ]


def grpo_advantages(rewards, ddof, eps):
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    alike = rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True)
    return centred.masked_fill(alike, 0.0) / torch.where(alike, 1.0, variance.sqrt() + eps)


def equal_groups_masked(rewards, ddof, eps):
    size = rewards.shape[-1]
    if size == 1:
        return torch.zeros_like(rewards)
    std = rewards.var(-1, correction=0, keepdim=True).mul(size / (size - ddof)).sqrt()
    advantages = (rewards - rewards.mean(-1, keepdim=True)) / (std + eps)
    return advantages.masked_fill(rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True), 0.0)


def looped(rewards, ddof, eps):
    rows = []
    for group in rewards.reshape(-1, rewards.shape[-1]):
        mean = group.mean()
        if (group == group[0]).all():
            rows.append(torch.zeros_like(group))
        else:
            std = (sum((r - mean) ** 2 for r in group) / (len(group) - ddof)) ** 0.5
            rows.append((group - mean) / (std + eps))
    return torch.stack(rows).reshape(rewards.shape)


def nan_for_alike(rewards, ddof, eps):
    """a group whose rewards are all alike gives NaN, 0 over 0. Nothing in it is better than the rest: its advantages
    are zero."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / ((centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)).sqrt() + eps)


def nan_for_one(rewards, ddof, eps):
    """a group of one gives NaN where ddof is 1: its G - ddof is zero. It has no advantage over anybody: return 0."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / (rewards.shape[-1] - ddof)
    return centred / torch.where(variance == 0, 1.0, variance.sqrt() + eps)


def alike_by_the_variance(rewards, ddof, eps):
    """three rewards of 0.1 get advantages of size 1. Their mean is rounded, and so the variance is a hair above 0. Ask
    the rewards themselves whether they are alike, and do not wait for 0 over 0."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    return centred / torch.where(variance == 0, 1.0, variance.sqrt() + eps)


def whole_batch(rewards, ddof, eps):
    """the standard deviation is taken over the whole batch. Each group has its own, over the last axis."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    spread = (rewards - rewards.mean()).square().sum() / max(rewards.numel() - ddof, 1)
    return centred / torch.where(spread == 0, 1.0, spread.sqrt() + eps)


def first_axis(rewards, ddof, eps):
    """mean and standard deviation are taken over the first axis, over questions. The rollouts of *one* question are a
    group, and are on the last axis."""
    return grpo_advantages(rewards.movedim(0, -1), ddof, eps).movedim(-1, 0)


def ddof_forgotten(rewards, ddof, eps):
    """it divides by G whatever ddof is; the variance is the sum of squares over G - ddof."""
    return grpo_advantages(rewards, 0, eps)


def ddof_one(rewards, ddof, eps):
    """it divides by G - 1 whatever ddof is. (That is what torch's `std` does if it is not told `correction=ddof`.)"""
    return grpo_advantages(rewards, 1, eps)


def eps_under_the_root(rewards, ddof, eps):
    """eps is added to the variance, under the root; it belongs beside the standard deviation."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    return centred / torch.where(variance == 0, 1.0, (variance + eps).sqrt())


def eps_as_a_floor(rewards, ddof, eps):
    """eps is used as a floor under the standard deviation; the formula adds it."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    return centred / torch.where(variance == 0, 1.0, variance.sqrt().clamp(min=eps))


def eps_forgotten(rewards, ddof, eps):
    """eps is missing under the fraction."""
    return grpo_advantages(rewards, ddof, 0.0)


def small_number_of_its_own(rewards, ddof, eps):
    """a small number of your own stands under the fraction besides eps. Treat the groups without a spread, and only
    them, by themselves."""
    return grpo_advantages(rewards, ddof, eps + 1e-8)


def by_the_variance(rewards, ddof, eps):
    """it divides by the variance: the root is missing."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    return centred / torch.where(variance == 0, 1.0, variance + eps)


def not_centred(rewards, ddof, eps):
    """the mean of the group is not subtracted."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, 1)
    return rewards / torch.where(variance == 0, 1.0, variance.sqrt() + eps)


def not_divided(rewards, ddof, eps):
    """it is r - mean, not divided by the standard deviation (that rule is called Dr. GRPO)."""
    return rewards - rewards.mean(-1, keepdim=True)


def nearly_alike(rewards, ddof, eps):
    """a group whose scores differ by a thousandth gets zeros, like one whose scores are all alike. Small differences
    are divided by a small spread, and count in full: only rewards that are equal are alike."""
    spread = rewards.amax(-1, keepdim=True) - rewards.amin(-1, keepdim=True)
    return grpo_advantages(rewards, ddof, eps).masked_fill(spread < 2e-3, 0.0)


def of_verdicts_only(rewards, ddof, eps):
    """it takes mean · (1 - mean) for the variance. That is right for verdicts of 0 and 1 alone; scores between them
    lie closer together."""
    mean, size = rewards.mean(-1, keepdim=True), rewards.shape[-1]
    alike = rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True)
    std = (mean * (1 - mean) * size / max(size - ddof, 1)).sqrt()
    return (rewards - mean).masked_fill(alike, 0.0) / torch.where(alike, 1.0, std + eps)


def mean_of_the_batch(rewards, ddof, eps):
    """mean and standard deviation are taken over the whole batch. Each group has its own, over the last axis: a hard
    question would have nothing but negative advantages."""
    return grpo_advantages(rewards.flatten(), ddof, eps).view(rewards.shape)


TASK = Task(
    name="4.3",
    title="GRPO's advantages, all right and all wrong included",
    tier="core",
    hints=(
        "Centre each group, then divide by its own standard deviation plus eps. Write the variance out as a sum of "
        "squares: then ddof is one subtraction. Which groups have no spread at all, what does the fraction do there "
        "when eps is 0, and how do you know such a group, though its mean is rounded?",
        "variance = Σ (r - mean)² / (G - ddof), and at least 1 under that fraction; "
        "A = (r - mean) / (√variance + eps), and 0 where the largest reward of the group is also the smallest.",
        "centred = rewards - rewards.mean(-1, keepdim=True)\n"
        "variance = ....sum(-1, keepdim=True) / max(rewards.shape[-1] - ddof, ...)\n"
        "alike = rewards.amax(-1, keepdim=True) == ...\n"
        "return centred.masked_fill(alike, ...) / torch.where(alike, ..., ... + eps)",
    ),
    cases=cases,
    solution=grpo_advantages,
    alternatives=(equal_groups_masked, looped),
    mistakes=(
        nan_for_alike,
        nan_for_one,
        alike_by_the_variance,
        whole_batch,
        first_axis,
        ddof_forgotten,
        ddof_one,
        eps_under_the_root,
        eps_as_a_floor,
        eps_forgotten,
        small_number_of_its_own,
        by_the_variance,
        not_centred,
        not_divided,
        nearly_alike,
        of_verdicts_only,
        mean_of_the_batch,
    ),
    library="varcore.grpo_advantages",
)
