"""equivalence.py: every W(p) against the enumerated gradient, against a certificate, and against 60-digit sums."""

import decimal
import math
from decimal import Decimal
from functools import partial

import pytest
import torch
from helpers import INF, assert_exact
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import LatentModel, expectation, gradient, kl
from rules import PAPER_GRPO, RULES, TRL_GRPO

import varcore
from varcore import (
    binary_rl_question_weight,
    dapo_kept_groups,
    dapo_question_weight,
    debiased_reward,
    debiased_reward_optimum,
    dr_grpo_question_weight,
    forward_kl_loss,
    forward_kl_question_weight,
    grpo_advantages,
    grpo_question_weight,
    local_forward_kl,
    maximum_likelihood_question_weight,
    maxrl_question_weight,
    policy_gradient_loss,
    rft_loss,
    rft_one_kept_question_weight,
    rft_question_weight,
    rloo_question_weight,
    shaped_reward,
    shaped_reward_optimum,
)

pytestmark = pytest.mark.usefixtures("float64")

rules = pytest.mark.parametrize("name", RULES)
RIGHT = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)  # which of the four traces are right
FINITE = [grpo_question_weight, dapo_question_weight, dr_grpo_question_weight, rloo_question_weight,
          maxrl_question_weight, forward_kl_question_weight, rft_one_kept_question_weight]  # fmt: skip
ENDLESS = [rft_question_weight, binary_rl_question_weight, maximum_likelihood_question_weight]


def target_kl(model):
    """KL(P(z|x,Y) || pi) with the target held fixed, where each trace is right or wrong; and p."""
    target = model.prior.detach() * RIGHT
    return kl(target / target.sum(), model.prior), target.sum()


# The equivalence itself


@rules
@pytest.mark.parametrize("size", [1, 2, 3])
def test_expected_gradient_is_w_times_that_of_the_local_forward_kl(name, size):
    advantages, question_weight = RULES[name]
    model = LatentModel()
    loss = expectation(model.prior, size, lambda z: policy_gradient_loss(model.prior.log()[z], advantages(RIGHT[z])))
    divergence, p = target_kl(model)
    truth = gradient(divergence, model.theta)[0]
    assert truth.abs().max() > 1e-2
    assert_exact(gradient(loss, model.theta)[0], question_weight(p, size) * truth)


@pytest.mark.parametrize("settings", [PAPER_GRPO, TRL_GRPO])
@pytest.mark.parametrize("size", [2, 3])
def test_dynamic_sampling_by_enumeration(size, settings):
    model = LatentModel()

    def kept_loss(z):
        loss = policy_gradient_loss(model.prior.log()[z], grpo_advantages(RIGHT[z], **settings))
        return loss * dapo_kept_groups(RIGHT[z])

    divergence, p = target_kl(model)
    kept = 1 - p**size - (1 - p) ** size
    truth = dapo_question_weight(p, size, **settings) * gradient(divergence, model.theta)[0]
    assert_exact(gradient(expectation(model.prior, size, kept_loss), model.theta)[0] / kept, truth)


@pytest.mark.parametrize("size", [1, 3])
def test_losses_with_names_of_their_own(size):
    model = LatentModel()
    divergence, p = target_kl(model)
    truth = gradient(divergence, model.theta)[0]
    for loss, weight in ((rft_loss, rft_question_weight(p)), (forward_kl_loss, forward_kl_question_weight(p, size))):
        enumerated = expectation(model.prior, size, lambda z, loss=loss: loss(model.prior.log()[z], RIGHT[z]))
        assert_exact(gradient(enumerated, model.theta)[0], weight * truth)


def test_maximum_likelihood_is_the_local_forward_kl():
    model = LatentModel()
    divergence, p = target_kl(model)
    likelihood = gradient((model.prior * RIGHT).sum().log(), model.theta)[0]
    assert_exact(-likelihood, maximum_likelihood_question_weight(p) * gradient(divergence, model.theta)[0])


# Against sums with 60 digits


def digits_grpo(p, size, ddof, eps):
    """p (E[A|r=1] - E[A|r=0]) as it is written in the method, both sums in 60 digits."""
    with decimal.localcontext() as context:
        context.prec = 60
        p, eps = Decimal(p), Decimal(eps)
        total = Decimal(0)
        for others in range(size):
            chance = math.comb(size - 1, others) * p**others * (1 - p) ** (size - 1 - others)
            total += chance * (advantage(1, others, size, ddof, eps) - advantage(0, others, size, ddof, eps))
        return float(p * total)


def advantage(reward, others, size, ddof, eps):
    successes = others + reward
    if successes in (0, size):
        return Decimal(0)
    mean = Decimal(successes) / size
    return (reward - mean) / ((mean * (1 - mean) * size / (size - ddof)).sqrt() + eps)


