"""Whole miniature runs: their order, their repeatability, and what happens at the edges."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from varcore.llm import algorithm, ledger, presets, processes, storage
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectoryError, load_config
from varcore.llm.scoring import score
from varcore.llm.verifiers import VerifierError
from varcore.llm.weighing import WeightRule
from varcore.tasks import Countdown

ROUND = [
    *("sample-prior-{t}", "verify-prior-{t}", "train-posterior-{t}", "sample-posterior-{t}"),
    *("score-{t}", "verify-{t}", "weigh-{t}"),
]


def names(config: presets.Config) -> list[str]:
    return [stage.name for stage in algorithm.plan(config)]


def round_(t: int) -> list[str]:
    return [name.format(t=t) for name in ROUND]


def shards(path, source: str, t: int = 1) -> list[dict]:
    files = sorted((path / "ledger").glob(f"round{t}-{source}-*.parquet"))
    return [row for file in files for row in ledger.check(storage.read_table(file)).to_pylist()]


def key(id_: str) -> tuple[tuple[int, ...], int]:
    left, right = id_.split("=")
    return tuple(sorted(map(int, left.split("-")))), int(right)


class Listening(Reporter):
    """Keeps the names of the stages that ran."""

    def __init__(self):
        super().__init__(Console(file=io.StringIO()), quiet=True)
        self.names: list[str] = []

    def stage(self, name, explanation):
        self.names.append(name)
        return super().stage(name, explanation)


# ---- the plan ----------------------------------------------------------------------------------------------------


def test_nobody_draws_traces_that_nobody_learns_from(miniature):
    """Curated traces alone teach q: pi_0's own are then needed by rejection sampling alone."""
    hinted = names(miniature(methods=["sft", "vr"], posterior_data="curated"))
    assert hinted[2:4] == ["train-posterior-1", "sample-posterior-1"]
    assert round_(1)[:3] == names(miniature(methods=["rft", "vr"], posterior_data="curated"))[2:5]


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"methods": ["grpo"]}, "Start without accelerate launch"), ({"engine": "vllm"}, "Use --engine server")],
)
def test_several_processes_are_refused_before_anything_is_written(changes, what, start_run, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "state", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(ValueError, match=rf"one process, and 2 were started\. {what}"):
        start_run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["base", "initial", "posterior", "reasoner"])
def test_batches_that_processes_cannot_share_are_refused_before_anything_is_written(
    part, start_run, miniature, tmp_path, monkeypatch
):
    monkeypatch.setattr(processes, "state", lambda: SimpleNamespace(num_processes=3))
    sizes = {name: {"batch_size": 7 if name == part else 6} for name in ("base", "initial", "posterior", "reasoner")}
    with pytest.raises(ValueError, match=r"7 examples do not divide by 3 processes\. Choose another"):
        start_run(tmp_path / "run", methods=["vr"], **sizes)
    assert not (tmp_path / "run").exists()
    if part == "posterior":  # nobody trains one here
        algorithm._check_processes(miniature(methods=["sft", "rft"], **sizes))


def test_plan_of_all_methods(miniature):
    assert names(miniature(methods=list(presets.METHODS))) == [
        *("base", "init-reasoner", *round_(1), "train-reasoner-accuracy", "train-reasoner-vr"),
        *("sample-extra", "verify-extra", "score-extra"),
        *(f"train-reasoner-{method}" for method in ("sft", "rft", "grpo", "nohint", "direct")),
        *(f"evaluate-{method}" for method in ("pi0", "sft", "rft", "grpo", "nohint", "accuracy", "direct", "vr")),
    ]


@pytest.mark.parametrize(
    ("methods", "middle"),
    [
        (["sft"], ["train-reasoner-sft"]),
        (["direct"], ["train-reasoner-direct"]),
        (["grpo"], ["train-reasoner-grpo"]),
        (["vr"], [*round_(1), "train-reasoner-vr"]),
        (["accuracy"], [*round_(1), "train-reasoner-accuracy"]),
        (["rft"], [*ROUND[:2], "sample-extra", "verify-extra", "train-reasoner-rft"]),
        (["nohint"], ["sample-extra", "verify-extra", "score-extra", "train-reasoner-nohint"]),
    ],
)
def test_a_method_alone_does_only_what_it_needs(miniature, methods, middle):
    middle = [name.format(t=1) for name in middle]
    assert names(miniature(methods=methods)) == [
        *("base", "init-reasoner", *middle, "evaluate-pi0", f"evaluate-{methods[0]}")
    ]


