"""bounds.py against goldens done by hand and against enumeration of a four-trace model."""

import inspect
import math

import jaxtyping
import pytest
import torch
from helpers import INF, assert_exact, assert_mean, leaf
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import CORRECT, NUM_ANSWERS, LatentModel, expectation, gradient, kl

import varcore
from varcore import (
    ShapeError,
    elbo,
    iwae_bound,
    iwae_posterior_loss,
    iwae_reasoner_loss,
    log_importance_weights,
    normalized_weights,
)

pytestmark = pytest.mark.usefixtures("float64")

BOUNDS = [elbo, iwae_bound]
LOSSES = [iwae_reasoner_loss, iwae_posterior_loss]
log_weight_lists = st.lists(st.floats(-50, 50), min_size=1, max_size=6)


def model_log_weights(model, traces):
    log_q = model.posterior.log()[traces]
    return log_importance_weights(model.prior.log()[traces], model.correctness.log()[traces], log_q)


# Goldens


def test_log_importance_weights_golden():
    # rho = pi(z) pi(Y|z) / q(z) = 1/2 * 1/4 / (1/8) = 1;  1/3 * 1/2 / (2/3) = 1/4
    prior, likelihood, posterior = leaf(1 / 2, 1 / 3), leaf(1 / 4, 1 / 2), leaf(1 / 8, 2 / 3)
    assert_exact(log_importance_weights(prior.log(), likelihood.log(), posterior.log()).exp(), [1.0, 0.25])


def test_log_importance_weights_gradient_signs():
    logs = leaf(-1.0), leaf(-2.0), leaf(-3.0)
    grads = torch.autograd.grad(log_importance_weights(*logs).sum(), logs)
    assert [g.item() for g in grads] == [1.0, 1.0, -1.0]


def test_bounds_golden():
    # weights 1 and 3: mean weight 2, so L^2 = log 2, gradient 1/4 and 3/4; ELBO = (0 + log 3)/2, gradient 1/2 each
    log_weights = leaf(0.0, math.log(3.0))
    assert_exact(iwae_bound(log_weights), math.log(2.0))
    assert_exact(elbo(log_weights), math.log(3.0) / 2)
    assert_exact(normalized_weights(log_weights), [0.25, 0.75])
    assert_exact(torch.autograd.grad(iwae_bound(log_weights), log_weights)[0], [0.25, 0.75])
    assert_exact(torch.autograd.grad(elbo(log_weights), log_weights)[0], [0.5, 0.5])


def test_reasoner_loss_golden():
    # w = (1/4, 3/4), log_joint = (-2, -4): loss = 1/4 * 2 + 3/4 * 4 = 7/2, gradient -w
    log_joint = leaf(-2.0, -4.0)
    loss = iwae_reasoner_loss(log_joint, torch.tensor([1.0, 3.0]).log())
    assert_exact(loss, 3.5)
    assert_exact(torch.autograd.grad(loss, log_joint)[0], [-0.25, -0.75])


def test_posterior_loss_golden():
    # bound log 2, w = (1/4, 3/4): coefficients log 2 - 1/4 and log 2 - 3/4, gradient minus those
    log_posterior = leaf(-2.0, -4.0)
    loss = iwae_posterior_loss(log_posterior, torch.tensor([1.0, 3.0]).log())
    first, second = math.log(2.0) - 0.25, math.log(2.0) - 0.75
    assert_exact(loss, 2 * first + 4 * second)
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [-first, -second])


def test_one_sample_reduces_to_the_elbo():
    log_weights, log_prob = torch.tensor([[-1.5], [2.0]]), torch.tensor([[-3.0], [-4.0]])
    assert_exact(iwae_bound(log_weights), elbo(log_weights))
    assert_exact(normalized_weights(log_weights), [[1.0], [1.0]])
    assert_exact(iwae_reasoner_loss(log_prob, log_weights), [3.0, 4.0])
    # coefficient log rho - 1: (-2.5, 1), times -log q = (3, 4)
    assert_exact(iwae_posterior_loss(log_prob, log_weights), [-7.5, 4.0])


