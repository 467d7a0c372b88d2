"""Tutorial 3: its toy is a model, its questions are measured exactly, its experiment's target is a fair one."""

import math

import pytest
import torch

import varcore
from varcore.exercises.judging import judge
from varcore.exercises.t03_weighing_traces import my_rule, toy
from varcore.exercises.t03_weighing_traces.world import (
    WAYS,
    Listed,
    Measured,
    draw_question,
    groups_of,
    measure,
    measured,
)
from varcore.exercises.task import find

SEED = 5


def seeded(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_toy_is_a_model():
    for table in (toy.PRIOR, toy.POSTERIOR, toy.TRUTH):
        assert math.isclose(table.sum().item(), 1.0, rel_tol=1e-12)
    assert bool((toy.ACCURACY < 1).all())
    assert toy.ANSWERS.shape == (len(toy.TRACES), len(toy.RIGHT))
    assert math.isclose((toy.PRIOR * toy.ACCURACY).sum().item(), toy.P_X, rel_tol=1e-12)


def test_a_drawn_question_holds_together():
    question = draw_question(seeded())
    assert math.isclose(question.log_q.exp().sum().item(), 1.0, rel_tol=1e-12)
    joint = (question.log_q + question.log_ratio).exp() * question.accuracy
    torch.testing.assert_close(question.truth, joint / joint.sum())
    assert question.way.bincount().tolist() == [4, 2, 2]
    honest, _, rationalised = (question.log_ratio[question.way == way] for way in range(len(WAYS)))
    assert rationalised.max() < honest.min()


def uneven() -> Listed:
    """Two traces that q writes, one way each; the other six as good as never come up."""
    log_q = torch.tensor([0.5, 0.5, *[1e-40] * 6], dtype=torch.float64).log()
    truth = torch.tensor([0.75, 0.25, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    way = torch.tensor([0, 2, 0, 0, 0, 1, 1, 2])
    ratio = torch.tensor([1.5, 0.5, 1, 1, 1, 1, 1, 1], dtype=torch.float64).log()
    return Listed(log_q, ratio, torch.full((8,), 50), torch.ones(8, dtype=torch.float64), way, truth)


def test_a_measurement_is_a_sum_over_groups_that_one_can_do_by_hand():
    """n of eight traces are the first with chance C(8, n) / 256; each such trace has the weight 3, the others 1."""
    question = uneven()
    share = size = 0.0
    for n in range(9):
        chance, total = math.comb(8, n) / 256, 3 * n + (8 - n)
        share += chance * 3 * n / total
        size += chance * total**2 / (9 * n + (8 - n))
    found = measured(question, groups_of(question)[0])
    assert math.isclose(found.effective, size, rel_tol=1e-12)
    assert math.isclose(found.bias, abs(share - 0.75), rel_tol=1e-9)
    assert math.isclose(found.bias_of_traces, abs(share - 0.75), rel_tol=1e-9)
    assert abs(found.unusable) < 1e-12


def test_a_group_without_weight_counts_no_effective_trace_and_has_no_bias():
    question = uneven()
    log_weights = groups_of(question)[0].clone()
    log_weights[log_weights < 0] = -math.inf  # only the first trace has weight: groups of the second alone have none
    found = measured(question, log_weights)
    assert math.isclose(found.unusable, 1 / 256, rel_tol=1e-9)
    assert math.isclose(found.effective, sum(n * math.comb(8, n) / 256 for n in range(9)), rel_tol=1e-12)
    assert math.isclose(found.bias, 0.25, rel_tol=1e-9)
    nothing = measured(question, torch.full_like(log_weights, -math.inf))
    assert (nothing.effective, nothing.unusable) == (0.0, 1.0)
    assert math.isfinite(nothing.bias)


# ------------------------------------------------------------------------------------ the target of the experiment


def member(exponent: float | None):
    def rule(log_ratio, num_tokens, accuracy):
        return varcore.tempered_log_weights(
            log_ratio, torch.zeros_like(log_ratio), accuracy.log(), num_tokens, exponent
        )

    return rule


@pytest.mark.parametrize("exponent", [None, *[step / 20 for step in range(8, 15)], 0.0, 0.25, 1.0, 1.5])
def test_no_exponent_reaches_the_target_or_comes_near(exponent: float | None):
    """Between 0.4 and 0.7 the two conditions change places: what keeps one misses the other, by far."""
    found = measure(member(exponent), seeded())
    assert found.effective < my_rule.EFFECTIVE - 0.3 or found.bias > my_rule.BIAS + 0.006


@pytest.mark.parametrize("rule", [my_rule.my_rule, *my_rule.TASK.alternatives], ids=lambda rule: rule.__name__)
def test_each_design_reaches_the_target_with_room(rule):
    """A check draws other questions: from the spread of six checks, a right design fails in about 1 of 200."""
    checks = torch.tensor([measure(rule, seeded(seed)) for seed in range(6)])
    mean, spread = Measured(*checks.mean(0).tolist()), Measured(*checks.std(0).tolist())
    assert mean.effective - 2.6 * spread.effective >= my_rule.EFFECTIVE
    assert mean.bias + 2.6 * spread.bias <= my_rule.BIAS


def test_trace_by_trace_no_design_is_nearer_to_p_than_an_exponent_of_its_size():
    """What the tutorial says of its own rules after the experiment."""
    rival = measure(member(0.4), seeded())
    for rule in (my_rule.my_rule, *my_rule.TASK.alternatives):
        found = measure(rule, seeded())
        assert abs(found.effective - rival.effective) < 0.4
        assert found.bias_of_traces > rival.bias_of_traces + 0.05


def by_length(scale: float, power: float):
    return lambda log_ratio, num_tokens, accuracy: scale * log_ratio / num_tokens**power + accuracy.log()


@pytest.mark.parametrize(
    "rule",
    [by_length(8, 1), by_length(32, 1), by_length(4, 0.5), by_length(6, 0.5)],
    ids=["8/|z|", "32/|z|", "4/sqrt|z|", "6/sqrt|z|"],
)
def test_nor_does_an_exponent_of_another_length(rule):
    assert my_rule.examine(rule, seeded()) != ""


def test_a_table_learned_by_heart_misses_the_target():
    """The shares that the solution gives on one question, by place, on all others: the traces come in another order."""
    question = draw_question(seeded())
    table = my_rule.my_rule(question.log_ratio, question.num_tokens, question.accuracy)
    places = torch.randn(8, generator=seeded(), dtype=torch.float64)
    for answer in (
        lambda log_ratio, num_tokens, accuracy: table.expand(log_ratio.shape),
        lambda log_ratio, num_tokens, accuracy: places.expand(log_ratio.shape),
    ):
        assert judge(find("3.8"), answer, seeded()).outcome == "wrong"


def test_staying_silent_does_not_pay():
    """Weights only for groups of five honest traces or more: even and right, and most groups count nothing."""

    def rule(log_ratio, num_tokens, accuracy):
        good = (log_ratio > -3.0).sum(-1, keepdim=True) >= 7
        return my_rule.my_rule(log_ratio, num_tokens, accuracy).masked_fill(~good, -math.inf)

    assert "without any weight" in my_rule.examine(rule, seeded())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda log_ratio, num_tokens, accuracy: None, "returns None"),
        (lambda log_ratio, num_tokens, accuracy: accuracy.tolist(), "should return log weights"),
        (lambda log_ratio, num_tokens, accuracy: accuracy[0], "should return log weights"),
        (lambda log_ratio, num_tokens, accuracy: num_tokens, "should return log weights"),
        (lambda log_ratio, num_tokens, accuracy: accuracy * math.nan, "is NaN"),
        (lambda log_ratio, num_tokens, accuracy: accuracy + math.inf, "is +inf"),
        (lambda log_ratio, num_tokens, accuracy: accuracy.log() - math.inf, "without any weight"),
        (lambda log_ratio, num_tokens, accuracy: accuracy.log() + accuracy.mean(0), "depend on the other groups"),
    ],
    ids=["none", "list", "row", "integers", "nan", "infinite", "nothing", "other groups"],
)
def test_a_malformed_rule_is_told_what_it_is(answer, said: str):
    assert said in my_rule.examine(answer, seeded())
