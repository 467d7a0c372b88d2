"""Task 4.5: W(p) of any advantage rule, in a group of any size."""

import math
from functools import partial

import torch

import varcore
from varcore.exercises.drawing import accuracies, normal
from varcore.exercises.task import Case, Task


def _drawn_rule(generator, size):
    """A rule that treats its rollouts alike and is otherwise arbitrary."""
    if_right, if_wrong = normal(generator, size + 2), normal(generator, size + 2)  # for a group too large as well

    def rule(rewards):
        count = rewards.sum(-1, keepdim=True).long()
        return torch.where(rewards > 0, if_right[count], if_wrong[count]).to(rewards.dtype)

    return rule


def cases(generator):
    ends = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64)
    paper = partial(varcore.grpo_advantages, ddof=0, eps=0.0)
    return [
        Case(
            "a rule drawn at random, three questions, G = 4", (_drawn_rule(generator, 4), accuracies(generator, 3), 4)
        ),
        Case("GRPO, five questions, G = 6", (paper, accuracies(generator, 5), 6)),
        Case("REINFORCE, p of shape (2, 3), G = 3", (varcore.reinforce_advantages, accuracies(generator, 2, 3), 3)),
        Case("one question, a tensor without axes, G = 5", (_drawn_rule(generator, 5), accuracies(generator), 5)),
        Case("a group of one", (_drawn_rule(generator, 1), accuracies(generator, 3), 1)),
        Case("p = 0, p = 1 and p = 0.3", (_drawn_rule(generator, 4), ends, 4)),
        Case("float32", (_drawn_rule(generator, 4), accuracies(generator, 3, dtype=torch.float32), 4)),
    ]


def question_weight(rule, p, group_size):
    others, total = group_size - 1, 0.0
    for right in range(others + 1):  # how many of the other rollouts are right
        chance = math.comb(others, right) * p**right * (1 - p) ** (others - right)
        rest = [1.0] * right + [0.0] * (others - right)
        if_right = rule(torch.tensor([1.0, *rest], dtype=torch.float64))[0].item()
        if_wrong = rule(torch.tensor([0.0, *rest], dtype=torch.float64))[0].item()
        total = total + chance * (if_right - if_wrong)
    return p * total


def every_group_listed(rule, p, group_size):
    groups = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * group_size)
    groups = groups.view(-1, group_size)
    advantages, total = rule(groups), torch.zeros_like(p)
    for group, row in zip(groups, advantages, strict=True):
        right = int(group[1:].sum().item())
        chance = p**right * (1 - p) ** (group_size - 1 - right)  # of the others
        total = total + chance * row[0].item() * (1.0 if group[0] == 1 else -1.0)
    return p * total


def by_counts(rule, p, group_size):
    # all groups in one call: their first `count` rollouts are right
    counts = torch.arange(group_size + 1)
    advantages = rule((torch.arange(group_size) < counts[:, None]).double())
    if_right, if_wrong = advantages[1:, 0], advantages[:-1, -1]  # with 0..G-1 right ones among the others
    k = counts[:-1].double()
    ways = torch.tensor([float(math.comb(group_size - 1, int(c))) for c in k], dtype=torch.float64)
    at = p.double()[..., None]
    chances = ways * at**k * (1 - at) ** (group_size - 1 - k)
    return (p * (chances * (if_right - if_wrong)).sum(-1)).to(p.dtype)


def _pair(rule, right, others):
    rest = [1.0] * right + [0.0] * (others - right)
    groups = [torch.tensor([first, *rest], dtype=torch.float64) for first in (1.0, 0.0)]
    return tuple(rule(group)[0].item() for group in groups)


def _binomial(p, right, others):
    return math.comb(others, right) * p**right * (1 - p) ** (others - right)


def one_too_many(rule, p, group_size):
    """the *others* are G - 1, not G: with the rollout itself these groups have one too many."""
    return question_weight(rule, p, group_size + 1)


def ways_forgotten(rule, p, group_size):
    """each count is taken once. There are several ways to have two right ones among four: the binomial coefficient is
    missing."""
    total = 0.0
    for right in range(group_size):
        if_right, if_wrong = _pair(rule, right, group_size - 1)
        total = total + p**right * (1 - p) ** (group_size - 1 - right) * (if_right - if_wrong)
    return p * total


def p_forgotten(rule, p, group_size):
    """it is E[A|r=1] - E[A|r=0]; the p in front is missing."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        if_right, if_wrong = _pair(rule, right, group_size - 1)
        total = total + _binomial(p, right, group_size - 1) * (if_right - if_wrong)
    return total


def right_ones_only(rule, p, group_size):
    """it is p E[A|r=1]: what happens to wrong rollouts is left out, and they pull too."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        total = total + _binomial(p, right, group_size - 1) * _pair(rule, right, group_size - 1)[0]
    return p * total


def length_of_the_step(rule, p, group_size):
    """there is a factor 1 - p too many: that is how fast the KL's own gradient shrinks. W is what stands in front."""
    return (1 - p) * question_weight(rule, p, group_size)