# Enumeration


def test_elbo_is_evidence_minus_kl():
    model = LatentModel()
    all_traces = torch.arange(4)
    enumerated = expectation(model.posterior, 1, lambda z: elbo(model_log_weights(model, z)))
    identity = model.evidence.log() - kl(model.posterior, model.true_posterior)
    assert_exact(enumerated, identity.detach())
    assert_exact(model_log_weights(model, all_traces), model.weights.log())


def test_weights_are_the_evidence_when_q_is_the_true_posterior():
    model = LatentModel()
    log_weights = log_importance_weights(model.prior.log(), model.correctness.log(), model.true_posterior.log())
    assert_exact(log_weights, model.evidence.log().expand(4))


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_iwae_bound_expectation_is_the_enumerated_bound(num_samples):
    model = LatentModel()
    enumerated = expectation(model.posterior, num_samples, lambda z: iwae_bound(model_log_weights(model, z)))
    assert_exact(enumerated, model.bound(num_samples).detach())


def test_iwae_bound_rises_with_k_towards_the_evidence():
    model = LatentModel()
    bounds = [
        expectation(model.posterior, k, lambda z: iwae_bound(model_log_weights(model, z))).item() for k in (1, 2, 3, 4)
    ]
    assert bounds == sorted(set(bounds))
    assert bounds[-1] < model.evidence.log()


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_reasoner_loss_gradient_is_minus_that_of_the_bound(num_samples):
    model = LatentModel()

    def loss(z):
        return iwae_reasoner_loss(model.joint.log()[z], model_log_weights(model, z))

    ours = gradient(expectation(model.posterior, num_samples, loss), model.theta)
    for mine, theirs in zip(ours, gradient(model.bound(num_samples), model.theta), strict=True):
        assert theirs.abs().max() > 1e-3
        assert_exact(mine, -theirs)


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_posterior_loss_gradient_is_minus_that_of_the_bound(num_samples):
    model = LatentModel()

    def loss(z):
        return iwae_posterior_loss(model.posterior.log()[z], model_log_weights(model, z))

    ours = gradient(expectation(model.posterior, num_samples, loss), model.phi)
    for mine, theirs in zip(ours, gradient(model.bound(num_samples), model.phi), strict=True):
        assert theirs.abs().max() > 1e-3
        assert_exact(mine, -theirs)


def test_sampled_posterior_gradient_agrees_with_the_bound():
    model = LatentModel()
    traces = torch.multinomial(model.posterior.detach(), 3 * 20_000, replacement=True).view(-1, 3)
    log_posterior = model.posterior.log().detach()[traces].requires_grad_()
    log_weights = model_log_weights(model, traces).detach()
    # one gradient a question: d loss / d log q_k, then the chain rule d log q(z) / d phi_0 = 1[z=0] - q(0)
    (coefficients,) = torch.autograd.grad(iwae_posterior_loss(log_posterior, log_weights).sum(), log_posterior)
    per_question = (coefficients * ((traces == 0).to(coefficients) - model.posterior[0].detach())).sum(-1)
    assert_mean(per_question, -gradient(model.bound(3), model.phi)[0][0].item())


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_q_equal_to_pi_is_self_normalised_verifree(num_samples):
    # A.6: with q = sg[pi] the ratio is one, so the weights are the correctness of each trace over its sum
    model = LatentModel()

    def loss(z):
        log_prior, log_correct = model.prior.log()[z], model.correctness.log()[z]
        log_weights = log_importance_weights(log_prior, log_correct, log_prior.detach())
        assert_exact(log_weights, log_correct)
        return iwae_reasoner_loss(log_prior + log_correct, log_weights)

    def verifree(z):
        weights = model.correctness.detach()[z]
        return -sum(w / weights.sum() * (model.joint[k]).log() for w, k in zip(weights, z, strict=True))

    proposal = model.prior.detach()
    ours = gradient(expectation(proposal, num_samples, loss), model.theta)
    theirs = gradient(expectation(proposal, num_samples, verifree), model.theta)
    assert theirs[1].abs().max() > 1e-3
    assert (theirs[0].abs().max() > 1e-3) == (num_samples > 1)  # one trace of weight one: E_pi grad log pi = 0
    for mine, truth in zip(ours, theirs, strict=True):
        assert_exact(mine, truth)


