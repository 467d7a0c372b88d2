"""Clocks for the benchmarks: times of one side after the other, never of both at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Of `repeats` calls, after one that is not measured."""
    work()
    found = []
    for _ in range(repeats):
        began = clock(device)
        work()
        found.append(clock(device) - began)
    return found


def middle(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}
