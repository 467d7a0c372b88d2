"""tools/check_notebooks.py passes a clean notebook and names every rule that a bad one breaks."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools/check_notebooks.py"


def code(number: int, source: str, *outputs: dict) -> dict:
    return {
        "cell_type": "code",
        "id": f"cell-{number}",
        "metadata": {},
        "source": [source],
        "execution_count": number,
        "outputs": list(outputs),
    }


CLEAN = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    },
    "cells": [
        {"cell_type": "markdown", "id": "title", "metadata": {"tags": ["card"]}, "source": "# Why?"},
        code(1, "print(1)", {"output_type": "stream", "name": "stdout", "text": ["1\n"]}),
        code(
            2, "x", {"output_type": "execute_result", "execution_count": 2, "metadata": {}, "data": {"text/plain": "1"}}
        ),
        {**code(3, " "), "execution_count": None},  # Jupyter gives a blank cell no count
    ],
}


def check(path: Path, notebook: dict | str) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    done = subprocess.run([sys.executable, TOOL, path.name], cwd=path.parent, capture_output=True, text=True)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_clean_notebook_passes_in_silence(tmp_path: Path):
    assert check(tmp_path / "a.ipynb", CLEAN) == (0, "")


def output(notebook: dict) -> dict:
    return notebook["cells"][1]["outputs"][0]


BREAKS: dict[str, tuple[Callable[[dict], object], str]] = {
    "nbformat 3": (lambda n: n.update(nbformat=3), "nbformat is not 4"),
    "no cells": (lambda n: n.pop("cells"), "no list of cells"),
    "a cell of no type": (lambda n: n["cells"][0].pop("cell_type"), "cell 1 is not a code"),
    "no source": (lambda n: n["cells"][0].pop("source"), "cell 1 has no source"),
    "no outputs": (lambda n: n["cells"][1].pop("outputs"), "code cell 2 has no outputs"),
    "an output of no type": (lambda n: output(n).pop("output_type"), "output without output_type"),
    "no id": (lambda n: n["cells"][0].pop("id"), "no id"),
    "an id twice": (lambda n: n["cells"][0].update(id="cell-1"), "the id of another"),
    "run out of order": (lambda n: n["cells"][1].update(execution_count=3), "they are [3, 2]"),
    "run in part": (lambda n: n["cells"][2].update(execution_count=None), "they are [1, None]"),
    "run twice": (lambda n: [n["cells"][i].update(execution_count=i + 4) for i in (1, 2)], "they are [5, 6]"),
    "an error": (
        lambda n: n["cells"][1].update(
            outputs=[{"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []}]
        ),
        "cell 2 raised KeyError",
    ),
    "a warning": (
        lambda n: output(n).update(name="stderr", text=["UserWarning: no\n"]),
        "cell 2 wrote 'UserWarning: no'",
    ),
    "widget state": (lambda n: n["metadata"].update(widgets={}), "no widget state"),
    "a tool's metadata": (lambda n: n["metadata"].update(colab={}), "it also has ['colab']"),
    "a kernel of one's own": (lambda n: n["metadata"]["kernelspec"].update(name="mine"), "it is 'mine'"),
    "no kernel": (lambda n: n["metadata"].pop("kernelspec"), "it is None"),
    "timings in a cell": (lambda n: n["cells"][1]["metadata"].update(execution={}), "cell 2 has ['execution']"),
    "a path in an output": (lambda n: output(n).update(text=["saved /ho" + "me/ada/x\n"]), "home/ada"),
    "a path in a source": (lambda n: n["cells"][0].update(source="/Us" + "ers/ada/x"), "Users/ada"),
    "a line too long for a page": (lambda n: n["cells"][2].update(source=["x = 1\n", "y" * 110]), "cell 3 has 110"),
    "too large": (lambda n: output(n).update(text="x" * 500_000), "must stay under 500,000 bytes"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_is_caught_and_is_the_only_one_named(name: str, tmp_path: Path):
    breaks, said = BREAKS[name]
    notebook = copy.deepcopy(CLEAN)
    breaks(notebook)
    status, stderr = check(tmp_path / "a.ipynb", notebook)
    assert status == 1
    assert said in stderr
    assert stderr.startswith("a.ipynb: ")
    assert "Repair: " in stderr
    assert stderr.count("\n") == 1, stderr


def test_a_line_of_code_may_have_109_characters_and_prose_any(tmp_path: Path):
    notebook = copy.deepcopy(CLEAN)
    notebook["cells"][0]["source"] = "# Why " + "so " * 100 + "?"
    notebook["cells"][2]["source"] = ["x" * 109 + "\n", "x" * 109]
    assert check(tmp_path / "a.ipynb", notebook) == (0, "")


def test_what_is_not_json_is_named(tmp_path: Path):
    status, stderr = check(tmp_path / "a.ipynb", "<<<<<<< HEAD")
    assert status == 1
    assert "must be JSON" in stderr


def test_a_tutorial_is_committed_unrun(tmp_path: Path):
    unrun = copy.deepcopy(CLEAN)
    for cell in unrun["cells"][1:]:
        cell.update(execution_count=None, outputs=[])
    folder = tmp_path / "tutorials"
    folder.mkdir()
    path = folder / "a.ipynb"

    def checked(notebook: dict) -> tuple[int, str]:
        path.write_text(json.dumps(notebook), encoding="utf-8")
        done = subprocess.run([sys.executable, TOOL, "tutorials/a.ipynb"], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stderr

    assert checked(unrun) == (0, "")
    status, stderr = checked(CLEAN)
    assert status == 1
    assert "execution counts are [1, 2]" in stderr
    assert "cell 2 has one" in stderr
    assert check(tmp_path / "a.ipynb", unrun)[0] == 1, "a notebook that is no tutorial must have been run"


def test_pictures_are_not_searched_for_paths(tmp_path: Path):
    notebook = copy.deepcopy(CLEAN)
    data = notebook["cells"][2]["outputs"][0]["data"]
    data["image/png"] = "iVBOR+/ro" + "ot/x"
    assert check(tmp_path / "a.ipynb", notebook) == (0, "")
