"""estimators.py: goldens by hand, Theorem 1 by listing all answers, zero weights, vmap."""

import inspect
import math

import jaxtyping
import pytest
import torch
from helpers import INF, assert_exact, leaf
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import CORRECT, LatentModel

from varcore import (
    ShapeError,
    accuracy_preferred_threshold,
    accuracy_worst_case_variance,
    effective_sample_size,
    iwae_bound,
    likelihood_worst_case_variance,
    log_accuracy_correctness,
    log_geometric_mean_correctness,
    log_importance_weights,
    log_likelihood_correctness,
    normalized_weights,
    pareto_k,
    tempered_log_weights,
    truncated_log_weights,
)

pytestmark = pytest.mark.usefixtures("float64")


# pi(Y|x,z), three ways


def test_likelihood_golden():
    # two references of probability 1/4 and 1/8, mean 3/16; |Y| = 4 correct answers: 3/4
    log_answers = torch.tensor([[1 / 4, 1 / 8]]).log().requires_grad_()
    estimate = log_likelihood_correctness(log_answers, 4)
    assert_exact(estimate.exp(), [0.75])
    # d log(mean) / d log pi(y_r) is the share of y_r: 2/3 and 1/3
    assert_exact(torch.autograd.grad(estimate.sum(), log_answers)[0], [[2 / 3, 1 / 3]])


def test_likelihood_takes_one_size_per_question():
    # B = 2 questions, K = 3 traces, R = 1 reference of probability 1/8; sizes 1 and 4
    log_answers = torch.full((2, 3, 1), math.log(1 / 8))
    expected = [[1 / 8] * 3, [1 / 2] * 3]
    assert_exact(log_likelihood_correctness(log_answers, torch.tensor([1, 4])).exp(), expected)
    assert_exact(log_likelihood_correctness(log_answers, torch.tensor([1.0, 4.0])).exp(), expected)


def test_likelihood_with_every_correct_answer_is_exact():
    model = LatentModel()
    log_pi = model.answer_logits.detach().log_softmax(-1)[:, list(CORRECT)]
    assert_exact(log_likelihood_correctness(log_pi, len(CORRECT)).exp(), model.correctness.detach())


def test_likelihood_of_impossible_answers():
    log_answers = torch.tensor([[-INF, -INF], [-INF, 0.0]], requires_grad=True)
    estimate = log_likelihood_correctness(log_answers, 2)
    assert_exact(estimate, [-INF, 0.0])
    assert_exact(torch.autograd.grad(estimate.sum(), log_answers)[0], [[0.0, 0.0], [0.0, 1.0]])
    assert log_likelihood_correctness(torch.zeros(1, 1), 0).item() == -INF


def test_one_number_for_all_goes_to_the_device_of_the_answers():
    # "meta" has shapes and no values: a device that every machine has beside the CPU
    assert log_likelihood_correctness(torch.zeros(2, 3, 4, device="meta"), 2).device.type == "meta"


def test_counts_are_constants():
    count, log_prob, accuracy = leaf(2.0, 3.0), leaf(-1.0, -2.0), leaf(0.5, 0.25)
    values = [
        log_likelihood_correctness(log_prob.expand(2, 1, 2), count),
        log_geometric_mean_correctness(log_prob, count),
        tempered_log_weights(log_prob, 2 * log_prob, log_prob, count),
        likelihood_worst_case_variance(accuracy, count),
    ]
    for value in values:
        assert torch.autograd.grad(value.sum(), count, allow_unused=True) == (None,)
    assert not log_accuracy_correctness(torch.tensor([1.0, 2.0]), count).requires_grad


def test_geometric_mean_golden():
    # token probabilities 1/2 and 1/8: product 1/16, geometric mean 1/4; d/d(sum) = 1/2
    log_answer = torch.tensor([1 / 16]).log().requires_grad_()
    estimate = log_geometric_mean_correctness(log_answer, torch.tensor([2]))
    assert_exact(estimate.exp(), [0.25])
    assert_exact(torch.autograd.grad(estimate.sum(), log_answer)[0], [0.5])


