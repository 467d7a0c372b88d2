"""Task 4.6: a rule of one's own, and its W(p) by derivation."""

import inspect
import math
from types import CodeType

import torch
from torch import Tensor

import varcore
from varcore.exercises.drawing import accuracies
from varcore.exercises.task import Task

SIZES, GRID = (2, 3, 5, 8), (0.05, 0.2, 0.5, 0.8, 0.95)
KNOWN = {
    "REINFORCE": varcore.binary_rl_question_weight,
    "GRPO": lambda p: varcore.grpo_question_weight(p, 8),
}


def examine(pair, generator):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return f"it should be a pair, `my_rule = (rule, weight)`; it is of type {type(pair).__name__}."
    rule, weight = pair
    if not callable(rule) or not callable(weight):
        return "rule and weight should be the two functions themselves, not what a call of them returns."
    because = _no_rule(rule) or _known(rule)
    if because:
        return because
    if inspect.isfunction(inspect.unwrap(weight)) and _knows(weight, rule, set()):
        return "weight calls rule. That is task 4.5 again: here W is to be derived, as a formula in p and G."
    p = torch.cat([torch.tensor(GRID, dtype=torch.float64), accuracies(generator, 3)])
    found = []
    for size in SIZES:
        values = weight(p.clone(), size)
        if not isinstance(values, Tensor) or values.shape != p.shape:
            return f"weight(p, {size}) should return one W for each p: a tensor of the shape of p."
        found.append(values.double())
    return _apart(rule, p, found)


def _knows(function, wanted, seen):
    """Whether a function of the reader's, or another in the same place that it names, names `wanted`."""
    function = inspect.unwrap(function)
    seen.add(function)
    known = [function.__globals__.get(name) for name in _names(function.__code__)]
    known += [cell.cell_contents for cell in function.__closure__ or ()]
    if any(thing is wanted for thing in known):
        return True
    near = {other for thing in known if callable(thing) and inspect.isfunction(other := inspect.unwrap(thing))} - seen
    return any(_knows(other, wanted, seen) for other in near if other.__globals__ is function.__globals__)


def _names(code):
    """The names that a piece of code looks up, those of the functions and comprehensions inside it too."""
    inside = [part for part in code.co_consts if isinstance(part, CodeType)]
    return {*code.co_names}.union(*map(_names, inside))


def _groups(size):
    return (torch.arange(size) < torch.arange(size + 1)[:, None]).double()  # the first 0, 1, ..., G are right


def _no_rule(rule):
    for size in SIZES:
        groups = _groups(size)
        advantages = rule(groups.clone())
        if not isinstance(advantages, Tensor) or advantages.shape != groups.shape:
            return "rule(rewards) should return one advantage per rollout: a tensor of the shape of the rewards."
        if not bool(advantages.isfinite().all()):
            return "some group gets advantages that are not finite: try one that is all wrong, and one all right."
        if not torch.allclose(advantages, torch.stack([rule(group) for group in groups])):
            return "a group's advantages change with the other groups in the call. Sum over the last axis only."
        if not torch.allclose(advantages, rule(groups.flip(-1)).flip(-1)):
            return "the advantages change with the order of the rollouts. A rule looks at rewards, not at places."
    return ""


def _known(rule):
    p = torch.tensor(GRID, dtype=torch.float64)
    mine = varcore.certified_exchangeable_question_weight(rule, p, 8)
    if bool((mine.abs() < 1e-12).all()):
        return "this rule has W = 0 everywhere: whatever the rewards are, the expected step is zero."
    for name, known in KNOWN.items():
        if _constant(mine / known(p)):
            return f"up to a constant factor this rule has the W of {name}. Take one that is not on the plot yet."
    return ""


def _constant(ratio):
    return torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-6, atol=0)


def _apart(rule, p, values):
    exact = [varcore.certified_exchangeable_question_weight(rule, p, size) for size in SIZES]
    if all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(values, exact, strict=True)):
        return ""
    if any(not bool(a.isfinite().all()) for a in values):
        return "weight is not finite at some p between 0 and 1."
    rights = [_right_part(rule, p, size) for size in SIZES]
    if all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(values, rights, strict=True)):
        return "weight is p E[A|r=1]: the wrong rollouts have an advantage too, and it enters with a minus."
    ratios = [a / b for a, b in zip(values, exact, strict=True)]
    for factor, said in (
        (1 / p, "weight is E[A|r=1] - E[A|r=0]; the p in front is missing."),
        (1 - p, "weight has a factor 1 - p too many: it is the length of the step, and not W."),
        (-torch.ones_like(p), "the sign of weight is turned: W = p (E[A|r=1] - E[A|r=0])."),
        (p, "weight has a factor p too many."),
    ):
        if all(torch.allclose(ratio, factor, rtol=1e-4, atol=0) for ratio in ratios):
            return said
    return _about_sizes(ratios, values)


def _right_part(rule, p, size):
    """p E[A|r=1], the others counted."""
    total = torch.zeros_like(p)
    for count, row in enumerate(rule(_groups(size))[1:]):  # so many others are right
        total = total + math.comb(size - 1, count) * p**count * (1 - p) ** (size - 1 - count) * row[0].item()
    return p * total


def _about_sizes(ratios, values):
    if all(torch.equal(values[0], other) for other in values[1:]):
        return (
            "weight does not depend on the group size, and W of this rule does. Is it the limit of an endless group? "
            "In a group of G the mean is not p, and a rollout is part of its own mean."
        )
    if all(map(_constant, ratios)):
        return "the shape of weight is right at each group size, and its scale is not: a factor that depends on G."
    return (
        "weight is not W of this rule. Take G = 2: the one other rollout is right with chance p. Write down A for the "
        "four cases, and compare with weight(p, 2)."
    )


