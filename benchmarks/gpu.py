"""What one GPU does with this code: Algorithm 1 on 35 million parameters, and rates at the sizes of Qwen3.

    PYTHONPATH=. python benchmarks/gpu.py                   both parts, some eleven minutes on a GPU like the H100
    PYTHONPATH=. python benchmarks/gpu.py --parts rates     one of them: method (eight) or rates (three)
    PYTHONPATH=. python benchmarks/gpu.py --toy             the same code on a CPU, about a minute

Needs torch, transformers and peft, what these bring, and the repository; TRL takes part where it is installed.  The log
(JSON: date, device, versions, seed, results) is written after every step, so that what was measured stays if the
machine goes away.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gpu_method
import gpu_rates
import torch

PARTS = {"method": gpu_method.measure, "rates": gpu_rates.measure}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument(
        "--out", type=Path, help="the log; without it benchmarks/results/gpu.json, or runs/gpu-toy.json"
    )
    arguments = parser.parse_args()
    if not (arguments.toy or torch.cuda.is_available()):
        sys.exit("There is no CUDA device. Run this where one is, or --toy for the same code at toy size.")
    device = torch.device("cpu" if arguments.toy else "cuda")
    if device.type == "cuda":  # float32 weights, products in bfloat16: what a launch file of accelerate sets
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    usual = Path("runs/gpu-toy.json") if arguments.toy else Path(__file__).parent / "results" / "gpu.json"
    log = {"command": " ".join(["python benchmarks/gpu.py", *sys.argv[1:]]), "seed": arguments.seed, **machine(device)}
    for part in arguments.parts:
        print(f"{part}, on {log['device']}", flush=True)
        PARTS[part](arguments.toy, arguments.seed, device, saver(arguments.out or usual, log, part))
    print(f"log: {arguments.out or usual}")


def machine(device: torch.device) -> dict[str, Any]:
    packages = ("torch", "transformers", "peft", "accelerate", "trl")
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages if importlib.util.find_spec(name)},
    }


def saver(out: Path, log: dict[str, Any], part: str) -> Callable[[dict[str, Any]], None]:
    """Puts what a part has found so far into the log, and the log into its file."""

    def save(found: dict[str, Any]) -> None:
        log[part] = found
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")

    return save


if __name__ == "__main__":
    main()
