"""An engine and models of ours are never there at the same time, in a whole run, and the run is none the worse for it.

The engine is a twin of our own sampler that reads the model's folder itself, so the run must end with the very files
of one that samples with transformers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from varcore.llm import algorithm, workbench
from varcore.llm.adapters import LoraSettings, SharedBase
from varcore.llm.models import Models
from varcore.llm.sampling import Sampler, TransformersSampler


class Twin:
    """Stands for an engine: the model saved in a folder, and adapters over it."""

    def __init__(self, model: str, lora_rank: int):
        self.name = Path(model).name
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model)
        self.own = {id(module) for module in self.model.modules()}
        self.shared = SharedBase(self.model, LoraSettings(lora_rank, 2 * lora_rank)) if lora_rank else None

    def on(self, adapter: Path | None) -> PreTrainedModel:
        return self.shared.read("drawn", adapter) if self.shared and adapter else self.model


class Device:
    """Opens and closes twins in the place of vLLM, and looks round for other models whenever one is asked for."""

    def __init__(self):
        self.elsewhere = models()  # of other tests; held, so that no new model has the id of one of them
        self.engine: Twin | None = None
        self.starts: list[str] = []

    def open(self, model: str, *, lora_rank: int, dtype: str) -> Twin:
        assert self.engine is None, "one engine at a time"
        assert self.ours() == [], "an engine starts beside a model of ours"
        self.engine = Twin(model, lora_rank)
        self.starts.append(self.engine.name)
        return self.engine

    def sampler(self, engine: Twin, *, adapter: Path | None, **settings: Any) -> Sampler:
        assert engine is self.engine
        assert self.ours() == [], "an engine draws beside a model of ours"
        return TransformersSampler(engine.on(adapter), batch_size=64, **settings)

    def close(self, engine: Twin) -> None:
        assert engine is self.engine
        assert self.ours() == [], "a model of ours was there before the engine ended"
        self.engine = None

    def read(self, path: Path | str) -> None:
        assert self.engine is None, f"{path} is read beside an engine"

    def ours(self) -> list[PreTrainedModel]:
        known = {id(model) for model in self.elsewhere} | (self.engine.own if self.engine else set())
        return [model for model in models() if id(model) not in known]


def models() -> list[PreTrainedModel]:
    """Every model of this process that has memory, also one that waits for the garbage collector."""
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), PreTrainedModel)]
    return [model for model in found if any(not p.is_meta for p in model.parameters())]


@pytest.fixture
def device(monkeypatch) -> Device:
    gc.collect()
    device, read = Device(), Models._read
    monkeypatch.setattr(algorithm, "check_engine", lambda config, servers: None)
    monkeypatch.setattr(workbench, "open_engine", device.open)
    monkeypatch.setattr(workbench, "close_engine", device.close)
    monkeypatch.setattr(workbench, "VLLMSampler", device.sampler)
    monkeypatch.setattr(Models, "_read", lambda self, path: (device.read(path), read(self, path))[1])
    return device


def assert_same_run(read_run: Callable[[Path], dict[str, Any]], first: Path, second: Path) -> None:
    """But for the name of the engine."""
    ours, theirs = read_run(first), read_run(second)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == {"config.json"}


@pytest.mark.parametrize(
    ("lora_rank", "starts"),
    [
        # prior and its answers; posterior; answers, after scoring; rejection sampling's traces; every evaluated model
        (0, ["pi0", "q1", "pi0", "pi0", "pi0", "sft", "rft", "vr"]),
        (2, ["base"] * 5),  # once for all evaluated models
    ],
)
def test_engine_and_models_take_turns_in_a_whole_run(tmp_path, start_run, device, read_run, lora_rank, starts):
    settings = {"lora_rank": lora_rank, "methods": ["sft", "rft", "vr"]}
    drawn, _ = start_run(tmp_path / "engine", engine="vllm", **settings)
    assert device.starts == starts
    assert device.engine is None
    plain, _ = start_run(tmp_path / "plain", **settings)
    assert device.starts == starts, "transformers asks for no engine"
    assert_same_run(read_run, drawn, plain)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_run_that_was_stopped_beside_its_engine_goes_on(
    tmp_path, start_run, device, read_run, monkeypatch, lora_rank
):
    finish = algorithm.RunDirectory.finish

    def stop(self, stage, *rest):
        finish(self, stage, *rest)
        if stage == "sample-posterior-1":
            assert device.engine is not None
            raise KeyboardInterrupt

    settings = {"lora_rank": lora_rank, "methods": ["vr"], "rounds": 2 - bool(lora_rank)}
    with monkeypatch.context() as patch:
        patch.setattr(algorithm.RunDirectory, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            start_run(tmp_path / "engine", engine="vllm", **settings)
    assert device.engine is None
    drawn, _ = start_run(tmp_path / "engine", engine="vllm", **settings)
    plain, _ = start_run(tmp_path / "plain", **settings)
    assert_same_run(read_run, drawn, plain)
    later = ["vr-round1", "q2", "vr-round1"]  # three more in a second round
    assert device.starts == (["base"] * 4 if lora_rank else ["pi0", "q1", "pi0", *later, "pi0", "vr"])
