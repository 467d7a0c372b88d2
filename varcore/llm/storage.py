"""Files that are written whole or not at all: JSON, safetensors, Parquet, model folders.

Everything is first written beside its place and then moved there in one step, so a process killed at any moment
leaves the old file or the new one.  No pickle is read or written anywhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


class StorageError(OSError):
    """A run directory could not be written: full disk, no permission.  What stood there before is intact."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to fill (a file or a folder); move it to `path` on success, remove it on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C included
        _remove(temporary)
        if _is_disk_error(error):
            raise StorageError(
                f"Could not write {path}: {error}. What stood there before is intact. "
                "Free some space or choose a writable --out, then run the same command again: it continues."
            ) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Temporary files that a killed process left anywhere below `folder`; call it only where no other one writes."""
    for path in list(folder.rglob(".*.tmp")):
        _remove(path)


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}). It was not written by varcore, or was edited."
        ) from error


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not a Parquet file that can be read ({error}). varcore writes files whole, so it was damaged "
            "later, or is another program's: bring it back from a copy, or begin the run anew with another --out."
        ) from error


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, notes)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def count_numbers(folder: Path) -> int:
    """How many numbers the tensors of a folder's safetensors files have, from the headers; 0 where there is no file."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_disk_error(error: BaseException) -> bool:
    """safetensors reports a full disk as an error of its own, without an OSError inside."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"
