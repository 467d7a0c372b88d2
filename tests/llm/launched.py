"""A training that `accelerate launch` starts in one process or several: python launched.py RESULT [STOP].

Writes the weights, losses and gradient norms that the main process ends with.
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import DistributedType
from torch.distributed.tensor import DTensor

from varcore.llm import processes, storage
from varcore.llm.tiny import tiny_qwen3
from varcore.llm.training import Example, TrainSettings, finetune

EXAMPLES = [
    Example(tuple(range(1, 2 + i % 3)), tuple((7 * i + t) % 20 for t in range(1 + i % 5)), 0.25 * (1 + i % 4))
    for i in range(12)
]
# AdamW: Muon rounds to bfloat16 inside, where the order of a sum already shows in the third digit
SETTINGS = TrainSettings(6, batch_size=4, micro_batch_size=1, save_every=2, muon=False)


def shard_on_cpu() -> None:
    """accelerate shards (FSDP) on GPUs only.  Told that these processes had some, it does so on CPUs, with gloo."""
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        processes.state().distributed_type = DistributedType.MULTI_GPU


def main(result: str, stop: str = "") -> None:
    """With `stop` the training is broken off after so many steps; the same call without it goes on."""
    torch.set_num_threads(1)
    shard_on_cpu()
    taken = []

    def advance(steps: int) -> None:
        taken.append(steps)
        if str(sum(taken)) == stop:
            sys.exit()

    sharded = processes.state().distributed_type == DistributedType.MULTI_GPU
    # the others start elsewhere, to be brought in line; shards are cut from what each process has read
    model = tiny_qwen3(20, seed=0 if sharded else processes.state().process_index)
    folder = Path(result).with_suffix(".unfinished")
    log = finetune(model, EXAMPLES, SETTINGS, seed=0, checkpoints=folder, advance=advance)
    weights = {name: processes.whole(p.detach()) for name, p in model.named_parameters()}
    if processes.state().is_main_process:
        logged = {"losses": torch.tensor(log.losses), "norms": torch.tensor(log.gradient_norms)}
        notes = {"processes": str(processes.state().num_processes), "began": str(taken[0])}
        notes["sharded"] = str(sum(isinstance(p, DTensor) for p in model.parameters()))
        storage.write_tensors(Path(result), weights | logged, notes)


if __name__ == "__main__":
    main(*sys.argv[1:])
