"""The frames of the report's explorer hold what the notebooks' explorer shows, under every rule."""

import math

import pytest
import torch

from varcore.llm import ledger
from varcore.llm.weighing import SELECTIONS, WeightRule, resampling_points
from varcore.viz import frames
from varcore.viz.explore import EXPONENTS, weigh_question
from varcore.viz.widgets import toy_ledger


@pytest.fixture(scope="module")
def toy():
    return toy_ledger()


@pytest.fixture(scope="module")
def broken(toy):
    """The toy ledger; a trace of its second question has a NaN."""
    log_pi = toy["log_pi"].to_pylist()
    log_pi[6] = [math.nan] * len(log_pi[6])
    return ledger.with_columns(toy, log_pi=log_pi)


@pytest.fixture(scope="module")
def shown(broken):
    return frames.explorer(broken)["questions"]


def wide(count: int):
    """One question with `count` traces whose log weights are spread out."""
    row = toy_ledger().to_pylist()[0]
    size = len(row["trace_ids"])
    return ledger.from_rows(
        [{**row, "trace_index": k, "log_pi": [-0.1 - (k * k % 23) / 10] * size} for k in range(count)]
    )


def as_tensor(logs: list[float | None]) -> torch.Tensor:
    return torch.tensor([-math.inf if log is None else log for log in logs], dtype=torch.float64)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("estimator", ["accuracy", "gml", "likelihood"])
@pytest.mark.parametrize("question", ["2 + 3", "3 + 2"])
def test_a_frame_shares_out_to_the_weights_of_the_notebooks_explorer(broken, shown, exponent, estimator, question):
    found = shown[question]
    place = EXPONENTS.index(exponent)
    rule = {"exponent": exponent, "estimator": estimator}
    soft = weigh_question(broken, question, **rule, selection="soft")
    logs = as_tensor(found[estimator]["logs"][place])
    assert torch.softmax(logs, -1).tolist() == pytest.approx(soft.weights, rel=2e-4)
    kept = len(soft.weights) - len(found["broken"])
    assert logs.logsumexp(-1).item() - math.log(kept) == pytest.approx(soft.bound, abs=1e-4)
    for selection in ("resample", "argmax"):
        one = weigh_question(broken, question, **rule, selection=selection)
        assert found[estimator][selection][place] == max(range(5), key=one.weights.__getitem__)


def test_broken_traces_are_named_and_have_no_frame(broken, shown):
    found = shown
    assert [question["broken"] for question in found.values()] == [[], [1]]
    assert all(logs[1] is None for logs in found["3 + 2"]["gml"]["logs"])
    log_pi = [[math.nan] * len(values) for values in broken["log_pi"].to_pylist()]
    nothing = frames.explorer(ledger.with_columns(broken, log_pi=log_pi))
    assert nothing["questions"]["2 + 3"] == {"broken": [0, 1, 2, 3, 4]}


def test_flags_are_those_of_the_estimator(toy):
    question = frames.explorer(toy)["questions"]["2 + 3"]
    assert question["accuracy"]["flags"] == [[], [], [], ["no correct answer"], ["unclosed"]]
    assert question["gml"]["flags"] == [[], [], [], [], ["unclosed"]]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_k_hat_is_there_from_25_traces_on(exponent):
    assert "tails" not in frames.explorer(wide(24))["questions"]["2 + 3"]["accuracy"]
    table = wide(40)
    tail = frames.explorer(table)["questions"]["2 + 3"]["accuracy"]["tails"][EXPONENTS.index(exponent)]
    expected = weigh_question(table, "2 + 3", exponent=exponent, estimator="accuracy", selection="soft").pareto_k
    assert tail == (math.inf if exponent == "0" else pytest.approx(expected, abs=0.006))  # at 0 all weights are equal


def test_a_ledger_says_what_it_does_not_allow(toy):
    without = ledger.with_columns(toy, log_pi_reference=[None] * len(toy))
    found = frames.explorer(without)
    assert found["estimators"] == ["accuracy"]
    assert found["left_out"] == "Left out here: gml, likelihood, for log_pi_reference is not filled."
    unjudged = frames.explorer(ledger.with_columns(toy, num_correct=[None] * len(toy)))
    assert (unjudged["estimators"], "num_correct" in unjudged["left_out"]) == (["gml", "likelihood"], True)
    unscored = frames.explorer(ledger.with_columns(toy, log_pi=[None] * len(toy)))
    assert (unscored["estimators"], unscored["questions"]) == ([], {})
    assert "'log_pi' is empty in 10 of 10 rows" in unscored["left_out"]
    assert frames.explorer(toy.slice(0, 0)) == {"estimators": [], "questions": {}, "left_out": ""}


def test_the_controls_start_at_the_runs_own_rule():
    own = frames.controls(WeightRule("gml", 0.3, selection="argmax"))
    assert own["start"] == {"exponent": EXPONENTS.index("0.3"), "estimator": "gml", "selection": "argmax"}
    assert frames.controls(WeightRule())["start"]["exponent"] == EXPONENTS.index("1/|z|")
    off_the_grid = frames.controls(WeightRule("gml", 0.25))
    assert off_the_grid["start"]["exponent"] == EXPONENTS.index("1/|z|")
    assert "exponent 0.25" in off_the_grid["own"]


def test_the_cut_is_where_resample_draws():
    """The trace drawn is the first whose cumulative weight exceeds the cut."""
    cut = frames.controls(WeightRule())["cut"]
    for first in (cut - 0.01, cut + 0.01):
        weights = torch.tensor([[first, 1 - first]], dtype=torch.float64)
        assert SELECTIONS["resample"](weights, frames.SEED)[0, 0] == (first > cut)
    many = resampling_points(2000, 1)
    assert many.shape == (2000, 1)
    assert abs(many.mean() - 0.5) < 5 * (1 / 12 / 2000) ** 0.5  # false alarms: 6e-7, and the seed is fixed
