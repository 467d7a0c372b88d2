"""Random tensors for the cases of a check."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal(generator: torch.Generator, *shape: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal values of this standard deviation."""
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def log_probs(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Logarithms of probabilities: negative values, whose sums mean nothing."""
    return -normal(generator, *shape, dtype=dtype).abs() - 0.1


def accuracies(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Probabilities from 0.1 to 0.9."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).mul(0.8).add(0.1).to(dtype)


def log_table(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log-probabilities over the last axis: their exponentials sum to one."""
    return normal(generator, *shape).log_softmax(-1).to(dtype)


def without(values: Tensor, *places: tuple[int, ...]) -> Tensor:
    """A copy with -inf at these places; a place with fewer numbers than axes is a whole row."""
    values = values.clone()
    for place in places:
        values[place] = -math.inf
    return values