def my_rule():
    def rule(rewards):
        return rewards * (1 - rewards.mean(-1, keepdim=True))  # a success counts as much as others fail

    def weight(p, group_size):
        # right, with c others right: A = 1 - (c+1)/G, and E c = (G-1) p.  Wrong: A = 0.
        return p * (1 - p) * (1 - 1 / group_size)

    return rule, weight


def blame():
    def rule(rewards):
        return -(1 - rewards) * rewards.mean(-1, keepdim=True)  # to fail is worse where others succeed

    def weight(p, group_size):
        return p * p * (1 - 1 / group_size)

    return rule, weight


def only_one():
    def rule(rewards):
        return rewards * (rewards.sum(-1, keepdim=True) == 1)

    def weight(p, group_size):
        return p * (1 - p) ** (group_size - 1)

    return rule, weight


def root_of_the_mean():
    def rule(rewards):
        mean = rewards.mean(-1, keepdim=True)
        return rewards / torch.where(mean == 0, 1.0, mean).sqrt()

    def weight(p, group_size):
        total = torch.zeros_like(p)
        for c in range(group_size):
            chance = math.comb(group_size - 1, c) * p**c * (1 - p) ** (group_size - 1 - c)
            total = total + chance * (group_size / (c + 1)) ** 0.5
        return p * total

    return rule, weight


def endless():
    """weight does not depend on the group size, and W of this rule does. Is it the limit of an endless group? In a
    group of G the mean is not p, and a rollout is part of its own mean."""
    return my_rule()[0], lambda p, group_size: p * (1 - p)


def p_forgotten():
    """weight is E[A|r=1] - E[A|r=0]; the p in front is missing."""
    return my_rule()[0], lambda p, group_size: (1 - p) * (1 - 1 / group_size)


def length_of_the_step():
    """weight has a factor 1 - p too many: it is the length of the step, and not W."""
    return blame()[0], lambda p, group_size: p * p * (1 - p) * (1 - 1 / group_size)


def p_twice():
    """weight has a factor p too many."""
    return my_rule()[0], lambda p, group_size: p * p * (1 - p) * (1 - 1 / group_size)


def sign_turned():
    """the sign of weight is turned: W = p (E[A|r=1] - E[A|r=0])."""
    return blame()[0], lambda p, group_size: -p * p * (1 - 1 / group_size)


def right_ones_only():
    """weight is p E[A|r=1]: the wrong rollouts have an advantage too, and it enters with a minus."""

    def rule(rewards):
        centred = rewards - rewards.mean(-1, keepdim=True)
        return centred * (1 - rewards.mean(-1, keepdim=True))

    def weight(p, group_size):
        # E (1 - (c+1)/G)^2 with c ~ Binomial(G-1, p): the square of its mean and its variance
        others = group_size - 1
        return p * ((others * (1 - p)) ** 2 + others * p * (1 - p)) / group_size**2

    return rule, weight


def scale_of_the_group():
    """the shape of weight is right at each group size, and its scale is not: a factor that depends on G."""
    return my_rule()[0], lambda p, group_size: p * (1 - p) * (1 + 1 / group_size)


def chances_swapped():
    """weight is not W of this rule. Take G = 2: the one other rollout is right with chance p. Write down A for the four
    cases, and compare with weight(p, 2)."""
    return only_one()[0], lambda p, group_size: p * p ** (group_size - 1)


def asks_the_rule():
    """weight calls rule. That is task 4.5 again: here W is to be derived, as a formula in p and G."""
    rule = my_rule()[0]
    return rule, lambda p, group_size: varcore.certified_question_weight(rule, p, group_size)


def reinforce():
    """up to a constant factor this rule has the W of REINFORCE. Take one that is not on the plot yet."""
    return (lambda rewards: 2 * rewards - 1), lambda p, group_size: 2 * p


def divides_by_zero():
    """some group gets advantages that are not finite: try one that is all wrong, and one all right."""
    return (lambda rewards: rewards / rewards.mean(-1, keepdim=True) ** 2), lambda p, group_size: p


def across_the_batch():
    """a group's advantages change with the other groups in the call. Sum over the last axis only."""
    return (lambda rewards: rewards - rewards.mean()), lambda p, group_size: p


TASK = Task(
    name="4.6",
    title="A rule of your own, on the plot",
    tier="core",
    wants="value",
    hints=(
        "Choose a rule whose advantages you can write down when c of the others are right: best one that depends on c "
        "linearly, or that is zero for most c. Rules that give wrong rollouts nothing need only half the work.",
        "W(p) = p (E[A|r=1] - E[A|r=0]), c ~ Binomial(G-1, p), E c = (G-1) p. A right rollout is in a group of mean "
        "(c+1)/G, a wrong one in a group of mean c/G. Example: A = r (1 - mean) has E[A|r=1] = 1 - ((G-1)p + 1)/G.",
        "def rule(rewards):\n    return rewards * (1 - ...)\n\n\n"
        "def weight(p, group_size):\n    return p * (...) * (1 - 1 / group_size)\n\n\nmy_rule = (rule, weight)",
    ),
    examine=examine,
    solution=my_rule,
    alternatives=(blame, only_one, root_of_the_mean),
    mistakes=(
        endless,
        p_forgotten,
        length_of_the_step,
        p_twice,
        sign_turned,
        right_ones_only,
        scale_of_the_group,
        chances_swapped,
        asks_the_rule,
        reinforce,
        divides_by_zero,
        across_the_batch,
    ),
)
