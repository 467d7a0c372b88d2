"""The state of an interrupted training as one safetensors file: parameters, optimiser states, curves so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from varcore.llm import processes


class Checkpoint:
    """What is trained, and the optimisers' tensors, at one step, as a single safetensors file.

    Of sharded tensors it holds the whole ones, so that any number of processes can go on from it.  Every process calls
    `save` and `load`; the main one writes.
    """

    def __init__(self, model: PreTrainedModel, optimizers: Sequence[torch.optim.Optimizer], folder: Path | None):
        self.model, self.optimizers = model, optimizers
        self.path = folder / "training.safetensors" if folder else None

    def save(self, step: int, curves: Mapping[str, list[float]]) -> None:
        if self.path is None:
            return
        from varcore.llm import storage  # which needs pyarrow; a training without checkpoints does not

        main, tensors = processes.state().is_main_process, {}
        for name, tensor in self._tensors():
            whole = processes.whole(tensor)  # one after the other: only the main process keeps them
            if main:
                tensors[name] = whole.cpu()
        if main:
            tensors |= {f"curve.{name}": torch.tensor(x, dtype=torch.float64) for name, x in curves.items()}
            storage.write_tensors(self.path, tensors, {"step": str(step)})
        processes.state().wait_for_everyone()

    def load(self) -> tuple[int, defaultdict[str, list[float]]]:
        """The step that was saved last and what was noted of every step before it; 0 and nothing if there is none."""
        curves: defaultdict[str, list[float]] = defaultdict(list)
        if self.path is None or not self.path.exists():
            return 0, curves
        from varcore.llm import storage

        tensors, notes = storage.read_tensors(self.path)
        with torch.no_grad():
            for name, p in self._trained():
                p.copy_(processes.sharded_like(tensors[f"model.{name}"], p))
        for place, optimizer in enumerate(self.optimizers):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimizer.{place}."):
                    index, name = key.removeprefix(f"optimizer.{place}.").split(".", 1)
                    state.setdefault(int(index), {})[name] = processes.sharded_like(value, parameters[int(index)])
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        curves.update({key[6:]: values.tolist() for key, values in tensors.items() if key.startswith("curve.")})
        return int(notes["step"]), curves

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, p in self._trained():
            yield f"model.{name}", p.detach()
        for place, optimizer in enumerate(self.optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                for name, value in values.items():
                    yield f"optimizer.{place}.{index}.{name}", value

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
