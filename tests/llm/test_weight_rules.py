"""benchmarks/weight_rules.py: figures on ledgers that can be counted by hand, a run in miniature, the table."""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from varcore.llm import ledger, stages, storage, workbench
from varcore.llm.weighing import WeightRule
from varcore.tasks import Chain, Verdict

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # its two files import each other as scripts do

import arms
import weight_rules
import weight_rules_table


class LenientChain(Chain):
    """Chain, judged so that a model of fifty training steps is right now and then: the answer has two digits."""

    name = "lenient-chain"

    def verify(self, question, answer) -> Verdict:
        return Verdict.RIGHT if answer.isdecimal() and len(answer) == 2 else Verdict.WRONG


METHODS = ("sft", "rft", "accuracy", "vr")


@pytest.fixture(scope="module")
def small_runs(miniature):
    """The runner's settings in miniature, on a task that a miniature model can solve."""
    # longer training than in other miniatures: the gates need traces of pi_0 that are closed
    base = {"steps": 120, "batch_size": 16, "learning_rate": 1e-2, "muon_learning_rate": 3e-2}

    def settings(task: str, seed: int, split: str):
        return miniature(task=task, seed=seed, evaluation_split=split, methods=[*METHODS], base=base)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(workbench.TASKS, "lenient-chain", LenientChain)
        patch.setitem(weight_rules.SETTINGS, "lenient-chain", {})
        patch.setattr(weight_rules, "settings", settings)
        yield


# ---- a run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("weight_rules")


@pytest.fixture(scope="module")
def done(small_runs, runs):
    return weight_rules.one_run("lenient-chain", 3, "validation", runs)


ARMS = ["pi0", "sft", "rft", "mean-ratio", "accuracy", "accuracy-free", "mean-ratio-free", "exact", "exact-free"]
ARMS += ["gate-sum", "gate-token", "mixture", "oracle"]


def test_a_run_scores_every_arm_and_can_be_written_and_continued(done, runs, tmp_path, monkeypatch):
    assert sorted(done["scores"]) == sorted(ARMS)
    for found in done["scores"].values():
        assert found.keys() == {"all", "1", "2", "3"}
        assert all(0 <= cell["avg"] <= cell["pass"] <= 1 for cell in found.values())
    assert sorted(done["weights"]) == sorted(set(ARMS) - {"pi0", "sft"})
    assert all(math.isfinite(limit) for limit in done["thresholds"].values())
    storage.write_json(tmp_path / "log.json", {"runs": [done]})
    weight_rules.require_same_settings(tmp_path / "log.json")

    def train_nothing(*arguments):
        raise AssertionError("the run directory holds every arm")

    monkeypatch.setattr(stages, "_train", train_nothing)
    assert weight_rules.one_run("lenient-chain", 3, "validation", runs) == done


def test_a_log_of_other_settings_is_refused(done, tmp_path):
    storage.write_json(tmp_path / "log.json", {"runs": [done | {"settings": {"answers": 7}}]})
    with pytest.raises(ValueError, match="other settings"):
        weight_rules.require_same_settings(tmp_path / "log.json")
    weight_rules.require_same_settings(tmp_path / "none.json")


def test_the_oracle_and_the_gates_train_on_fewer_traces(done):
    weights = {arm: cells["all"] for arm, cells in done["weights"].items()}
    assert weights["accuracy"]["invalid"] > 0, "so little training teaches no sum"
    assert weights["oracle"].get("invalid", 0.0) == 0.0
    assert weights["oracle"]["traces"] < weights["accuracy"]["traces"]
    for gate in ("gate-sum", "gate-token"):
        assert 0 < weights[gate]["traces"] <= weights["mean-ratio"]["traces"]
    assert weights["accuracy"]["traces"] == weights["mean-ratio"]["traces"] == weights["exact"]["traces"]


def test_a_task_without_a_step_checker_has_no_oracle_and_no_such_figures(make_table):
    table = make_table([{}, {"num_correct": 0, "verdicts": ["wrong", "wrong"]}])
    assert "oracle" not in weight_rules.weighings(table, None, {"sum": -1.0, "token": -1.0})
    assert weight_rules.accepted(table, None)["all"] == {"traces": 0.5, "questions": 1.0}
    assert "invalid" not in weight_rules.leftover(table, [1.0, 0.0], None)["all"]


# ---- figures, counted by hand ------------------------------------------------------------------------------------


@pytest.fixture
def hand(make_table):
    """Three questions of two traces: both accepted, one of them valid; one accepted, both invalid; none accepted."""
    wrong = {"num_correct": 0, "verdicts": ["wrong", "wrong"]}
    return make_table([{}, {}], [{"level": 2}, {"level": 2, **wrong}], [{"level": 2, **wrong}, {"level": 2, **wrong}])


INVALID = [False, True, True, True, False, False]
STEPS = [[], [2], [0, 1], [0], [], []]  # invalid steps of the same traces, counted from the last one


def test_accepted_traces_by_level(hand):
    found = weight_rules.accepted(hand, STEPS)
    assert found["all"] == {
        "traces": 0.5,
        "questions": pytest.approx(2 / 3),
        "invalid": pytest.approx(2 / 3),
        "last_invalid": pytest.approx(1 / 3),
        "questions_only_invalid": 0.5,
    }
    assert found["1"] == {
        "traces": 1.0,
        "questions": 1.0,
        "invalid": 0.5,
        "last_invalid": 0.0,
        "questions_only_invalid": 0.0,
    }
    assert found["2"] == {
        "traces": 0.25,
        "questions": 0.5,
        "invalid": 1.0,
        "last_invalid": 1.0,
        "questions_only_invalid": 1.0,
    }