def test_geometric_mean_of_one_token_is_that_token():
    assert_exact(log_geometric_mean_correctness(torch.tensor([-3.0]), torch.tensor([1])), [-3.0])


def test_geometric_mean_without_tokens_is_no_answer():
    log_answer = leaf(0.0, -INF, -3.0)
    estimate = log_geometric_mean_correctness(log_answer, torch.tensor([0, 4, 3]))
    assert_exact(estimate, [-INF, -INF, -1.0])
    assert_exact(torch.autograd.grad(estimate[0], log_answer)[0], [0.0, 0.0, 0.0])


def test_accuracy_golden_and_edges():
    # 3 of 8; none of 8; all of 8; no answers at all
    estimate = log_accuracy_correctness(torch.tensor([3, 0, 8, 0]), torch.tensor([8, 8, 8, 0]))
    assert_exact(estimate, [math.log(3 / 8), -INF, 0.0, -INF])
    assert_exact(log_accuracy_correctness(torch.tensor([[3, 0]]), 8), [[math.log(3 / 8), -INF]])
    impossible = log_accuracy_correctness(torch.tensor([9, -1, 1, 0]), torch.tensor([8, 8, 0, -1]))
    assert impossible.isnan().all()
    counts = leaf(3.0)
    assert not log_accuracy_correctness(counts, 8).requires_grad


def test_accuracy_dtype_follows_floating_counts():
    assert log_accuracy_correctness(torch.tensor([1]), 2).dtype == torch.get_default_dtype()
    assert log_accuracy_correctness(torch.tensor([1.0], dtype=torch.float32), torch.tensor([2])).dtype == torch.float32


def test_accuracy_of_counts_in_a_small_integer_type():
    # 200 is beyond int8: the number of answers is not squeezed into the type of the counts
    assert_exact(log_accuracy_correctness(torch.tensor([50], dtype=torch.int8), 200), [math.log(0.25)])


# Theorem 1, by listing


def variance(probabilities, values):
    mean = (probabilities * values).sum()
    return (probabilities * (values - mean) ** 2).sum()


def likelihood_variance(answers, size):
    """One reference uniform on Y, the first `size` answers: each possible draw goes through the estimator."""
    estimates = log_likelihood_correctness(answers[:size].log()[:, None], size).exp()
    return variance(torch.full((size,), 1 / size), estimates)


def accuracy_variance(answers, size):
    """One answer from pi, accepted if it is among the first `size`."""
    accepted = (torch.arange(len(answers)) < size).long()
    return variance(answers, log_accuracy_correctness(accepted, 1).exp())


