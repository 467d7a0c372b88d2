"""certificates.py: listing reward groups gives the formulas of equivalence.py, and anything else a rule may be."""

from functools import partial

import pytest
import torch
from helpers import assert_exact
from rules import PAPER_GRPO, RULES, TRL_GRPO

from varcore import (
    ShapeError,
    certified_exchangeable_question_weight,
    certified_question_weight,
    dapo_kept_groups,
    dapo_question_weight,
    grpo_advantages,
    one_kept_advantages,
    reinforce_advantages,
)

pytestmark = pytest.mark.usefixtures("float64")
rules = pytest.mark.parametrize("name", RULES)


@rules
@pytest.mark.parametrize("size", [1, 2, 5, 10])
def test_listing_all_groups_certifies_the_formula(name, size):
    advantages, question_weight = RULES[name]
    p = torch.tensor([0.0, 1e-9, 0.03, 0.5, 0.9, 1 - 1e-9, 1.0])
    assert_exact(certified_question_weight(advantages, p, size), question_weight(p, size), atol=1e-9)


@rules
@pytest.mark.parametrize("size", [1, 5, 64])
def test_listing_counts_certifies_the_formula(name, size):
    if name == "one kept":
        return  # it looks at positions: refused, next test
    advantages, question_weight = RULES[name]
    p = torch.tensor([0.0, 1e-9, 0.03, 0.5, 0.9, 1.0])
    ours = certified_exchangeable_question_weight(advantages, p, size)
    torch.testing.assert_close(ours, question_weight(p, size), rtol=1e-9, atol=1e-13)


def test_a_rule_that_looks_at_positions_is_refused_by_counts_only():
    with pytest.raises(ValueError, match=r"change with the order of the rewards.*certified_question_weight"):
        certified_exchangeable_question_weight(one_kept_advantages, torch.tensor([0.5]), 4)


@pytest.mark.parametrize(("slope", "scale"), [(1e-6, 1.0), (1.0, 1e-9)])
def test_a_rule_that_hardly_looks_at_positions_is_refused_too(slope, scale):
    with pytest.raises(ValueError, match="change with the order of the rewards"):
        certified_exchangeable_question_weight(
            lambda r: scale * r * (1 + slope * torch.arange(4)), torch.tensor([0.5]), 4
        )


@pytest.mark.parametrize("settings", [PAPER_GRPO, TRL_GRPO])
@pytest.mark.parametrize("certify", [certified_question_weight, certified_exchangeable_question_weight])
def test_certificate_of_dynamic_sampling(certify, settings):
    p = torch.tensor([0.0, 1e-6, 0.3, 0.97, 1.0])
    ours = certify(partial(grpo_advantages, **settings), p, 6, kept=dapo_kept_groups)
    torch.testing.assert_close(ours, dapo_question_weight(p, 6, **settings), rtol=1e-8, atol=0)


@pytest.mark.parametrize("certify", [certified_question_weight, certified_exchangeable_question_weight])
def test_a_rule_undefined_on_some_groups_is_certified_without_them(certify):
    def rule(rewards):  # 0/0 where all rewards are equal
        centred = rewards - rewards.mean(-1, keepdim=True)
        return centred / centred.square().mean(-1, keepdim=True).sqrt()

    p = torch.tensor([0.3])
    assert certify(rule, p, 4).isnan().all()
    assert_exact(certify(rule, p, 4, kept=dapo_kept_groups), dapo_question_weight(p, 4))


@pytest.mark.parametrize("certify", [certified_question_weight, certified_exchangeable_question_weight])
def test_groups_rarer_than_the_smallest_number_are_never_kept(certify):
    # both right has a chance of 1e-400, which is 0 in float64: no share to divide by, in the gradient neither
    p = torch.tensor([1e-200, 0.5], requires_grad=True)
    weight = certify(reinforce_advantages, p, 2, kept=lambda rewards: rewards.sum(-1) == 2)
    assert_exact(weight, [0.0, 1.0])  # a kept group has A = r = 1 twice
    assert_exact(torch.autograd.grad(weight.sum(), p)[0], [0.0, 0.0])


def test_a_rule_of_ones_own():
    # A = r^2 - 0.7 on 0/1 rewards: E[A|1] - E[A|0] = 1, whatever the constant
    p = torch.linspace(0.01, 0.99, 7)
    assert_exact(certified_question_weight(lambda r: r.square() - 0.7, p, 4), p)


def test_the_advantages_of_a_rule_are_constants_of_any_dtype():
    scale, p = torch.tensor(2.0, requires_grad=True), torch.tensor([0.2, 0.7], requires_grad=True)
    weight = certified_question_weight(lambda r: scale * r, p, 3)
    assert_exact(weight, 2 * p)
    assert_exact(torch.autograd.grad(weight.sum(), (p, scale), allow_unused=True)[0], [2.0, 2.0])
    assert not certified_question_weight(lambda r: scale * r, p.detach(), 3).requires_grad
    assert_exact(certified_question_weight(lambda r: r.to(torch.int8), p.detach(), 3), p.detach())


def test_sums_are_taken_in_float64_whatever_the_dtype_of_p():
    p = torch.tensor([1e-6, 0.3, 0.999], dtype=torch.float32)
    ours = certified_exchangeable_question_weight(grpo_advantages, p, 1024)
    exact = certified_exchangeable_question_weight(grpo_advantages, p.double(), 1024)
    assert torch.equal(ours, exact.float())


def test_a_rule_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"advantages of the rewards' shape \(8, 3\), got \(8,\)"):
        certified_question_weight(lambda r: r.mean(-1), torch.tensor([0.5]), 3)


@pytest.mark.parametrize("size", [0, 17])
def test_too_many_groups_are_refused(size):
    with pytest.raises(ValueError, match="1 <= G <= 16; got"):
        certified_question_weight(reinforce_advantages, torch.tensor([0.5]), size)
    assert_exact(certified_question_weight(reinforce_advantages, torch.tensor([0.3]), 16), [0.3])


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError, match=r"^certified_exchangeable_question_weight: needs a group of at least 1"):
        certified_exchangeable_question_weight(reinforce_advantages, torch.tensor([0.5]), 0)