@pytest.mark.parametrize("num_answers", [1, 2, 3])
def test_the_mean_over_right_answers_has_the_gradient_of_the_correctness(num_answers):
    # what a caller adds to log pi(z|x) with sampled answers.  Each right one is a draw of pi(y|x,z) / pi(Y|x,z), and
    # E grad log pi(y|x,z) over those is grad log pi(Y|x,z): summed out over all tuples with a right answer among them
    model = LatentModel()
    answers = model.answer_logits[1].softmax(-1)
    right = torch.tensor([y in CORRECT for y in range(NUM_ANSWERS)])

    def mean_over_right(y):
        log_probs = answers.log()[y]
        return log_probs[right[y]].mean() if right[y].any() else 0.0 * log_probs.sum()

    some_right = 1 - (1 - answers[right].sum().detach()) ** num_answers
    ours = gradient(expectation(answers, num_answers, mean_over_right), model.theta)[1] / some_right
    assert_exact(ours[1], gradient(model.correctness[1].log(), model.theta)[1][1])
    assert ours[1].abs().max() > 1e-2


# Stop-gradients


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_constants(loss):
    log_prob, log_weights = leaf(-1.0, -2.0, -3.0), leaf(0.5, -0.5, 0.1)
    loss(log_prob, log_weights).backward()
    assert log_weights.grad is None
    assert log_prob.grad.abs().min() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_constants_when_they_depend_on_the_same_leaf(loss):
    log_prob = leaf(-1.0, -2.0, -3.0)
    (shared,) = torch.autograd.grad(loss(log_prob, 2.0 * log_prob), log_prob)
    (separate,) = torch.autograd.grad(loss(log_prob, 2.0 * log_prob.detach()), log_prob)
    assert torch.equal(shared, separate)
    assert torch.equal(torch.func.grad(lambda x: loss(x, 2.0 * x))(log_prob.detach()), separate)


# Zero weights


def test_all_zero_weights_have_values_and_zero_gradients():
    log_weights = torch.tensor([[-INF, -INF], [0.0, math.log(3.0)]], requires_grad=True)
    for function, expected in (
        (iwae_bound, [-INF, math.log(2.0)]),
        (normalized_weights, [[0.0, 0.0], [0.25, 0.75]]),
        (elbo, [-INF, math.log(3.0) / 2]),
    ):
        assert_exact(function(log_weights), expected)
    for function in (iwae_bound, lambda x: normalized_weights(x).square()):
        (grad,) = torch.autograd.grad(function(log_weights).sum(), log_weights, create_graph=True)
        assert torch.equal(grad[0], torch.zeros(2))
        assert grad[1].abs().min() > 0
        (second,) = torch.autograd.grad(grad.square().sum(), log_weights)
        assert torch.equal(second[0], torch.zeros(2))
        assert second.isfinite().all()


def test_some_zero_weights():
    # weights 0 and 4: mean 2; all of the gradient goes to the second
    log_weights = leaf(-INF, math.log(4.0))
    assert_exact(iwae_bound(log_weights), math.log(2.0))
    assert_exact(normalized_weights(log_weights), [0.0, 1.0])
    assert elbo(log_weights) == -INF
    assert_exact(torch.autograd.grad(iwae_bound(log_weights), log_weights)[0], [0.0, 1.0])
    assert_exact(torch.autograd.grad(normalized_weights(log_weights)[1], log_weights)[0], [0.0, 0.0])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("log_probs", [[-1.0, -2.0], [-INF, -INF], [-1.0, -INF]])