@given(st.integers(1, 5), st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
def test_theorem_1_bounds_the_enumerated_variances(size, masses):
    answers = torch.tensor(masses, dtype=torch.float64)
    answers = answers / answers.sum()
    a = answers[:size].sum()
    assert likelihood_variance(answers, size) <= likelihood_worst_case_variance(a, size) + 1e-12
    assert_exact(accuracy_variance(answers, size), accuracy_worst_case_variance(a))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("a", [0.1, 0.25, 0.7, 1.0])
def test_theorem_1_is_attained_by_one_certain_answer(size, a):
    answers = torch.zeros(size + 1)
    answers[0], answers[-1] = a, 1 - a
    assert_exact(likelihood_variance(answers, size), likelihood_worst_case_variance(torch.tensor(a), size))
    # (|Y| - 1) a^2 by hand: |Y| = 4, a = 1/10 gives 3/100
    if (size, a) == (4, 0.1):
        assert_exact(likelihood_variance(answers, size), 0.03)


@given(st.integers(1, 50), st.floats(0.001, 0.999))
def test_threshold_is_where_the_worst_cases_cross(size, a):
    a, sizes = torch.tensor(a, dtype=torch.float64), torch.tensor(size)
    threshold = accuracy_preferred_threshold(sizes)
    at_threshold = likelihood_worst_case_variance(threshold, sizes)
    assert_exact(accuracy_worst_case_variance(threshold), at_threshold)
    if abs(a - threshold) > 1e-6:
        assert (accuracy_worst_case_variance(a) < likelihood_worst_case_variance(a, sizes)) == (a > threshold)


def test_theorem_1_goldens():
    # a = 1/4: likelihood (4 - 1)/16 = 3/16 = accuracy 1/4 * 3/4, as |Y| = 4 makes 1/4 the threshold
    a = torch.tensor([0.25])
    assert_exact(likelihood_worst_case_variance(a, torch.tensor([4])), [0.1875])
    assert_exact(accuracy_worst_case_variance(a), [0.1875])
    assert_exact(accuracy_preferred_threshold(torch.tensor([4, 1, 0])), [0.25, 1.0, INF])
    assert_exact(likelihood_worst_case_variance(a, 1), [0.0])


# Tempered weights


def test_tempered_weights_golden():
    # log pi = -6, log q = -2, |z| = 4, log a = -1: ratio -4, per token -1
    logs = leaf(-6.0), leaf(-2.0), leaf(-1.0)
    tokens = torch.tensor([4])
    for exponent, expected, slope in ((None, -2.0, 0.25), (1, -5.0, 1.0), (0.5, -3.0, 0.5), (0, -1.0, 0.0)):
        log_weights = tempered_log_weights(*logs, tokens, exponent)
        assert_exact(log_weights, [expected])
        grads = torch.autograd.grad(log_weights.sum(), logs, allow_unused=True, materialize_grads=True)
        assert [g.item() for g in grads] == [slope, -slope, 1.0]


def test_exponent_one_is_the_importance_weight():
    log_prior, log_posterior, log_correctness = torch.randn(3, 2, 4)
    log_correctness[0, 0], log_prior[1, 1], log_posterior[1, 1] = -INF, -INF, -INF
    tempered = tempered_log_weights(log_prior, log_posterior, log_correctness, torch.full((2, 4), 7), 1.0)
    assert_exact(tempered, log_importance_weights(log_prior, log_correctness, log_posterior))


def test_each_trace_has_its_own_length():
    log_prior, zero = torch.tensor([-6.0, -6.0, -6.0]), torch.zeros(3)
    assert_exact(tempered_log_weights(log_prior, zero, zero, torch.tensor([1, 2, 3])), [-6.0, -3.0, -2.0])


def test_integer_lengths_keep_float64():
    # 1/3 through float32 would be wrong in the eighth digit
    torch.set_default_dtype(torch.float32)
    try:
        log_prior = torch.tensor([-1.0], dtype=torch.float64)
        zero = torch.zeros_like(log_prior)
        assert abs(tempered_log_weights(log_prior, zero, zero, torch.tensor([3])).item() + 1 / 3) < 1e-15
        assert abs(log_geometric_mean_correctness(log_prior, torch.tensor([3])).item() + 1 / 3) < 1e-15
    finally:
        torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("exponent", [None, 1, 0.5, 0])
def test_zero_weights_of_tempered_ratios(exponent):
    # impossible under pi; never correct, and impossible under q; all three; a padded row; an ordinary trace
    log_prior = leaf(-INF, -1.0, -INF, 0.0, -4.0)
    log_posterior = leaf(-1.0, -INF, -INF, 0.0, -4.0)
    log_correctness = leaf(-0.5, -INF, -INF, 0.0, -0.5)
    log_weights = tempered_log_weights(
        log_prior, log_posterior, log_correctness, torch.tensor([2, 2, 2, 0, 2]), exponent
    )
    impossible_under_pi = -0.5 if exponent == 0 else -INF  # ratio ** 0 = 1
    assert_exact(log_weights, [impossible_under_pi, -INF, -INF, -INF, -0.5])
    grads = torch.autograd.grad(
        iwae_bound(log_weights),
        (log_prior, log_posterior, log_correctness),
        allow_unused=True,
        materialize_grads=True,
    )
    for grad in grads:
        assert grad.isfinite().all()
        assert torch.equal(grad[1:4], torch.zeros(3))


@pytest.mark.parametrize("exponent", [None, 1, 0])
def test_a_padded_row_that_is_also_never_correct_has_zero_weight_and_gradient(exponent):
    logs = leaf(0.0), leaf(-INF), leaf(-INF)  # two reasons for a weight of zero, and a ratio of +inf against them
    log_weights = tempered_log_weights(*logs, torch.tensor([0]), exponent)
    assert log_weights.item() == -INF
    for grad in torch.autograd.grad(log_weights.sum(), logs, allow_unused=True, materialize_grads=True):
        assert grad.item() == 0.0


@pytest.mark.parametrize("exponent", [-0.1, math.nan, INF])
def test_impossible_exponents_are_refused(exponent):
    one = torch.zeros(1)
    with pytest.raises(ValueError, match=r"exponent must be finite and at least 0, got .* 1/\|z\|"):
        tempered_log_weights(one, one, one, torch.ones(1), exponent)


# Effective sample size


def test_effective_sample_size_golden():
    # weights 1 and 3: 4^2 / (1 + 9) = 1.6
    assert_exact(effective_sample_size(leaf(0.0, math.log(3.0))), 1.6)
    # d/dl_1 of (r_1 + r_2)^2 / (r_1^2 + r_2^2) at (1, 3): 2*4*1/10 - 16*2/100 = 0.48, and the opposite for l_2
    log_weights = leaf(0.0, math.log(3.0))
    grad = torch.autograd.grad(effective_sample_size(log_weights), log_weights)[0]
    assert_exact(grad, [0.48, -0.48])
    assert_exact(effective_sample_size(torch.zeros(2, 5)), [5.0, 5.0])
    assert_exact(effective_sample_size(torch.tensor([0.0, -INF, -INF, 0.0])), 2.0)
    assert_exact(effective_sample_size(torch.tensor([[4.0]])), [1.0])


def test_effective_sample_size_without_weight_is_zero():
    log_weights = torch.tensor([[-INF, -INF], [0.0, 0.0]], requires_grad=True)
    size = effective_sample_size(log_weights)
    assert_exact(size, [0.0, 2.0])
    assert torch.equal(torch.autograd.grad(size.sum(), log_weights)[0], torch.zeros(2, 2))
    assert effective_sample_size(torch.tensor([INF, 0.0])).isnan()
    assert effective_sample_size(torch.tensor([math.nan, -INF])).isnan()


@given(st.lists(st.floats(-40, 40), min_size=1, max_size=6), st.floats(-40, 40))
def test_effective_sample_size_properties(values, shift):
    log_weights = torch.tensor(values, dtype=torch.float64)
    size = effective_sample_size(log_weights)
    assert 1 - 1e-12 <= size <= len(values) + 1e-12
    assert_exact(effective_sample_size(log_weights + shift), size, atol=1e-10)
    assert_exact(effective_sample_size(log_weights.flip(-1)), size, atol=1e-10)
    # doubling every sample doubles the size
    assert_exact(effective_sample_size(log_weights.repeat(2)), 2 * size, atol=1e-10)
    assert_exact(1 / normalized_weights(log_weights).pow(2).sum(), size)


# Autograd, vmap, dtypes, errors


def test_gradcheck():
    a, b, c = torch.randn(3, 2, 4).requires_grad_().unbind()
    lengths = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    for exponent in (None, 0.3):
        assert torch.autograd.gradcheck(lambda *x, e=exponent: tempered_log_weights(*x, lengths, e), (a, b, c))
    assert torch.autograd.gradcheck(effective_sample_size, a)
    assert torch.autograd.gradgradcheck(effective_sample_size, a)
    assert torch.autograd.gradcheck(lambda x: log_likelihood_correctness(x, 3), a)
    assert torch.autograd.gradcheck(lambda x: log_geometric_mean_correctness(x, lengths), a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vmap_agrees_with_batches_and_dtype_is_kept(dtype):
    a, b, c = torch.randn(3, 3, 4, dtype=dtype)
    c[0] = -INF
    lengths, counts, sizes = torch.randint(0, 9, (3, 4)), torch.randint(0, 4, (3, 4)), torch.tensor([1, 2, 3])
    references = torch.randn(3, 4, 2, dtype=dtype)
    for function, args in (
        (tempered_log_weights, (a, b, c, lengths)),
        (lambda *x: tempered_log_weights(*x, 0.5), (a, b, c, lengths)),
        (lambda *x: tempered_log_weights(*x, 0), (a, b, c, lengths)),
        (effective_sample_size, (c,)),
        (truncated_log_weights, (c,)),
        (pareto_k, (torch.randn(3, 40, dtype=dtype),)),
        (log_likelihood_correctness, (references, sizes)),
        (lambda x: log_likelihood_correctness(x, 2), (references,)),
        (log_geometric_mean_correctness, (a, lengths)),
        (log_accuracy_correctness, (counts.to(dtype), counts + 1)),
        (lambda x: log_accuracy_correctness(x, 3), (counts.to(dtype),)),
        (likelihood_worst_case_variance, (a, counts)),
        (accuracy_worst_case_variance, (a,)),
    ):
        result = function(*args)
        assert result.dtype == dtype
        assert not result.isnan().any()
        torch.testing.assert_close(torch.func.vmap(function)(*args), result)
        looped = torch.stack([function(*(x[i] for x in args)) for i in range(3)])
        torch.testing.assert_close(looped, result)
    shared = torch.func.vmap(tempered_log_weights, in_dims=(0, None, None, None))(a, b[0], c[1], lengths[0])
    expected = tempered_log_weights(a, b[0].expand(3, 4), c[1].expand(3, 4), lengths[0].expand(3, 4))
    torch.testing.assert_close(shared, expected)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (tempered_log_weights, [(2, 3), (2, 3), (2, 3), (3,)]),
        (log_geometric_mean_correctness, [(2, 3), (2,)]),
        (log_accuracy_correctness, [(2, 3), (2,)]),
        (likelihood_worst_case_variance, [(2, 3), (3,)]),
        (log_likelihood_correctness, [(2, 3, 4), (3,)]),
    ],
)
def test_shapes_are_not_broadcast(function, shapes):
    args = [torch.ones(shape) for shape in shapes]
    with pytest.raises(jaxtyping.TypeCheckError):
        function(*args)
    pattern = rf"{function.__name__}: .*\({', '.join(map(str, shapes[0]))}\)"
    with pytest.raises(ShapeError, match=pattern):
        inspect.unwrap(function)(*args)


