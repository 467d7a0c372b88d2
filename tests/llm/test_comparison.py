"""Scores and differences against sums over lists, and what each method is charged with."""

from __future__ import annotations

import json

import pytest
import torch

from varcore.llm import comparison, storage
from varcore.llm.comparison import comparisons, spent
from varcore.tasks import Countdown

KINDS = ("prefill", "decode", "scored", "trained")
COUNTS = ("samples", "optimizer_steps", "flops", *(f"{kind}_{what}" for kind in KINDS for what in ("tokens", "flops")))


def rows_of(path, role):
    table = storage.read_table(path / "evaluation" / f"{role}.parquet").to_pylist()
    return [(row["question_id"], row["level"], row["verdict"] == "right") for row in table]


def test_scores_are_averages_over_questions_and_samples(finished):
    path, results = finished
    for role, scores in results["methods"].items():
        rows = rows_of(path, role)
        for group in ("all", "1", "2", "3", "4"):
            chosen = [row for row in rows if group in ("all", str(row[1]))]
            questions = {row[0]: [r[2] for r in chosen if r[0] == row[0]] for row in chosen}
            assert scores[group]["avg"]["mean"] == pytest.approx(sum(r[2] for r in chosen) / len(chosen))
            solved = [any(verdicts) for verdicts in questions.values()]
            assert scores[group]["pass"]["mean"] == pytest.approx(sum(solved) / len(solved))
            assert scores[group]["avg"]["low"] <= scores[group]["avg"]["mean"] <= scores[group]["avg"]["high"]
        assert scores["k"] == 2
        assert scores["pass_curve"]["1"] == pytest.approx(scores["all"]["avg"]["mean"])
        assert scores["pass_curve"]["2"] == pytest.approx(scores["all"]["pass"]["mean"])


def test_some_methods_are_right_and_wrong_at_times(finished):
    """Or the averages above would be tests of 0 = 0."""
    means = [scores["all"]["avg"]["mean"] for scores in finished[1]["methods"].values()]
    assert any(0 < mean < 1 for mean in means)


def test_differences_are_paired_by_question(finished):
    path, results = finished
    for pair, groups in results["differences"].items():
        a, b = ([row[2] for row in rows_of(path, role)] for role in pair.split(" - "))
        expected = sum(x - y for x, y in zip(a, b, strict=True)) / len(a)
        assert groups["all"]["avg"]["mean"] == pytest.approx(expected)
    for role in results["methods"]:
        ours = [row[:2] for row in rows_of(path, role)]
        assert ours == [row[:2] for row in rows_of(path, "pi0")], "the same questions in the same order"


def test_which_pairs_are_compared():
    assert comparisons(["pi0", "sft", "rft", "vr"]) == [("vr", "pi0"), ("vr", "sft"), ("vr", "rft"), ("sft", "pi0")]
    assert comparisons(["pi0", "rft"]) == []
    assert comparisons(["pi0", "sft"]) == [("sft", "pi0")]


def test_difference_by_hand():
    """Two questions, two samples: paired differences 1 and -1/2, mean 1/4; unpaired intervals would be wider."""
    levels = torch.tensor([1, 1])
    a = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64), levels
    b = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64), levels
    found = comparison._differences(a, b)["all"]
    assert found["avg"]["mean"] == pytest.approx(0.25)
    assert (found["avg"]["low"], found["avg"]["high"]) == pytest.approx((-0.5, 1.0))
    assert found["pass"]["mean"] == pytest.approx(0.0)


def test_results_are_what_the_file_says(finished):
    path, results = finished
    assert json.loads((path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["seed"] == 0
    assert results["split"] == "test"
    assert results["levels"] == {str(level): text for level, text in Countdown.levels.items()}


def test_evaluated_answers_are_judged_by_text_and_only_when_they_ended(finished, template):
    path, _ = finished
    rows = storage.read_table(path / "evaluation" / "vr.parquet").to_pylist()
    seen = set()
    for row in rows:
        answer = tuple(row["answer_ids"])
        ended = answer[-1:] == template.answer_close and tuple(row["trace_ids"])[-1:] == template.trace_close
        text = template.read_answer(answer)
        limit = len(row["trace_ids"]) + len(answer) == 24 + 8
        if ended:
            assert row["verdict"] == ("right" if "+" in text else "wrong")
        elif answer[-1:] != template.answer_close and tuple(row["trace_ids"])[-1:] != template.answer_close:
            assert row["verdict"] == "unparsed"
            assert limit
        seen.add(row["verdict"])
    assert len(seen) > 1


def charged(path, names):
    costs = storage.read_json(path / "compute.json")
    return {field: sum(costs[name][field] for name in names) for field in COUNTS}


def test_each_method_is_charged_with_the_stages_it_needed(finished):
    path, results = finished
    round_ = [
        *("sample-prior-1", "verify-prior-1", "train-posterior-1"),
        *("sample-posterior-1", "score-1", "verify-1", "weigh-1"),
    ]
    needed = {
        "pi0": [],
        "sft": [],
        "direct": [],
        "grpo": [],
        "rft": ["sample-prior-1", "verify-prior-1", "sample-extra", "verify-extra"],
        "nohint": ["sample-extra", "verify-extra", "score-extra"],
        "accuracy": round_,
        "vr": round_,
    }
    assert set(results["spent"]) == set(needed)
    for role, names in needed.items():
        own = [] if role == "pi0" else [f"train-reasoner-{role}"]
        found = results["spent"][role]
        assert {field: found[field] for field in COUNTS} == charged(path, names + own), role
        assert found["final_steps"] == (0 if role == "pi0" else 10)


def test_later_rounds_are_charged_too():
    """From made-up costs, a power of two each, so that a sum says which stages are in it."""
    fields = (*COUNTS, "seconds")
    hinted = ("sample-prior", "verify-prior", "train-posterior", "sample-posterior", "score", "verify", "weigh")
    names = [f"{name}-{t}" for t in (1, 2) for name in hinted]
    names += ["train-reasoner-vr-round1", "train-reasoner-vr", "train-reasoner-accuracy", "train-reasoner-rft"]
    names += ["sample-extra", "verify-extra", "score-extra", "evaluate-vr", "base", "init-reasoner"]
    costs = {name: dict.fromkeys(fields, 2**place) for place, name in enumerate(names)}

    def stages(role):
        total = spent(costs, role)["samples"]
        return {name for place, name in enumerate(names) if total >> place & 1}

    rounds = {f"{name}-{t}" for t in (1, 2) for name in hinted}
    assert stages("vr") == rounds | {"train-reasoner-vr-round1", "train-reasoner-vr"}
    assert stages("accuracy") == rounds | {"train-reasoner-vr-round1", "train-reasoner-accuracy"}
    assert stages("rft") == {
        *("sample-prior-1", "verify-prior-1", "sample-extra", "verify-extra"),
        "train-reasoner-rft",
    }
    assert stages("nohint") == {"sample-extra", "verify-extra", "score-extra"}
    assert stages("pi0") == set()
    per_step = {name: 2**place for place, name in enumerate(names)}
    assert spent(costs, "vr")["final_steps"] == per_step["train-reasoner-vr-round1"] + per_step["train-reasoner-vr"]
    assert spent(costs, "rft")["final_steps"] == per_step["train-reasoner-rft"]
