"""GRPO: what a step draws and how it is rewarded, how much is drawn, a stage like the others, and what is refused."""

from __future__ import annotations

import json
import statistics
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from varcore import grpo_advantages, policy_gradient_loss
from varcore.cli import main
from varcore.llm import comparison, grpo, presets, storage, workbench
from varcore.llm.run import RunDirectory, load_config
from varcore.llm.sampling import TransformersSampler
from varcore.llm.scoring import score
from varcore.llm.training import dr_sft_loss
from varcore.tasks import Verdict

STAGE = "train-reasoner-grpo"


@pytest.fixture
def bench(finished, quiet, miniature_world):
    """The finished run's workbench; its files are read, not written."""
    run = RunDirectory(finished[0], load_config(finished[0]))
    yield workbench.open_workbench(run, quiet)
    run.close()


def rows(path) -> list[dict]:
    return [row for row in storage.read_lines(path / "metrics.jsonl") if row["stage"] == STAGE]


# ---- how much ----------------------------------------------------------------------------------------------------


def test_the_tiny_preset_draws_twelve_groups_of_eight_a_step():
    """2,400 questions with 8 + 8 traces of VR are 38,400 rollouts, over 400 steps."""
    config = presets.preset("tiny")
    settings = grpo.policy_settings(config)
    assert (settings.steps, settings.batch_size) == (400, 96)
    assert settings.steps * settings.batch_size == 2400 * (8 + 8)
    assert settings.learning_rate == pytest.approx(config.grpo_learning_rate_factor * 5e-3)
    assert settings.muon_learning_rate == pytest.approx(config.grpo_learning_rate_factor * 1e-2)


@pytest.mark.parametrize("rounds", [1, 3])
def test_what_does_not_divide_is_rounded_up(miniature, rounds):
    config = miniature(rounds=rounds)
    settings = grpo.policy_settings(config)
    assert (settings.steps, settings.batch_size) == (10 * rounds, 6 * 3)  # 24 x 7 traces, 3 to a group: 5.6 groups
    few = miniature(rounds=rounds, reasoner={"steps": 1000})
    assert grpo.policy_settings(few).batch_size == 3, "one group at least"


# ---- a step ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(bench, monkeypatch):
    """A step's examples and notes, all its samples, and the model that drew them."""
    samples, sample = [], TransformersSampler.sample

    def keep(self, requests):
        found = sample(self, requests)
        samples.extend(zip(requests, found, strict=True))
        return found

    monkeypatch.setattr(TransformersSampler, "sample", keep)
    model = bench.model("pi0")
    examples, notes = grpo.rollouts(bench, model, bench.train[:8], 5)
    return SimpleNamespace(examples=examples, notes=notes, samples=samples, model=model)


def test_advantages_are_rewards_standardised_within_a_question(bench, drawn):
    """By hand: right if the answer has a plus sign and an end; minus the mean, over the sample standard deviation."""
    expected, mixed, total = [], 0, 0
    for place, question in enumerate(bench.train[:8]):
        group = drawn.samples[3 * place : 3 * place + 3]
        assert {request.prompt for request, _ in group} == {bench.template.prompt(question.text)}
        answers = [bench.template.read_answer(bench.template.split(sample.ids)[1]) for _, sample in group]
        rewards = [float(s.stopped and "+" in answer) for (_, s), answer in zip(group, answers, strict=True)]
        total += sum(rewards)
        if 0 < sum(rewards) < 3:
            mixed += 1
            scale = statistics.stdev(rewards) + 1e-4
            means = [(reward - statistics.mean(rewards)) / scale for reward in rewards]
            expected += [(r.prompt, s.ids, a) for (r, s), a in zip(group, means, strict=True)]
    assert [(e.prompt, e.response) for e in drawn.examples] == [pair[:2] for pair in expected]
    assert [e.weight for e in drawn.examples] == pytest.approx([pair[2] for pair in expected])
    assert 0 < mixed < 8
    assert drawn.notes["groups_trained_on"] == pytest.approx(mixed / 8)
    assert drawn.notes["mean_reward"] == pytest.approx(total / 24)


def test_rollouts_are_the_current_models_at_the_runs_temperature(bench, drawn):
    """So the importance ratio is 1, and every rollout has a random stream of its own."""
    pairs = [(request.prompt, sample.ids) for request, sample in drawn.samples]
    for (_, sample), found in zip(drawn.samples, score(drawn.model, pairs, temperature=0.7), strict=True):
        assert sample.log_probs == pytest.approx(found, abs=1e-4)
    assert len({request.seed for request, _ in drawn.samples}) == 24
    again, _ = grpo.rollouts(bench, drawn.model, bench.train[:8], 6)
    assert [e.response for e in again] != [e.response for e in drawn.examples]


def test_tokens_are_those_drawn_and_each_prompt_read_once(bench, drawn):
    tokens = sum(len(sample.ids) for _, sample in drawn.samples)
    assert drawn.notes["decode_tokens"] == tokens
    assert drawn.notes["mean_tokens"] == pytest.approx(tokens / 24)
    assert drawn.notes["prefill_tokens"] == sum(len(bench.template.prompt(q.text)) for q in bench.train[:8])


@pytest.mark.parametrize("verdict", [Verdict.RIGHT, Verdict.WRONG])
def test_groups_all_right_or_all_wrong_give_no_example(bench, monkeypatch, verdict):
    monkeypatch.setattr(comparison, "judge", lambda bench, asked, samples: [verdict] * len(samples))
    examples, notes = grpo.rollouts(bench, bench.model("pi0"), bench.train[:4], 0)
    assert examples == []
    assert notes["groups_trained_on"] == 0.0
    assert notes["mean_reward"] == float(verdict is Verdict.RIGHT)


