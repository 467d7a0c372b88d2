"""posteriors.py: each loss's expected gradient against the gradient of an enumerated KL."""

import inspect
import math

import jaxtyping
import pytest
import torch
from helpers import INF, assert_exact, leaf
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import LatentModel, expectation, gradient, kl, tuples

from varcore import (
    ShapeError,
    forward_kl_loss,
    iwae_posterior_loss,
    log_importance_weights,
    reverse_kl_loss,
    vimco_posterior_loss,
)

pytestmark = pytest.mark.usefixtures("float64")

LOSSES = [forward_kl_loss, reverse_kl_loss, vimco_posterior_loss]


# Goldens


def test_forward_kl_golden():
    # a = (1/2, 0, 1/4): v = (2/3, 0, 1/3); log q = (-1, -2, -4): loss 2/3 + 4/3 = 2, gradient -v
    log_posterior = leaf(-1.0, -2.0, -4.0)
    loss = forward_kl_loss(log_posterior, torch.tensor([0.5, 0.0, 0.25]))
    assert_exact(loss, 2.0)
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [-2 / 3, 0.0, -1 / 3])


def test_reverse_kl_golden():
    # rewards 1 and 3: less the other's, -2 and 2; mean over K = 2: coefficients -1 and 1, gradient their negatives
    log_posterior = leaf(-1.0, -4.0)
    loss = reverse_kl_loss(log_posterior, torch.tensor([1.0, 3.0]))
    assert_exact(loss, 3.0)
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [1.0, -1.0])


def test_reverse_kl_golden_of_three():
    # rewards 0, 3, 6; means of the others 4.5, 3, 1.5; differences -4.5, 0, 4.5; over K = 3: -1.5, 0, 1.5
    log_posterior = leaf(-1.0, -2.0, -4.0)
    (grad,) = torch.autograd.grad(reverse_kl_loss(log_posterior, torch.tensor([0.0, 3.0, 6.0])), log_posterior)
    assert_exact(grad, [1.5, 0.0, -1.5])


def test_one_trace():
    log_posterior = torch.tensor([[-2.0]])
    assert_exact(forward_kl_loss(log_posterior, torch.tensor([[0.1]])), [2.0])
    assert_exact(reverse_kl_loss(log_posterior, torch.tensor([[-3.0]])), [-6.0])  # no baseline: - (-3) * (-2)


# Enumeration


def test_forward_kl_gradient_is_exact_when_the_traces_have_the_frequencies_of_pi():
    # pi = (1/2, 1/4, 1/8, 1/8): eight traces in these proportions are pi itself, which is the limit of large M
    model = LatentModel()
    model.trace_logits = torch.tensor([4.0, 2.0, 1.0, 1.0]).log().requires_grad_()
    traces = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    loss = forward_kl_loss(model.posterior.log()[traces], model.correctness.detach()[traces])
    truth = gradient(kl(model.true_posterior.detach(), model.posterior), model.phi)[0]
    assert truth.abs().max() > 1e-2
    assert_exact(gradient(loss, model.phi)[0], truth)


@pytest.mark.parametrize("num_traces", [1, 2, 3])
def test_forward_kl_expected_gradient_with_binary_correctness(num_traces):
    # given that some trace is right, each right one is a draw of the true posterior: the factor is 1 - (1-p)^M
    model = LatentModel()
    right = torch.tensor([1.0, 0.0, 0.0, 1.0])
    target = model.prior.detach() * right
    p = target.sum()
    loss = expectation(model.prior, num_traces, lambda z: forward_kl_loss(model.posterior.log()[z], right[z]))
    truth = gradient(kl(target / p, model.posterior), model.phi)[0]
    assert_exact(gradient(loss, model.phi)[0], (1 - (1 - p) ** num_traces) * truth)


@pytest.mark.parametrize("num_traces", [1, 2, 3])
def test_reverse_kl_expected_gradient_is_that_of_the_kl(num_traces):
    model = LatentModel()
    rewards = model.weights.log().detach()
    loss = expectation(model.posterior, num_traces, lambda z: reverse_kl_loss(model.posterior.log()[z], rewards[z]))
    truth = gradient(kl(model.posterior, model.true_posterior.detach()), model.phi)[0]
    assert truth.abs().max() > 1e-2
    assert_exact(gradient(loss, model.phi)[0], truth)
    assert_exact(truth, -gradient(model.bound(1), model.phi)[0])


def test_reverse_kl_baseline_removes_the_common_level():
    # log p(x) far from zero: without a baseline the variance of the gradient grows with its square
    model = LatentModel()
    rewards = model.weights.log().detach() - 30.0

    def second_moment(coefficients):
        total = 0.0
        for chance, traces in tuples(model.posterior.detach(), 2):
            surrogate = (coefficients(rewards[list(traces)]) * model.posterior.log()[list(traces)]).sum()
            total = total + chance * gradient(surrogate, model.phi)[0].square().sum()
        return total

    def ours(r):
        log_posterior = torch.zeros(2, requires_grad=True)
        return torch.autograd.grad(reverse_kl_loss(log_posterior, r), log_posterior)[0]

    assert second_moment(ours) < 0.1 * second_moment(lambda r: -r / 2)


