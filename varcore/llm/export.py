"""A role's model taken out of a run: as the run keeps it, or its adapter and its base as one plain model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from varcore.llm import storage
from varcore.llm.adapters import merged
from varcore.llm.models import Models
from varcore.llm.run import RunDirectoryError, finished_stages, load_config


def export(run: Path, role: str, out: Path) -> dict[str, Any]:
    """Copy what the run at `run` keeps of `role` to the new folder `out`, tokenizer included.

    It is a whole model, or an adapter in peft's format that names its base: a name on the hub, or a folder of this
    machine.  Returns {"role", "kind": "model" or "adapter", "base", "folder"}.  Raises RunDirectoryError if `run` is no
    run or has no such role, ValueError if `out` exists, StorageError (and nothing is there) if it cannot be written.
    """
    base, adapter = _found(run, role, out).files(role)
    with storage.replacing(out) as place:
        shutil.copytree(run / "models" / role, place)
        if adapter:
            settings = storage.read_json(place / "adapter_config.json")
            storage.write_json(place / "adapter_config.json", {**settings, "base_model_name_or_path": base})
    kind = "adapter" if adapter else "model"
    return {"role": role, "kind": kind, "base": base if adapter else "", "folder": str(out)}


def merge(run: Path, role: str, out: Path) -> dict[str, Any]:
    """Write the adapter of `role`, added to its base, as one plain model with its tokenizer to the new folder `out`.

    The weights are W + (alpha / rank) B A, rounded to the run's dtype.  Returns and raises what `export` does, and
    ValueError if the role is a whole model already.
    """
    models = _found(run, role, out)
    base, adapter = models.files(role)
    if adapter is None:
        raise ValueError(f"{role} in {run} is a whole model, with no adapter to merge. Use varcore export.")
    plain = merged(models.get("base"), adapter)
    with storage.replacing(out) as place:
        plain.save_pretrained(place)
        models.tokenizer.save_pretrained(place)
    return {"role": role, "kind": "model", "base": base, "folder": str(out)}


def _found(run: Path, role: str, out: Path) -> Models:
    """The models of a run that holds `role`, if `out` is free."""
    config = load_config(run)
    marks = ("config.json", "adapter_config.json")
    roles = sorted(path.parent.name for mark in marks for path in (run / "models").glob(f"[!.]*/{mark}"))
    if role not in roles:
        done = finished_stages(run)
        raise RunDirectoryError(
            f"{run} holds no model of {role!r}, only {roles}. Name one of these, or let the run go on: it has finished "
            f"{len(done)} stages" + (f", {done[-1]} last." if done else ".")
        )
    if out.exists():
        raise ValueError(f"{out} exists, and an export would replace it. Choose another --out.")
    return Models(run / "models", config, AutoTokenizer.from_pretrained(run / "models" / "tokenizer"))