def test_plan_of_two_rounds(miniature):
    config = miniature(methods=["rft", "vr"], rounds=2)
    assert names(config) == [
        *("base", "init-reasoner", *round_(1), "train-reasoner-vr-round1", *round_(2), "train-reasoner-vr"),
        *("sample-extra", "verify-extra", "train-reasoner-rft"),
        *("evaluate-pi0", "evaluate-rft", "evaluate-vr"),
    ]


def test_the_order_of_the_methods_does_not_move_the_shared_stages(miniature):
    one, other = (names(miniature(methods=m)) for m in (["vr", "sft", "rft"], ["rft", "vr", "sft"]))
    assert sorted(one) == sorted(other)
    assert [n for n in one if "train-reasoner" not in n and "evaluate" not in n] == [
        n for n in other if "train-reasoner" not in n and "evaluate" not in n
    ]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_stage_names_are_unique(miniature, rounds):
    found = names(miniature(methods=list(presets.METHODS), rounds=rounds))
    assert len(set(found)) == len(found)


# ---- a finished run ----------------------------------------------------------------------------------------------


def test_all_stages_are_done_in_order(finished):
    path, results = finished
    assert storage.read_json(path / "state.json")["done"] == names(load_config(path))
    assert set(results["methods"]) == {"pi0", *presets.METHODS}
    for role in ("base", "pi0", "q1", *presets.METHODS):
        assert (path / "models" / role / "model.safetensors").exists()
    left = [p.name for p in path.rglob("*") if p.name.endswith(".tmp") or "unfinished" in p.name]
    assert left == []


def test_every_column_is_filled_in_the_end(finished):
    path, _ = finished
    for file in (path / "ledger").glob("round1-posterior-*"):
        table = ledger.check(storage.read_table(file), needs=ledger.LATER)
        assert ledger.num_traces(table) == 4


def test_metrics_have_a_loss_for_every_step_and_a_line_for_every_ledger_stage(finished):
    path, _ = finished
    rows = storage.read_lines(path / "metrics.jsonl")
    by_stage = {name: [row for row in rows if row["stage"] == name] for name in names(load_config(path))}
    assert [row["step"] for row in by_stage["base"]] == list(range(50))
    assert [row["step"] for row in by_stage["train-reasoner-vr"]] == list(range(10))
    assert by_stage["base"][-1]["loss"] < by_stage["base"][0]["loss"]
    (prior,), (weighed,) = by_stage["sample-prior-1"], by_stage["weigh-1"]
    rows = shards(path, "prior")
    assert prior["closed"] == pytest.approx(sum(row["closed"] for row in rows) / len(rows))
    posterior = shards(path, "posterior")
    solved = {row["question_id"] for row in posterior if row["num_correct"]}
    assert weighed["questions"] == 24
    assert weighed["unusable_questions"] == 24 - len(solved)
    assert weighed["traces_with_weight"] == sum(row["weight"] > 0 for row in posterior)
    (coverage,) = by_stage["verify-1"]
    for level in (1, 2, 3, 4):
        asked = {row["question_id"] for row in posterior if row["level"] == level}
        assert coverage[f"solved_level_{level}"] == pytest.approx(len(asked & solved) / len(asked))


def test_no_evaluated_question_was_ever_trained_on(finished):
    """By numbers and target; the validation split stays unused by a run that is evaluated on test."""
    path, _ = finished
    config = load_config(path)
    validation = {key(q.id) for q in Countdown().questions("validation", config.num_validation, config.seed)}
    tested = {key(row["question_id"]) for row in storage.read_table(path / "evaluation" / "vr.parquet").to_pylist()}
    trained = {key(row["question_id"]) for source in ("prior", "posterior", "extra") for row in shards(path, source)}
    assert (len(tested), len(trained), len(validation)) == (8, 24, 8)
    assert not tested & trained
    assert not tested & validation
    assert not trained & validation


def test_calling_run_again_does_nothing_and_returns_the_same(finished, quiet, miniature_world):
    path, results = finished
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    reporter = Listening()
    again = algorithm.run(path, load_config(path), reporter)
    assert reporter.names == []
    assert again == results
    for file, (time, content) in before.items():
        assert file.read_bytes() == content
        assert file.stat().st_mtime_ns == time or file.name == "results.json"
    assert {file for file in path.rglob("*") if file.is_file()} == set(before)


# ---- one seed, one run -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory, start_run):
    """A run of two methods, called once."""
    return start_run(tmp_path_factory.mktemp("pair") / "run", methods=["rft", "vr"])


