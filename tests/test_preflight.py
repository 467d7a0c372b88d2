"""What doctor says of a preset: by hand where it counts, and a refusal with its repair where something does not fit."""

import dataclasses
import json
import os
import re
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from varcore import preflight
from varcore.cli import main
from varcore.llm import estimate
from varcore.llm.planned import Lengths
from varcore.llm.presets import override, preset
from varcore.llm.templates import load_template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.llm.workbench import open_task

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
    lengths = Lengths(30, 40, 6, 20_510)
    stages = estimate.stages(shape, config, lengths, estimate.GPUS["h100"], gpus=2)
    assert (
        {"sample-posterior-1", "train-reasoner-sft", "evaluate-vr"} <= {s.name for s in stages if s.flops} <= set(found)
    )
    assert f"{sum(stage.flops for stage in stages):.1e} FLOPs" in found["in all"].text
    assert "mean tokens 30, 40, 6 as given" in found["in all"].text


@pytest.mark.parametrize(("gpus", "fine"), [(1, True), (2, True), (3, False)])
def test_processes_that_cannot_share_a_batch_are_told(own, gpus, fine):
    batches = {name: {"batch_size": size} for name, size in (("initial", 6), ("posterior", 4), ("reasoner", 6))}
    found = findings(small(own, **batches), gpus=gpus)["processes"]
    assert found.fine is fine
    assert ("of 4, 6 examples" if fine else "4 examples do not divide by 3 processes") in found.text


def test_memory_of_both_layouts_is_told(own):
    whole, shared = (f.text for f in preflight.examine(small(own), "h100", 1, (30, 40, 6)) if f.what == "memory")
    assert whole.startswith("whole models, one at a time: ")
    assert whole.endswith("<- this preset")
    assert shared.startswith("one base, 4 adapters of rank 32: ")  # pi0, q1, sft, vr
    shape, longest = preflight._shape(small(own)), 30 + 20_480
    numbers = estimate.lora_parameters(shape, 32)
    held = estimate.training_memory(shape, longest, adapter=numbers, adapters=4)
    said = (held.weights, held.gradients, held.optimizer, held.working)
    assert "(weights {:.3g}, gradients {:.3g}, optimiser {:.3g}, for a moment {:.3g})".format(*said) in shared
    adapted = [f.text for f in preflight.examine(small(own, lora_rank=8), "h100", 1) if f.what == "memory"]
    assert "one base, 4 adapters of rank 8" in adapted[1]
    assert adapted[1].endswith("<- this preset")


def test_lengths_are_those_of_the_worked_traces_where_there_are_some(own):
    config = small(own)
    said = findings(config, means=None)["in all"].text
    lengths, tokenizer = preflight.worked_lengths(config), tiny_tokenizer()
    template = load_template(config.template, tokenizer)
    assert lengths.trace == len(template.trace("count"))
    worked = [q.text for q in open_task(config).questions("train", 12, 0, curated=True)][:8]
    prompts = [len(template.prompt(text)) for text in worked]
    assert lengths.prompt == round(sum(prompts) / 8)
    assert lengths.longest == max(prompts) + 20_480
    assert f"mean tokens {lengths.prompt}, {lengths.trace}, {lengths.answer} of the first worked traces" in said
    assert "mean tokens 300, 4000, 600 assumed" in findings(preset("qwen3-0.6b"), means=None)["in all"].text


def test_a_task_of_ones_own_is_looked_at_like_a_built_in_one(own):
    found = findings(small(own, task="varcore.tasks.chain:Chain", data="", num_curated=10, num_test=6), means=None)
    assert "varcore.tasks.chain:Chain: 14 training questions, 14 of them with a worked trace" in found["data"].text
    assert "of the first worked traces" in found["in all"].text


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
    with pytest.raises(ValueError, match=r"PROMPT,TRACE,ANSWER; got 1 and \(30, 40\)"):
        preflight.examine(big, "h100", 1, (30, 40))
    sampling = findings(big, gpu="rtx4090", means=(300, 80_000, 600))["sampling"]
    assert not sampling.fine
    assert "Take a GPU with more memory, a smaller preset, or shorter traces" in sampling.text
    with pytest.raises(ValueError, match=r"trains a tiny model from nothing"):
        preflight.examine(preset("tiny"), "h100", 1)


