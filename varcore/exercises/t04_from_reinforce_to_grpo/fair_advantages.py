"""Task 4.7: an advantage rule under which the hard question is learned."""

import torch
from torch import Tensor

from varcore.exercises.t04_from_reinforce_to_grpo.grpo_advantages import grpo_advantages
from varcore.exercises.t04_from_reinforce_to_grpo.toy import GROUP, WORLDS, train
from varcore.exercises.task import Task

TARGET = 0.33


def examine(fair_advantages, generator):
    because = _malformed(fair_advantages)
    if because:
        return because
    before, after = train(fair_advantages, generator)
    if bool(after.isnan().any()):
        return "after some steps the advantages are no longer finite. Is a running number kept that grows without end?"
    easy, hard = after.mean(0).tolist()
    return "" if hard >= TARGET else _missed(before[:, 0].mean().item(), easy, hard)


def _malformed(rule):
    counts = torch.arange(GROUP + 1)[:, None]
    rewards = (torch.arange(GROUP) < counts).double().expand(WORLDS, GROUP + 1, GROUP)
    advantages = rule(rewards.clone())
    if advantages is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(advantages, Tensor) or advantages.shape != rewards.shape or not advantages.is_floating_point():
        return "it should return advantages of the shape and dtype of the rewards: one number per rollout."
    if not bool(advantages[0, 0].isfinite().all()):
        return "a group without a right rollout gets advantages that are not finite. What is its mean?"
    if not bool(advantages[0, -1].isfinite().all()):
        return "a group without a wrong rollout gets advantages that are not finite. What is its spread?"
    if not bool(advantages.isfinite().all()):
        return "some group gets advantages that are not finite."
    return ""


def _missed(easy_began, easy, hard):
    if easy < 0.7 * easy_began:
        return (
            "both questions end with a lower accuracy than they began: is the sign turned, or does it teach something "
            "that is not in the rewards?"
        )
    if hard < 0.1 and easy > 0.8:
        return (
            "the easy question was learned at the cost of the hard one: it still pulls much harder. Put W of your rule "
            "on the plot, and compare W(0.02) with W(0.3) and with W(0.9)."
        )
    if hard < 0.1:
        return (
            "the hard question hardly learned anything. Does your rule move where a group holds one right rollout of "
            "eight, and how far?"
        )
    return (
        f"the hard question learned, and ends below the target of {TARGET}. Your W is fairer than that of REINFORCE, "
        "and not yet fair: compare W(0.02) with W(0.3) and with W(0.9) once more."
    )


def fair_advantages(rewards):
    mean = rewards.mean(-1, keepdim=True)
    return rewards / torch.where(mean == 0, 1.0, mean)  # REINFORCE has W = p: divide by an estimate of p


def centred(rewards):
    mean = rewards.mean(-1, keepdim=True)
    return (rewards - mean) / (mean + 0.05)


def rare_ones_only(rewards):
    return rewards * (rewards.sum(-1, keepdim=True) <= 2)


def more_than_fair(rewards):
    mean = rewards.mean(-1, keepdim=True)
    return grpo_advantages(rewards, 0, 0.0) / mean.clamp(min=1 / rewards.shape[-1]) ** 1.5


def grpo_as_it_is(rewards):
    """the easy question was learned at the cost of the hard one: it still pulls much harder. Put W of your rule on the
    plot, and compare W(0.02) with W(0.3) and with W(0.9)."""
    return grpo_advantages(rewards, 0, 0.0)


def nearly_blind(rewards):
    """the hard question hardly learned anything. Does your rule move where a group holds one right rollout of eight,
    and how far?"""
    return rewards * (rewards.sum(-1, keepdim=True) == 1) * 0.1


def not_yet(rewards):
    """the hard question learned, and ends below the target of 0.33. Your W is fairer than that of REINFORCE, and not
    yet fair: compare W(0.02) with W(0.3) and with W(0.9) once more."""
    return rewards * (1 - rewards.mean(-1, keepdim=True))


def sign_turned(rewards):
    """both questions end with a lower accuracy than they began: is the sign turned, or does it teach something that is
    not in the rewards?"""
    return -fair_advantages(rewards)


def nothing_right(rewards):
    """a group without a right rollout gets advantages that are not finite. What is its mean?"""
    return rewards / rewards.mean(-1, keepdim=True)


def nothing_wrong(rewards):
    """a group without a wrong rollout gets advantages that are not finite. What is its spread?"""
    mean = rewards.mean(-1, keepdim=True)
    return (rewards - mean) / (mean * (1 - mean)).masked_fill(mean == 0, 1.0)


def one_per_question(rewards):
    """it should return advantages of the shape and dtype of the rewards: one number per rollout."""
    return 1 - rewards.mean(-1)


TASK = Task(
    name="4.7",
    title="A fair hearing for the hard question",
    tier="core",
    kind="experiment",
    hints=(
        "Which W is flat? You cannot know p(x), but a group carries an estimate of it. Change REINFORCE's advantage so "
        "that the p in W = p is divided out, and mind the groups from which nothing can be estimated.",
        "A = r / mean gives W = 1 - (1-p)^G: nearly 1 on the easy question, about G p on the hard one. Other ways: "
        "(r - mean) / (mean + 0.05), or hear only groups in which right rollouts are rare.",
        "mean = rewards.mean(-1, keepdim=True)\nreturn rewards / torch.where(mean == 0, ..., ...)",
    ),
    examine=examine,
    solution=fair_advantages,
    alternatives=(centred, rare_ones_only, more_than_fair),
    mistakes=(
        grpo_as_it_is,
        nearly_blind,
        not_yet,
        sign_turned,
        nothing_right,
        nothing_wrong,
        one_per_question,
    ),
    seconds=60.0,
)
