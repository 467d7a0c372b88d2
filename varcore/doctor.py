"""``varcore doctor``: is this machine ready for the tiny preset, and how long will that take?"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

NEEDED = ("transformers", "tokenizers", "safetensors", "pyarrow", "rich")
HELPFUL = {
    "jupyterlab": "the notebooks; pip install 'varcore[notebooks]'",
    "plotly": "the report and the figures; pip install 'varcore[notebooks]'",
    "vllm": "fast sampling on a GPU; pip install 'varcore[vllm]'",
}
DISK, MEMORY = 0.5, 3.0  # GB that a run of the tiny preset may take


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `fine` is False if a run would fail."""

    what: str
    text: str
    fine: bool = True


def examine() -> list[Finding]:
    """Every finding; a few seconds, nothing is written."""
    findings = [_python(), _packages(), *_helpful(), _memory(), _disk()]
    if all(finding.fine for finding in findings):
        findings.append(_speed())
    return findings


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding(
        "python", f"{platform.python_version()} on {platform.system()}{'' if fine else '; need >= 3.11'}", fine
    )


def _packages() -> Finding:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("packages", f"missing: {', '.join(missing)}. Repair: pip install 'varcore[llm]'", False)
    return Finding("packages", ", ".join(f"{name} {version(name)}" for name in ("torch", *NEEDED)))


def _helpful() -> list[Finding]:
    absent = {name: use for name, use in HELPFUL.items() if importlib.util.find_spec(name) is None}
    return [Finding("not installed", f"{name}: only needed for {use}") for name, use in absent.items()]


def _memory() -> Finding:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    fine = gigabytes >= MEMORY
    return Finding("memory", f"{gigabytes:.0f} GB; the tiny preset wants {MEMORY:.0f}", fine)


def _disk() -> Finding:
    gigabytes = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding("disk", f"{gigabytes:.1f} GB free here; a tiny run takes up to {DISK}", gigabytes >= DISK)


def _speed() -> Finding:
    """Trains the tiny model for a few steps, and scales up to the tiny preset."""
    import torch

    from varcore.llm.presets import preset
    from varcore.llm.tiny import tiny_qwen3
    from varcore.llm.training import Example, TrainSettings, finetune

    config = preset("tiny")
    examples = [Example(tuple(range(10)), tuple(range(100, 130))) for _ in range(64)]
    model = tiny_qwen3(400, seed=0)
    finetune(model, examples, TrainSettings(steps=2), seed=0)  # the first steps are slower
    began = time.perf_counter()
    tokens = finetune(model, examples, TrainSettings(steps=10), seed=0).tokens
    rate = tokens / (time.perf_counter() - began)
    steps = config.base.steps + config.initial.steps + config.posterior.steps + 3 * config.reasoner.steps
    # sampling, answering and scoring take about as long as the training does (see compute.json of a run)
    minutes = 2 * steps * config.reasoner.batch_size * 40 / rate / 60
    threads = torch.get_num_threads()
    return Finding("speed", f"{rate:,.0f} training tokens/s on {threads} threads; make demo: about {minutes:.0f} min")
