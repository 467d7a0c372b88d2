"""Rows of a data set from a file, a folder or the Hugging Face hub, always as plain dictionaries in their order.

pyarrow and datasets are loaded when a file of theirs is read.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class DataError(ValueError):
    """Data that is not there, cannot be read, or is not what its schema says."""


def read_rows(path: Path, split: str | None = None) -> list[Row]:
    """All rows of a .jsonl, .parquet or .csv file, or of a folder that `datasets.save_to_disk` wrote.

    `split` picks one of several splits that a saved folder holds, and is ignored elsewhere.  Raises DataError, naming
    file and line, for anything that cannot be read.
    """
    if not path.exists():
        raise DataError(
            f"There is no {path}. Name a .jsonl, .parquet or .csv file, or a folder that save_to_disk wrote."
        )
    if path.is_dir():
        return _read_saved_folder(path, split)
    if path.suffix not in READERS:
        raise DataError(f"{path}: files must end in one of {list(READERS)}, got {path.suffix!r}. Convert it first.")
    return READERS[path.suffix](path)


def read_hub(name: str, config: str | None, split: str, revision: str) -> list[Row]:
    """Rows of a data set on the Hugging Face hub at `revision`, a commit, tag or branch.

    `name` may also be a folder laid out like a repository of the hub (data files, README.md with its configs).
    Raises DataError if it is not cached and cannot be reached, or has no such config or split.
    """
    from datasets import load_dataset

    try:
        data = load_dataset(name, config, split=split, revision=revision)
    except Exception as error:  # offline, gated, renamed: each of datasets' releases raises something else
        raise DataError(
            f"Could not load {name!r} (config {config!r}, split {split!r}) at revision {revision!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return [dict(row) for row in data]  # pyright: ignore[reportArgumentType, reportCallIssue]


def fingerprint(rows: Sequence[Row], columns: Iterable[str]) -> str:
    """SHA-256 of these columns of the rows, in order, as canonical JSON: the same for every file format."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps({name: row.get(name) for name in columns}, sort_keys=True, ensure_ascii=False)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _read_jsonl(path: Path) -> list[Row]:
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(_decoded(path, file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not valid JSON ({error}). Each line must be one object."
                ) from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: each line must be one JSON object, got {line.strip()[:60]!r}.")
            rows.append(row)
    return rows


def _decoded(path: Path, lines: Iterable[str]) -> Iterable[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from None


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file that can be read ({error}). Fetch it again.") from None


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(_decoded(path, file)))


def _read_saved_folder(path: Path, split: str | None) -> list[Row]:
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(path))
    except (FileNotFoundError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is not a folder that datasets.save_to_disk wrote ({error}). "
            "Write it again, or name one of its files."
        ) from None
    if isinstance(data, DatasetDict):
        if split not in data:
            raise DataError(f"{path} holds the splits {sorted(map(str, data))}, and {split!r} is not among them.")
        data = data[split]
    return [dict(row) for row in data]  # pyright: ignore[reportArgumentType, reportCallIssue]


READERS = {".jsonl": _read_jsonl, ".parquet": _read_parquet, ".csv": _read_csv}
