"""Files are whole or absent, a failed write leaves the old one, and nothing executable is ever read."""

from __future__ import annotations

import ast
import errno
import json
import math
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import varcore
from varcore.llm import storage

SOURCES = sorted(Path(varcore.__file__).parent.rglob("*.py"))


def full_disk(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# ---- replacing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(1)])
def test_a_body_that_raises_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.json"
    storage.write_json(path, {"old": 1})

    def write_half(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)), storage.replacing(path) as temporary:
        write_half(temporary)
    assert storage.read_json(path) == {"old": 1}
    assert everything(tmp_path) == {"a.json"}


def test_a_body_that_raises_leaves_the_old_folder_and_no_other(tmp_path):
    folder = tmp_path / "model"
    with storage.replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("old")

    def write_half(temporary: Path) -> None:
        temporary.mkdir()
        (temporary / "weights").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), storage.replacing(folder) as temporary:
        write_half(temporary)
    assert everything(tmp_path) == {"model", "model/weights"}
    assert (folder / "weights").read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("old", "new"):
        with storage.replacing(tmp_path / "model") as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert everything(tmp_path) == {"model", "model/new"}


@pytest.mark.parametrize("where", ["write_text", "fsync", "replace"])
def test_a_full_disk_is_explained_and_the_old_file_kept(tmp_path, monkeypatch, where):
    path = tmp_path / "state.json"
    storage.write_json(path, ["old"])
    monkeypatch.setattr(Path if where == "write_text" else os, where, full_disk)
    with pytest.raises(storage.StorageError, match=r"state\.json.*No space left.*intact.*continues"):
        storage.write_json(path, ["new"])
    monkeypatch.undo()
    assert storage.read_json(path) == ["old"]
    assert everything(tmp_path) == {"state.json"}


def test_a_full_disk_under_every_kind_of_file(tmp_path, monkeypatch):
    """JSON lines, Parquet and safetensors; the library of the last has an error class of its own."""
    table, tensors = pa.table({"a": [1]}), {"a": torch.ones(2)}
    storage.write_lines(tmp_path / "l", [{"a": 1}])
    storage.write_table(tmp_path / "t", table)
    storage.write_tensors(tmp_path / "s", tensors, {"step": "1"})
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(storage.StorageError):
        storage.write_lines(tmp_path / "l", [])
    with pytest.raises(storage.StorageError):
        storage.write_table(tmp_path / "t", table.slice(1))
    with pytest.raises(storage.StorageError):
        storage.write_tensors(tmp_path / "s", {}, {})
    monkeypatch.undo()
    safetensor_error = type("SafetensorError", (Exception,), {})

    def fail(*arguments, **keywords):
        raise safetensor_error("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(storage.StorageError, match="No space left"):
        storage.write_tensors(tmp_path / "s", {}, {})
    assert storage.read_lines(tmp_path / "l") == [{"a": 1}]
    assert storage.read_table(tmp_path / "t").equals(table)
    assert torch.equal(storage.read_tensors(tmp_path / "s")[0]["a"], torch.ones(2))
    assert everything(tmp_path) == {"l", "t", "s"}


def test_a_place_that_cannot_be_a_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(storage.StorageError):
        storage.write_json(tmp_path / "file" / "a.json", 1)


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    """fsync, then rename: the other order can leave an empty file under the final name after a power cut."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    storage.write_json(tmp_path / "a.json", 1)
    assert calls.index("fsync") < calls.index("replace")


# ---- round trips -------------------------------------------------------------------------------------------------


def test_json_and_lines_round_trip(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"é": "⟨∑⟩"}}
    storage.write_json(tmp_path / "deep" / "a.json", value)
    assert storage.read_json(tmp_path / "deep" / "a.json") == value
    rows = [{"step": 1, "loss": 0.1 + 0.2}, {"text": "a\nb\u2028c"}]
    storage.write_lines(tmp_path / "m.jsonl", rows)
    assert storage.read_lines(tmp_path / "m.jsonl") == rows
    assert storage.read_lines(tmp_path / "absent.jsonl") == []


def test_equal_values_give_equal_bytes(tmp_path):
    storage.write_json(tmp_path / "a", {"x": 1, "y": 2})
    storage.write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_round_trip_with_their_notes(tmp_path):
    tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor(3, dtype=torch.int64), "c": torch.zeros(0)}
    storage.write_tensors(tmp_path / "a.safetensors", tensors, {"step": "7"})
    again, notes = storage.read_tensors(tmp_path / "a.safetensors")
    assert notes == {"step": "7"}
    assert set(again) == set(tensors)
    assert all(torch.equal(again[name], tensors[name]) and again[name].dtype == tensors[name].dtype for name in tensors)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"[1,]"])
def test_spoiled_json_says_which_file(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        storage.read_json(tmp_path / "config.json")


@pytest.mark.parametrize("content", [b"PAR1", b"", b"not a table" * 100])
def test_spoiled_tables_say_which_file(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.parquet is not a Parquet file"):
        storage.read_table(tmp_path / "a.parquet")


def test_numbers_outside_json_are_at_least_read_back(tmp_path):
    storage.write_json(tmp_path / "a.json", [math.inf, -math.inf])
    assert storage.read_json(tmp_path / "a.json") == [math.inf, -math.inf]
    assert json.loads((tmp_path / "a.json").read_text()) == [math.inf, -math.inf]


# ---- nothing executable ------------------------------------------------------------------------------------------


def dangers(source: str) -> list[str]:
    """Ways of running what a file says: pickle in all its names, eval and exec, code from a hub, a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            pieces = {piece for name in names for piece in name.split(".")}
            found += sorted(pieces & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"}:
                found.append(name)
            if name in {"torch.load", "torch.save", "np.load", "numpy.load", "os.system", "os.popen"}:
                found.append(name)
            for keyword in node.keywords:
                value = keyword.value
                on = not (isinstance(value, ast.Constant) and value.value is False)
                if keyword.arg in {"trust_remote_code", "allow_pickle", "shell"} and on:
                    found.append(keyword.arg)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_no_source_file_can_run_what_a_file_says(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", "pickle"),
        ("from torch.utils import dill", "dill"),
        ("import joblib.numpy_pickle", "joblib"),
        ("x = eval('1')", "eval"),
        ("exec(open('a').read())", "exec"),
        ("m = AutoModel.from_pretrained(p, trust_remote_code=True)", "trust_remote_code"),
        ("m = AutoModel.from_pretrained(p, trust_remote_code=flag)", "trust_remote_code"),
        ("torch.load(path)", "torch.load"),
        ("np.load(path, allow_pickle=True)", "np.load"),
        ("subprocess.run('ls', shell=True)", "shell"),
    ],
)
def test_the_search_finds_what_it_looks_for(source, expected):
    assert expected in dangers(source)


def test_the_search_lets_harmless_code_pass():
    assert dangers("model.eval()\nre.compile('a')\nexecute()\nf(trust_remote_code=False)") == []
