"""One process or several, as `accelerate launch` started them: who does what, and whole weights out of sharded ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
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


def gather(items: list[T]) -> list[T]:
    """The items of all processes, one process after the other; every process gets them."""
    return gather_object(items) if state().num_processes > 1 else items


def whole_weights(model: PreTrainedModel) -> dict[str, Any] | None:
    """All weights of a sharded model, on the main process; None for a whole model.  Every process calls it."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return None
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
