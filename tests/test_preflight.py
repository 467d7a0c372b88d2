"""What doctor says of a preset: by hand where it counts, and a refusal with its repair where something does not fit."""

import dataclasses
import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from varcore import preflight
from varcore.cli import main
from varcore.llm import estimate
from varcore.llm.presets import override, preset
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer

SMALL = {"task": "own-exact", "template": "thought-solution-pb", "num_curated": 8, "num_answer_only": 4, "num_test": 2}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model folder and a data folder that fit each other."""
    folder, tokenizer = tmp_path_factory.mktemp("own"), tiny_tokenizer()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    model = tiny_qwen3(len(tokenizer), 0, hidden=32, layers=1, heads=2)
    model.config.max_position_embeddings = 32_768
    model.save_pretrained(folder)
    torch.set_default_dtype(before)
    tokenizer.save_pretrained(folder)
    rows = [{"question": f"{n} + 1 =", "answer": str(n + 1), "trace": "count" if n % 2 else ""} for n in range(200)]
    (folder / "own-exact.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def findings(config, gpu="h100", gpus=1, means=(30, 40, 6)):
    return {finding.what: finding for finding in preflight.examine(config, gpu, gpus, means)}


def small(own, **changes):
    return override(preset("qwen3-0.6b"), {"model": str(own), "data": str(own), **SMALL, **changes})


def test_all_is_fine_where_model_template_and_data_fit(own):
    found = findings(small(own))
    assert all(finding.fine for finding in found.values()), [f.text for f in found.values() if not f.fine]
    assert "thought-solution-pb fits the tokenizer" in found["template"].text
    assert "12 training questions, 12 of them with a worked trace" in found["data"].text


def test_the_stages_are_those_of_the_estimate(own):
    config = small(own)
    found, shape = findings(config, gpus=2), preflight._shape(config)
    work = preflight.workload(config)
    assert (work.questions, work.initial_sequences) == (12, config.initial.steps * config.initial.batch_size)
    stages = estimate.stages(shape, work, estimate.Lengths(30, 40, 6, 20_480), estimate.GPUS["h100"], gpus=2)
    assert {stage.name for stage in stages} <= set(found)
    assert f"{sum(stage.flops for stage in stages):.1e} FLOPs" in found["in all"].text


def test_what_does_not_fit_is_said_with_its_repair(own, tmp_path):
    big = preset("qwen3-8b")
    memory = [f for f in preflight.examine(big, "rtx4090", 1) if f.what == "memory"]
    assert [f.fine for f in memory] == [False, True]  # the preset trains all weights; adapters are shown beside it
    assert "does not fit: more GPUs, lora_rank 32" in memory[0].text
    assert not findings(small(own, data=str(tmp_path)))["data"].fine
    assert "num_curated asks for 180" in findings(small(own, num_curated=180, num_answer_only=0))["data"].text
    assert not findings(small(own, template="nobody's"))["template"].fine
    with pytest.raises(ValueError, match=r"no GPU 'abacus' in the table.*h100"):
        preflight.examine(big, "abacus", 1)
    with pytest.raises(ValueError, match=r"at least one GPU"):
        preflight.examine(big, "h100", 0)
    with pytest.raises(ValueError, match=r"trains a tiny model from nothing"):
        preflight.examine(preset("tiny"), "h100", 1)


def test_what_a_run_would_refuse_is_refused(own):
    fits = findings(small(own))["inputs"]
    assert (fits.fine, "every question fits the context" in fits.text) == (True, True)
    long = findings(small(own, max_trace_tokens=32_768))["inputs"]
    assert not long.fine
    assert "with 36864 to be drawn that is more than the model's context of 32768" in long.text


def test_sharding_makes_the_large_model_fit():
    alone, together = (
        [f for f in preflight.examine(preset("qwen3-8b"), "h100", n) if f.what == "memory"] for n in (1, 8)
    )
    assert [f.fine for f in (alone[0], together[0])] == [False, True]
    assert "on each of 8" in together[0].text


def test_the_command_prints_it_and_fails_where_something_does_not_fit(own, capsys):
    arguments = ["doctor", "--preset", "qwen3-0.6b", "--model", str(own), "--data", str(own), "--lengths", "30,40,6"]
    assert main([*arguments, "--json"]) == 1  # the folder has no Bespoke-Stratos
    said = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in said if not row["fine"]] == ["data"]
    assert "bespoke-stratos-17k.jsonl" in said[-1]["text"]


@pytest.mark.parametrize("name", ["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b"])
def test_every_preset_is_looked_at_without_the_hub(name):
    for settings in (preset(name), preset(f"{name}-1k"), dataclasses.replace(preset(name), data="", lora_rank=32)):
        found = {finding.what: finding for finding in preflight.examine(settings, "h200", 8)}
        assert found["memory"].fine
        assert "hours for one round" in found["in all"].text
