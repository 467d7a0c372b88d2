"""policies.py: advantages by hand, their symmetries, and the expected gradient of each loss by enumeration."""

import inspect
import math

import pytest
import torch
from helpers import INF, assert_exact, leaf
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import CORRECT, NUM_ANSWERS, NUM_TRACES, LatentModel, expectation, gradient

from varcore import (
    ShapeError,
    dapo_kept_groups,
    debiased_reward,
    dr_grpo_advantages,
    expected_accuracy_loss,
    forward_kl_loss,
    grpo_advantages,
    maxrl_advantages,
    one_kept_advantages,
    policy_gradient_loss,
    reinforce_advantages,
    rft_loss,
    rloo_advantages,
    shaped_reward,
)

pytestmark = pytest.mark.usefixtures("float64")

ADVANTAGES = [
    reinforce_advantages,
    rloo_advantages,
    grpo_advantages,
    dr_grpo_advantages,
    maxrl_advantages,
    one_kept_advantages,
]
CENTRED = [rloo_advantages, grpo_advantages, dr_grpo_advantages]
LOSSES = [policy_gradient_loss, rft_loss, expected_accuracy_loss]
real_groups = st.lists(st.floats(-10, 10), min_size=2, max_size=6)
binary_groups = st.lists(st.booleans(), min_size=1, max_size=8)


# Goldens: rewards 1, 0, 0, 1 and so mean 1/2


@pytest.mark.parametrize(
    ("advantages", "expected"),
    [
        (reinforce_advantages, [1.0, 0.0, 0.0, 1.0]),
        (
            rloo_advantages,
            [2 / 3, -2 / 3, -2 / 3, 2 / 3],
        ),  # the others' means: 1/3 for a right one, 2/3 for a wrong one
        (dr_grpo_advantages, [0.5, -0.5, -0.5, 0.5]),
        (maxrl_advantages, [2.0, 0.0, 0.0, 2.0]),
        (one_kept_advantages, [4.0, 0.0, 0.0, 0.0]),
    ],
)
def test_advantages_golden(advantages, expected):
    assert_exact(advantages(torch.tensor([1.0, 0.0, 0.0, 1.0])), expected)


def test_grpo_golden():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])  # centred 3/4, -1/4 x 3: sum of squares 12/16
    assert_exact(grpo_advantages(rewards, ddof=0, eps=0.0), [3**0.5, *[-(3**-0.5)] * 3])  # std sqrt(3)/4
    assert_exact(grpo_advantages(rewards, ddof=1, eps=0.0), [1.5, -0.5, -0.5, -0.5])  # std 1/2
    assert_exact(grpo_advantages(rewards, ddof=1, eps=0.25), [1.0, -1 / 3, -1 / 3, -1 / 3])
    assert_exact(grpo_advantages(rewards), grpo_advantages(rewards, ddof=1, eps=1e-4))
    pair = torch.tensor([1.0, 0.0])  # centred 1/2 and -1/2: std 1/2 over G, sqrt(1/2) over G - 1
    assert_exact(grpo_advantages(pair, ddof=0, eps=0.0), [1.0, -1.0])
    assert_exact(grpo_advantages(pair, ddof=1, eps=0.0), [0.5**0.5, -(0.5**0.5)])


def test_losses_golden():
    log_probs = leaf(-1.0, -2.0, -4.0)
    loss = policy_gradient_loss(log_probs, torch.tensor([2.0, 0.0, -1.0]))
    assert_exact(loss, (2 - 4) / 3)
    assert_exact(torch.autograd.grad(loss, log_probs)[0], [-2 / 3, 0.0, 1 / 3])
    assert_exact(rft_loss(log_probs, torch.tensor([True, False, True])), 5 / 3)  # over all three, not over two
    correctness = leaf(0.5, 0.0, 1.0)
    loss = expected_accuracy_loss(log_probs, correctness)
    assert_exact(loss, (0.5 + 4.0 - 1.5) / 3)
    by_trace, by_answer = torch.autograd.grad(loss, (log_probs, correctness))
    assert_exact(by_trace, [-1 / 6, 0.0, -1 / 3])
    assert_exact(by_answer, [-1 / 3] * 3)


