"""Tutorial 1: its toy is what the notebook says, and the target of its experiment can be reached, but not by chance."""

import pytest
import torch

import varcore
from varcore.exercises.t01_importance_weights_and_bounds import my_q, sampled_bound, toy

pytestmark = pytest.mark.usefixtures("float64")


def gap(q: torch.Tensor) -> float:
    """log p(x) - L^8 by listing every group of eight traces; the task itself integrates."""
    return toy.LOG_P - varcore.exact_iwae_bound(toy.LOG_PRIOR, toy.LOG_LIKELIHOOD, q.log(), my_q.NUM_TRACES).item()


def test_the_toy_is_a_model():
    for table in (toy.LOG_PRIOR, toy.LOG_POSTERIOR):
        torch.testing.assert_close(table.exp().sum(), torch.tensor(1.0))
    assert pytest.approx(0.206) == sum((toy.LOG_PRIOR + toy.LOG_LIKELIHOOD).exp().tolist())
    assert pytest.approx(0.206) == torch.tensor(toy.LOG_P).exp().item()
    assert len(toy.TRACES) == len(toy.LOG_PRIOR)
    assert toy.LOG_POSTERIOR.argmax() == my_q.COPY


def test_the_solution_is_the_best_helper_and_the_target_leaves_room():
    best = gap(my_q.my_q())
    assert best < 0.9 * my_q.TARGET
    assert gap(toy.LOG_POSTERIOR.exp()) / 1.9 > my_q.TARGET
    for _ in range(50):  # the gap is convex in q: no step from its minimum helps, whatever the draw
        free = my_q.my_q() * torch.exp(0.1 * torch.randn(6))
        free[my_q.COPY] = 0.0
        other = my_q.SHARE * free / free.sum()
        other[my_q.COPY] = my_q.SHARE
        assert gap(other) > best


def test_helpers_that_are_drawn_at_random_miss_the_target():
    drawn = my_q.SHARE * torch.distributions.Dirichlet(torch.ones(5)).sample((500,))
    copied = torch.full((500, 1), my_q.SHARE)
    q = torch.cat([drawn[:, :1], copied, drawn[:, 1:]], 1)
    assert sum(my_q.examine(row, torch.Generator()) == "" for row in q) < 50


def test_the_faulty_bound_exceeds_log_p_where_q_is_sharpened():
    """At temperature 0.5, over every group of three traces with its chance: nothing is drawn."""
    logits = torch.tensor([2.0, 0.7, 1.8, 0.7, 0.7, 0.0])
    groups = torch.cartesian_prod(*[torch.arange(6)] * 3)
    chances = (logits / 0.5).log_softmax(-1)[groups].sum(-1).exp()
    faulty, right = (
        sum(
            chance * code(toy.LOG_PRIOR, toy.LOG_LIKELIHOOD, logits, 0.5, group[None]).item()
            for chance, group in zip(chances.tolist(), groups, strict=True)
        )
        for code in (sampled_bound.as_it_was, sampled_bound.sampled_bound)
    )
    assert right < toy.LOG_P < faulty
