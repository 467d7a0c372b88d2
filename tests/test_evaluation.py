"""evaluation.py: Pass@k against all subsets, the bootstrap against its definition and by coverage."""

import inspect
import itertools
import math

import jaxtyping
import pytest
import torch
from helpers import assert_exact, assert_mean
from hypothesis import given
from hypothesis import strategies as st

from varcore import (
    Interval,
    ShapeError,
    avg_at_k,
    bootstrap_interval,
    duplicate_fraction,
    evaluation,
    paired_bootstrap,
    pass_at_k,
)

pytestmark = pytest.mark.usefixtures("float64")


# Duplicates


def test_duplicate_fraction_golden():
    rollouts = torch.tensor([[[1, 2], [1, 2], [1, 3], [1, 2]], [[1, 2], [2, 1], [1, 1], [2, 2]]])
    assert_exact(duplicate_fraction(rollouts), [0.5, 0.0])
    assert_exact(duplicate_fraction(torch.zeros(3, 5, 7)), [0.8, 0.8, 0.8])
    assert_exact(duplicate_fraction(torch.zeros(1, 4)), 0.0)
    assert_exact(duplicate_fraction(torch.zeros(4, 0)), 0.75)


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=8))
def test_duplicate_fraction_counts_distinct_rollouts(rollouts):
    distinct = len({tuple(rollout) for rollout in rollouts})
    tokens = torch.tensor(rollouts)
    assert_exact(duplicate_fraction(tokens), 1 - distinct / len(rollouts))
    assert_exact(torch.func.vmap(duplicate_fraction)(tokens[None]), [1 - distinct / len(rollouts)])


def test_duplicate_fraction_refuses():
    for shape in ((3,), (2, 0, 4)):
        with pytest.raises(ShapeError, match=r"duplicate_fraction: needs token ids .*pad_sequence"):
            inspect.unwrap(duplicate_fraction)(torch.zeros(shape))


# Avg@k


def test_avg_at_k_golden():
    # 1 of 4, 3 of 4
    correct = torch.tensor([[True, False, False, False], [True, True, True, False]])
    for verdicts in (correct, correct.long(), correct.double()):
        assert_exact(avg_at_k(verdicts), [0.25, 0.75])
    assert avg_at_k(correct.to(torch.float32)).dtype == torch.float32
    assert_exact(avg_at_k(torch.tensor([[0.5, 1.0]])), [0.75])
    assert_exact(torch.func.vmap(avg_at_k)(correct), [0.25, 0.75])
    with pytest.raises(ShapeError, match="avg_at_k"):
        avg_at_k(torch.zeros(3, 0))


# Pass@k


def test_pass_at_k_against_every_subset():
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations(range(n), k))  # samples 0..c-1 are correct
            share = sum(any(i < c for i in subset) for subset in subsets) / len(subsets)
            assert_exact(pass_at_k(n, torch.tensor([c]), k), [share], atol=1e-14)


def test_pass_at_k_golden_and_argument_forms():
    # n = 4, c = 2, k = 2: 1 - C(2,2)/C(4,2) = 5/6
    assert_exact(pass_at_k(4, 2, 2), 5 / 6)
    assert_exact(pass_at_k(torch.tensor([4, 4, 8]), torch.tensor([2, 0, 8]), 2), [5 / 6, 0.0, 1.0])
    assert_exact(pass_at_k(torch.tensor([4, 2]), 1, 2), [0.5, 1.0])
    assert_exact(pass_at_k(4, torch.tensor([[1, 2], [3, 4]]), 1), [[0.25, 0.5], [0.75, 1.0]])
    for dtype in (torch.float32, torch.float64):
        assert pass_at_k(4, torch.tensor([2.0], dtype=dtype), 2).dtype == dtype
    for counts in ((4, torch.tensor([2.0], requires_grad=True)), (torch.tensor([4.0], requires_grad=True), 2)):
        assert not pass_at_k(*counts, 2).requires_grad


