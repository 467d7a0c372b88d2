"""Which tasks were solved: one small JSON file a tutorial, in a folder that the reader sees and may delete.

The folder is ``my_progress`` beside the notebook (the kernel's working directory), or where the environment variable
VARCORE_PROGRESS points.  A file is written beside its place and moved there: a killed kernel leaves the old or the new.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def place(tutorial: int) -> Path:
    return Path(os.environ.get("VARCORE_PROGRESS") or "my_progress") / f"{tutorial:02}.json"


def load(tutorial: int) -> tuple[list[str], str]:
    """Names of the solved tasks, and a remark if the file could not be used.  A broken file is kept, renamed."""
    path = place(tutorial)
    try:
        solved = json.loads(path.read_text(encoding="utf-8"))["correct"]
        if not isinstance(solved, list) or not all(isinstance(name, str) for name in solved):
            raise ValueError("'correct' is not a list of names")
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"Your progress could not be read: {error}."
    except (ValueError, KeyError, TypeError) as error:
        return [], _set_aside(path, error)
    return solved, ""


def _set_aside(path: Path, error: Exception) -> str:
    broken = path.with_suffix(".broken")
    try:
        os.replace(path, broken)
    except OSError as refusal:
        return f"{path} is not a progress file ({error}) and could not be renamed: {refusal}."
    return f"{path} was not a progress file ({error}); it is now {broken}, and counting starts anew."


def add(tutorial: int, name: str) -> str:
    """Note a solved task; a remark if that did not go as it should, else ""."""
    path = place(tutorial)
    try:
        solved, remark = load(tutorial)
        if name not in solved:
            _write(path, json.dumps({"correct": sorted({*solved, name})}) + "\n")
    except OSError as error:
        return f"Your progress could not be saved: {error}. Set VARCORE_PROGRESS to a folder that can be written."
    return remark


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
