"""Task 4.2: W(p) of GRPO when the group has no end."""

import torch

from varcore.exercises.drawing import accuracies
from varcore.exercises.task import Case, Task


def cases(generator):
    return [
        Case("three questions", (accuracies(generator, 3),)),
        Case("a tensor of shape (2, 3)", (accuracies(generator, 2, 3),)),
        Case("one question, a tensor without axes", (accuracies(generator),)),
        Case("hard questions", (accuracies(generator, 4) / 1000,)),
        Case("easy questions", (1 - accuracies(generator, 4) / 100,)),
        Case("float32", (accuracies(generator, 3, dtype=torch.float32),)),
    ]


def endless_group_weight(p):
    std = (p * (1 - p)).sqrt()
    if_right, if_wrong = (1 - p) / std, (0 - p) / std
    return p * (if_right - if_wrong)


def the_root_of_the_odds(p):
    return (p / (1 - p)).sqrt()


def by_logarithms(p):
    return (0.5 * torch.logit(p)).exp()


def right_ones_only(p):
    """it is √(p(1-p)). That is p E[A|r=1], the right rollouts alone: the wrong ones have a negative advantage, and pull
    as well. (It is also the length of the step, W times 1 - p; asked for is W.)"""
    return (p * (1 - p)).sqrt()


def without_p(p):
    """it is E[A|r=1] - E[A|r=0], without the p in front."""
    return 1 / (p * (1 - p)).sqrt()


def odds(p):
    """it is the odds p/(1-p). Is a root missing?"""
    return p / (1 - p)


def by_the_variance(p):
    """it divides by the variance, p(1-p). GRPO divides by the standard deviation, its root."""
    return 1 / (1 - p)


def upside_down(p):
    """it is √((1-p)/p), which falls with p: that is the advantage of a right rollout, and not yet how often there is
    one."""
    return ((1 - p) / p).sqrt()


def not_divided(p):
    """it is p, the W of REINFORCE. Subtracting the mean leaves W as it is; dividing by the standard deviation does
    not."""
    return p + 0.0


def deviation_is_p(p):
    """the standard deviation of a 0/1 reward is not √p: right *and* wrong rollouts lie off the mean, and the variance
    is p(1-p)."""
    return p.sqrt()


def wrong_one_added(p):
    """the two advantages are added, and W takes their difference. (That of a wrong rollout is negative by itself.)"""
    std = (p * (1 - p)).sqrt()
    return p * ((1 - p) / std - p / std)


def averaged(p):
    """it is p E[A|r=1] + (1-p) E[A|r=0], the mean advantage, which is zero for every p. The advantages of wrong
    rollouts enter W with a minus."""
    std = (p * (1 - p)).sqrt()
    return p * ((1 - p) / std) + (1 - p) * (-p / std)


TASK = Task(
    name="4.2",
    title="GRPO with a group that never ends",
    tier="warm-up",
    hints=(
        "In an endless group the mean reward is p itself, and the standard deviation that of one 0/1 reward. Then "
        "there are just two advantages, one for right and one for wrong.",
        "Var(r) = p(1-p). A(right) = (1-p)/√(p(1-p)), A(wrong) = -p/√(p(1-p)), and W = p (A(right) - A(wrong)).",
        "std = (...).sqrt()\nif_right, if_wrong = (1 - p) / ..., ...\nreturn p * (...)",
    ),
    cases=cases,
    solution=endless_group_weight,
    alternatives=(the_root_of_the_odds, by_logarithms),
    mistakes=(
        right_ones_only,
        without_p,
        odds,
        by_the_variance,
        upside_down,
        not_divided,
        deviation_is_p,
        wrong_one_added,
        averaged,
    ),
    library="varcore.grpo_question_weight",
)