@pytest.mark.parametrize("p", [1e-9, 1e-4, 0.3, 0.999, 1 - 2**-30])
@pytest.mark.parametrize("size", [2, 8, 1024])
@pytest.mark.parametrize("settings", [PAPER_GRPO, TRL_GRPO])
def test_grpo_against_sixty_digits(p, size, settings):
    ours = grpo_question_weight(torch.tensor([p]), size, **settings).item()
    assert ours == pytest.approx(digits_grpo(p, size, **settings), rel=1e-10)
    with decimal.localcontext() as context:
        context.prec = 60
        mixed = 1 - Decimal(p) ** size - (1 - Decimal(p)) ** size
        kept = Decimal(digits_grpo(p, size, **settings)) / mixed
    assert dapo_question_weight(torch.tensor([p]), size, **settings).item() == pytest.approx(float(kept), rel=1e-9)


@pytest.mark.parametrize("p", [1e-9, 1e-3, 0.5, 1 - 2**-30])
@pytest.mark.parametrize("size", [1, 8, 1024])
def test_chance_of_a_success_against_sixty_digits(p, size):
    with decimal.localcontext() as context:
        context.prec = 60
        exact = float(1 - (1 - Decimal(p)) ** size)
    for weight in (maxrl_question_weight, forward_kl_question_weight, rft_one_kept_question_weight):
        assert weight(torch.tensor([p]), size).item() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight", [grpo_question_weight, dapo_question_weight])
def test_sums_are_taken_in_float64_whatever_the_dtype_of_p(weight, dtype):
    # in float32 the sums of 1024 terms would be off in the fourth digit; in bfloat16 1 - p is off in the third
    p = torch.tensor([1e-6, 0.02, 0.3, 0.35, 0.45, 0.49, 0.999], dtype=dtype)
    assert torch.equal(weight(p, 1024), weight(p.double(), 1024).to(dtype))


# Limits, goldens, edges


def test_goldens_of_two_rollouts():
    # one right, one wrong: A = 1 and -1 (ddof 0), so W = p (E[A|1] - E[A|0]) = p ((1-p) + p) = p, as REINFORCE
    p = torch.tensor([0.1, 0.5, 0.8])
    assert_exact(grpo_question_weight(p, 2), p)
    assert_exact(dr_grpo_question_weight(p, 2), p / 2)
    assert_exact(dapo_question_weight(p, 2), 1 / (2 * (1 - p)))  # kept with chance 2p(1-p)
    assert_exact(maxrl_question_weight(p, 2), 2 * p - p * p)


@pytest.mark.parametrize("weight", FINITE)
def test_large_groups_tend_to_the_population(weight):
    p = torch.tensor([0.05, 0.3, 0.7])
    errors = [(weight(p, size) - weight(p)).abs().max().item() for size in (16, 128, 1024)]
    assert errors[2] < 4e-3
    assert weight in (rloo_question_weight,) or errors[0] > errors[1] > errors[2]


def test_population_of_grpo():
    p = torch.tensor([0.0, 0.2, 0.5, 1.0])
    assert_exact(grpo_question_weight(p), [0.0, 0.5, 1.0, INF])
    assert_exact(dapo_question_weight(p), [0.0, 0.5, 1.0, INF])
    assert_exact(grpo_question_weight(p, eps=0.1), [0.0, 0.2 / 0.5, 0.5 / 0.6, 10.0])


@pytest.mark.parametrize("size", [1, 2, 9])
def test_certain_questions(size):
    ends = torch.tensor([0.0, 1.0])
    for weight in FINITE:
        assert weight(ends, size).isfinite().all()
        assert weight(ends, size)[0] == 0
    assert_exact(dapo_question_weight(ends, size), [0.0, 0.0])
    # at p = 1 the limit: W = ((G-1)/G) / std of one failure in G
    limit = (size - 1) / size / math.sqrt((size - 1) / size**2) if size > 1 else 0.0
    assert_exact(grpo_question_weight(ends, size)[1], limit)


def test_certain_questions_in_the_population():
    ends = torch.tensor([0.0, 1.0])
    for weight in (maximum_likelihood_question_weight, maxrl_question_weight, forward_kl_question_weight):
        assert_exact(weight(ends), [1.0, 1.0])
    assert_exact(rft_one_kept_question_weight(ends), [1.0, 1.0])
    for weight in (rft_question_weight, binary_rl_question_weight, rloo_question_weight, dr_grpo_question_weight):
        assert_exact(weight(ends), [0.0, 1.0])