def test_kept_groups():
    groups = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 0]])
    assert dapo_kept_groups(groups).tolist() == [False, False, True]
    assert dapo_kept_groups(torch.tensor([[True]])).tolist() == [False]


def test_shaped_reward_golden():
    correct, formed = torch.tensor([True, False, False, True]), torch.tensor([True, True, False, False])
    reward = shaped_reward(correct, formed, alpha=2.0, beta=0.5, gamma=-1.0)
    assert_exact(reward, [2.0, 0.5, -1.0, 2.0])  # a correct one is well-formed, whatever the second verdict says


def test_debiased_reward_golden():
    correct, formed = torch.tensor([True, False, False]), torch.tensor([True, True, False])
    p, p_formed = torch.tensor([0.25]), torch.tensor([0.5])
    reward = debiased_reward(correct, formed, p, p_formed, alpha=2.0, beta=0.5, gamma=-1.0)
    assert_exact(reward, [-1 + 1.5 / 0.25 + 1.5 / 0.5, -1 + 1.5 / 0.5, -1.0])


def test_debiased_reward_with_the_groups_own_accuracy_is_maxrl():
    correct = torch.tensor([[True, False, False, True], [False, False, False, True]])
    accuracy = correct.double().mean(-1, keepdim=True)
    reward = debiased_reward(correct, correct, accuracy, accuracy, alpha=1.0, beta=0.0, gamma=0.0)
    assert_exact(reward, maxrl_advantages(correct))


def test_a_part_not_earned_is_zero_whatever_its_rate():
    none = torch.tensor([False, False])
    zero = torch.zeros(1)
    assert_exact(debiased_reward(none, none, zero, zero, alpha=1.0, beta=0.5, gamma=0.0), [0.0, 0.0])
    earned = debiased_reward(~none, ~none, zero, zero + 0.5, alpha=1.0, beta=0.5, gamma=0.0)
    assert earned.tolist() == [INF, INF]


def test_an_earned_part_of_rate_zero_is_infinite_and_never_nan():
    right, zero = torch.tensor([True]), torch.zeros(1)

    def reward(alpha, beta, gamma, correct=right):
        return debiased_reward(correct, right, zero, zero, alpha=alpha, beta=beta, gamma=gamma).item()

    assert reward(1.0, 1.0, 0.0) == INF  # being right is worth no more than being well-formed: 0/0 would be NaN
    assert reward(1.0, 0.0, 0.5) == INF  # a penalty for the format: inf - inf would be NaN, and being right decides
    assert reward(0.0, 1.0, 0.5) == -INF
    assert reward(0.0, 1.0, 0.5, ~right) == INF
    assert reward(0.5, 0.5, 0.5) == 0.5


# Enumeration


@pytest.mark.parametrize("size", [1, 2, 3])
def test_expected_accuracy_loss_is_minus_the_gradient_of_the_accuracy(size):
    model = LatentModel()
    loss = expectation(model.prior, size, lambda z: expected_accuracy_loss(model.prior.log()[z], model.correctness[z]))
    for mine, truth in zip(gradient(loss, model.theta), gradient(model.evidence, model.theta), strict=True):
        assert truth.abs().max() > 1e-3
        assert_exact(mine, -truth)


@pytest.mark.parametrize("advantages", [reinforce_advantages, rloo_advantages])
@pytest.mark.parametrize("size", [2, 3])
def test_sampled_answers_give_the_gradient_of_the_accuracy_too(advantages, size):
    # one action is a pair (z, y); its log-probability is log pi(z|x) + log pi(y|x,z)
    model = LatentModel()
    log_pairs = (model.prior.log()[:, None] + model.answer_logits.log_softmax(-1)).flatten()
    right = torch.tensor([y in CORRECT for _ in range(NUM_TRACES) for y in range(NUM_ANSWERS)])
    loss = expectation(log_pairs.exp(), size, lambda g: policy_gradient_loss(log_pairs[g], advantages(right[g])))
    for mine, truth in zip(gradient(loss, model.theta), gradient(model.evidence, model.theta), strict=True):
        assert_exact(mine, -truth)


