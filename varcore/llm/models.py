"""The models of a run by role: "base", "pi0", "q1", "vr", ...; whole models, or adapters over one base."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from varcore.llm import processes, storage
from varcore.llm.adapters import LoraSettings, SharedBase
from varcore.llm.presets import Config
from varcore.llm.shapes import num_parameters
from varcore.llm.templates import check_model
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer


class Models:
    """Reads a role's model when it is asked for.

    Of whole models one is held at a time, the one that was asked for last: a GPU that has room for a training has no
    room for the others beside it.  With ``config.lora_rank`` every role but the base is an adapter, and `get` gives
    the same object each time, with the adapter of the role that was asked for last.
    """

    def __init__(self, folder: Path, config: Config, tokenizer: PreTrainedTokenizerBase):
        self.folder, self.config, self.tokenizer = folder, config, tokenizer
        self.held: dict[str, PreTrainedModel] = {}
        self.shared: SharedBase | None = None

    def path(self, role: str) -> Path | str:
        """Where the weights of `role` are: a folder, or for a base from the hub its name."""
        if role == "base" and self.config.model:
            return self.config.model
        return self.folder / role

    def files(self, role: str) -> tuple[str, Path | None]:
        """What an engine reads for `role`: a model's folder or its name on the hub, and the folder of an adapter."""
        is_adapter = self.config.lora_rank and role != "base"
        path = Path(self.path("base" if is_adapter else role))
        model = str(path.resolve()) if path.exists() else str(path)
        return model, self.folder / role if is_adapter else None

    def get(self, role: str) -> PreTrainedModel:
        """The model of `role`, as it was saved last."""
        if self.config.lora_rank and role != "base":
            return self._adapter(role)
        if self.shared is not None:
            return self.shared.base()
        if role not in self.held:
            self.release()  # before the next one is read
            self.held[role] = self._read(self.path(role))
        return self.held[role]

    def begin(self, start: str, role: str, seed: int) -> PreTrainedModel:
        """A model for `role` to be trained, with the weights of `start`, which stay in their own folder."""
        if not self.config.lora_rank:
            self.get(start)
            return self.held.pop(start)
        if start != "base":
            self._adapter(start)
        return self._share().begin(role, None if start == "base" else start, seed)

    def save(self, role: str, model: PreTrainedModel) -> None:
        """Write what `begin` gave, once trained, into its folder, whole or not at all, with the tokenizer."""
        whole = processes.whole_weights(model)
        if processes.state().is_main_process:
            with storage.replacing(self.folder / role) as place:
                self._write(role, model, whole, place)
                self.tokenizer.save_pretrained(place)
        processes.state().wait_for_everyone()
        if whole is None and not (self.config.lora_rank and role != "base"):
            self.held = {role: model}

    def _write(self, role: str, model: PreTrainedModel, whole: dict[str, Any] | None, place: Path) -> None:
        if self.config.lora_rank and role != "base":
            self._share().save(role, place)
        elif whole is None:
            model.save_pretrained(place)
        else:
            model.save_pretrained(place, state_dict=whole)

    def release(self) -> None:
        """Forget every model, so that the device is free; `get` and `begin` read again what they need."""
        self.held.clear()
        self.shared = None
        gc.collect()  # mixed precision leaves a trained model in a cycle: accelerate wraps its forward
        torch.cuda.empty_cache()

    def num_parameters(self, role: str) -> int:
        """Parameters that a token of this role passes: the base's and its own adapter's.  No weights are read."""
        adapter = self.files(role)[1]
        whole = num_parameters(_config(self.path("base" if adapter else role)))
        return whole + (storage.count_numbers(adapter) if adapter else 0)

    def _adapter(self, role: str) -> PreTrainedModel:
        shared = self._share()
        return shared.use(role) if role in shared.roles else shared.read(role, self.folder / role)

    def _share(self) -> SharedBase:
        if self.shared is None:
            base = self.held.pop("base", None) or self._read(self.path("base"))
            settings = LoraSettings(self.config.lora_rank, 2 * self.config.lora_rank)
            self.shared = SharedBase(base, settings, self.config.model)
        return self.shared

    def _read(self, path: Path | str) -> PreTrainedModel:
        """Safetensors only; a model that does not know all of the tokenizer's ids is refused."""
        dtype = getattr(torch, self.config.dtype)
        try:
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True)
        except OSError as error:
            raise _unreadable(path, error) from error
        check_model(self.tokenizer, model.config.get_text_config())
        return model.to(processes.state().device)  # pyright: ignore[reportArgumentType]


def read_config(config: Config) -> PreTrainedConfig:
    """The shape of a run's base model.  ValueError if it cannot be read, or is a folder without safetensors."""
    if not config.model:
        return tiny_qwen3(len(tiny_tokenizer()), seed=0).config
    return _config(config.model).get_text_config()


def _config(path: Path | str) -> PreTrainedConfig:
    folder = Path(path)
    try:
        if folder.is_dir() and not list(folder.glob("*.safetensors")):
            raise FileNotFoundError("it has no file of safetensors")
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: OSError) -> ValueError:
    return ValueError(
        f"The model {str(path)!r} cannot be read ({error}). Name a folder with config.json and safetensors files "
        "(pickled weights are not read), or a name on the hub together with --online."
    )
