"""Groups of rollouts that are right or wrong with probability p: the sums behind every W(p).  Not public."""

import math

import torch
from torch import Tensor


def as_probability(p: Tensor) -> Tensor:
    """p, with NaN where it is no probability: values cannot be refused under vmap."""
    return p.masked_fill((p < 0) | (p > 1), math.nan)


def held_at_the_ends(p: Tensor) -> Tensor:
    """``as_probability(p)``, a constant where p is 0 or 1: the derivatives of the sums are 0/0 or 0 * inf there."""
    return torch.where((p > 0) & (p < 1), p, as_probability(p).detach())


def require_group(function: str, size: int | None) -> None:
    if size is not None and size < 1:
        raise ValueError(f"{function}: needs a group of at least 1, or None for the population; got {size}.")


def pull_of_counts(size: int, ddof: int, eps: float, p: Tensor) -> tuple[Tensor, Tensor]:
    """c = 0..G-1 successes and (c/G) / (std_c + eps), 0 where all are wrong."""
    c = torch.arange(size, dtype=torch.float64, device=p.device)
    std = (c * (size - c) / (size * max(size - ddof, 1))).sqrt()
    return c, ((c / size) / (std + eps)).masked_fill(c == 0, 0.0)


def log_binomial(counts: Tensor, size: int, p: Tensor) -> Tensor:
    """log P(c successes of `size`) in float64, for each p: [*batch, C]."""
    p64 = held_at_the_ends(p).double()[..., None]
    return log_choices(counts, size) + torch.xlogy(counts, p64) + torch.special.xlog1py(size - counts, -p64)


def log_choices(counts: Tensor, size: int) -> Tensor:
    return math.lgamma(size + 1) - torch.lgamma(counts + 1) - torch.lgamma(size - counts + 1)
