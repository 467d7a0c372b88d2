"""Every tutorial in fresh kernels: blank, with the solutions checked, and with the solutions written into its stubs."""

import ast
import copy
import inspect
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch
import tutorial_anatomy
from anatomy import Cells, at, cells_of, code, put, section, text
from tutorial_anatomy import TUTORIALS, heading, stub_of

from varcore.exercises.judging import judge
from varcore.exercises.task import Task, diagnosis_of, source_of, tasks_of, tutorials

ROOT = TUTORIALS.parent
PATHS = sorted(TUTORIALS.glob("[0-9][0-9]_*.ipynb"))
RUN_FAULTS = runpy.run_path(str(ROOT / "tools/check_notebooks.py"))["faults"]
HEAD = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}
SECONDS = 600  # that a cell may take on a busy machine
every_tutorial = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def tasks_for(path: Path) -> tuple[Task, ...]:
    return tasks_of(int(path.name[:2]))


def run(cells: Cells, folder: Path, **more: str) -> Cells:
    """The cells after a run in a fresh kernel, whose progress is kept in this folder."""
    notebook = nbformat.reads(json.dumps({"cells": cells, **HEAD}), as_version=4)
    environment = {**os.environ, "VARCORE_PROGRESS": str(folder / "progress"), "PYTHONPATH": str(ROOT), **more}
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(TUTORIALS)}})
    client.execute(env=environment)
    return notebook.cells


def said(cells: Cells, call: str) -> list[str]:
    """What the cells of this call show in plain text."""
    found = [cell for cell in code(cells) if text(cell).startswith(call)]
    return ["".join(output["data"]["text/plain"]) for cell in found for output in cell["outputs"]]


def test_every_tutorial_has_its_module():
    assert {int(path.name[:2]): f"t{path.stem}" for path in PATHS} == tutorials()


@every_tutorial
def test_a_tutorial_has_the_anatomy_of_a_tutorial(path: Path):
    assert tutorial_anatomy.faults(cells_of(path), tasks_for(path)) == []


@every_tutorial
def test_a_tutorial_is_committed_clean(path: Path):
    assert list(RUN_FAULTS(path.relative_to(ROOT), path.read_text(encoding="utf-8"))) == []


@every_tutorial
def test_a_blank_tutorial_runs_and_says_not_attempted(path: Path, tmp_path: Path):
    tasks = tasks_for(path)
    cells = run(cells_of(path), tmp_path)
    assert said(cells, "check(") == [f"{task.name} {task.title}: not attempted." for task in tasks]
    assert f"0 of {len(tasks)} correct" in said(cells, "progress(")[0]
    assert not (tmp_path / "progress").exists()
    for task, hint, solution in zip(tasks, said(cells, "hint("), said(cells, "solution("), strict=True):
        assert hint.startswith(f"Hint 1 of 3 for {task.name}")
        assert solution.startswith(f"Solution of {task.name}")


@every_tutorial
def test_with_the_solutions_every_check_is_correct(path: Path, tmp_path: Path):
    cells = run(cells_of(path), tmp_path, VARCORE_SOLUTIONS="1")
    verdicts = said(cells, "check(")
    assert len(verdicts) == len(tasks_for(path))
    assert [verdict for verdict in verdicts if ": correct." not in verdict] == []
    assert not (tmp_path / "progress").exists()


@every_tutorial
def test_a_tutorial_that_was_worked_is_correct_and_a_restart_keeps_that(path: Path, tmp_path: Path):
    """Each solution, as `solution` shows it, is written in place of its stub; then a new kernel asks for progress."""
    cells, tasks = copy.deepcopy(cells_of(path)), tasks_for(path)
    for task in tasks:
        place, source = stub_of(cells, task), source_of(task.solution)
        assert place is not None
        after = f"\n\n\n{task.solution.__name__} = {task.solution.__name__}()" if task.wants == "value" else ""
        cells[place]["source"] = source + after
    worked = run(cells, tmp_path)
    assert [verdict for verdict in said(worked, "check(") if ": correct." not in verdict] == []
    everything = f"{len(tasks)} of {len(tasks)} correct."
    assert everything in said(worked, "progress(")[0]
    restarted = run([code(cells)[0], cells[-1]], tmp_path)
    assert everything in said(restarted, "progress(")[0]