# VIMCO


def test_vimco_golden():
    # rho = 1, 3: L = log 2; each replaced by the other: log 3 and log 1 = 0; w = (1/4, 3/4)
    log_posterior = leaf(-1.0, -2.0)
    loss = vimco_posterior_loss(log_posterior, torch.tensor([1.0, 3.0]).log())
    first, second = math.log(2 / 3) - 0.25, math.log(2) - 0.75
    assert_exact(torch.autograd.grad(loss, log_posterior, retain_graph=True)[0], [-first, -second])
    assert_exact(loss, first + 2 * second)


def test_vimco_golden_of_three():
    # rho = 1, 2, 8 (mean 11/3): the first replaced by sqrt(2*8) = 4: 14/3; the second by sqrt 8; the third by sqrt 2
    log_posterior = torch.zeros(3, requires_grad=True)
    loss = vimco_posterior_loss(log_posterior, torch.tensor([1.0, 2.0, 8.0]).log())
    sums = [14.0, 9 + 8**0.5, 3 + 2**0.5]
    expected = [-(math.log(11 / total) - rho / 11) for total, rho in zip(sums, (1, 2, 8), strict=True)]
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], expected)


@pytest.mark.parametrize("num_samples", [2, 3])
def test_vimco_has_the_gradient_of_the_bound(num_samples):
    model = LatentModel()
    rewards = model.weights.log().detach()
    loss = expectation(
        model.posterior, num_samples, lambda z: vimco_posterior_loss(model.posterior.log()[z], rewards[z])
    )
    truth = gradient(model.bound(num_samples), model.phi)[0]
    assert truth.abs().max() > 1e-3
    assert_exact(gradient(loss, model.phi)[0], -truth)


def total_variance(loss, model, log_weights, num_samples):
    """Of the gradient in phi, summed over its components; exact, every tuple of traces listed."""
    grads, chances = [], []
    for chance, traces in tuples(model.posterior.detach(), num_samples):
        z = torch.tensor(traces)
        grads.append(gradient(loss(model.posterior.log()[z], log_weights[z]), model.phi)[0])
        chances.append(chance)
    grads, chances = torch.stack(grads), torch.stack(chances)[:, None]
    mean = (chances * grads).sum(0)
    return (chances * (grads - mean).square()).sum().item()


def test_vimco_has_less_variance_than_the_plain_estimator():
    # The oracle's model, K = 3: variance ratio 0.21; with every log weight lower by 10, 0.0009.
    # Every tuple is listed and nothing drawn: the false-alarm rate is zero.
    model = LatentModel()
    log_weights = log_importance_weights(model.prior.log(), model.correctness.log(), model.posterior.log()).detach()
    ratios = [
        total_variance(vimco_posterior_loss, model, log_weights - level, 3)
        / total_variance(iwae_posterior_loss, model, log_weights - level, 3)
        for level in (0.0, 10.0)
    ]
    print(f"variance of VIMCO over plain: {ratios[0]:.4f}, {ratios[1]:.2e}")
    assert ratios[0] < 0.5
    assert ratios[1] < 0.01


def test_vimco_zero_weights():
    log_posterior = leaf(-1.0, -2.0, -3.0)
    # rho = 1, 4, 0 (sum 5): the first replaced by sqrt(4*0) = 0: 4; the second by 0: 1; the third by sqrt(1*4) = 2: 7
    loss = vimco_posterior_loss(log_posterior, torch.tensor([1.0, 4.0, 0.0]).log())
    expected = [-(math.log(5 / total) - rho / 5) for total, rho in ((4, 1), (1, 4), (7, 0))]
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], expected)
    # only the first has weight: its others have none, baseline 0 there; the second's baseline is L of (rho, 0, 0)
    loss = vimco_posterior_loss(log_posterior, torch.tensor([0.7, -INF, -INF]))
    bound = 0.7 - math.log(3)
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [-(bound - 1.0), 0.0, 0.0])
    with pytest.raises(ShapeError, match=r"needs K >= 2 traces .* use iwae_posterior_loss"):
        vimco_posterior_loss(leaf(-1.0), torch.tensor([0.5]))
    with pytest.raises(ShapeError, match="needs K >= 2 traces"):
        vimco_posterior_loss(torch.zeros(3, 1), torch.zeros(3, 1))
    assert vimco_posterior_loss(torch.zeros(1, 3), torch.zeros(1, 3)).tolist() == [0.0]