def test_what_the_limit_cut_is_wrong_whatever_its_text_says(bench, drawn):
    asked = [question for question in bench.train[:8] for _ in range(3)]
    verdicts = comparison.judge(bench, asked, [sample for _, sample in drawn.samples])
    cut = [v for v, (_, sample) in zip(verdicts, drawn.samples, strict=True) if not sample.stopped]
    assert cut
    assert set(cut) == {Verdict.UNPARSED}


def test_the_loss_of_the_stage_is_the_policy_gradient_of_the_library():
    """Sums over tokens, the mean over a group, the sum over questions: the same but for the constant."""
    lengths = torch.tensor([[1, 4], [2, 3], [5, 2]])
    log_probs = -torch.arange(1.0, 18.0, dtype=torch.float64)
    rewards = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    advantages = grpo_advantages(rewards)
    sums = torch.stack([part.sum() for part in log_probs.split(lengths.flatten().tolist())]).view(3, 2)
    ours = dr_sft_loss(log_probs, advantages.flatten().repeat_interleave(lengths.flatten()), 7.0)
    assert ours.item() == pytest.approx(policy_gradient_loss(sums, advantages).sum().item() * 2 / 7.0)


# ---- the stage ---------------------------------------------------------------------------------------------------


def test_metrics_and_costs_of_the_stage(finished):
    path, results = finished
    found = rows(path)
    names = {"stage", "step", "policy_loss", "gradient_norm", "mean_reward", "groups_trained_on", "mean_tokens"}
    assert [row["step"] for row in found] == list(range(10))
    assert all(set(row) == names for row in found)
    assert any(0 < row["groups_trained_on"] < 1 for row in found)
    assert all((row["gradient_norm"] > 0) == (row["groups_trained_on"] > 0) for row in found)
    cost = results["spent"]["grpo"]
    assert cost["samples"] == 10 * 18
    assert cost["optimizer_steps"] == cost["final_steps"] == results["spent"]["vr"]["final_steps"] == 10
    assert cost["decode_tokens"] == pytest.approx(sum(18 * row["mean_tokens"] for row in found))
    assert 0 < cost["trained_tokens"] < cost["decode_tokens"] + 3 * cost["prefill_tokens"]
    assert {"vr - grpo"} == {pair for pair in results["differences"] if "grpo" in pair}


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(finished, start_run, tmp_path, monkeypatch):
    """Alone, too, it is what it is beside all other methods."""
    path, settings = tmp_path / "run", {"methods": ["grpo"], "reasoner": {"save_every": 3}}
    drawn, rollouts = [], grpo.rollouts

    def stop(bench, model, questions, step):
        drawn.append(step)
        if drawn.count(7) == 1 and step == 7:
            raise KeyboardInterrupt
        return rollouts(bench, model, questions, step)

    monkeypatch.setattr(grpo, "rollouts", stop)
    with pytest.raises(KeyboardInterrupt):
        start_run(path, **settings)
    start_run(path, **settings)
    assert drawn == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9]
    for name in ("models/grpo/model.safetensors", "evaluation/grpo.parquet"):
        assert (path / name).read_bytes() == (finished[0] / name).read_bytes(), name
    assert rows(path) == rows(finished[0])
    ours, theirs = (storage.read_json(run / "compute.json")[STAGE] for run in (path, finished[0]))
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert not list(path.rglob("*unfinished*"))


def test_if_nobody_solves_anything_the_model_stays_the_start_to_the_last_bit(start_run, tmp_path):
    path, _ = start_run(tmp_path / "run", methods=["grpo"], task="hopeless", reasoner={"weight_decay": 0.1})
    before, after = (AutoModelForCausalLM.from_pretrained(path / "models" / role) for role in ("pi0", "grpo"))
    for (name, ours), theirs in zip(after.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert {row["mean_reward"] for row in rows(path)} == {row["gradient_norm"] for row in rows(path)} == {0.0}


def test_with_adapters_only_the_adapter_moves(start_run, tmp_path):
    path, results = start_run(tmp_path / "run", methods=["grpo"], lora_rank=2)
    names = sorted(file.name for file in (path / "models" / "grpo").glob("*.safetensors"))
    assert names == ["adapter_model.safetensors"]
    ours, start = (storage.read_tensors(path / "models" / role / names[0])[0] for role in ("grpo", "pi0"))
    assert any(not torch.equal(ours[name], start[name]) for name in ours)
    assert results["spent"]["grpo"]["samples"] == 180


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["vllm", "server"])
def test_an_engine_that_reads_saved_weights_is_refused_before_anything_is_written(engine, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", "--methods", "vr,grpo", "--engine", engine, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"weights that change at every step, and the engine {engine} reads saved ones" in said
    assert "Use --engine transformers, or leave grpo out" in said
    assert not out.exists()


def test_a_flag_makes_good_what_a_file_asks_of_a_preset_with_another_engine(tmp_path, capsys):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"methods": ["grpo"]}))
    command = ["run", "--preset", "qwen3-0.6b", "--config", str(settings), "--model", str(tmp_path / "none")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    assert "the engine vllm reads saved ones" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "run"), "--engine", "transformers"]) == 1
    assert "none' cannot be read" in capsys.readouterr().err, "the next thing that is looked at"


def test_a_group_of_one_is_refused(miniature):
    with pytest.raises(ValueError, match=r"at least 2, got 1\. Set prior_traces to 2 or more"):
        miniature(methods=["grpo"], prior_traces=1)