def test_weight_left_on_invalid_traces(hand):
    found = weight_rules.leftover(hand, [0.7, 0.3, 0.5, 0.0, 0.0, 0.0], INVALID)
    assert found["all"] == {"traces": 3, "questions": 2, "weight": 1.5, "invalid": pytest.approx(0.8 / 1.5)}
    assert found["1"] == {"traces": 2, "questions": 1, "weight": 1.0, "invalid": pytest.approx(0.3)}
    assert weight_rules.leftover(hand, [0.0] * 6, INVALID)["all"] == {"traces": 0, "questions": 0, "weight": 0}


def test_rules_weigh_as_they_say(hand):
    """Every trace has log pi/q = -1.75 over three tokens, -1 at the worst; accuracy 1/2."""
    found = weight_rules.weighings(hand, INVALID, {"sum": -2.0, "token": -0.9})
    weights = {name: table["weight"].to_pylist() for name, (table, _) in found.items()}
    for name in ("accuracy", "mean-ratio", "exact", "gate-sum"):
        assert weights[name] == pytest.approx([0.5, 0.5, 1, 0, 0, 0])
    for name, power in (("accuracy", 0.0), ("mean-ratio", 1 / 3), ("exact", 1.0)):
        rho = 0.5 * math.exp(-1.75 * power) / 2
        assert weights[f"{name}-free"] == pytest.approx([rho, rho, rho, 0, 0, 0])
    assert weights["gate-token"] == [0.0] * 6
    assert weights["oracle"] == pytest.approx([1, 0, 0, 0, 0, 0])
    assert found["gate-sum"][1] == WeightRule(gate="sum", threshold=-2.0)


def test_a_mixture_weighs_the_traces_of_both_as_its_own_draws(make_table, monkeypatch):
    """One trace of pi, two of q: m = pi/3 + 2q/3.  With q/pi = 1, 4 and 0 the ratios pi/m are 1, 1/3 and 3."""
    tables = {"prior": make_table([{}]), "posterior": make_table([{}, {}])}
    log_pi = ledger.sums(tables["prior"], "log_pi").item()
    log_q = torch.tensor([[log_pi, log_pi + math.log(4), log_pi - 1e9]], dtype=torch.float64)
    monkeypatch.setattr(weight_rules, "log_q_of_accepted", lambda bench, table: log_q)
    bench = SimpleNamespace(table=lambda round_, source: tables[source])
    found = weight_rules.mixture(bench)
    assert found["weight"].to_pylist() == pytest.approx([3 / 13, 1 / 13, 9 / 13])
    assert found["trace_index"].to_pylist() == [0, 1, 2]


def test_a_trace_of_q_has_the_log_q_that_its_sampler_noted(small_runs, done, runs):
    """Scored under the hint of the training question, as the sampler had it; q's own traces tell whether it was."""
    path = runs / "lenient-chain-validation-3"
    with arms.finished_run(path, weight_rules.settings("lenient-chain", 3, "validation")) as bench:
        table = bench.table(1, "posterior")
        accepted = ledger.matrix(table, table["num_correct"].to_pylist()) > 0
        scored = weight_rules.log_q_of_accepted(bench, table)
        assert torch.allclose(scored[accepted], ledger.sums(table, "log_q")[accepted], rtol=0, atol=1e-4)
        assert (scored[~accepted] == 0).all()


def test_groups_hold_the_rows_of_each_level():
    assert weight_rules.by_level([2, 1, 2]) == {"all": [0, 1, 2], "1": [1], "2": [0, 2]}


# ---- the table ---------------------------------------------------------------------------------------------------


def test_interval_is_students():
    """Three values 1, 2, 3: standard error 1/sqrt(3), t = 4.303 with two degrees of freedom."""
    assert weight_rules_table.interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    assert weight_rules_table.interval([2.0]) == (2.0, -math.inf, math.inf)


def test_differences_are_paired_over_seeds():
    rng = random.Random(0)
    runs = []
    for _ in range(5):
        level = rng.random() / 2
        cells = {"a": level + 0.1 + rng.random() / 1000, "b": level}
        runs.append({"scores": {arm: {"all": {"avg": value}} for arm, value in cells.items()}})
    gaps = [run["scores"]["a"]["all"]["avg"] - run["scores"]["b"]["all"]["avg"] for run in runs]
    half = 2.776 * statistics.stdev(gaps) / 5**0.5
    middle = statistics.mean(gaps)
    expected = f"{100 * middle:+.1f} [{100 * (middle - half):+.1f}, {100 * (middle + half):+.1f}]"
    assert weight_rules_table.difference(runs, "a", "b") == expected


def test_the_table_of_a_real_run_names_every_arm(done, capsys):
    weight_rules_table.show([json.loads(json.dumps(done))])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[:1].isalpha()][1:-1] == list(done["scores"])
    assert "lenient-chain, validation questions, 1 seeds (3); per cent" in lines


def test_without_an_accepted_trace_of_pi0_there_is_no_threshold(make_table):
    class Bench:
        def table(self, round_, source):
            return ledger.with_columns(make_table([{}]), num_correct=[0])

    with pytest.raises(ValueError, match="no trace of pi_0"):
        weight_rules.thresholds(Bench())  # type: ignore[arg-type]