def test_missing_axes_are_refused():
    with pytest.raises(ShapeError, match="effective_sample_size: needs at least one sample"):
        effective_sample_size(torch.zeros(2, 0))
    with pytest.raises(ShapeError, match="log_likelihood_correctness: needs at least one sample"):
        log_likelihood_correctness(torch.zeros(2, 3, 0), 2)
    with pytest.raises(ShapeError, match="unsqueeze"):
        inspect.unwrap(log_likelihood_correctness)(torch.zeros(3), 2)


# Heavy tails


def test_truncated_weights_golden():
    # rho = 1, 1, 1, 13: mean 4, ceiling sqrt(4) * 4 = 8
    assert_exact(truncated_log_weights(torch.tensor([1.0, 1.0, 1.0, 13.0]).log()).exp(), [1.0, 1.0, 1.0, 8.0])
    assert truncated_log_weights(torch.tensor([-INF, -INF])).tolist() == [-INF, -INF]
    assert_exact(truncated_log_weights(torch.tensor([0.3])), [0.3])
    alone = torch.tensor([0.0, -INF, -INF, -INF])  # mean 1/4, ceiling 1/2
    assert_exact(truncated_log_weights(alone).exp(), [0.5, 0.0, 0.0, 0.0])


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9), st.floats(-20, 20))
def test_truncation_lowers_only_dominating_weights(values, shift):
    log_weights = torch.tensor(values, dtype=torch.float64)
    truncated = truncated_log_weights(log_weights)
    cut = normalized_weights(log_weights) > len(values) ** -0.5 + 1e-9
    assert (truncated[cut] < log_weights[cut]).all()
    kept = normalized_weights(log_weights) < len(values) ** -0.5 - 1e-9
    assert torch.equal(truncated[kept], log_weights[kept])
    assert effective_sample_size(truncated) >= effective_sample_size(log_weights) - 1e-9
    assert_exact(truncated_log_weights(log_weights + shift), truncated + shift, atol=1e-10)


