"""benchmarks/ablations.py: every part in miniature, and what its helpers do to ledgers that can be read by eye."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from varcore.llm import comparison, ledger, stages
from varcore.tasks import Countdown

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # its files import each other as scripts do

import ablation_parts
import ablation_trainings
import ablation_variants
import ablations
import ablations_table
import arms

EVERY = [*ablations.PARTS, *ablation_variants.VARIANTS]


@pytest.fixture(scope="module")
def small_parts(miniature):
    def settings(seed: int, split: str, **changes):
        return miniature(**{"seed": seed, "evaluation_split": split, "methods": ablations.METHODS} | changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "settings", settings)
        small = dataclasses.replace(ablation_trainings.REVERSE, steps=4, batch_size=6)
        patch.setattr(ablation_trainings, "REVERSE", small)
        patch.setattr(ablation_parts, "DIVERSE", comparison.HeldOut("validation", 4, 64, 0, "diversity"))
        yield


@pytest.fixture
def done(small_parts, miniature_world, tmp_path_factory, request):
    """The records of all parts of one seed: made once, shown again afterwards."""
    if not hasattr(request.module, "RUNS"):
        request.module.RUNS = tmp_path_factory.mktemp("ablations")
    return {part: ablations.one_part(part, 3, "validation", request.module.RUNS) for part in EVERY}


def test_every_arm_has_scores_and_nothing_is_trained_twice(done, monkeypatch, request):
    own = {"unmixed", "best-one-unmixed", "rft-unmixed", "k-1", "k-2", "k-4", "k-16"}
    assert set(done["weights"]["scores"]) == {*ablation_parts.RUNNER, *ablation_parts.RULES, *own}
    kinds = {f"{kind}-{rate}" for kind in ("wrong", "noisy", "partial", "missing") for rate in (0.5, 1.0)}
    assert set(done["hints"]["scores"]) == {"pi0", "rft", "vr", *kinds}
    for found in (*done["weights"]["scores"].values(), *done["hints"]["scores"].values()):
        assert all(0 <= cell["avg"] <= cell["pass"] <= 1 for cell in found.values())

    def train_nothing(*arguments):
        raise AssertionError("the run directory holds every arm")

    monkeypatch.setattr(stages, "_train", train_nothing)
    assert {part: ablations.one_part(part, 3, "validation", request.module.RUNS) for part in done} == done


def test_weight_rules_share_the_arms_that_other_parts_have_trained(done):
    rules, weights = done["rules"]["scores"], done["weights"]["scores"]
    assert {name: rules[name] for name in ("pi0", "accuracy", "exact")} == {
        name: weights[name] for name in ("pi0", "accuracy", "exact")
    }
    assert rules["mean-ratio"] == weights["vr"]
    assert "oracle" not in rules, "nobody checks the steps of a search"


def test_two_parts_count_the_same_traces_with_a_right_answer(done):
    share = done["rules"]["traces"]["q"]["all"]["traces"]
    assert done["reverse"]["solved"]["forward"]["traces"] == pytest.approx(share)
    assert done["hints"]["solved"]["clean"]["traces"] == pytest.approx(share)


def test_costs_grow_with_the_number_of_traces(done):
    flops = done["weights"]["flops"]
    assert flops["sft"] < flops["k-1"] < flops["k-2"] < flops["k-16"]
    assert flops["rft"] == pytest.approx(flops["rft-unmixed"], rel=0.2)
    assert flops["vr"] == pytest.approx(flops["exact"], rel=0.2)  # they differ in the tokens of their examples alone


def test_the_exact_rule_is_at_no_distance_from_itself(done):
    found = done["weights"]["lie"]
    assert found["exact"]["total_variation"] == found["exact"]["heaviest_changed"] == 0
    assert 1 <= found["best-one"]["ess"] <= 4
    assert found["accuracy"]["ess"] >= found["exact"]["ess"]
    assert found["prior"]["questions"] > 0


def test_curves_are_means_of_blocks_of_steps(done):
    curve = done["weights"]["curves"]["vr"]
    assert len(curve["loss"]) == len(curve["gradient_norm"]) == 1  # ten steps in miniature
    assert curve["gradient_norm"][0] > 0


def test_diversity_counts_samples_of_every_reasoner(done):
    for found in done["diversity"]["diversity"].values():
        assert list(found["pass"].values()) == sorted(found["pass"].values())
        assert 0 < found["distinct_traces"] <= 1
        assert found["entropy"] > 0


def test_trainings_and_reverse_kl_have_their_arms(done):
    assert set(done["trainings"]["scores"]) == {"pi0", "sft", "rft", "vr", "token-mean", "grpo"}
    assert done["trainings"]["curves"]["token-mean"]["loss"][0] > 0
    found = done["reverse"]
    assert set(found["scores"]) == {"pi0", "rft", "vr", "reverse", "reverse-from-q"}
    assert set(found["leaks"]) == set(found["solved"]) == {"forward", "reverse", "reverse-from-q"}
    assert set(found["curves"]["reverse"]) == set(ablation_trainings.NOTES)
    assert found["curves"]["reverse"] != found["curves"]["reverse-from-q"], "they start from different models"


def test_variants_share_the_base_and_score_their_own_models(done):
    rounds = done["rounds"]["scores"]
    assert set(rounds) == {"pi0", "rft", "vr", "vr-round1", "vr-round2", "vr-longer"}
    assert rounds["pi0"] == done["weights"]["scores"]["pi0"], "the same pi_0, on the same questions"
    adapters = done["adapters"]
    assert {role: adapters["scores"][f"whole-{role}"] for role in ("pi0", "vr")} == {
        role: done["weights"]["scores"][role] for role in ("pi0", "vr")
    }
    assert adapters["learned"]["pi0"] > 0


def test_the_tables_name_every_arm(done):
    lines = ablations_table.scores([done["weights"]])
    assert [line.split()[0] for line in lines[1:]] == list(done["weights"]["scores"])
    ablations_table.show(list(done.values()))


def test_first_and_joined_traces(make_table):
    table = make_table([{}, {}], [{}, {}])
    marked = ledger.with_columns(table, level=[1, 2, 3, 4])
    more = ledger.with_columns(table, level=[5, 6, 7, 8])
    assert ablation_parts.first(marked, 1)["level"].to_pylist() == [1, 3]
    both = ablation_parts.joined(marked, more)
    assert both["level"].to_pylist() == [1, 2, 5, 6, 3, 4, 7, 8]
    assert ledger.num_traces(both) == 4
    uneven = ablation_parts.joined(ablation_parts.first(marked, 1), more)
    assert uneven["level"].to_pylist() == [1, 5, 6, 3, 7, 8]
    assert uneven["trace_index"].to_pylist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("whole", "half"), [("9 * 1 - 9", "9 * 1"), ("6 + 9 * 1 + 8", "6 + 9"), ("4", "4")])
def test_half_of_a_hint_ends_with_a_number(whole, half):
    assert ablation_parts.first_half(whole) == half


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_hint_differs_in_one_number(seed):
    before, after = ["9", "*", "1", "-", "9"], ablation_parts.changed("9 * 1 - 9", seed).split()
    (place,) = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert after[place].isdigit()


def test_a_wrong_hint_is_another_questions_answer_of_the_same_level():
    questions = Countdown().questions("train", 12, 0)
    bench = type("Bench", (), {"train": questions})
    turned = ablation_parts.rotated(bench)
    by_level = {level: sorted(q.reference for q in questions if q.level == level) for level in range(1, 5)}
    for question, hint in zip(questions, turned, strict=True):
        assert hint in by_level[question.level]
    assert sorted(turned) == sorted(q.reference for q in questions)
    assert sum(hint != q.reference for q, hint in zip(questions, turned, strict=True)) >= 9  # equal by chance at most


def test_the_command_line_takes_what_the_first_lines_say(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ablations.py", "--parts", "hints", "--seeds", "9", "--split", "validation"])
    asked = arms.arguments(ablations.__doc__, "ablations", "parts", EVERY, "301,302")
    assert (asked.parts, asked.seeds, asked.split) == ("hints", "9", "validation")
    monkeypatch.setattr(sys, "argv", ["ablations.py"])
    asked = arms.arguments(ablations.__doc__, "ablations", "parts", EVERY, "301,302")
    assert (asked.parts, asked.seeds, asked.split) == (",".join(EVERY), "301,302", "test")
    assert asked.out.name == "ablations.json"


def test_a_log_grows_record_by_record(tmp_path):
    out = tmp_path / "log.json"
    jobs = [("part", seed, "test") for seed in (1, 2)]
    records = arms.collect(jobs[:1], _record, tmp_path, out, 1)
    assert [arms.key(record) for record in records] == jobs[:1]
    records = arms.collect(jobs, _record, tmp_path, out, 1)
    assert [record["made"] for record in arms.finished(out)] == [1, 2]
    assert records == arms.finished(out)


def test_two_jobs_of_one_seed_never_run_at_a_time():
    jobs = [("a", 1, "test"), ("b", 1, "test"), ("a", 2, "test"), ("b", 2, "test")]
    assert arms.startable(jobs, [], 2) == [jobs[0], jobs[2]]
    assert arms.startable(jobs, [], 1) == [jobs[0]]
    assert arms.startable(jobs[1:], [jobs[0]], 3) == [jobs[2]]
    assert arms.startable(jobs[1:2], [jobs[0]], 2) == []
    assert arms.startable(jobs[1:], [jobs[0]], 1) == []


def _record(name: str, seed: int, split: str, runs: Path):
    """A stand-in for a run; the second call for the same seed would be an error."""
    (runs / f"{seed}.done").touch(exist_ok=False)
    return {"name": name, "seed": seed, "split": split, "made": seed}


def test_costs_are_added_field_by_field():
    cost = stages.Cost(samples=1, decode_tokens=2, decode_flops=3.0)
    assert sum([cost, cost], stages.Cost()) == dataclasses.replace(cost, samples=2, decode_tokens=4, decode_flops=6.0)
