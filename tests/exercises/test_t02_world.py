"""The worlds of tutorial 2: what is drawn, judged and counted, and what the experiment says to a malformed answer."""

import math

import pytest
import torch

from varcore.exercises.t02_training_a_posterior.toy import ACCURACY, P_X, PRIOR, START, TRUTH, free_q, slots_q
from varcore.exercises.t02_training_a_posterior.train_q import examine
from varcore.exercises.t02_training_a_posterior.world import BUDGET, WORLDS, Spent, World, gaps

SEED = 3


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def test_the_tables_of_the_toy_are_probabilities():
    for table in (PRIOR, TRUTH, slots_q(START).exp(), free_q(PRIOR.log()).exp()):
        assert math.isclose(table.sum().item(), 1.0, rel_tol=1e-12)
    assert math.isclose((PRIOR * ACCURACY).sum().item(), P_X, rel_tol=1e-12)


def test_a_helper_without_slots_in_the_way_starts_as_the_slots_do():
    torch.testing.assert_close(free_q(slots_q(START)), slots_q(START))


def test_every_trace_is_paid_for_and_an_overdraft_costs_nothing():
    world = World(seeded())
    world.from_reasoner(1_000)
    world.from_helper(world.start, 2_999)
    assert world.left == BUDGET - 3_999 == 1
    with pytest.raises(Spent, match="2 traces asked for, 1 of 4000 left"):
        world.from_reasoner(2)
    assert world.left == 1


@pytest.mark.parametrize("writer", ["reasoner", "helper"])
def test_traces_are_drawn_and_judged_as_the_tables_say(writer: str):
    """2 * 12 shares of 4,000 draws, each within five standard errors and three traces: a false alarm in fewer than 1 of
    50,000 seeds."""
    world = World(seeded())
    if writer == "reasoner":
        chances, (z, right) = world._log_prior.exp(), world.from_reasoner(BUDGET)
    else:
        chances, (z, right, log_prior) = world.start.exp(), world.from_helper(world.start, BUDGET)
        torch.testing.assert_close(log_prior, world._log_prior[z])
    for seen, share in ((torch.ones_like(right), chances), (right, chances * world._accuracy)):
        found = torch.zeros(12, dtype=torch.float64).index_add(0, z, seen) / BUDGET
        assert bool(((found - share).abs() <= 5 * (share * (1 - share) / BUDGET).sqrt() + 3 / BUDGET).all())


def test_the_gap_is_zero_at_the_truth_alone():
    world = World(seeded())
    truth = (world._log_prior.exp() * world._accuracy).log().log_softmax(-1)
    assert abs(world.gap(truth)) < 1e-12
    by_hand = sum(math.exp(a) * (a - b) for a, b in zip(truth.tolist(), world.start.tolist(), strict=True))
    assert math.isclose(world.gap(world.start), by_hand, rel_tol=1e-9)


def test_the_report_trains_in_as_many_worlds_as_the_check():
    before, after = gaps(lambda world: world.start, seeded())
    assert len(before) == WORLDS
    assert before == after


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda world: None, "returns None"),
        (lambda world: world.start.tolist(), "a tensor of shape (12,)"),
        (lambda world: world.start[None], "a tensor of shape (12,)"),
        (lambda world: torch.arange(12), "a tensor of shape (12,)"),
        (lambda world: world.start * math.nan, "is NaN"),
        (lambda world: world.start + 0.01, "do not sum to one"),
        (lambda world: world.start.exp(), "these are probabilities"),
    ],
    ids=["none", "list", "axis", "integers", "nan", "unnormalised", "probabilities"],
)
def test_a_malformed_q_is_told_what_it_is(answer, said: str):
    assert said in examine(answer, seeded())