def test_dynamic_sampling_does_not_forget_hard_questions():
    size = 8
    one_success = (size - 1) / size**2 / math.sqrt((size - 1) / size**2)
    assert_exact(dapo_question_weight(torch.tensor([1e-12]), size), [one_success], atol=1e-9)
    assert grpo_question_weight(torch.tensor([1e-12]), size).item() < 1e-10


@pytest.mark.parametrize("weight", [*FINITE, *ENDLESS])
def test_no_probability_is_nan_and_touches_no_other(weight):
    p = torch.tensor([-0.1, 0.4, 1.1, math.nan, -1.0, 2.0])
    calls = [weight] if weight in ENDLESS else [weight, partial(weight, group_size=4)]
    if weight is forward_kl_question_weight:
        calls[1] = partial(weight, num_traces=4)
    for call in calls:
        assert call(p).isnan().tolist() == [True, False, True, True, True, True]
        assert_exact(call(p)[1], call(torch.tensor(0.4)))


MULTIPLES = [rft_question_weight, binary_rl_question_weight, rloo_question_weight, dr_grpo_question_weight]


@pytest.mark.parametrize("weight", [*FINITE, *ENDLESS])
def test_gradient_at_certain_questions(weight):
    ends = torch.tensor([0.0, 1.0], requires_grad=True)
    for call in (weight,) if weight in ENDLESS else (weight, lambda p: weight(p, 5)):
        (grad,) = torch.autograd.grad(call(ends).sum(), ends)
        slope = call(torch.tensor(1.0)) if weight in MULTIPLES else 0.0
        assert_exact(grad, torch.full((2,), float(slope)))


@pytest.mark.parametrize("weight", [*FINITE, *ENDLESS])
def test_dtype_vmap_and_gradcheck(weight):
    p = torch.tensor([[0.05, 0.3], [0.6, 0.9]], requires_grad=True)
    call = weight if weight in ENDLESS else lambda x: weight(x, 5)
    assert_exact(torch.func.vmap(torch.func.vmap(call))(p), call(p))
    assert call(p.float()).dtype == torch.float32
    torch.testing.assert_close(call(p.float()), call(p).float(), rtol=1e-6, atol=0)
    if weight is not maximum_likelihood_question_weight:
        assert torch.autograd.gradcheck(call, p)
        if weight not in ENDLESS:
            assert weight in (maxrl_question_weight, forward_kl_question_weight, rft_one_kept_question_weight) or (
                torch.autograd.gradcheck(weight, p)
            )


@given(st.floats(1e-6, 1 - 1e-6), st.integers(2, 40))
def test_orderings(p, size):
    p = torch.tensor([p], dtype=torch.float64)
    slack = 1 + 1e-9
    assert dr_grpo_question_weight(p, size) <= rloo_question_weight(p, size) <= maxrl_question_weight(p, size) * slack
    assert maxrl_question_weight(p, size) <= maxrl_question_weight(p, size + 1) * slack
    assert grpo_question_weight(p, size) <= dapo_question_weight(p, size) * slack
    assert grpo_question_weight(p, size, ddof=1) <= grpo_question_weight(p, size) * slack


@pytest.mark.parametrize("weight", FINITE)
def test_empty_groups_are_refused(weight):
    with pytest.raises(ValueError, match=f"^{weight.__name__}: needs a group of at least 1, or None"):
        weight(torch.tensor([0.5]), 0)


@pytest.mark.parametrize("weight", [grpo_question_weight, dapo_question_weight])
@pytest.mark.parametrize("settings", [{"ddof": 2}, {"eps": -1.0}])
def test_impossible_scales_are_refused(weight, settings):
    with pytest.raises(ValueError, match=f"{weight.__name__}: needs ddof 0"):
        weight(torch.tensor([0.5]), 4, **settings)


# The local forward KL


def test_local_forward_kl_golden():
    # pi = (1/2, 1/4, 1/4), only the first two right: P = (2/3, 1/3), KL = log(4/3) in both terms
    prior = torch.tensor([0.5, 0.25, 0.25])
    log_correctness = torch.tensor([1.0, 1.0, 0.0]).log()
    assert_exact(local_forward_kl(prior.log(), log_correctness), math.log(4 / 3))


def test_local_forward_kl_has_a_fixed_target():
    model = LatentModel()
    value = local_forward_kl(model.prior.log(), model.correctness.log())
    truth = kl(model.true_posterior.detach(), model.prior)
    assert_exact(value, truth.detach())
    ours, theirs = gradient(value, model.theta), gradient(truth, model.theta)
    assert_exact(ours[0], theirs[0])
    assert ours[1].abs().max() == 0  # the target is held fixed: nothing reaches the answers


