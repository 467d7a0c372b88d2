"""Clocks and memory counters for the benchmarks."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler says when it starts and stops

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


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that torch's CPU allocator held at once during `work`, beyond what it held before: by its own events."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    events = (event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    sizes = [size for _, size in sorted((event.start_ns(), event.nbytes()) for event in events)]
    return max(itertools.accumulate(sizes), default=0)


def resident_bytes(work: Callable[[], object]) -> int | None:
    """The same as Linux sees the process: the growth of its resident memory to its peak.  None elsewhere.

    Memory that was freed before and that the process still holds is no growth: ask in a fresh process.
    """
    if not Path("/proc/self/clear_refs").exists():
        work()
        return None
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