def test_the_same_config_gives_the_same_bytes(pair, start_run, read_run, tmp_path):
    """Ledgers, models, metrics, results: everything but seconds.  The caller's random state is none of its business."""
    torch.manual_seed(12345)
    again, _ = start_run(tmp_path / "again", methods=["rft", "vr"])
    ours, theirs = read_run(pair[0]), read_run(again)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_other_methods_beside_it_do_not_change_a_method(pair, finished):
    """VR in a run of two methods and in a run of all: the same ledger, model and answers."""
    for name in ("models/vr/model.safetensors", "models/rft/model.safetensors", "evaluation/vr.parquet"):
        assert (pair[0] / name).read_bytes() == (finished[0] / name).read_bytes()
    for file in (pair[0] / "ledger").glob("round1-p*"):
        assert file.read_bytes() == (finished[0] / "ledger" / file.name).read_bytes()


def test_another_seed_gives_another_run(pair, start_run, read_run, tmp_path):
    other, _ = start_run(tmp_path / "other", methods=["rft", "vr"], seed=1)
    ours, theirs = read_run(pair[0]), read_run(other)
    same = {name for name in set(ours) & set(theirs) if ours[name] == theirs[name]}
    assert not any(name.startswith(("ledger/", "evaluation/")) or name.endswith(".safetensors") for name in same)
    trained = [{row["question_id"] for row in shards(path, "prior")} for path in (pair[0], other)]
    assert len(trained[0] & trained[1]) < 12


def test_batch_and_shard_sizes_do_not_change_what_is_sampled(pair, start_run, tmp_path):
    """Ids equal, scores within float32.  A draw between two roundings (see test_sampling) has a chance below 1e-3."""
    path, _ = start_run(tmp_path / "run", methods=["vr"], batch_size=17, shard_questions=1000)
    for ours, theirs in zip(shards(path, "prior"), shards(pair[0], "prior"), strict=True):
        assert {**ours, "log_pi": 0, "log_q": 0} == {**theirs, "log_pi": 0, "log_q": 0}
        assert ours["log_pi"] == pytest.approx(theirs["log_pi"], abs=1e-4)


def test_a_verifier_that_crashes_loses_nothing(pair, start_run, read_run, tmp_path, monkeypatch, lenient):
    """The run stops and names the answer; mended, it continues and ends as if nothing had happened."""
    path = tmp_path / "run"
    verify, calls = lenient.verify, {"left": 150}

    def crash(self, question, answer):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise ZeroDivisionError("a bug in a verifier")
        return verify(self, question, answer)

    with monkeypatch.context() as patch:
        patch.setattr(lenient, "verify", crash)
        with pytest.raises(VerifierError, match="ZeroDivisionError"):
            start_run(path, methods=["rft", "vr"])
    done = storage.read_json(path / "state.json")["done"]
    assert "sample-prior-1" in done
    assert "evaluate-vr" not in done
    start_run(path, methods=["rft", "vr"])
    ours, theirs = read_run(path), read_run(pair[0])
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []


# ---- edges -------------------------------------------------------------------------------------------------------


def test_one_trace_and_one_answer(start_run, tmp_path):
    path, results = start_run(
        tmp_path / "run",
        methods=["nohint", "vr"],
        prior_traces=1,
        posterior_traces=1,
        answers=1,
        evaluation_samples=1,
    )
    for row in shards(path, "posterior"):
        assert row["trace_index"] == 0
        assert row["weight"] == (1.0 if row["num_correct"] else 0.0)
    assert results["methods"]["vr"]["k"] == 1
    assert list(results["methods"]["vr"]["pass_curve"]) == ["1"]


def test_two_rounds(start_run, tmp_path):
    """Round 2 starts from VR's own reasoner; everyone gets the same number of steps and RFT as many traces."""
    path, results = start_run(tmp_path / "run", methods=["rft", "accuracy", "vr"], rounds=2)
    assert (path / "models" / "vr-round1").exists()
    assert (path / "models" / "q2").exists()
    spent = results["spent"]
    assert {role: spent[role]["final_steps"] for role in ("rft", "accuracy", "vr")} == {
        "rft": 20,
        "accuracy": 20,
        "vr": 20,
    }
    first, second = shards(path, "prior", 1), shards(path, "prior", 2)
    assert {row["round"] for row in second} == {2}
    assert [row["trace_ids"] for row in first] != [row["trace_ids"] for row in second]
    vr = sum(len(shards(path, source, t)) for source in ("prior", "posterior") for t in (1, 2))
    assert vr == len(first) + len(shards(path, "extra"))
    # the second round's log pi is the first round's reasoner's
    row = shards(path, "posterior", 2)[0]
    pairs = [(tuple(row["prompt_ids"]), tuple(row["trace_ids"]))]
    likelihoods = {
        role: score(AutoModelForCausalLM.from_pretrained(path / "models" / role), pairs, temperature=0.7)[0]
        for role in ("pi0", "vr-round1")
    }
    assert row["log_pi"] == pytest.approx(likelihoods["vr-round1"], abs=1e-3)
    assert row["log_pi"] != pytest.approx(likelihoods["pi0"], abs=1e-3)


