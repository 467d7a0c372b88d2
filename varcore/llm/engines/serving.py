"""What vLLM is started with, and the name that an adapter's weights have for it."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from varcore.llm import storage
from varcore.llm.adapters import require_adapter

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM can make room for
LOG_PROBS = "processed_logprobs"  # those of the distribution that was drawn from
ON_CPU = {
    "enforce_eager": True,  # compiling takes longer than it saves
    "kv_cache_memory_bytes": 2**30,  # the default is nearly all of the memory
    "enable_chunked_prefill": False,  # with it, vLLM 0.32 dies: torch's CPU generators cannot go back a number
}


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder as it is now.

    `name` ends in a hash of its files, and `number` is of that hash: a folder that is written anew is another adapter
    to an engine that has read the old one, and finds nothing of it in the engine's caches.
    """

    folder: Path
    name: str
    number: int
    rank: int


def read_adapter(folder: Path) -> Adapter:
    """ValueError unless `folder` holds an adapter in peft's format whose weights are safetensors."""
    require_adapter(folder)
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((folder / name).read_bytes())
    whole, found = folder.resolve(), digest.hexdigest()
    rank = storage.read_json(folder / "adapter_config.json")["r"]
    return Adapter(whole, f"{whole}@{found[:15]}", int(found[:15], 16) + 1, rank)


def start_options(dtype: str, lora_rank: int, *, on_cpu: bool) -> dict[str, Any]:
    """What an engine or a server is started with, by vLLM's names; for adapters of `lora_rank`, 0 for none."""
    options = {"dtype": dtype, "logprobs_mode": LOG_PROBS, **(ON_CPU if on_cpu else {})}
    if lora_rank:
        options |= {"enable_lora": True, "max_lora_rank": next(rank for rank in RANKS if rank >= lora_rank)}
    return options


def serve_command(model: str, dtype: str, lora_rank: int = 0) -> str:
    """A shell command that serves `model` on this machine's device, and lets a run hand it adapters."""
    flags = []
    for option, value in start_options(dtype, lora_rank, on_cpu=not torch.cuda.is_available()).items():
        name = option.replace("_", "-")
        flags.append(f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name} {value}")
    allowed = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True " if lora_rank else ""
    return f"{allowed}vllm serve {shlex.quote(model)} --host 127.0.0.1 --port 8000 {' '.join(flags)}"