def test_local_forward_kl_of_hopeless_questions():
    log_prior = torch.tensor([[-1.0, -INF], [-1.0, -2.0]], requires_grad=True)
    value = local_forward_kl(log_prior, torch.tensor([[0.0, 0.0], [-INF, -INF]]))
    value.sum().backward()
    assert_exact(value.detach(), [1.0, 0.0])  # P is all on the trace of log pi = -1; then no posterior at all
    assert_exact(log_prior.grad, [[-1.0, 0.0], [0.0, 0.0]])


# Shaped rewards


def shaped_model():
    """Pairs (trace, answer) as single actions: logits, which pairs are right, which only well-formed."""
    logits = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    correct = torch.tensor([True, False, False, True, False, False])
    formed = torch.tensor([True, True, False, True, True, False])
    return logits, correct, formed


COEFFICIENTS = {"alpha": 2.0, "beta": 0.5, "gamma": -1.0}


@pytest.mark.parametrize("debiased", [False, True])
def test_shaped_rewards_are_two_forward_kls(debiased):
    logits, correct, formed = shaped_model()
    probs = logits.softmax(-1).detach()
    p, p_formed = probs[correct].sum(), probs[formed].sum()
    if debiased:
        rewards = debiased_reward(correct, formed, p, p_formed, **COEFFICIENTS)
        optimum = debiased_reward_optimum
    else:
        rewards = shaped_reward(correct, formed, **COEFFICIENTS)
        optimum = shaped_reward_optimum
    (reward_gradient,) = torch.autograd.grad((logits.softmax(-1) * rewards).sum(), logits)
    both = [kl(probs * mask / probs[mask].sum(), logits.softmax(-1)) for mask in (correct, formed)]
    scales = (3.0 - 1.5, 1.5) if debiased else (1.5 * p, 1.5 * p_formed)  # alpha - beta and beta - gamma
    (kl_gradient,) = torch.autograd.grad(scales[0] * both[0] + scales[1] * both[1], logits)
    assert reward_gradient.abs().max() > 1e-2
    assert_exact(reward_gradient, -kl_gradient)
    # the optimum of the step is the distribution at which those two KLs, targets fixed, have no gradient
    best = optimum(probs * correct, probs * formed, **COEFFICIENTS)
    assert_exact(best.sum(), 1.0)
    # one logit per action: the gradient of the two KLs at a softmax policy is (total mass) * policy - mixture
    total = scales[0] + scales[1]
    mixture = sum(s * probs * m / probs[m].sum() for s, m in zip(scales, (correct, formed), strict=True))
    assert_exact(total * best, mixture)


def test_optimum_goldens():
    joint, formed = torch.tensor([0.1, 0.0, 0.0]), torch.tensor([0.1, 0.3, 0.0])
    settings = {"alpha": 1.0, "beta": 0.5, "gamma": 0.0}
    # biased: (0.05 + 0.05, 0.15) / 0.25;  debiased: 1/2 (1, 0) + 1/2 (1/4, 3/4)
    assert_exact(shaped_reward_optimum(joint, formed, **settings), [0.4, 0.6, 0.0])
    assert_exact(debiased_reward_optimum(joint, formed, **settings), [0.625, 0.375, 0.0])


@pytest.mark.parametrize("optimum", [shaped_reward_optimum, debiased_reward_optimum])
def test_one_part_alone_is_pulled_to_its_own_posterior(optimum):
    joint, formed = torch.tensor([0.1, 0.1, 0.0]), torch.tensor([0.1, 0.1, 0.6])
    assert_exact(optimum(joint, formed, alpha=1.0, beta=0.0, gamma=0.0), [0.5, 0.5, 0.0])  # format worth nothing
    assert_exact(optimum(joint, formed, alpha=1.0, beta=1.0, gamma=0.0), [0.125, 0.125, 0.75])  # format worth it all


@pytest.mark.parametrize("optimum", [shaped_reward_optimum, debiased_reward_optimum])
def test_optimum_without_mass(optimum):
    nothing, formed = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.2, 0.0]])
    assert_exact(optimum(nothing, formed, **COEFFICIENTS), [[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]])


@pytest.mark.parametrize("optimum", [shaped_reward_optimum, debiased_reward_optimum])
@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.0, 1.0, 0.0), (1.0, 0.0, 0.5), (1.0, 1.0, 1.0)])
def test_rewards_out_of_order_are_refused(optimum, alpha, beta, gamma):
    with pytest.raises(ValueError, match=f"^{optimum.__name__}: needs alpha >= beta >= gamma and alpha > gamma"):
        optimum(torch.ones(3), torch.ones(3), alpha=alpha, beta=beta, gamma=gamma)


def test_every_question_weight_is_tested_here():
    names = {name for name in varcore.__all__ if name.endswith("question_weight") and not name.startswith("certified")}
    assert {weight.__name__ for weight in (*FINITE, *ENDLESS)} == names
