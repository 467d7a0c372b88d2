"""pareto_k against ArviZ's Pareto-smoothed importance sampling: the array functions of arviz-stats.

The same numbers go through both, so there are no false alarms.
"""

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from helpers import INF, assert_exact

from varcore import ShapeError, pareto_k

pytestmark = pytest.mark.usefixtures("float64")

# Every kind of tail: none (k below 0.5), Pareto of a given k (its log weights are exponential), k of 1 and far more.
LOG_WEIGHTS = {
    "normal, scale 0.3": lambda *shape: 0.3 * torch.randn(*shape),
    "normal, scale 3": lambda *shape: 3.0 * torch.randn(*shape),
    "Pareto, k = 0.3": lambda *shape: 0.3 * torch.empty(*shape).exponential_(),
    "Pareto, k = 1.5": lambda *shape: 1.5 * torch.empty(*shape).exponential_(),
    "Student, 5 degrees": lambda *shape: torch.distributions.StudentT(5.0).sample(shape),
    "Student, 2 degrees": lambda *shape: torch.distributions.StudentT(2.0).sample(shape),
}


def arviz_k(log_weights):
    """psislw takes log likelihoods, whose reciprocals are the weights: hence the minus.

    Not its ``pareto_khat(log_weights=True)``: arviz-stats 0.8.0 fits the tail of the logarithms there.
    """
    _, k = array_stats.psislw(-log_weights.numpy())
    return torch.from_numpy(k)


@pytest.mark.parametrize("draw", LOG_WEIGHTS.values(), ids=LOG_WEIGHTS.keys())
@pytest.mark.parametrize("num_samples", [25, 50, 200, 225, 226, 1000, 5000])  # the tail's rule changes after 225
def test_k_is_arviz(draw, num_samples):
    log_weights = draw(2, 10, num_samples)
    assert_exact(pareto_k(log_weights), arviz_k(log_weights), atol=1e-6)


def test_k_is_arviz_with_zero_weights_and_ties():
    log_weights = torch.randn(10, 200)
    zeros = log_weights.masked_fill(torch.rand(10, 200) < 0.5, -INF)
    ties = (50 * log_weights).round() / 50
    for case in (zeros, ties):
        assert_exact(pareto_k(case), arviz_k(case), atol=1e-6)


def test_where_arviz_has_no_fit():
    """ArviZ raises, or calls the worst weights there are harmless: 5/(M+10), its prior and a fit of zero."""
    with pytest.raises(ValueError, match="at least 5"):
        arviz_k(torch.randn(24))
    with pytest.raises(ShapeError, match="K >= 25"):
        pareto_k(torch.randn(24))
    with pytest.raises(ValueError, match="All tail values are the same"):
        arviz_k(torch.zeros(100))
    assert pareto_k(torch.zeros(100)) == INF
    out_of_range = 1000 * torch.randn(1, 100)  # all but the largest weight underflow
    with np.errstate(all="ignore"):
        assert_exact(arviz_k(out_of_range), [5 / 30])
    assert_exact(pareto_k(out_of_range), [INF])