@given(st.integers(1, 2000), st.data())
def test_pass_at_k_with_many_samples_against_exact_integers(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert abs(pass_at_k(n, torch.tensor([c], dtype=torch.float64), k).item() - exact) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pass_at_k_with_thousands_of_samples_does_not_overflow(dtype):
    # C(4000, 2000) is about 2^3994, beyond float64: a quotient of floating binomial coefficients would be inf / inf
    num_correct = torch.tensor([0, 2000, 2001, 4000], dtype=dtype)
    assert pass_at_k(4000, num_correct, 2000).tolist() == [0.0, 1.0, 1.0, 1.0]


def test_pass_at_k_is_unbiased():
    # success rate 0.3, n = 5 samples, k = 3: the mean over c ~ Binomial(5, 0.3) is 1 - 0.7^3
    chances = torch.tensor([math.comb(5, c) * 0.3**c * 0.7 ** (5 - c) for c in range(6)])
    assert_exact((chances * pass_at_k(5, torch.arange(6), 3)).sum(), 1 - 0.7**3)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, 2, 5, "num_samples >= k = 5.*fewest samples: 4.*Draw more samples"),
        (4, 5, 2, "0 <= num_correct <= num_samples"),
        (4, -1, 2, "0 <= num_correct"),
        (4, 2, 0, "k >= 1, got 0"),
    ],
)
def test_pass_at_k_refuses_impossible_counts(n, c, k, message):
    for counts in ((n, c), (torch.tensor([8, n]), torch.tensor([3, c]))):
        with pytest.raises(ValueError, match=message):
            pass_at_k(*counts, k)


def test_pass_at_k_refuses_what_is_impossible_twice_over():
    with pytest.raises(ValueError, match="1 of 2 questions"):
        pass_at_k(torch.tensor([1, 4]), torch.tensor([-1, 2]), 2)  # too few samples, and fewer than none correct


def test_pass_at_k_stays_on_the_device_of_its_tensor():
    # "meta" has shapes and no values: a device that every machine has beside the CPU
    for counts in ((torch.ones(2, device="meta"), 1), (1, torch.ones(2, device="meta"))):
        assert pass_at_k(*counts, 1).device.type == "meta"


def test_pass_at_k_under_vmap_is_nan_where_it_would_refuse():
    n, c = torch.tensor([4, 4, 1, 4]), torch.tensor([2, 0, 1, 5])
    result = torch.func.vmap(lambda n, c: pass_at_k(n, c, 2))(n, c)
    assert_exact(result[:2], [5 / 6, 0.0])
    assert result[2:].isnan().all()
    assert_exact(torch.func.vmap(lambda c: pass_at_k(4, c, 2))(c[:2]), [5 / 6, 0.0])


def test_pass_at_k_shapes():
    n, c = torch.ones(2, 3), torch.ones(3)
    with pytest.raises(jaxtyping.TypeCheckError):
        pass_at_k(n, c, 1)
    with pytest.raises(ShapeError, match=r"pass_at_k: .*\(2, 3\).*\(3,\)"):
        inspect.unwrap(pass_at_k)(n, c, 1)


# Bootstrap


def test_bootstrap_golden_of_two_questions():
    # values 0 and 1: a resampled mean is 0, 1/2, 1 with chance 1/4, 1/2, 1/4
    values = torch.tensor([0.0, 1.0])
    assert bootstrap_interval(values, level=0.95, seed=0) == Interval(0.5, 0.0, 1.0)
    # at level 0.4 the quantiles 0.3 and 0.7 lie in the middle half.  False alarm: 10,000 draws put 3,000 or more on an
    # end of chance 1/4, above 11 standard deviations: below 1e-27
    assert bootstrap_interval(values, level=0.4, seed=0) == Interval(0.5, 0.5, 0.5)


def test_bootstrap_of_one_resample_has_equal_ends():
    mean, lower, upper = bootstrap_interval(torch.tensor([0.0, 1.0, 2.0]), num_resamples=1, seed=0)
    assert mean == 1.0
    assert lower == upper


def test_bootstrap_width_is_that_of_the_normal_limit():
    # the resampled mean has standard deviation sd / sqrt(B) with the population sd; 1.96 of them each way at 95%.
    # 40,000 resamples place each end within about 0.7% of the half-width (one standard error); 5% is seven of them
    values = torch.randn(400)
    interval = bootstrap_interval(values, num_resamples=40_000, seed=1)
    half = 1.959964 * values.std(correction=0).item() / 20
    assert abs(interval.upper - interval.mean - half) < 0.05 * half
    assert abs(interval.mean - interval.lower - half) < 0.05 * half
    assert interval.mean == pytest.approx(values.mean().item(), abs=1e-14)
    narrow = bootstrap_interval(values, level=0.5, seed=1)
    assert interval.lower < narrow.lower < narrow.upper < interval.upper