@pytest.mark.parametrize("shape", [0.2, 0.6, 1.2])
def test_pareto_k_finds_the_exponent_of_a_pareto_tail(shape):
    # rho = U^-shape has exactly this tail; the prior pulls towards (134 shape + 5) / 144.  The mean of 200 estimates
    # missed that by at most 0.047 in 600 runs (200 seeds, three shapes), so 0.08 gives no false alarm one could meet.
    log_weights = -shape * torch.rand(200, 2000).log()
    expected = (134 * shape + 5) / 144
    assert abs(pareto_k(log_weights).mean().item() - expected) < 0.08


def test_pareto_k_goldens():
    # array_stats.psislw of arviz-stats 0.8.0: a Pareto tail of exponent 0.7 at its quantiles, with M = K/5 = 12 and
    # with M = 3 sqrt(K) = 60; and exp(2 sin j), which is bounded
    for num_samples, expected in ((60, 0.5764101252763705), (400, 0.6574004398900003)):
        log_weights = -0.7 * ((torch.arange(num_samples) + 0.5) / num_samples).log()
        assert_exact(pareto_k(log_weights), expected, atol=1e-9)
    assert_exact(pareto_k(2 * torch.arange(60.0).sin()), -0.49762467246367076, atol=1e-9)


def test_pareto_k_does_not_mind_unit_order_or_gradient():
    log_weights = torch.randn(2, 100, requires_grad=True)
    k = pareto_k(log_weights)
    assert not k.requires_grad
    assert_exact(pareto_k(log_weights + 500.0), k, atol=1e-9)
    assert_exact(pareto_k(log_weights.flip(-1)), k)