def test_a_kernel_lives_through_what_a_reader_may_write(tmp_path: Path):
    """An exception is shown with its line, as the cell has it; an endless loop is ended by a signal."""
    cells = [
        "import dataclasses, torch\nfrom varcore.exercises import check, judging, task",
        "def fails(log_weights):\n    wrong = log_weights.no_such_thing\n    return wrong",
        'check("1.3", fails)',
        "def endless(log_weights):\n    while True:\n        pass",
        'judging.judge(dataclasses.replace(task.find("1.3"), seconds=0.5), endless, torch.Generator())',
    ]
    blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    ran = run([{**blank, "id": f"c{n}", "source": source} for n, source in enumerate(cells)], tmp_path)
    assert "(line 2 of `fails`'s cell: `wrong = log_weights.no_such_thing`)" in said(ran, "check(")[0]
    assert "did not finish within 0.5 seconds" in said(ran, "judging.judge(")[0]


@every_tutorial
def test_the_suspect_of_a_debugging_task_is_a_committed_mistake(path: Path):
    for task in tasks_for(path):
        if task.kind == "debugging":
            (cell,) = [cell for cell in code(section(cells_of(path), heading(task))) if "def suspect(" in text(cell)]
            names = dict(vars(inspect.getmodule(inspect.unwrap(task.solution))))
            (suspect,) = [node for node in ast.parse(text(cell)).body if getattr(node, "name", "") == "suspect"]
            exec(ast.unparse(suspect), names)
            verdict = judge(task, names["suspect"], torch.Generator().manual_seed(0))
            assert verdict.because in map(diagnosis_of, task.mistakes), verdict


# ----------------------------------------------------------------------- a tutorial that breaks one rule is told so


BREAKS: dict[str, tuple[Callable[[Cells], object], str]] = {
    "a title that asks nothing": (lambda c: put(c, "yourself?\n", "yourself.\n"), "the title is a question"),
    "a card without tasks": (lambda c: put(c, "| **Tasks**", "| **Things**"), "the card has the rows"),
    "a card without minutes": (lambda c: put(c, "75 minutes", "an evening"), "Time says minutes"),
    "no versions": (lambda c: put(c, "varcore.__version__", "1"), "prints the versions"),
    "a late import": (lambda c: put(c, "GROUPS = 20_000", "import json\nGROUPS = 20_000"), "only the setup cell"),
    "a title of its own": (lambda c: put(c, "### 1.1 The log", "### 1.1 A log"), "holds the tasks"),
    "no why": (lambda c: put(c, "**Why.** A trace of", "A trace of"), "says why, then what exactly; 1.1 does not"),
    "no spec": (lambda c: put(c, "**Spec.** `elbo(", "`elbo("), "says why, then what exactly; 1.3 does not"),
    "no target": (lambda c: put(c, "**at most 0.06 nats**", "small"), "a numeric target in bold"),
    "no hint": (lambda c: c.remove(at(c, 'hint("1.4")')), "after the stub of 1.4 come the cells"),
    "no solution": (lambda c: put(c, 'solution("1.4")', "# none"), "after the stub of 1.4 come the cells"),
    "another parameter": (lambda c: put(c, "def elbo(log_weights)", "def elbo(weights)"), "a function elbo of ["),
    "a stub with an answer": (
        lambda c: at(c, "def elbo(").update(source="def elbo(log_weights):\n    return log_weights.mean(-1)"),
        "the stub of 1.3 raises",
    ),
    "a value with an answer": (lambda c: put(c, "my_q = None", "my_q = 1"), "the stub of 1.8 is 'my_q = None'"),
    "no suspect": (lambda c: put(c, "def suspect(", "def innocent("), "shows the faulty function"),
    "no question in words": (lambda c: put(c, "### In your own words", "### Think"), "answered in writing"),
    "an answer in the open": (lambda c: put(c, "<details><summary>Model answer</summary>", ""), "folded model answer"),
    "no progress line": (lambda c: put(c, "progress(1)", "print(1)"), "the last cell is the progress line"),
    "no help": (lambda c: put(c, "**If you got stuck.**", "Stuck?"), "begins with '**If you got stuck.**'"),
    "nothing to import": (lambda c: put(c, "## Now import it", "## The end"), "held against the library's"),
    "a link to nowhere": (lambda c: put(c, "(../notebooks/02_the_elbo", "(../notebooks/02_the"), "02_the.ipynb"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_can_fail(name: str):
    breaks, words = BREAKS[name]
    cells = copy.deepcopy(cells_of(PATHS[0]))
    breaks(cells)
    found = tutorial_anatomy.faults(cells, tasks_of(1))
    assert any(words in fault for fault in found), found
    assert all("Repair: " in fault for fault in found)