# Symmetries


@given(real_groups, st.floats(-5, 5))
def test_centred_advantages_do_not_move_with_the_level_of_the_rewards(rewards, shift):
    rewards = torch.tensor(rewards)
    for advantages in CENTRED:
        rule = (lambda r: grpo_advantages(r, eps=1.0)) if advantages is grpo_advantages else advantages
        assert_exact(rule(rewards + shift), rule(rewards), atol=1e-9)
        assert_exact(advantages(rewards).sum(), 0.0, atol=1e-6)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.floats(0.1, 100))
def test_grpo_without_eps_does_not_change_with_the_unit_of_the_rewards(rewards, unit):
    rewards = torch.tensor(rewards, dtype=torch.float64)
    scaled = grpo_advantages(unit * rewards, eps=0.0)
    assert_exact(scaled, grpo_advantages(rewards, eps=0.0), atol=1e-9)


@given(real_groups, st.randoms(use_true_random=False))
def test_advantages_follow_their_rewards(rewards, random):
    order = torch.tensor(random.sample(range(len(rewards)), len(rewards)))
    rewards = torch.tensor(rewards).abs()
    for advantages in [a for a in ADVANTAGES if a is not one_kept_advantages]:
        assert_exact(advantages(rewards[order]), advantages(rewards)[order], atol=1e-9)


@given(binary_groups)
def test_binary_rules_against_a_loop(rewards):
    size, successes = len(rewards), sum(rewards)
    group = torch.tensor(rewards)
    assert dr_grpo_advantages(group).tolist() == pytest.approx([r - successes / size for r in rewards])
    assert maxrl_advantages(group).tolist() == pytest.approx([r * size / max(successes, 1) for r in rewards])
    kept = [0.0] * size
    if successes:
        kept[rewards.index(True)] = float(size)
    assert one_kept_advantages(group).tolist() == kept
    assert bool(dapo_kept_groups(group)) == (0 < successes < size)
    if size > 1:
        others = [(successes - r) / (size - 1) for r in rewards]
        assert rloo_advantages(group).tolist() == pytest.approx([r - o for r, o in zip(rewards, others, strict=True)])


@given(binary_groups)
def test_maxrl_is_the_forward_kl_of_the_policy_itself(rewards):
    correct = torch.tensor(rewards)
    log_probs = -torch.arange(1.0, len(rewards) + 1)
    assert_exact(policy_gradient_loss(log_probs, maxrl_advantages(correct)), forward_kl_loss(log_probs, correct * 1.0))


# Edges


@pytest.mark.parametrize("advantages", ADVANTAGES)
@pytest.mark.parametrize("rewards", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [0.0], [1.0]])
def test_groups_without_contrast(advantages, rewards):
    given_ = advantages(torch.tensor(rewards))
    assert given_.isfinite().all()
    if advantages in (grpo_advantages, dr_grpo_advantages) or max(rewards) == 0:
        assert_exact(given_, [0.0] * len(rewards), atol=1e-15)


def test_rounding_in_the_mean_of_equal_rewards_is_not_blown_up():
    rewards = torch.full((7,), 0.1)
    assert (rewards - rewards.mean()).abs().max() > 0  # else this test tests nothing
    assert grpo_advantages(rewards, eps=0.0).tolist() == [0.0] * 7
    beside_another = torch.stack([rewards, torch.arange(7.0)])
    assert grpo_advantages(beside_another, eps=0.0)[0].tolist() == [0.0] * 7


def test_rewards_too_near_each_other_for_a_variance():
    for rewards in (torch.tensor([0.0, 1e-200, 2e-200]), torch.tensor([0.0, 1e-30, 2e-30], dtype=torch.float32)):
        assert rewards.unique().numel() == 3
        assert grpo_advantages(rewards, eps=0.0).tolist() == [0.0] * 3


