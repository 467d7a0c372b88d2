"""Task 4.8: W(p) when groups without a spread are drawn again."""

import math

import torch

from varcore.exercises.drawing import accuracies
from varcore.exercises.t04_from_reinforce_to_grpo.grpo_advantages import grpo_advantages
from varcore.exercises.t04_from_reinforce_to_grpo.question_weight import question_weight
from varcore.exercises.task import Case, Task


def cases(generator):
    return [
        Case("three questions, G = 5", (accuracies(generator, 3), 5)),
        Case("p of shape (2, 3), G = 8", (accuracies(generator, 2, 3), 8)),
        Case("one question, a tensor without axes, G = 4", (accuracies(generator), 4)),
        Case("pairs (G = 2)", (accuracies(generator, 3), 2)),
        Case("hard questions, G = 8", (accuracies(generator, 3) / 20, 8)),
        Case("float32", (accuracies(generator, 3, dtype=torch.float32), 5)),
    ]


def kept_group_weight(p, group_size):
    # what is not kept has no advantages, and so adds nothing: only the chance of being kept is divided out
    drawn = question_weight(lambda rewards: grpo_advantages(rewards, 0, 0.0), p, group_size)
    return drawn / (1 - p**group_size - (1 - p) ** group_size)


def over_kept_counts(p, group_size):
    total, kept = torch.zeros_like(p), torch.zeros_like(p)
    for right in range(1, group_size):
        chance = math.comb(group_size, right) * p**right * (1 - p) ** (group_size - right)
        mean = right / group_size
        total = total + chance * (mean * (1 - mean)) ** 0.5
        kept = kept + chance
    return total / kept / (1 - p)


def every_group_listed(p, group_size):
    groups = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * group_size)
    groups = groups[(groups.sum(-1) > 0) & (groups.sum(-1) < group_size)]
    at = p.double()[..., None]
    chances = (at[..., None] ** groups * (1 - at[..., None]) ** (1 - groups)).prod(-1)
    advantages = grpo_advantages(groups, 0, 0.0)
    pulls = (advantages * (groups - (1 - groups) * at[..., None] / (1 - at[..., None]))).mean(-1)
    return ((chances * pulls).sum(-1) / chances.sum(-1)).to(p.dtype)


def _drawn(p, group_size):
    return question_weight(lambda rewards: grpo_advantages(rewards, 0, 0.0), p, group_size)


def per_group_drawn(p, group_size):
    """it is the W of GRPO, per group *drawn*. Here the mean is over the groups that are kept."""
    return _drawn(p, group_size)


def all_right_kept(p, group_size):
    """only the groups without a success are drawn again; a group that is all right is as useless."""
    return _drawn(p, group_size) / (1 - (1 - p) ** group_size)


def all_wrong_kept(p, group_size):
    """only the groups that are all right are drawn again; those without a success are too."""
    return _drawn(p, group_size) / (1 - p**group_size)


def multiplied(p, group_size):
    """the chance of being kept was multiplied where it should divide: the same pull comes from fewer groups."""
    return _drawn(p, group_size) * (1 - p**group_size - (1 - p) ** group_size)


def others_mixed(p, group_size):
    """it asks that the *others* be mixed. A rollout that is right beside G - 1 wrong ones is a group that is kept, and
    on hard questions it is the one that matters. And if this rollout is given, the verdicts of a kept group are no
    longer independent."""
    total, kept = torch.zeros_like(p), torch.zeros_like(p)
    others = group_size - 1
    for right in range(1, others):
        chance = math.comb(others, right) * p**right * (1 - p) ** (others - right)
        rest = [1.0] * right + [0.0] * (others - right)
        pair = grpo_advantages(torch.tensor([[1.0, *rest], [0.0, *rest]], dtype=torch.float64), 0, 0.0)[:, 0]
        total, kept = total + chance * (pair[0] - pair[1]).item(), kept + chance
    return p * total / kept.masked_fill(kept == 0, 1.0)


def old_formula(p, group_size):
    """it puts E[A|r=1] and E[A|r=0] over *kept* groups into p (E[A|r=1] - E[A|r=0]). That formula needs verdicts that
    are independent; in a kept group a rollout is right with another chance than p. Go back to the mean over groups of
    (1/G) Σ A (r - (1-r) p/(1-p))."""
    right, wrong, seen_right, seen_wrong = (torch.zeros_like(p) for _ in range(4))
    for count in range(1, group_size):
        chance = math.comb(group_size, count) * p**count * (1 - p) ** (group_size - count)
        mean = count / group_size
        std = (mean * (1 - mean)) ** 0.5
        right, seen_right = right + chance * mean * (1 - mean) / std, seen_right + chance * mean
        wrong, seen_wrong = wrong - chance * (1 - mean) * mean / std, seen_wrong + chance * (1 - mean)
    return p * (right / seen_right - wrong / seen_wrong)


def no_end(p, group_size):
    """it is the limit of an endless group, √(p/(1-p)). A group of G gives another number."""
    return (p / (1 - p)).sqrt()


def sample_std(p, group_size):
    """its standard deviation divides by G - 1 (`ddof` = 1, which is the library's default); here it divides by G."""
    return kept_group_weight(p, group_size) * (1 - 1 / group_size) ** 0.5


def mean_spread(p, group_size):
    """it is the mean spread of a kept group. Each right rollout's advantage stands for that; W also divides by 1 - p,
    since the gradient of the KL is as much shorter."""
    return over_kept_counts(p, group_size) * (1 - p)


def chance_of_the_others(p, group_size):
    """it divides by the chance that the *other* G - 1 rollouts are mixed. A group is kept if all G of them are."""
    others = group_size - 1
    kept = 1 - p**others - (1 - p) ** others
    return _drawn(p, group_size) / torch.where(kept.abs() < 1e-6, 1.0, kept)


TASK = Task(
    name="4.8",
    title="What drawing again does to W",
    tier="stretch",
    hints=(
        "What is the advantage of a rollout in a group that is not kept? So what do these groups add to the mean over "
        "*all* groups? Compare that mean with the one over the kept groups alone.",
        "E[ pull | drawn ] = P(kept) · E[ pull | kept ] + P(not kept) · 0. And P(not kept) = p^G + (1-p)^G.",
        "drawn = question_weight(lambda rewards: grpo_advantages(rewards, 0, 0.0), p, group_size)\n"
        "return drawn / (1 - ... - ...)",
    ),
    cases=cases,
    solution=kept_group_weight,
    alternatives=(over_kept_counts, every_group_listed),
    mistakes=(
        per_group_drawn,
        all_right_kept,
        all_wrong_kept,
        multiplied,
        others_mixed,
        old_formula,
        no_end,
        sample_std,
        mean_spread,
        chance_of_the_others,
    ),
    library="varcore.dapo_question_weight",
)
