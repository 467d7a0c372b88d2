"""The same rows from every format; a file that is broken says where."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from varcore.tasks.files import DataError, fingerprint, read_hub, read_rows

ROWS = [
    {"question": "What is 1 + 1?", "answer": "2", "level": 1, "options": ["1", "2"]},
    {"question": "Was ist 2 × 3?\nRechne.", "answer": "6", "level": 2, "options": ["5", "6"]},
]


def write(path: Path, rows=ROWS) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    assert read_rows(write(tmp_path / name)) == ROWS


def test_csv_gives_text(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows({name: row[name] for name in ("question", "answer")} for row in ROWS)
    assert read_rows(path) == [{name: row[name] for name in ("question", "answer")} for row in ROWS]


def test_one_split_of_a_saved_folder(tmp_path):
    parts = {"train": datasets.Dataset.from_list(ROWS[:1]), "test": datasets.Dataset.from_list(ROWS[1:])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "x"))
    assert read_rows(tmp_path / "x", "test") == ROWS[1:]
    with pytest.raises(DataError, match=r"\['test', 'train'\].*'validation'"):
        read_rows(tmp_path / "x", "validation")


def repository(folder: Path, suffix: str) -> Path:
    """A folder laid out as a repository of the hub: two configs, named splits."""
    (folder / "data").mkdir(parents=True)
    write(folder / "data" / f"easy.{suffix}", ROWS[:1])
    write(folder / "data" / f"hard.{suffix}", ROWS[1:])
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: data/{name}.{suffix}\n"
        for name in ("easy", "hard")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_repository_on_disk_is_read_as_the_hub_would_be(tmp_path, suffix):
    folder = str(repository(tmp_path / "set", suffix))
    assert read_hub(folder, "easy", "test", "main") == ROWS[:1]
    assert read_hub(folder, "hard", "test", "main") == ROWS[1:]
    with pytest.raises(DataError, match=r"config 'odd'.*revision 'main'"):
        read_hub(folder, "odd", "test", "main")
    with pytest.raises(DataError, match="split 'train'"):
        read_hub(folder, "easy", "train", "main")


@pytest.mark.usefixtures("own_cache")
def test_a_hub_that_is_not_reached_is_named(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"'nobody/nothing'.*revision 'abc123'"):
        read_hub("nobody/nothing", None, "test", "abc123")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": \n', r"line 2: not valid JSON"),
        ("x.jsonl", b'{"a": 1}\n[1, 2]\n', r"line 2: each line must be one JSON object"),
        ("x.jsonl", b"\xff\xfe\n", "not UTF-8"),
        ("x.csv", b"a,b\n\xff,1\n", "not UTF-8"),
        ("x.parquet", b"PAR1 cut off", "not a Parquet file"),
        ("x.parquet", b"", "not a Parquet file"),
        ("x.txt", b"hello", r"must end in one of \['.jsonl', '.parquet', '.csv'\]"),
        ("x.pkl", b"\x80\x04.", "must end in one of"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_rows(tmp_path / name)
    assert name in str(error.value)


def test_a_missing_file_and_a_strange_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"There is no .*gone\.jsonl"):
        read_rows(tmp_path / "gone.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"not a folder that datasets\.save_to_disk wrote"):
        read_rows(tmp_path / "empty")


def test_blank_lines_are_no_rows(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('\n{"a": 1}\n  \n{"a": 2}')
    assert read_rows(path) == [{"a": 1}, {"a": 2}]


def test_the_fingerprint_is_that_of_the_named_columns_in_order():
    lines = b'{"answer": "2", "question": "What is 1 + 1?"}\n'
    assert fingerprint(ROWS[:1], ["question", "answer"]) == hashlib.sha256(lines).hexdigest()
    assert fingerprint(ROWS, ["answer"]) != fingerprint(ROWS[::-1], ["answer"])
    changed = [ROWS[0], ROWS[1] | {"answer": "7"}]
    assert fingerprint(ROWS, ["question"]) == fingerprint(changed, ["question"])
    assert fingerprint(ROWS, ["question", "answer"]) != fingerprint(changed, ["question", "answer"])


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x"])
def test_the_fingerprint_does_not_depend_on_the_format(tmp_path, name):
    columns = ["question", "answer", "level", "options"]
    assert fingerprint(read_rows(write(tmp_path / name)), columns) == fingerprint(ROWS, columns)