def test_losses_of_a_question_without_weight_are_zero(loss, log_probs):
    log_prob = leaf(*log_probs)
    value = loss(log_prob, torch.tensor([-INF, -INF]))
    assert value.item() == 0.0
    assert torch.equal(torch.autograd.grad(value, log_prob)[0], torch.zeros(2))


def test_reasoner_loss_drops_a_weightless_trace_that_pi_cannot_write():
    log_joint = leaf(-INF, -2.0)
    loss = iwae_reasoner_loss(log_joint, torch.tensor([-INF, 0.7]))
    assert_exact(loss, 2.0)
    assert_exact(torch.autograd.grad(loss, log_joint)[0], [0.0, -1.0])


def test_posterior_loss_pushes_weightless_traces_by_the_bound():
    # weights 0 and 4: bound log 2, w = (0, 1)
    log_posterior = leaf(-1.0, -2.0)
    loss = iwae_posterior_loss(log_posterior, torch.tensor([-INF, math.log(4.0)]))
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [-math.log(2.0), 1.0 - math.log(2.0)])


def test_zero_joint_is_zero_weight_whatever_q_is():
    log_prior, log_likelihood, log_posterior = leaf(-1.0, -INF, -1.0), leaf(-INF, 0.0, -2.0), leaf(-INF, -INF, -5.0)
    log_weights = log_importance_weights(log_prior, log_likelihood, log_posterior)
    assert_exact(log_weights, [-INF, -INF, 2.0])
    log_weights[2].backward()
    assert torch.equal(log_prior.grad, torch.tensor([0.0, 0.0, 1.0]))
    grads = torch.autograd.grad(
        iwae_bound(log_importance_weights(log_prior, log_likelihood, log_posterior)),
        (log_prior, log_likelihood, log_posterior),
    )
    assert [g.tolist() for g in grads] == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    assert log_importance_weights(leaf(-1.0), leaf(-1.0), leaf(-INF)).item() == INF


def test_impossible_traces_that_carry_a_coefficient_make_an_infinite_loss():
    log_joint = leaf(-INF, -1.0)
    loss = iwae_reasoner_loss(log_joint, torch.zeros(2))
    assert loss == INF
    assert_exact(torch.autograd.grad(loss, log_joint)[0], [-0.5, -0.5])
    # coefficients log 2 - 1/4 and log 2 - 3/4: of both signs, and inf - inf would be NaN
    log_posterior = torch.tensor([[-INF, -INF], [-2.0, -4.0]], requires_grad=True)
    losses = iwae_posterior_loss(log_posterior, torch.tensor([[0.0, math.log(3.0)]]).expand(2, 2))
    assert losses[0] == INF
    (grad,) = torch.autograd.grad(losses.sum(), log_posterior)
    assert_exact(grad, [[0.0, 0.0], [0.25 - math.log(2.0), 0.75 - math.log(2.0)]])
    assert iwae_posterior_loss(torch.tensor([-1.0, math.nan]), torch.tensor([0.0, math.log(3.0)])) == INF


@pytest.mark.parametrize("bad", [INF, math.nan])
def test_impossible_values_spoil_their_own_question_only(bad):
    good, log_prob = [0.0, math.log(3.0)], torch.tensor([[-2.0, -4.0], [-2.0, -4.0]])
    for other in (0.0, -INF):
        log_weights = torch.tensor([[bad, other], good])
        for function in (iwae_bound, normalized_weights):
            assert not function(log_weights)[0].isfinite().any()
            assert function(log_weights)[1].isfinite().all()
        for loss in LOSSES:
            assert not loss(log_prob, log_weights)[0].isfinite()
            assert loss(log_prob, log_weights)[1] == loss(log_prob[1], torch.tensor(good))