def test_bootstrap_coverage():
    # 1,000 data sets of 60 normal values, nominal 0.90.  The percentile interval is the normal one with the population
    # sd and no t-correction: |t_59| < 1.645 * sqrt(59/60) has probability 0.8918, which is the coverage to expect.
    # False-alarm rate: 6e-7 (assert_mean).  Power: a true coverage of 0.95 or 0.80 is 6 or more standard errors off.
    data = torch.randn(1000, 60) + 2.0
    covered = []
    for seed, values in enumerate(data):
        _, lower, upper = bootstrap_interval(values, num_resamples=400, level=0.9, seed=seed)
        covered.append(float(lower <= 2.0 <= upper))
    assert_mean(torch.tensor(covered), 0.8918)


def test_seed_decides_and_global_state_does_not():
    values = torch.rand(50)
    first = bootstrap_interval(values, seed=7)
    state = torch.get_rng_state()
    torch.manual_seed(123)
    assert bootstrap_interval(values, seed=7) == first
    assert bootstrap_interval(values, seed=8) != first
    torch.set_rng_state(state)
    before = torch.get_rng_state()
    bootstrap_interval(values, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    single = values.to(torch.float32)
    assert bootstrap_interval(single, seed=7) == pytest.approx(first, abs=1e-6)
    assert bootstrap_interval(single, seed=7) == bootstrap_interval(single.double(), seed=7)


def test_memory_is_bounded_by_chunks_that_cover_every_resample(monkeypatch):
    shapes, randint = [], torch.randint

    def recording(high, size, **options):
        shapes.append(tuple(size))
        return randint(high, size, **options)

    monkeypatch.setattr(torch, "randint", recording)
    monkeypatch.setattr(evaluation, "_INDICES_AT_ONCE", 100)
    interval = bootstrap_interval(torch.rand(30), num_resamples=10, seed=0)
    assert shapes == [(3, 30), (3, 30), (3, 30), (1, 30)]
    assert 0.0 < interval.lower < interval.upper < 1.0  # no mean left unset
    shapes.clear()
    bootstrap_interval(torch.rand(200), num_resamples=2, seed=0)
    assert shapes == [(1, 200), (1, 200)]


def test_the_default_dtype_does_not_matter():
    values = torch.rand(50)
    expected = bootstrap_interval(values, num_resamples=1000, seed=7)
    torch.set_default_dtype(torch.float32)
    try:
        assert bootstrap_interval(values, num_resamples=1000, seed=7) == expected
    finally:
        torch.set_default_dtype(torch.float64)


def test_paired_bootstrap_is_the_bootstrap_of_the_differences():
    difficulty = torch.randn(80)
    a, b = difficulty + 0.3, difficulty + 0.1 * torch.randn(80)
    paired = paired_bootstrap(a, b, num_resamples=1000, level=0.9, seed=5)
    assert paired == bootstrap_interval(a - b, num_resamples=1000, level=0.9, seed=5)
    assert paired.mean == pytest.approx((a.mean() - b.mean()).item(), abs=1e-14)
    swapped = paired_bootstrap(b, a, num_resamples=1000, level=0.9, seed=5)
    assert swapped == pytest.approx((-paired.mean, -paired.upper, -paired.lower), abs=1e-14)
    # what makes a question easy for both cancels: far narrower than either alone
    alone = bootstrap_interval(a, num_resamples=1000, level=0.9, seed=5)
    assert paired.upper - paired.lower < 0.2 * (alone.upper - alone.lower)


def test_bootstrap_refuses():
    values = torch.rand(5)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=r"0 < level < 1.*0\.95"):
            bootstrap_interval(values, level=level, seed=0)
    with pytest.raises(ValueError, match="num_resamples >= 1"):
        bootstrap_interval(values, num_resamples=0, seed=0)
    with pytest.raises(ValueError, match="must be finite, got 1 that"):
        bootstrap_interval(torch.tensor([0.0, math.nan]), seed=0)
    for both in ((values, torch.full((5,), math.inf)), (torch.full((5,), math.nan), values)):
        with pytest.raises(ValueError, match="paired_bootstrap: every value must be finite"):
            paired_bootstrap(*both, seed=0)
    with pytest.raises(ShapeError, match=r"^bootstrap_interval: .* B >= 2, got shape \(1,\)"):
        bootstrap_interval(torch.zeros(1), seed=0)
    for shape in ((5, 3), ()):
        with pytest.raises(ShapeError, match="avg_at_k"):
            inspect.unwrap(bootstrap_interval)(torch.zeros(shape), seed=0)
    with pytest.raises(jaxtyping.TypeCheckError):
        paired_bootstrap(values, torch.rand(6), seed=0)
    with pytest.raises(ShapeError, match=r"paired_bootstrap: .*common shape"):
        inspect.unwrap(paired_bootstrap)(values, torch.rand(1), seed=0)
