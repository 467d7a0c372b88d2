"""The stages that doctor tells are those of the run, and their tokens follow from the settings."""

import pytest

from varcore.llm.algorithm import plan, trainings
from varcore.llm.planned import Lengths, StageTokens, stage_tokens
from varcore.llm.presets import METHODS, PRESETS, override, preset

LENGTHS = Lengths(prompt=10, trace=100, answer=20, longest=200)
CHANGES = {
    "model": "somewhere", "num_curated": 60, "num_answer_only": 40, "num_test": 10, "evaluation_samples": 3,
    "prior_traces": 4, "posterior_traces": 8, "answers": 2, "initial": {"steps": 30, "batch_size": 10},
    "posterior": {"steps": 5, "batch_size": 10}, "reasoner": {"steps": 20, "batch_size": 10},
}  # fmt: skip


def config(**changes):
    return override(override(preset("tiny"), CHANGES), changes)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_stage_of_every_preset_is_told(name):
    everything = {"methods": list(METHODS), "rounds": 3, "engine": "transformers"}
    for settings in (preset(name), override(preset(name), everything)):
        found = stage_tokens(settings, LENGTHS)
        assert [tokens.name for tokens in found] == [stage.name for stage in plan(settings)]
        free = {t.name for t in found if not (t.sampled or t.read or t.trained)}
        assert free == {s.name for s in plan(settings) if s.name.startswith("weigh")} | (
            {"base"} if settings.model else set()
        )


def test_tokens_by_hand():
    found = {tokens.name: tokens for tokens in stage_tokens(config(methods=["sft", "rft", "nohint", "vr"]), LENGTHS)}
    expected = [
        StageTokens("init-reasoner", trained=300 * 130),
        StageTokens("sample-prior-1", 400 * 100, 100 * 10),
        StageTokens("verify-prior-1", 400 * 2 * 20, 400 * 110),
        StageTokens("train-posterior-1", trained=50 * 130),
        StageTokens("sample-posterior-1", 800 * 100, 100 * 30),
        StageTokens("score-1", 0, 800 * 130),
        StageTokens("verify-1", 800 * 2 * 20, 800 * 110),
        StageTokens("sample-extra", 800 * 100, 100 * 10),
        StageTokens("verify-extra", 800 * 2 * 20, 800 * 110),
        StageTokens("score-extra", 0, 800 * 130),
        StageTokens("train-reasoner-vr", trained=200 * 130),
        StageTokens("train-reasoner-sft", trained=200 * 130),
        StageTokens("evaluate-vr", 30 * 120, 10 * 10),
    ]
    assert [found[tokens.name] for tokens in expected] == expected


def test_after_a_trace_that_was_cut_no_answer_is_drawn():
    half = Lengths(prompt=10, trace=100, answer=20, longest=200, closed=0.5)  # of 160 and 40 tokens
    found = {tokens.name: tokens for tokens in stage_tokens(config(max_trace_tokens=160), half)}
    assert found["sample-prior-1"].sampled == 400 * 100
    assert (found["verify-1"].sampled, found["verify-1"].read) == (400 * 2 * 20, 400 * 50)
    assert found["score-1"].read == 800 * 120


def test_a_baseline_of_two_rounds_is_trained_once_and_twice_as_long():
    settings = config(methods=["rft", "accuracy", "vr"], rounds=2)
    steps = {name: part.steps for name, part in trainings(settings).items()}
    assert steps == {
        "init-reasoner": 30, "train-posterior-1": 5, "train-reasoner-vr-round1": 20, "train-posterior-2": 5,
        "train-reasoner-accuracy": 20, "train-reasoner-vr": 20, "train-reasoner-rft": 40,
    }  # fmt: skip
    found = {tokens.name: tokens for tokens in stage_tokens(settings, LENGTHS)}
    assert found["sample-extra"].sampled == 100 * (8 * 2 + 4) * 100
    assert found["train-reasoner-rft"].trained == 400 * 130


def test_the_rollouts_of_grpo_are_drawn_read_and_trained_on_in_one_stage():
    """VR draws 100 questions x (4 + 8) traces: 300 groups of 4 in 20 steps, 15 a step."""
    found = {tokens.name: tokens for tokens in stage_tokens(config(methods=["grpo", "vr"]), LENGTHS)}
    assert found["train-reasoner-grpo"] == StageTokens("train-reasoner-grpo", 1200 * 120, 300 * 10, 1200 * 130)
    twice = {tokens.name: tokens for tokens in stage_tokens(config(methods=["grpo"], rounds=2), LENGTHS)}
    assert twice["train-reasoner-grpo"].sampled == 2 * 1200 * 120


def test_a_base_that_is_trained_from_nothing_counts():
    assert "base" not in trainings(config())
    tokens = stage_tokens(config(model="", base={"steps": 7, "batch_size": 2}), LENGTHS)[0]
    assert tokens == StageTokens("base", trained=14 * 130)