# Properties


@given(log_weight_lists, st.floats(-100, 100))
def test_a_common_factor_shifts_the_bounds_and_not_the_weights(values, shift):
    log_weights = torch.tensor(values, dtype=torch.float64)
    for bound in BOUNDS:
        assert_exact(bound(log_weights + shift), bound(log_weights) + shift, atol=1e-10)
    assert_exact(normalized_weights(log_weights + shift), normalized_weights(log_weights), atol=1e-10)
    log_prob = torch.linspace(-3, -1, len(values), dtype=torch.float64)
    assert_exact(
        iwae_reasoner_loss(log_prob, log_weights + shift), iwae_reasoner_loss(log_prob, log_weights), atol=1e-10
    )


@given(log_weight_lists, st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    log_weights = torch.tensor(values, dtype=torch.float64)
    log_prob = torch.linspace(-3, -1, len(values), dtype=torch.float64)
    for function in BOUNDS:
        assert_exact(function(log_weights[order]), function(log_weights), atol=1e-11)
    assert_exact(normalized_weights(log_weights[order]), normalized_weights(log_weights)[order], atol=1e-14)
    for loss in LOSSES:
        assert_exact(loss(log_prob[order], log_weights[order]), loss(log_prob, log_weights), atol=1e-10)


@given(log_weight_lists, st.integers(1, 4), st.data())
def test_a_trace_given_several_times(values, times, data):
    log_weights = torch.tensor(values, dtype=torch.float64)
    log_prob = torch.linspace(-3, -1, len(values), dtype=torch.float64)
    # all of them: nothing is learnt
    for function in BOUNDS:
        assert_exact(function(log_weights.repeat(times)), function(log_weights), atol=1e-11)
    assert_exact(normalized_weights(log_weights.repeat(times)), normalized_weights(log_weights).repeat(times) / times)
    repeated = iwae_reasoner_loss(log_prob.repeat(times), log_weights.repeat(times))
    assert_exact(repeated, iwae_reasoner_loss(log_prob, log_weights), atol=1e-11)
    # one of them: it weighs as much as one trace of that many times the weight
    chosen = data.draw(st.integers(0, len(values) - 1))
    copies = torch.cat([log_weights, log_weights[chosen].expand(times - 1)])
    heavier = log_weights.clone()
    heavier[chosen] += math.log(times)
    total = normalized_weights(copies)
    assert_exact(total[chosen] * times, normalized_weights(heavier)[chosen], atol=1e-13)
    merged = iwae_bound(heavier) + math.log(len(values) / len(copies))
    assert_exact(iwae_bound(copies), merged, atol=1e-11)


@given(log_weight_lists)
def test_bounds_lie_between_the_extremes_and_in_order(values):
    log_weights = torch.tensor(values, dtype=torch.float64)
    slack = 1e-12 * (1 + log_weights.abs().max())
    assert log_weights.min() - slack <= elbo(log_weights) <= iwae_bound(log_weights) + slack
    assert iwae_bound(log_weights) <= log_weights.max() + slack
    assert abs(normalized_weights(log_weights).sum() - 1) < 1e-12


# Autograd, vmap, dtypes


def test_gradcheck():
    log_weights, others = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    partly_zero = torch.randn(2, 3).masked_fill(torch.eye(2, 3, dtype=torch.bool), -INF)
    for function in (elbo, iwae_bound, normalized_weights):
        assert torch.autograd.gradcheck(function, log_weights)
        assert torch.autograd.gradgradcheck(function, log_weights)
    assert torch.autograd.gradcheck(log_importance_weights, (log_weights, others, torch.randn(2, 3)))
    for loss in LOSSES:
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, partly_zero), others)