def test_pareto_k_without_a_tail():
    few = torch.full((25,), -INF)
    few[:3] = torch.tensor([0.0, 1.0, 2.0])
    for log_weights in (torch.zeros(30), torch.full((30,), -INF), few):
        assert pareto_k(log_weights).item() == INF
    with pytest.raises(ShapeError, match=r"needs K >= 25 weights .* got K = 24"):
        pareto_k(torch.zeros(24))


def test_pareto_k_of_a_tail_at_the_end_of_the_numbers():
    # the second to fifth largest weights are e^-740, below the smallest normal number: no reciprocal, so no fit
    log_weights = torch.cat([torch.linspace(-760, -741, 20), torch.tensor([-740.0, -739.9, -739.5, -739.0, 0.0])])
    assert log_weights.softmax(-1)[-5:].min() > 0
    assert pareto_k(log_weights).item() == INF


def test_pareto_k_where_a_point_of_the_grid_is_zero():
    # K = 80: 16 exceedances and 34 points, the ninth of them 1/max - 1/(3 quartile) = 0.  The profile there is a limit,
    # so a largest exceedance a little off that changes little.
    def k_hat(largest):
        exceedances = torch.cat([torch.ones(6), torch.linspace(1.0, 2.5, 9), torch.tensor([largest])])
        return pareto_k(torch.cat([torch.ones(64), 1 + exceedances]).log())

    at, near = k_hat(3.0), k_hat(3.0 + 1e-9)
    assert_exact(at, near, atol=1e-7)
