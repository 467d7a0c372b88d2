"""A training that `accelerate launch` starts in one process or several: python launched.py RESULT.

Writes the weights, losses and gradient norms that the main process ends with.
"""

import sys
from pathlib import Path

import torch

from varcore.llm import processes, storage
from varcore.llm.tiny import tiny_qwen3
from varcore.llm.training import Example, TrainSettings, finetune

EXAMPLES = [
    Example(tuple(range(1, 2 + i % 3)), tuple((7 * i + t) % 20 for t in range(1 + i % 5)), 0.25 * (1 + i % 4))
    for i in range(12)
]
# AdamW: Muon rounds to bfloat16 inside, where the order of a sum already shows in the third digit
SETTINGS = TrainSettings(6, batch_size=4, micro_batch_size=1, save_every=2, muon=False)


def main(result: str) -> None:
    torch.set_num_threads(1)
    model = tiny_qwen3(20, seed=processes.state().process_index)  # the others start elsewhere: to be brought in line
    log = finetune(model, EXAMPLES, SETTINGS, seed=0)
    if processes.state().is_main_process:
        tensors = {name: p.detach() for name, p in model.named_parameters()}
        tensors |= {"losses": torch.tensor(log.losses), "norms": torch.tensor(log.gradient_norms)}
        storage.write_tensors(Path(result), tensors, {"processes": str(processes.state().num_processes)})


if __name__ == "__main__":
    main(*sys.argv[1:])