def test_if_nobody_solves_anything_curated_data_carries_the_training(start_run, tmp_path):
    path, results = start_run(tmp_path / "run", methods=["sft", "rft", "vr"], task="hopeless")
    assert all(scores["all"]["pass"]["mean"] == 0.0 for scores in results["methods"].values())
    rows = shards(path, "posterior")
    assert {row["weight"] for row in rows} == {0.0}
    assert not any(row["chosen"] for row in rows)
    (weighed,) = [row for row in storage.read_lines(path / "metrics.jsonl") if row["stage"] == "weigh-1"]
    assert weighed["unusable_questions"] == weighed["questions"] == 24
    assert (path / "models" / "vr" / "model.safetensors").exists()


@pytest.mark.parametrize("change", [{"mix_curated": False}, {"posterior_data": "own"}])
def test_if_nobody_solves_anything_and_nothing_is_mixed_in_the_run_says_so(start_run, tmp_path, change):
    """No reasoner without curated data in the first case, no posterior without any in the second."""
    with pytest.raises(ValueError, match=r"nothing to learn from.*mix in curated"):
        start_run(tmp_path / "run", methods=["vr"], task="hopeless", **change)
    done = storage.read_json(tmp_path / "run" / "state.json")["done"]
    assert done[-1] == ("weigh-1" if "mix_curated" in change else "verify-prior-1")
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_estimator_without_a_verifier_runs_to_the_end(start_run, tmp_path):
    """On questions that are all curated, with the heaviest trace of each."""
    rule = {"estimator": "gml", "exponent": 1.0, "selection": "argmax"}
    path, _ = start_run(tmp_path / "run", methods=["vr"], rule=rule, num_curated=8, num_answer_only=0)
    rows = shards(path, "posterior")
    assert len({row["question_id"] for row in rows}) == 8
    for id_ in {row["question_id"] for row in rows}:
        own = [row for row in rows if row["question_id"] == id_]
        chosen = [row for row in own if row["chosen"]]
        assert len(chosen) == (1 if any(row["closed"] for row in own) else 0)


# ---- afterwards --------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_evaluating_again_leaves_the_run_as_it_is(copied, quiet, miniature_world, read_run):
    before = read_run(copied)
    results = algorithm.evaluate_again(copied, quiet, split="validation", questions=12, samples=3, seed=5)
    after = read_run(copied)
    new = {name for name in after if name not in before}
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("evaluation-validation-5/") for name in new)
    assert results["split"] == "validation"
    assert results["methods"]["vr"]["k"] == 3
    saved = json.loads((copied / "evaluation-validation-5" / "results.json").read_text())
    assert saved == json.loads(json.dumps(results))
    asked = storage.read_table(copied / "evaluation-validation-5" / "vr.parquet")["question_id"].to_pylist()
    assert len(set(asked)) == 12


def test_only_finished_runs_are_evaluated_again(copied, quiet, miniature_world, tmp_path):
    storage.write_json(copied / "state.json", {"done": names(load_config(copied))[:-1]})
    with pytest.raises(RunDirectoryError, match="evaluate-vr is next"):
        algorithm.evaluate_again(copied, quiet, split="test", questions=8, samples=1, seed=5)
    with pytest.raises(RunDirectoryError, match=r"no config\.json"):
        algorithm.evaluate_again(tmp_path / "nothing", quiet, split="test", questions=8, samples=1, seed=5)


def test_comparing_rules_changes_no_file(copied, read_run):
    before = read_run(copied)
    own = load_config(copied).rule
    change = algorithm.compare_rules(copied, own, own)
    assert change["moved"].total_variation == 0.0
    assert change["moved"].heaviest_changed == 0.0
    assert change["own"] == change["other"]
    other = algorithm.compare_rules(copied, own, dataclasses.replace(own, exponent=1.0))
    assert other["moved"].total_variation > 0
    assert other["other"].mean_effective_sample_size < other["own"].mean_effective_sample_size
    assert read_run(copied) == before


def test_comparing_rules_needs_posterior_traces(copied):
    for file in (copied / "ledger").glob("*posterior*"):
        file.unlink()
    with pytest.raises(RunDirectoryError, match="no posterior traces yet"):
        algorithm.compare_rules(copied, WeightRule(), WeightRule())