# Stop-gradients and zero weights


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_constants(loss):
    log_posterior, weights = leaf(-1.0, -2.0, -3.0), leaf(0.3, 0.2, 0.9)
    loss(log_posterior, weights).backward()
    assert weights.grad is None
    assert log_posterior.grad.abs().min() > 0
    # the same leaf on both sides: only the first side counts
    (shared,) = torch.autograd.grad(loss(log_posterior, -log_posterior), log_posterior)
    (separate,) = torch.autograd.grad(loss(log_posterior, -log_posterior.detach()), log_posterior)
    assert torch.equal(shared, separate)
    assert torch.equal(torch.func.grad(lambda x: loss(x, -x))(log_posterior.detach()), separate)


@pytest.mark.parametrize("log_probs", [[-1.0, -2.0], [-INF, -1.0], [-INF, -INF]])
def test_questions_without_weight_give_zero(log_probs):
    for loss, weights in (
        (forward_kl_loss, [0.0, 0.0]),
        (reverse_kl_loss, [-INF, -INF]),
        (vimco_posterior_loss, [-INF, -INF]),
        (reverse_kl_loss, [-INF, 0.5]),  # one zero weight: the ELBO is -inf, no finite gradient
    ):
        log_posterior = leaf(*log_probs)
        value = loss(log_posterior, torch.tensor(weights))
        assert value.item() == 0.0
        assert torch.equal(torch.autograd.grad(value, log_posterior)[0], torch.zeros(2))


def test_reverse_kl_of_one_trace_without_weight_is_zero():
    log_posterior = leaf(-1.0)
    value = reverse_kl_loss(log_posterior, torch.tensor([-INF]))
    assert value.item() == 0.0
    assert torch.autograd.grad(value, log_posterior)[0].item() == 0.0


def test_forward_kl_drops_a_wrong_trace_that_q_cannot_write():
    log_posterior = leaf(-INF, -2.0)
    loss = forward_kl_loss(log_posterior, torch.tensor([0.0, 0.5]))
    assert_exact(loss, 2.0)
    assert_exact(torch.autograd.grad(loss, log_posterior)[0], [0.0, -1.0])


def test_forward_kl_of_tiny_correctness_does_not_underflow():
    tiny = torch.tensor([1e-45, 1e-45], dtype=torch.float32)
    assert_exact(forward_kl_loss(torch.tensor([-1.0, -3.0], dtype=torch.float32), tiny), 2.0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [INF, math.nan])
@pytest.mark.parametrize("other", [0.5, 0.0, -INF])
def test_impossible_values_spoil_their_own_question_only(loss, bad, other):
    values = loss(torch.tensor([[-1.0, -2.0], [-1.0, -2.0]]), torch.tensor([[bad, other], [0.2, 0.4]]))
    assert not values[0].isfinite()
    assert values[1].isfinite()


# Properties, vmap, dtypes, errors


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(0.01, 100))
def test_scale_shift_and_order(values, c):
    weights = torch.tensor(values, dtype=torch.float64)
    log_posterior = torch.linspace(-3, -1, len(values), dtype=torch.float64)
    forward = forward_kl_loss(log_posterior, weights.abs())
    assert_exact(forward_kl_loss(log_posterior, weights.abs() * c), forward, atol=1e-10)
    assert_exact(forward_kl_loss(log_posterior.flip(-1), weights.abs().flip(-1)), forward, atol=1e-10)
    reverse = reverse_kl_loss(log_posterior, weights)
    assert_exact(reverse_kl_loss(log_posterior, weights + c), reverse, atol=1e-10)  # the evidence cancels
    assert_exact(reverse_kl_loss(log_posterior, weights * c), c * reverse, atol=1e-9)
    assert_exact(reverse_kl_loss(log_posterior.flip(-1), weights.flip(-1)), reverse, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vmap_agrees_with_batches_and_dtype_is_kept(loss, dtype):
    log_posterior, weights = torch.randn(2, 3, 4, dtype=dtype), torch.rand(2, 3, 4, dtype=dtype)
    weights[0, 1] = 0.0 if loss is forward_kl_loss else -INF
    result = loss(log_posterior, weights)
    assert result.shape == (2, 3)
    assert result.dtype == dtype
    looped = torch.stack([torch.stack([loss(log_posterior[i, j], weights[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(looped, result)
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(loss))(log_posterior, weights), result)
    one_q = torch.func.vmap(loss, in_dims=(None, 0))(log_posterior[0], weights)
    torch.testing.assert_close(one_q, loss(log_posterior[0].expand(2, 3, 4), weights))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss):
    weights = torch.rand(2, 3)
    assert torch.autograd.gradcheck(lambda x: loss(x, weights), torch.randn(2, 3, requires_grad=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_shapes_are_refused(loss):
    with pytest.raises(ShapeError, match=f"{loss.__name__}: needs at least one sample"):
        loss(torch.zeros(2, 0), torch.zeros(2, 0))
    with pytest.raises(jaxtyping.TypeCheckError):
        loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ShapeError, match=rf"{loss.__name__}: .*\(2, 3\).*\(3,\).*expand"):
        inspect.unwrap(loss)(torch.zeros(2, 3), torch.zeros(3))
