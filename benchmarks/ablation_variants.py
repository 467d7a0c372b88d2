"""Parts of benchmarks/ablations.py that need runs with other settings: several rounds, adapters over one base."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ablation_parts import Found, curves
from arms import arm, scores

from varcore.llm import algorithm, comparison, stages, storage
from varcore.llm.presets import Config
from varcore.llm.run import Cost, RunDirectory
from varcore.llm.workbench import Workbench

METHODS = ["rft", "vr"]


def share(bench: Workbench, path: Path, config: Config) -> None:
    """Begin the run `path` with the base of another one, and with its pi_0 if that too is made alike under `config`."""
    if (path / "state.json").exists():
        return
    costs = storage.read_json(bench.run.path / "compute.json")
    names = [field.name for field in dataclasses.fields(Cost)]
    alike = {"base": "base"} | ({} if config.lora_rank else {"init-reasoner": "pi0"})
    with closing(RunDirectory(path, config)) as run:
        for stage, role in alike.items():
            shutil.copytree(bench.run.path / "models" / role, path / "models" / role, dirs_exist_ok=True)
            cost = Cost(**{name: costs[stage][name] for name in names})
            run.finish(stage, cost, costs[stage]["seconds"], [])


def rounds(bench: Workbench, variant: Workbench) -> Found:
    """The reasoner after each of three rounds; one round with as many steps; baselines with the steps of three."""
    settings = variant.config.reasoner
    longer = dataclasses.replace(settings, steps=settings.steps * variant.config.rounds)
    examples = algorithm.training_set(variant, "vr", 1)
    arm(variant, "vr-longer", lambda: stages.train_reasoner(variant, "vr-longer", "pi0", examples, longer))
    for t in range(1, variant.config.rounds):
        if not variant.run.done(f"evaluate-vr-round{t}"):
            cost, metrics = comparison.evaluate(variant, f"vr-round{t}", comparison.held_out(variant.config))
            variant.run.finish(f"evaluate-vr-round{t}", cost, 0.0, metrics)
    roles = ["pi0", *METHODS, *(f"vr-round{t}" for t in range(1, variant.config.rounds)), "vr-longer"]
    costs = storage.read_json(variant.run.path / "compute.json")
    return {
        "scores": {role: scores(variant, role) for role in roles},
        "flops": {role: comparison.spent(costs, role)["flops"] for role in ("pi0", *METHODS)},
        "curves": curves(variant, roles),
    }


def adapters(bench: Workbench, variant: Workbench) -> Found:
    """Adapters, and under "whole-" the same methods of the seed's own run, which share the base alone."""
    roles = ["pi0", *METHODS]
    found = {role: scores(variant, role) for role in roles}
    return {
        "scores": found | {f"whole-{role}": scores(bench, role) for role in roles},
        "learned": {role: storage.count_numbers(variant.run.path / "models" / role) for role in ("base", "pi0")},
    }


VARIANTS: dict[str, tuple[dict[str, Any], Callable[[Workbench, Workbench], Found]]] = {
    "rounds": ({"rounds": 3, "methods": METHODS}, rounds),
    "adapters": ({"lora_rank": 32, "methods": METHODS}, adapters),
}