def test_without_a_template_the_tiny_models_markers_are_tried_as_a_run_uses_them(own):
    """A tokenizer without these tokens spells them, which works."""
    found = findings(small(own, template=""))["template"]
    assert found.fine, found.text
    assert "the template of the tiny models fits" in found.text


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


def settings(own, folder, **changes):
    """The small settings as a file for --config."""
    path = folder / "settings.json"
    path.write_text(json.dumps({**SMALL, "model": str(own), "data": str(own), **changes}), encoding="utf-8")
    return ["doctor", "--preset", "qwen3-0.6b", "--config", str(path), "--lengths", "30,40,6"]


def test_the_command_prints_it(own, tmp_path, capsys):
    assert main([*settings(own, tmp_path), "--out", str(tmp_path / "not" / "yet")]) == 0
    said = capsys.readouterr().out
    assert "NO " not in said
    assert f"are free in {tmp_path / 'not' / 'yet'}" in said
    assert main([*settings(own, tmp_path), "--json"]) == 0
    assert all(row["fine"] for row in json.loads(capsys.readouterr().out))


REFUSED = {  # flags and settings, how much of the disk is free, and what is said: the finding, the fault, the repair
    "unknown preset": (["--preset", "qwen4"], {}, 1e15, r"no preset 'qwen4'; choose one of \['tiny'.*'qwen3-0.6b'"),
    "unknown GPU": (["--gpu", "abacus"], {}, 1e15, r"no GPU 'abacus' in the table; choose one of \['h200'"),
    "no such data": ([], {"data": "nowhere"}, 1e15, r"NO  data .*own-exact is not in nowhere. To use it, put one of"),
    "missing column": (
        [], {"data": "bad"}, 1e15, r"NO  data .*lacks the columns \['answer', 'trace'\]; it has \['question'\]. Rename",
    ),
    "little disk": ([], {}, 1e3, r"NO  disk .*are free in .*; free some, or name a larger disk with --out"),
    "little memory": (
        ["--gpu", "rtx4090", "--model", "Qwen/Qwen3-8B-Base"], {}, 1e15,
        r"NO  memory .*of 22 .*does not fit: more GPUs, lora_rank 32, or shorter max_trace_tokens",
    ),
    "long prompts": (
        [], {"max_trace_tokens": 32_768}, 1e15,
        r"NO  inputs .*more than the model's context of 32768. Leave that question out, or draw fewer tokens",
    ),
    "template": ([], {"template": "nobody's"}, 1e15, r"NO  template .*no template \"nobody's\"; choose one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_refused_is_refused_with_its_repair_and_nothing_is_written(own, case, tmp_path, monkeypatch, capsys):
    flags, changes, free, said = REFUSED[case]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "own-exact.jsonl").write_text('{"question": "1 + 1 ="}\n', encoding="utf-8")
    arguments = settings(own, tmp_path, **changes)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for folder in (own, tmp_path) for path in folder.rglob("*")}
    assert main([*arguments, *flags, "--out", "runs/new"]) == 1
    printed = capsys.readouterr()
    assert re.search(said, printed.out + printed.err), printed
    assert {path: path.stat().st_mtime_ns for folder in (own, tmp_path) for path in folder.rglob("*")} == before


def test_flags_of_a_preset_without_one_are_not_passed_over(capsys):
    assert main(["doctor", "--config", "settings.json"]) == 1
    assert "--config is about the run of a preset. Add --preset NAME" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b"])
def test_every_preset_is_looked_at_without_the_hub(name):
    for settings in (preset(name), preset(f"{name}-1k"), dataclasses.replace(preset(name), data="", lora_rank=32)):
        found = {finding.what: finding for finding in preflight.examine(settings, "h200", 8)}
        assert found["memory"].fine
        assert "hours for the run" in found["in all"].text
