"""One process or several, as `accelerate launch` started them: who does what, and whole weights out of sharded ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

T = TypeVar("T")


def accelerator() -> Accelerator:
    """An Accelerator of this process: on its CUDA device, or on the CPU where there is none."""
    return Accelerator(cpu=not torch.cuda.is_available())


def state() -> PartialState:
    """Rank, device and number of processes; also before any training."""
    return PartialState(cpu=not torch.cuda.is_available())


def share(items: Sequence[T]) -> Sequence[T]:
    """What of `items` this process does: every n-th, from its own rank on."""
    return items[state().process_index :: state().num_processes]


def save_whole(model: PreTrainedModel, folder: Path) -> None:
    """Write all weights in safetensors.  Every process calls it, the main one writes; sharded weights are gathered."""
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole = get_model_state_dict(model, options=options)
        if state().is_main_process:
            model.save_pretrained(folder, state_dict=whole)
    elif state().is_main_process:
        model.save_pretrained(folder)
