"""Tutorial 4: what its text says of W holds, its worlds train as they should, its target is not for everybody."""

import math
from functools import partial

import pytest
import torch

import varcore
from varcore.exercises.t04_from_reinforce_to_grpo import fair_advantages, my_rule, toy
from varcore.exercises.t04_from_reinforce_to_grpo.reinforce_gradient import reinforce_gradient

pytestmark = pytest.mark.usefixtures("float64")
paper_grpo = partial(varcore.grpo_advantages, ddof=0, eps=0.0)
INNER = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("size", "multiple"), [(2, 1.0), (3, math.sqrt(2))])
def test_with_pairs_and_threes_grpo_is_reinforce(size: int, multiple: float):
    w = varcore.certified_question_weight(paper_grpo, INNER, size)
    torch.testing.assert_close(w, multiple * INNER, rtol=1e-12, atol=0)


def test_from_four_on_it_is_not_and_the_endless_group_is_fairer():
    ends = torch.tensor([0.01, 0.9])
    hard, easy = torch.stack([varcore.grpo_question_weight(ends, size) for size in (3, 4, 8, 64, None)], -1)
    ratios = (easy / hard).tolist()
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[1] < 89 < 90 - 1e-9 < ratios[0]


def test_a_hard_question_gets_a_multiple_of_p():
    w = varcore.grpo_question_weight(torch.tensor(1e-6), 8)
    assert math.isclose(w.item(), math.sqrt(7) * 1e-6, rel_tol=1e-4)


def test_per_group_drawn_dapo_weighs_as_grpo_does():
    kept = 1 - INNER**8 - (1 - INNER) ** 8
    torch.testing.assert_close(varcore.dapo_question_weight(INNER, 8) * kept, varcore.grpo_question_weight(INNER, 8))


def test_the_gradient_of_reinforce_is_p_times_that_of_the_kl():
    for correctness in toy.CORRECTNESS:
        leaf = toy.THETA.clone().requires_grad_()
        (kl,) = torch.autograd.grad(varcore.local_forward_kl(leaf.log_softmax(-1), correctness.log()), leaf)
        p = toy.THETA.softmax(-1) @ correctness
        torch.testing.assert_close(reinforce_gradient(toy.THETA, correctness), p * kl)


def test_a_step_of_a_world_is_the_expected_one(monkeypatch: pytest.MonkeyPatch):
    """One step of REINFORCE in 20,000 worlds; each mean within five standard errors: a false alarm in fewer than 1 of
    800,000 seeds."""
    monkeypatch.setattr(toy, "STEPS", 1)
    monkeypatch.setattr(toy, "WORLDS", 20_000)
    monkeypatch.setattr(toy, "STEP_SIZE", 1e-3)
    before, after = toy.train(varcore.reinforce_advantages, seeded())
    # the same jitter, drawn by hand
    theta = toy.THETA + 0.2 * torch.randn(20_000, 3, generator=seeded())
    pull = -sum(reinforce_gradient(theta, row.expand(20_000, -1)) for row in toy.CORRECTNESS)
    moved = (theta + 1e-3 * pull).softmax(-1) @ toy.CORRECTNESS.T
    torch.testing.assert_close(before, theta.softmax(-1) @ toy.CORRECTNESS.T)
    off = (after - moved).mean(0) / ((after - moved).std(0) / math.sqrt(20_000))
    assert bool((off.abs() < 5).all()), off
    assert bool(((moved - before).mean(0).abs() > 10 * (after - moved).std(0) / math.sqrt(20_000)).any())


def by_the_variance(rewards):
    mean = rewards.mean(-1, keepdim=True)
    return (rewards - mean) / (mean * (1 - mean)).masked_fill((mean == 0) | (mean == 1), 1.0)


def the_second_row_is_hard(rewards):
    return rewards * torch.tensor([1.0, 30.0])[:, None] if rewards.shape[-2] == 2 else rewards


@pytest.mark.parametrize(
    "rule",
    [
        varcore.reinforce_advantages,
        varcore.rloo_advantages,
        varcore.dr_grpo_advantages,
        varcore.grpo_advantages,
        by_the_variance,
        lambda rewards: 10 * rewards,
        lambda rewards: (rewards - rewards.mean()) / rewards.std(),
        the_second_row_is_hard,
        torch.ones_like,
        torch.randn_like,
    ],
    ids=["reinforce", "rloo", "dr grpo", "grpo", "variance", "ten times", "batch", "by place", "constant", "noise"],
)
def test_these_rules_miss_the_target(rule):
    assert fair_advantages.examine(rule, seeded()) != ""


def test_maxrl_reaches_it():
    assert fair_advantages.examine(varcore.maxrl_advantages, seeded()) == ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda rewards: None, "returns None"),
        (lambda rewards: rewards.tolist(), "one number per rollout"),
        (lambda rewards: rewards[..., 0], "one number per rollout"),
        (lambda rewards: rewards > 0, "one number per rollout"),
        (lambda rewards: rewards / rewards.sum(-1, keepdim=True), "without a right rollout"),
        (lambda rewards: rewards / (1 - rewards.mean(-1, keepdim=True)), "without a wrong rollout"),
    ],
    ids=["none", "list", "axis", "booleans", "all wrong", "all right"],
)
def test_malformed_advantages_are_told_what_they_are(rule, said: str):
    assert said in fair_advantages.examine(rule, seeded())


RULE, WEIGHT = my_rule.my_rule()


def through_another(p):
    return RULE(p)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (RULE, "it should be a pair"),
        ((RULE, WEIGHT, 0), "it should be a pair"),
        ((RULE, torch.ones(3)), "the two functions themselves"),
        ((lambda rewards: rewards.mean(-1), WEIGHT), "one advantage per rollout"),
        ((lambda rewards: 0 * rewards, WEIGHT), "W = 0 everywhere"),
        ((torch.ones_like, WEIGHT), "W = 0 everywhere"),
        ((paper_grpo, WEIGHT), "the W of GRPO"),
        ((varcore.rloo_advantages, WEIGHT), "the W of REINFORCE"),
        ((lambda rewards: rewards.cumsum(-1), WEIGHT), "order of the rollouts"),
        ((RULE, lambda p, group_size: 0.5), "one W for each p"),
        ((RULE, lambda p, group_size: p / 0), "not finite"),
        ((RULE, lambda p, group_size: WEIGHT(p, group_size) + 0 * RULE(p).sum()), "weight calls rule"),
        ((RULE, lambda p, group_size: torch.stack([RULE(value) for value in p])), "weight calls rule"),
        ((RULE, lambda p, group_size: through_another(p)), "weight calls rule"),
    ],
    ids=[
        "rule",
        "triple",
        "value",
        "axis",
        "zero",
        "constant",
        "grpo",
        "rloo",
        "order",
        "number",
        "infinite",
        "calls",
        "nested",
        "through",
    ],
)
def test_a_pair_that_is_none_is_told_so(pair, said: str):
    assert said in my_rule.examine(pair, seeded())
