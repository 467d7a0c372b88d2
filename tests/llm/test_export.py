"""Models taken out of a run load by their path in others' code, and say what they said in the run."""

import errno
import os
import shutil

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from varcore.llm import storage
from varcore.llm.export import export, merge
from varcore.llm.models import Models
from varcore.llm.run import RunDirectoryError
from varcore.llm.tiny import tiny_tokenizer

IDS = torch.tensor([[1, 40, 3, 200, 5, 90, 7, 300]])


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, start_run):
    """A finished run whose roles are adapters."""
    return start_run(tmp_path_factory.mktemp("adapted") / "run", lora_rank=4, methods=["sft"])[0]


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(IDS).logits


@pytest.fixture
def adapter_on(adapted, miniature):
    """Logits in the run, by role: those of the base with that role's adapter switched on."""
    models = Models(adapted / "models", miniature(lora_rank=4), tiny_tokenizer())
    return lambda role: logits(models.get(role))


@pytest.mark.parametrize("role", ["pi0", "sft"])
def test_a_merged_model_loads_by_its_path_and_says_what_the_adapter_said(adapted, adapter_on, tmp_path, role):
    out = tmp_path / "plain"
    written = merge(adapted, role, out)
    assert written == {"role": role, "kind": "model", "base": str(adapted / "models" / "base"), "folder": str(out)}
    assert not list(out.glob("adapter*"))
    plain = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(logits(plain), adapter_on(role), rtol=1e-5, atol=1e-5)
    assert (adapter_on(role) - adapter_on("base")).abs().max() > 1e-2
    assert AutoTokenizer.from_pretrained(out).get_vocab() == tiny_tokenizer().get_vocab()
    with safe_open(out / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "lora" in name]  # noqa: SIM118


def test_an_exported_adapter_names_its_base_and_peft_finds_both(adapted, adapter_on, tmp_path):
    written = export(adapted, "sft", tmp_path / "sft")
    assert (written["kind"], written["base"]) == ("adapter", str(adapted / "models" / "base"))
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "sft")
    torch.testing.assert_close(logits(theirs), adapter_on("sft"), rtol=1e-6, atol=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "sft").get_vocab() == tiny_tokenizer().get_vocab()
    kept = storage.read_json(adapted / "models" / "sft" / "adapter_config.json")
    assert kept["base_model_name_or_path"] == "", "the run itself names no place of this machine"


def test_a_whole_model_is_copied_whole(finished, tmp_path):
    run, _ = finished
    export(run, "vr", tmp_path / "vr")
    kept = {path.name: path.read_bytes() for path in (run / "models" / "vr").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "vr").iterdir()} == kept
    with pytest.raises(ValueError, match=r"vr in .* is a whole model.*Use varcore export"):
        merge(run, "vr", tmp_path / "merged")


def test_the_base_and_every_role_can_be_had(adapted, adapter_on, tmp_path):
    assert export(adapted, "base", tmp_path / "base")["kind"] == "model"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(logits(plain), adapter_on("base"))
    with pytest.raises(ValueError, match="is a whole model"):
        merge(adapted, "base", tmp_path / "merged")


@pytest.mark.parametrize("take", [export, merge])
def test_a_role_that_is_not_there_is_refused_with_those_that_are(adapted, tmp_path, take):
    for role in ("vr", "tokenizer", "pi0-unfinished", "", ".."):
        with pytest.raises(
            RunDirectoryError, match=r"no model of .*, only \['base', 'pi0', 'sft'\].*evaluate-sft last"
        ):
            take(adapted, role, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_a_run_under_way_what_is_trained_can_be_had(adapted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(adapted, run)
    shutil.rmtree(run / "models" / "sft")
    (run / "models" / "sft-unfinished").mkdir()
    (run / "models" / "sft-unfinished" / "training.safetensors").write_bytes(b"")
    storage.write_json(run / "state.json", {"done": ["base", "init-reasoner"]})
    with pytest.raises(RunDirectoryError, match=r"only \['base', 'pi0'\].*finished 2 stages, init-reasoner last"):
        merge(run, "sft", tmp_path / "out")
    merge(run, "pi0", tmp_path / "out")
    (run / "state.json").unlink()
    with pytest.raises(RunDirectoryError, match=r"finished 0 stages\."):
        export(run, "sft", tmp_path / "sft")


@pytest.mark.parametrize("take", [export, merge])
def test_what_is_there_already_is_not_replaced(adapted, tmp_path, take):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("ten years")
    with pytest.raises(ValueError, match=r"out exists.*Choose another --out"):
        take(adapted, "sft", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("take", [export, merge])
def test_a_full_disk_leaves_nothing(adapted, tmp_path, take, monkeypatch):
    def full_disk(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(storage.StorageError, match="No space left"):
        take(adapted, "sft", tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []
