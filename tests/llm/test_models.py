"""Runs on a base model and data of one's own, and runs whose roles are adapters over one base."""

import dataclasses
import json
import weakref

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from varcore.llm import algorithm, storage
from varcore.llm.models import Models
from varcore.llm.presets import PRESETS, override, preset
from varcore.llm.run import load_config
from varcore.llm.scoring import score
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.tasks.schemas import SCHEMAS

STRATOS = {
    "task": "bespoke-stratos-17k",
    "template": "thought-solution-pb",
    "num_curated": 6,
    "num_answer_only": 0,
    "num_test": 4,
    "evaluation_split": "test",
    "max_trace_tokens": 8,
    "max_answer_tokens": 4,
    "mix_curated": True,
    "methods": ["sft", "vr"],
}


def talk(number: int) -> dict:
    """A row of the data set's columns."""
    thought, solution = f"{number} and 4 make {number + 4}.", rf"It is \boxed{{{number + 4}}}."
    answer = f"<|begin_of_thought|>\n\n{thought}\n\n<|end_of_thought|>\n\n"
    answer += f"<|begin_of_solution|>\n\n{solution}\n\n<|end_of_solution|>"
    question = f"A box holds {number} red and 4 blue pens. How many pens are in it?"
    turns = [{"from": "user", "value": question}, {"from": "assistant", "value": answer}]
    return {"system": "Think first.", "conversations": turns}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a saved Qwen3 whose context is long enough for the template, and one with data."""
    folder = tmp_path_factory.mktemp("own")
    tokenizer = tiny_tokenizer()
    model = tiny_qwen3(len(tokenizer), 0, hidden=32, layers=1, heads=2)
    model.config.max_position_embeddings = 4096
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "data").mkdir()
    rows = "".join(json.dumps(talk(number)) + "\n" for number in range(1, 301))
    (folder / "data" / "bespoke-stratos-17k.jsonl").write_text(rows, encoding="utf-8")
    return folder


def test_a_run_on_a_published_data_set_and_a_model_in_a_folder(own, tmp_path, start_run, monkeypatch):
    part = dataclasses.replace(SCHEMAS["bespoke-stratos-17k"], rows=None)  # three hundred rows of it
    monkeypatch.setitem(SCHEMAS, part.name, part)
    path, results = start_run(tmp_path / "run", model=str(own / "model"), data=str(own / "data"), **STRATOS)
    assert set(results["methods"]) == {"pi0", "sft", "vr"}
    assert not (path / "models" / "base").exists()
    costs = storage.read_json(path / "compute.json")
    assert costs["base"]["flops"] == 0
    table = storage.read_table(path / "ledger" / "round1-posterior-000.parquet")
    assert len(table) == 6 * 4
    assert "A box holds" in table["question"][0].as_py()
    models = Models(path / "models", load_config(path), tiny_tokenizer())
    counted = models.num_parameters("vr")
    assert not models.held, "counted without reading the weights"
    assert models.get("q1").num_parameters() == models.get("vr").num_parameters() == counted
    assert list(models.held) == ["vr"], "one whole model at a time"


def test_a_run_on_ones_own_questions(own, tmp_path, start_run):
    rows = [{"question": f"{n} + 1 =", "answer": str(n + 1), "trace": "count on"} for n in range(300)]
    (own / "data" / "own-exact.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {**STRATOS, "task": "own-exact", "template": "", "methods": ["vr"]}
    path, _ = start_run(tmp_path / "run", model=str(own / "model"), data=str(own / "data"), **settings)
    assert (path / "models" / "vr" / "model.safetensors").exists()


def test_a_run_with_adapters_keeps_one_base(tmp_path, start_run, miniature, quiet):
    path, results = start_run(tmp_path / "run", lora_rank=2, methods=["rft", "vr"])
    assert set(results["methods"]) == {"pi0", "rft", "vr"}
    assert (path / "models" / "base" / "model.safetensors").exists()
    for role in ("pi0", "q1", "rft", "vr"):
        folder = path / "models" / role
        assert (folder / "adapter_model.safetensors").exists()
        assert not (folder / "model.safetensors").exists()
    with safe_open(path / "models" / "pi0" / "adapter_model.safetensors", "pt") as pi0:
        learned = sum(pi0.get_tensor(name).numel() for name in pi0.keys())  # noqa: SIM118
    config, costs = miniature(lora_rank=2), storage.read_json(path / "compute.json")
    models = Models(path / "models", config, tiny_tokenizer())
    base = models.get("base").num_parameters()
    assert models.num_parameters("pi0") == base + learned
    expected = (4 * (base + learned) + 2 * learned) * costs["init-reasoner"]["trained_tokens"]
    assert costs["init-reasoner"]["flops"] == pytest.approx(expected)


def test_ledger_scores_are_those_of_the_role_that_wrote_them(tmp_path, start_run, miniature):
    """With adapters one object serves every role: log q must be q's, log pi pi_0's."""
    path, _ = start_run(tmp_path / "run", lora_rank=2, methods=["vr"])
    models = Models(path / "models", miniature(lora_rank=2), tiny_tokenizer())
    rows = storage.read_table(path / "ledger" / "round1-posterior-000.parquet").to_pylist()[:8]
    for role, prompt, column in (("q1", "proposal_prompt_ids", "log_q"), ("pi0", "prompt_ids", "log_pi")):
        pairs = [(tuple(row[prompt]), tuple(row["trace_ids"])) for row in rows]
        for ours, row in zip(score(models.get(role), pairs, temperature=0.7), rows, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(row[column]), rtol=1e-4, atol=1e-4)


def test_an_adapter_run_that_was_stopped_goes_on(tmp_path, start_run, read_run, miniature, quiet, miniature_world):
    whole, _ = start_run(tmp_path / "whole", lora_rank=2, methods=["vr"])
    stopped = []

    class Stop(Exception):
        pass

    original = algorithm.RunDirectory.finish

    def finish(self, stage, *rest):
        original(self, stage, *rest)
        stopped.append(stage)
        if stage == "sample-posterior-1":
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algorithm.RunDirectory, "finish", finish)
        with pytest.raises(Stop):
            start_run(tmp_path / "broken", lora_rank=2, methods=["vr"])
    assert stopped[-1] == "sample-posterior-1"
    again, _ = start_run(tmp_path / "broken", lora_rank=2, methods=["vr"])
    first, second = read_run(whole), read_run(again)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], name


def untie(model):
    model.config.tie_word_embeddings = False
    return AutoModelForCausalLM.from_config(model.config)


@pytest.mark.parametrize(
    ("make", "shards"), [(lambda m: m, 1), (untie, 1), (untie, 4)], ids=["tied", "untied", "sharded"]
)
def test_parameters_are_counted_without_reading_weights(
    tmp_path, make_model, miniature, tokenizer, monkeypatch, make, shards
):
    model = make(make_model())
    model.save_pretrained(tmp_path / "pi0", max_shard_size="100GB" if shards == 1 else "50KB")
    assert len(list((tmp_path / "pi0").glob("*.safetensors"))) >= shards
    expected = sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(Models, "_read", None)
    assert storage.count_numbers(tmp_path / "pi0") == expected
    assert Models(tmp_path, miniature(), tokenizer).num_parameters("pi0") == expected == model.num_parameters()


def test_a_tied_head_that_its_file_holds_too_counts_once(tmp_path, make_model, miniature, tokenizer):
    """As published files may have it."""
    model = make_model()
    model.save_pretrained(tmp_path)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    embedding = model.get_input_embeddings().weight.numel()
    assert storage.count_numbers(tmp_path) == model.num_parameters() + embedding
    models = Models(tmp_path, miniature(model=str(tmp_path), lora_rank=2), tokenizer)
    assert models.num_parameters("base") == models.get("base").num_parameters() == model.num_parameters()


def test_a_released_model_is_gone_and_read_again(tmp_path, make_model, miniature, tokenizer):
    models = Models(tmp_path, miniature(lora_rank=2), tokenizer)
    models.save("base", make_model())
    models.save("pi0", models.begin("base", "pi0", 0))
    pi0 = models.get("pi0")
    held = weakref.ref(pi0)
    before = score(pi0, [((1, 2), (3, 4))])
    pi0.register_forward_hook(lambda *_, pi0=pi0: None)  # a cycle, as training in mixed precision makes one
    del pi0
    models.release()
    assert held() is None
    assert score(models.get("pi0"), [((1, 2), (3, 4))]) == before


def test_models_that_do_not_fit_are_refused(own, tmp_path, miniature):
    tokenizer = tiny_tokenizer()
    with pytest.raises(ValueError, match=r"cannot be read.*safetensors"):
        Models(tmp_path, miniature(model=str(tmp_path / "nowhere")), tokenizer).get("base")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((own / "model" / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"cannot be read.*pickled weights are not read"):
        Models(tmp_path, miniature(model=str(pickled)), tokenizer).get("base")
    small = tiny_qwen3(100, 0, hidden=32, layers=1, heads=2)
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(ValueError, match=r"largest token id is 369, and the model has embeddings for 100"):
        Models(tmp_path, miniature(model=str(tmp_path / "small")), tokenizer).get("base")


def test_presets_of_the_paper():
    large, small = preset("qwen3-4b"), preset("qwen3-4b-1k")
    assert large.reasoner.batch_size * large.reasoner.steps >= 3 * 2 * large.num_curated
    assert (large.rule.selection, large.mix_curated) == ("argmax", True)
    assert (small.rule.selection, small.mix_curated, small.num_curated) == ("soft", False, 1000)
    assert {name for name in PRESETS if name.startswith("qwen3")} >= {
        "qwen3-0.6b",
        "qwen3-1.7b",
        "qwen3-4b",
        "qwen3-8b",
    }
    with pytest.raises(ValueError, match="dtype must be one of"):
        override(small, {"dtype": "float16"})
    with pytest.raises(ValueError, match="lora_rank must be 0"):
        override(small, {"lora_rank": -1})
