"""Tasks from published data sets, one's own files and one's own code; the manifest that says which data they were.

    task = load_task("math500", Path("data"))                    # data/math500.jsonl, .parquet, .csv or data/math500/
    task = load_task_from_hub("math500", revision="main")        # the same rows, through the Hugging Face hub
    write_manifest(Path("manifest.json"), task.record)           # the next load can be compared with this one
    task = import_task("my_tasks:Change")                        # the class Change of the module my_tasks

Nothing is fetched unless `load_task_from_hub` is called.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path

from varcore.tasks.base import Task
from varcore.tasks.files import READERS, DataError, Row, fingerprint, read_hub, read_rows
from varcore.tasks.filetask import FileTask, Record
from varcore.tasks.math_pool import MathPool
from varcore.tasks.schemas import SCHEMAS, Schema

SAVED = ("dataset_dict.json", "dataset_info.json")  # marks of a folder that datasets.save_to_disk wrote


def load_task(
    name: str | Schema, folder: Path, *, manifest: Path | None = None, pool: MathPool | None = None
) -> FileTask:
    """A task from `folder`, where the set's file or sub-folder bears the set's name.

    A sub-folder is one that `save_to_disk` wrote or a repository fetched from the hub.  Raises DataError if there is
    none (it says what to put where), if it is not what the schema declares, or if `manifest` knows other data by that
    name.
    """
    schema = find_schema(name)
    path = _find(schema, folder)
    if path.is_dir() and not any((path / mark).exists() for mark in SAVED):
        rows = read_hub(str(path), schema.config, schema.split, "main")
    else:
        rows = read_rows(path, schema.split)
    return _task(schema, rows, path.name, "local", manifest, pool)


def load_task_from_hub(
    name: str | Schema, *, revision: str = "main", manifest: Path | None = None, pool: MathPool | None = None
) -> FileTask:
    """A task from the Hugging Face hub, or from its cache.  `revision` is recorded; name a commit to fix it.

    Raises DataError as `load_task` does.
    """
    schema = find_schema(name)
    if schema.hub is None:
        raise DataError(f"{schema.name} is not published anywhere. Use load_task with the folder that holds it.")
    try:
        rows = read_hub(schema.hub, schema.config, schema.split, revision)
    except DataError as error:
        raise DataError(f"{error} Without the hub: {where_to_put(schema, Path('data'))}") from error
    return _task(schema, rows, schema.hub, revision, manifest, pool)


def import_task(name: str) -> Task:
    """A task of one's own, named "module:Class"; the class is called without arguments.

    The module is found as Python finds any: installed, or in a folder of PYTHONPATH.  Its code runs.  Raises ValueError
    if the module or the class is not there, or what it makes lacks a part of `base.Task`.
    """
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"The task {name!r} could not be imported ({error}). Name it MODULE:CLASS, and put the folder of MODULE.py "
            "into PYTHONPATH."
        ) from error
    task = made()
    if not isinstance(task, Task):
        parts = ("name", "levels", "questions", "verify", "direct_trace", "corpus")
        missing = [part for part in parts if not hasattr(task, part)]
        raise ValueError(f"The task {name!r} lacks {missing}. Write what varcore.tasks.base.Task says of each.")
    return task


def find_schema(name: str | Schema) -> Schema:
    if isinstance(name, Schema):
        return name
    if name not in SCHEMAS:
        raise DataError(
            f"There is no data set {name!r}; choose one of {list(SCHEMAS)}, or describe yours by "
            "varcore.tasks.schemas.own_schema."
        )
    return SCHEMAS[name]


def where_to_put(schema: Schema, folder: Path) -> str:
    """Which file is wanted where."""
    files = ", ".join(f"{schema.name}{suffix}" for suffix in READERS)
    text = f"put one of {files} into {folder}/, with the columns {list(schema.columns)}"
    if schema.hub is None:
        return text + "."
    target = folder / schema.name
    return (
        f"{text}; or, on a machine that reaches the hub, hf download {schema.hub} --repo-type dataset "
        f"--local-dir {target}, and copy that folder to {target}/ here. Then call load_task({schema.name!r}, "
        f"Path({str(folder)!r}))."
    )


def check_manifest(path: Path, record: Record) -> None:
    """Raise DataError if the manifest knows this set with another checksum; pass if it does not know the set."""
    known = _read_manifest(path).get(record.name)
    if known is not None and known["sha256"] != record.sha256:
        raise DataError(
            f"{record.name} is not the data that {path} recorded. Then: {_in_words(Record(**known))}. "
            f"Now: {_in_words(record)}. Restore the old data, or delete the entry to accept the new."
        )


def _in_words(record: Record) -> str:
    return f"{record.rows} rows of {record.source} at {record.revision}, sha256 {record.sha256[:12]}..."


def write_manifest(path: Path, record: Record) -> None:
    """Add the record, or replace the one of the same name."""
    from varcore.llm.storage import write_json

    write_json(path, _read_manifest(path) | {record.name: asdict(record)})


def _read_manifest(path: Path) -> dict[str, dict]:
    from varcore.llm.storage import read_json

    return read_json(path) if path.exists() else {}


def _find(schema: Schema, folder: Path) -> Path:
    candidates = [folder / f"{schema.name}{suffix}" for suffix in (*READERS, "")]
    found = [path for path in candidates if path.exists()]
    if len(found) > 1:
        raise DataError(f"{schema.name}: {[path.name for path in found]} are all in {folder}. Keep one of them.")
    if not found:
        raise DataError(f"{schema.name} is not in {folder}. To use it, {where_to_put(schema, folder)}")
    return found[0]


def _task(
    schema: Schema, rows: list[Row], source: str, revision: str, manifest: Path | None, pool: MathPool | None
) -> FileTask:
    if schema.rows is not None and len(rows) != schema.rows:
        raise DataError(
            f"{schema.name} is published with {schema.rows} rows; {source} has {len(rows)}. Fetch it again, or, for a "
            "part on purpose, pass dataclasses.replace(SCHEMAS[name], rows=None)."
        )
    record = Record(schema.name, source, revision, len(rows), fingerprint(rows, schema.columns))
    if manifest is not None:
        check_manifest(manifest, record)
    return FileTask(schema, rows, record, pool)
