"""The state of an interrupted training as one safetensors file: parameters, optimiser states, losses so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class Checkpoint:
    """What is trained, and the optimisers' tensors, at one step, as a single safetensors file."""

    def __init__(self, model: PreTrainedModel, optimizers: Sequence[torch.optim.Optimizer], folder: Path | None):
        self.model, self.optimizers = model, optimizers
        self.path = folder / "training.safetensors" if folder else None

    def save(self, step: int, losses: list[float], norms: list[float]) -> None:
        if self.path is None:
            return
        from varcore.llm import storage  # which needs pyarrow; a training without checkpoints does not

        tensors = {f"model.{name}": p.detach() for name, p in self._trained()}
        for place, optimizer in enumerate(self.optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{place}.{index}.{name}": value for name, value in values.items()}
        tensors["losses"], tensors["norms"] = (torch.tensor(x, dtype=torch.float64) for x in (losses, norms))
        storage.write_tensors(self.path, tensors, {"step": str(step)})

    def load(self) -> tuple[int, list[float], list[float]]:
        if self.path is None or not self.path.exists():
            return 0, [], []
        from varcore.llm import storage

        tensors, notes = storage.read_tensors(self.path)
        with torch.no_grad():
            for name, p in self._trained():
                p.copy_(tensors[f"model.{name}"])
        for place, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimizer.{place}."):
                    index, name = key.removeprefix(f"optimizer.{place}.").split(".", 1)
                    state.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return int(notes["step"]), tensors["losses"].tolist(), tensors["norms"].tolist()

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
