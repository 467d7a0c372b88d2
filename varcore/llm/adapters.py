"""One frozen base, a LoRA adapter for every role: reasoner and posterior share all weights but a few per cent.

A role's model is always the same object with another adapter switched on, so memory holds the base once, however many
roles there are.  Adapters are saved and read in peft's own file format, which vLLM reads too.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import PreTrainedModel

from varcore.llm import storage


@dataclass(frozen=True)
class LoraSettings:
    """Rank and scale (alpha / rank) of an adapter on every matrix of every layer."""

    rank: int = 32
    alpha: int = 64

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"LoraSettings: rank and alpha must be at least 1, got {self.rank} and {self.alpha}.")

    def config(self) -> LoraConfig:
        return LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules="all-linear", task_type="CAUSAL_LM")


class SharedBase:
    """A base model and its adapters by role.  Between calls exactly one adapter, or none, is switched on."""

    def __init__(self, base: PreTrainedModel, settings: LoraSettings, name: str = ""):
        """`name` is what the saved adapters call their base: of a folder, nothing that only one machine knows."""
        self.model, self.settings = base.requires_grad_(False), settings
        self.model.name_or_path = name
        self.roles: list[str] = []

    def base(self) -> PreTrainedModel:
        """The model without any adapter."""
        if self.roles:
            self.model.disable_adapters()
        return self.model

    def use(self, role: str) -> PreTrainedModel:
        """The model of `role`, which alone is trainable in it.  KeyError for a role that was not begun or read."""
        if role not in self.roles:
            raise KeyError(f"SharedBase: there is no adapter {role!r}; there are {self.roles}. Begin or read it first.")
        self.model.enable_adapters()
        self.model.set_adapter(role)
        return self.model

    def begin(self, role: str, start: str | None, seed: int) -> PreTrainedModel:
        """A new adapter, a copy of `start`'s, or one that leaves the base's output as it is; ready to be trained."""
        weights = None if start is None else self._weights(start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._add(role)
        if weights is not None:
            set_peft_model_state_dict(self.model, weights, adapter_name=role)
        return self.use(role)

    def save(self, role: str, folder: Path) -> None:
        """adapter_model.safetensors and adapter_config.json in `folder`."""
        self.use(role).save_pretrained(folder)
        path = folder / "adapter_config.json"
        settings = storage.read_json(path)  # peft writes a set in any order; the same run is to give the same bytes
        storage.write_json(path, {**settings, "target_modules": sorted(settings["target_modules"])})

    def read(self, role: str, folder: Path) -> PreTrainedModel:
        """The adapter in `folder` as `role`.  ValueError if there is none in safetensors."""
        require_adapter(folder)
        if role in self.roles:
            self.model.delete_adapter(role)
            self.roles.remove(role)
        with _several():
            self.model.load_adapter(str(folder), adapter_name=role)
        self.roles.append(role)
        return self.use(role)

    def _add(self, role: str) -> None:
        if role in self.roles:
            self.model.delete_adapter(role)
            self.roles.remove(role)
        with _several():
            self.model.add_adapter(self.settings.config(), adapter_name=role)
        self.roles.append(role)

    def _weights(self, role: str) -> dict[str, torch.Tensor]:
        found = get_peft_model_state_dict(self.use(role), adapter_name=role)
        return {name: tensor.clone() for name, tensor in found.items()}


@contextlib.contextmanager
def _several() -> Iterator[None]:
    """peft warns whenever a second adapter joins a model, which is what is wanted here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        yield


def merged(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A plain model whose weights have the adapter in `folder` added; `base` is used up."""
    require_adapter(folder)
    plain = PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    assert isinstance(plain, PreTrainedModel)
    return plain


def require_adapter(folder: Path) -> None:
    """ValueError unless `folder` holds an adapter whose weights are safetensors."""
    if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
        raise ValueError(
            f"{folder} holds no LoRA adapter in safetensors (adapter_config.json and adapter_model.safetensors). "
            "Pickled weights are not read; save the adapter again with safetensors."
        )
