"""One process or several, as `accelerate launch` started them: who does what, and whole weights out of sharded ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

T = TypeVar("T")


def accelerator() -> Accelerator:
    """An Accelerator of this process: on its CUDA device, or on the CPU where there is none."""
    return Accelerator(cpu=not torch.cuda.is_available())


def state() -> PartialState:
    """Rank, device and number of processes; also before any training."""
    return PartialState(cpu=not torch.cuda.is_available())


def check_devices() -> None:
    """ValueError if `accelerate launch` was told of more GPUs than this machine has."""
    started, found = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if (sharded and state().distributed_type == DistributedType.MULTI_CPU) or 0 < found < started:
        raise ValueError(
            f"The launch asks for a GPU for each of {started} processes of this machine, and there are {found}. Give "
            "accelerate launch --num_processes with the number there is, or another --config_file; one process needs "
            "no accelerate launch."
        )


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


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process, that may be sharded.  Every process calls it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """What this process keeps of a whole tensor if a parameter of its shape is sharded; otherwise all of it."""
    if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
        return tensor  # such as an optimiser's count of steps
    mesh = parameter.device_mesh
    return distribute_tensor(tensor.to(parameter.device), mesh, parameter.placements, src_data_rank=None)