def test_vmap_and_any_batch_shape_agree_with_a_loop():
    a, b, c = torch.randn(3, 2, 3, 4)
    b = b.masked_fill(torch.rand(2, 3, 4) < 0.3, -INF)
    b[0, 0] = -INF
    for function, args in (
        (log_importance_weights, (a, b, c)),
        (elbo, (b,)),
        (iwae_bound, (b,)),
        (normalized_weights, (b,)),
        (iwae_reasoner_loss, (a, b)),
        (iwae_posterior_loss, (a, b)),
    ):
        looped = torch.stack([torch.stack([function(*(x[i, j] for x in args)) for j in range(3)]) for i in range(2)])
        assert_exact(function(*args), looped)
        assert_exact(torch.func.vmap(torch.func.vmap(function))(*args), looped)


def test_vmap_over_one_argument_and_over_gradients():
    log_prob, log_weights = torch.randn(4), torch.randn(5, 4)
    log_weights[0] = -INF
    for loss in LOSSES:
        per_row = torch.func.vmap(loss, in_dims=(None, 0))(log_prob, log_weights)
        assert_exact(per_row, loss(log_prob.expand(5, 4), log_weights))
    grads = torch.func.vmap(torch.func.grad(iwae_bound))(log_weights)
    assert_exact(grads, normalized_weights(log_weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_large_logarithms_are_safe(dtype):
    log_weights = torch.tensor([[-9000.0, -9001.0], [9000.0, -9000.0]], dtype=dtype)
    for function in (elbo, iwae_bound, normalized_weights):
        assert function(log_weights).dtype == dtype
        assert function(log_weights).isfinite().all()
    for loss in LOSSES:
        assert loss(log_weights, log_weights).dtype == dtype
    assert log_importance_weights(log_weights, log_weights, log_weights).dtype == dtype
    assert_exact(iwae_bound(log_weights)[1], 9000.0 - math.log(2.0), atol=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_low_precision_is_near_double(dtype, tolerance):
    log_prob, log_weights = -3 * torch.rand(50, 8), 2 * torch.randn(50, 8)
    low_prob, low_weights = log_prob.to(dtype), log_weights.to(dtype)
    # against double on the rounded inputs: the functions' own error, not that of the inputs
    for function in (*BOUNDS, normalized_weights):
        exact = function(low_weights.double())
        torch.testing.assert_close(function(low_weights).double(), exact, rtol=0, atol=tolerance)
    for loss in LOSSES:
        exact = loss(low_prob.double(), low_weights.double())
        torch.testing.assert_close(loss(low_prob, low_weights).double(), exact, rtol=0, atol=5 * tolerance)


# Errors


@pytest.mark.parametrize("function", [elbo, iwae_bound, normalized_weights])
@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_samples_is_refused(function, shape):
    with pytest.raises(ShapeError, match=rf"{function.__name__}: needs at least one sample .*movedim"):
        function(torch.zeros(shape))


@pytest.mark.parametrize("name", ["iwae_reasoner_loss", "iwae_posterior_loss", "log_importance_weights"])
def test_shapes_are_not_broadcast(name):
    function = getattr(varcore, name)
    shapes = [(2, 3)] * (len(inspect.signature(function).parameters) - 1) + [(3,)]
    args = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(jaxtyping.TypeCheckError):  # under pytest the annotations are checked first ...
        function(*args)
    with pytest.raises(ShapeError, match=rf"{name}: .*common shape.*\(2, 3\).*\(3,\).*expand"):
        inspect.unwrap(function)(*args)  # ... and in life the function says it


def test_annotations_are_enforced_under_pytest():
    with pytest.raises(jaxtyping.TypeCheckError):
        iwae_bound(torch.tensor([1, 2]))  # integers
    with pytest.raises(jaxtyping.TypeCheckError):
        iwae_bound(torch.tensor(1.0))  # no sample axis
    with pytest.raises(ShapeError, match="unsqueeze"):
        inspect.unwrap(iwae_bound)(torch.tensor(1.0))