def mean_advantage(rule, p, group_size):
    """it is p E[A|r=1] + (1-p) E[A|r=0], the mean advantage. Wrong rollouts pull the other way, and by p/(1-p) for each
    of them."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        if_right, if_wrong = _pair(rule, right, group_size - 1)
        total = total + _binomial(p, right, group_size - 1) * (p * if_right + (1 - p) * if_wrong)
    return total


def wrong_is_right(rule, p, group_size):
    """p and 1 - p have changed places in the chance of the others: the right ones come with p."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        if_right, if_wrong = _pair(rule, right, group_size - 1)
        total = total + _binomial(1 - p, right, group_size - 1) * (if_right - if_wrong)
    return p * total


def sign_turned(rule, p, group_size):
    """the sign is turned: a rule that rewards right rollouts has a positive W."""
    return -question_weight(rule, p, group_size)


def within_one_group(rule, p, group_size):
    """right and wrong rollout are taken from one and the same group. E[A|r=1] and E[A|r=0] are two expectations: the
    *others* are the same, and if this rollout changes its verdict, the group changes with it."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        rest = [1.0] * right + [0.0] * (group_size - 1 - right)
        advantages = rule(torch.tensor([1.0, *rest], dtype=torch.float64))
        if_wrong = advantages[-1].item() if right < group_size - 1 else 0.0
        total = total + _binomial(p, right, group_size - 1) * (advantages[0].item() - if_wrong)
    return p * total


def groups_alike(rule, p, group_size):
    """it averages over *groups*, each with the chance of its own count out of G. A is given that *this* rollout is
    right: the count of the others, out of G - 1, decides."""
    total = torch.zeros_like(p)
    for right in range(group_size + 1):
        group = torch.tensor([1.0] * right + [0.0] * (group_size - right), dtype=torch.float64)
        advantages = rule(group)
        if_right = advantages[0].item() if right > 0 else 0.0
        if_wrong = advantages[-1].item() if right < group_size else 0.0
        total = total + _binomial(p, right, group_size) * (if_right - if_wrong)
    return p * total


def divided_at_the_end(rule, p, group_size):
    """p = 1 gives NaN: 0 times p/(1-p). The form p (E[A|r=1] - E[A|r=0]) divides by nothing."""
    total = torch.zeros_like(p)
    for right in range(group_size + 1):
        rewards = torch.tensor([1.0] * right + [0.0] * (group_size - right), dtype=torch.float64)
        given = rule(rewards)
        if_right, if_wrong = (given * rewards).mean().item(), (given * (1 - rewards)).mean().item()
        total = total + _binomial(p, right, group_size) * (if_right - if_wrong * p / (1 - p))
    return total


def all_or_nothing(rule, p, group_size):
    """it compares a group that is all right with one that is all wrong. Given one rollout, the others are still a
    matter of chance."""
    ends = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(2, group_size)
    if_right, if_wrong = rule(ends)[:, 0].tolist()
    return p * (if_right - if_wrong)


def likeliest_group(rule, p, group_size):
    """it takes one typical group, with p(G-1) right among the others, rounded. The advantage is not linear in the
    count: the expectation is over all of them."""
    flat = [question * sum(_signed(rule, question, group_size)) for question in p.reshape(-1).tolist()]
    return torch.tensor(flat, dtype=p.dtype).reshape(p.shape)


def _signed(rule, question, group_size):
    if_right, if_wrong = _pair(rule, round(question * (group_size - 1)), group_size - 1)
    return if_right, -if_wrong


def beside_itself(rule, p, group_size):
    """right and wrong rollout are the first and the last of one and the same group, which has c + 1 right ones. Given
    that *this* rollout is wrong, the others are still c right ones: one right rollout less in its group."""
    total = torch.zeros_like(p)
    for right in range(group_size):
        advantages = rule(torch.tensor([1.0] * (right + 1) + [0.0] * (group_size - 1 - right), dtype=torch.float64))
        total = total + _binomial(p, right, group_size - 1) * (advantages[0] - advantages[-1]).item()
    return p * total


TASK = Task(
    name="4.5",
    title="W(p) of any rule, in a group of any size",
    tier="core",
    hints=(
        "Single out one rollout. The other G - 1 are right or wrong independently of it, so only *how many* of them "
        "are right matters. Go through these counts; for each, ask the rule twice, with this rollout right and with it "
        "wrong.",
        "W(p) = p Σ_c C(G-1, c) p^c (1-p)^(G-1-c) · [ A(1 | c others right) - A(0 | c others right) ], for c = 0 to "
        "G - 1.",
        "others, total = group_size - 1, 0.0\nfor right in range(...):\n"
        "    chance = math.comb(others, right) * ... * ...\n"
        "    rest = [1.0] * right + [0.0] * (...)\n"
        "    if_right = rule(torch.tensor([1.0, *rest]))[0].item()\n    if_wrong = ...\n"
        "    total = total + chance * (...)\nreturn ...",
    ),
    cases=cases,
    solution=question_weight,
    alternatives=(every_group_listed, by_counts),
    mistakes=(
        one_too_many,
        ways_forgotten,
        p_forgotten,
        right_ones_only,
        length_of_the_step,
        mean_advantage,
        wrong_is_right,
        sign_turned,
        within_one_group,
        groups_alike,
        divided_at_the_end,
        all_or_nothing,
        likeliest_group,
        beside_itself,
    ),
    library="varcore.certified_exchangeable_question_weight",
)