@pytest.mark.parametrize("advantages", ADVANTAGES)
def test_advantages_are_constants_of_the_rewards_dtype(advantages):
    rewards = leaf(1.0, 0.0, 2.0)
    assert not advantages(rewards).requires_grad
    assert advantages(rewards.float()).dtype == torch.float32
    assert advantages(torch.tensor([True, False])).dtype == torch.float64
    assert advantages(torch.tensor([1, 0])).dtype == torch.float64


def test_losses_and_rewards_of_verdicts_have_the_dtype_of_the_numbers_beside_them():
    verdicts, numbers = torch.tensor([True, False]), torch.tensor([0.5, 0.25], dtype=torch.float32, requires_grad=True)
    assert rft_loss(numbers, verdicts).dtype == torch.float32
    reward = debiased_reward(verdicts, verdicts, numbers, numbers, alpha=1.0, beta=0.5, gamma=0.0)
    assert reward.dtype == torch.float32
    assert not reward.requires_grad


@pytest.mark.parametrize("advantages", ADVANTAGES)
def test_a_nan_reward_touches_no_group_but_its_own(advantages):
    groups = torch.tensor([[1.0, math.nan, 0.0], [1.0, 0.0, 0.0]])
    assert_exact(advantages(groups)[1], advantages(groups[1]))


@pytest.mark.parametrize("advantages", [*ADVANTAGES, dapo_kept_groups])
def test_advantages_under_vmap(advantages):
    groups = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert torch.equal(torch.func.vmap(advantages)(groups), advantages(groups))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_impossible_rollouts(loss):
    log_probs = leaf(-INF, -1.0)
    value = loss(log_probs, torch.tensor([0.0, 1.0]))
    value.backward()
    assert value.isfinite()
    assert_exact(log_probs.grad, [0.0, -0.5])


def test_impossible_rollouts_of_both_signs_are_an_infinite_loss():
    log_probs = leaf(-INF, -INF, -1.0)
    loss = policy_gradient_loss(log_probs, torch.tensor([0.5, -0.5, 1.0]))
    assert loss == INF
    assert_exact(torch.autograd.grad(loss, log_probs)[0], [0.0] * 3)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_under_vmap_and_gradcheck(loss):
    log_probs, numbers = -torch.rand(3, 4), torch.rand(3, 4)
    assert_exact(torch.func.vmap(loss)(log_probs, numbers), loss(log_probs, numbers))
    assert torch.autograd.gradcheck(lambda x: loss(x, numbers), (log_probs.requires_grad_(),))


@pytest.mark.parametrize("function", [*ADVANTAGES, dapo_kept_groups])
def test_an_empty_group_is_refused(function):
    with pytest.raises(ShapeError, match=rf"^{function.__name__}: needs at least one sample on the last axis"):
        function(torch.zeros(2, 0))


@pytest.mark.parametrize("function", [*LOSSES, shaped_reward])
def test_unequal_shapes_are_refused(function):
    first, second = (
        (torch.zeros(2, 3), torch.zeros(3)) if function in LOSSES else (torch.ones(2) > 0, torch.ones(3) > 0)
    )
    settings = {"alpha": 1.0, "beta": 0.0, "gamma": 0.0} if function is shaped_reward else {}
    rule = inspect.unwrap(function)
    with pytest.raises(ShapeError, match="need one common shape"):
        rule(first, second, **settings)


@pytest.mark.parametrize("settings", [{"ddof": 2}, {"ddof": -1}, {"eps": -1e-9}, {"eps": math.nan}])
def test_impossible_scales_are_refused(settings):
    with pytest.raises(ValueError, match="grpo_advantages: needs ddof 0"):
        grpo_advantages(torch.tensor([1.0, 0.0]), **settings)


def test_half_precision_is_near_double():
    groups = (torch.rand(50, 8) < 0.3).double()
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        for advantages in ADVANTAGES:
            exact = advantages(groups)
            torch.testing.assert_close(advantages(groups.to(dtype)).double(), exact, rtol=tolerance, atol=tolerance)
