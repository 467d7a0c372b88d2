"""check, hint, solution, use and progress as a reader calls them; what is seen; what a restart keeps."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import varcore.exercises
from varcore.exercises import check, hint, progress, record, solution, use
from varcore.exercises.task import find


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No answers, no hints, and a folder of one's own for the progress."""
    monkeypatch.setenv("VARCORE_PROGRESS", str(tmp_path / "mine"))
    monkeypatch.delenv("VARCORE_SOLUTIONS", raising=False)
    monkeypatch.setattr(varcore.exercises, "_accepted", {})
    monkeypatch.setattr(varcore.exercises, "_stages", {})
    return tmp_path / "mine"


def mine(log_weights):
    return log_weights.mean(-1)


def test_a_correct_answer_is_used_and_recorded(fresh: Path):
    assert use("1.3") is find("1.3").solution
    verdict = check("1.3", mine)
    assert repr(verdict) == "1.3 The ELBO of some traces: correct. Now import it: `varcore.elbo`."
    assert use("1.3") is mine
    assert check("1.3", lambda log_weights: 0).outcome == "wrong"
    assert use("1.3") is mine
    assert json.loads((fresh / "01.json").read_text()) == {"correct": ["1.3"]}
    check("1.3", mine)
    assert repr(progress(1)).startswith("Tutorial 1: 1 of 9 correct. To do: 1.1, 1.2, 1.4, ")


def test_cases_are_fresh_each_time():
    drawn = []

    def spy(log_weights):
        drawn.append(log_weights)
        return log_weights.mean(-1)

    for _ in range(2):
        check("1.3", spy)
    half = len(drawn) // 2
    assert not torch.equal(drawn[0], drawn[half])


def test_the_solutions_can_be_checked_in_the_readers_place(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VARCORE_SOLUTIONS", "1")
    assert [check(f"1.{n}", None).outcome for n in range(1, 10)] == ["correct"] * 9
    assert not fresh.exists()
    assert "VARCORE_SOLUTIONS=1" in repr(progress(1))


def test_hints_come_in_three_stages():
    texts = [repr(hint("1.1")) for _ in range(4)]
    for stage, words in enumerate(("the idea", "the formula", "the code, with gaps")):
        for number, text in enumerate(texts):
            assert (f"Hint {stage + 1} of 3 for 1.1: {words}" in text) == (stage <= number)
            assert (find("1.1").hints[stage] in text) == (stage <= number)
    assert texts[3] == texts[2]
    assert repr(hint("1.2")).endswith('run hint("1.2") again.')
    assert hint("1.2")._repr_html_().count("<details>") == 2


def test_a_solution_shows_its_source_and_the_others():
    text = repr(solution("1.3"))
    assert "def elbo(log_weights):\n    return log_weights.mean(-1)" in text
    assert text.count("Also right:") == 2
    page = solution("1.3")._repr_html_()
    assert page.startswith("<div")
    assert "<details><summary>Solution of 1.3" in page
    assert "<pre>def elbo(log_weights):" in page


def test_what_is_shown_is_escaped_and_needs_no_colour():
    def careless(log_weights):
        raise ValueError("<script>&")

    page = check("1.3", careless)._repr_html_()
    assert "&lt;script&gt;&amp;" in page
    assert "<script>" not in page
    assert "color" not in page
    assert "<b>Wrong</b>, because it raises" in page
    lines = [
        v._repr_html_().partition(";")[0] for v in (check("1.3", mine), check("1.3", careless), check("1.3", None))
    ]
    assert len(set(lines)) == 3  # three kinds of line on the left


@pytest.mark.parametrize("name", ["9.9", "1.99", "1", "", 1.2, None])
def test_a_task_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=r"There is no t|named by text such as"):
        inspect.unwrap(find)(name)  # not stopped by its annotations, as in a notebook
    with pytest.raises(ValueError, match="There is no tutorial 77; there are 1"):
        progress(77)


# ----------------------------------------------------------------------------------------------------- progress


def test_progress_survives_a_restart(fresh: Path):
    check("1.3", mine)
    command = "from varcore.exercises import progress; print(progress(1))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Tutorial 1: 1 of 9 correct.")
    assert str(fresh) in done.stdout


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"correct": 3}', '{"correct": [1]}', "\x00", '"text"', "null"])
def test_a_broken_file_is_set_aside_and_told(fresh: Path, broken: str):
    fresh.mkdir()
    (fresh / "01.json").write_text(broken)
    text = repr(progress(1))
    assert "0 of 9 correct" in text
    assert "was not a progress file" in text
    assert (fresh / "01.broken").read_text() == broken
    assert "was not a progress file" not in repr(progress(1))


def test_a_broken_file_is_told_by_a_check_too(fresh: Path):
    fresh.mkdir()
    (fresh / "01.json").write_bytes(b"\xff\xfe")
    assert "was not a progress file" in repr(check("1.3", mine))
    assert record.load(1) == (["1.3"], "")


def test_a_folder_that_cannot_be_written_is_told(fresh: Path):
    fresh.write_text("a file where the folder should be")
    assert "could not be saved" in repr(check("1.3", mine))
    assert check("1.3", mine).outcome == "correct"
    assert "could not be read" in repr(progress(1))


def test_a_write_that_fails_leaves_the_old_file(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    check("1.3", mine)
    before = (fresh / "01.json").read_text()

    def refuse(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", refuse)
    assert "could not be saved: no space left" in repr(check("1.4", use("1.4")))
    assert os.listdir(fresh) == ["01.json"]
    assert (fresh / "01.json").read_text() == before
    (fresh / "01.json").write_text("{")
    assert "could not be renamed: no space left" in repr(progress(1))


def test_nothing_is_left_beside_the_file(fresh: Path):
    for name in ("1.3", "1.4"):
        check(name, use(name))
    assert os.listdir(fresh) == ["01.json"]
    assert record.load(1) == (["1.3", "1.4"], "")


def test_the_folder_is_beside_the_notebook_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VARCORE_PROGRESS")
    monkeypatch.chdir(tmp_path)
    check("1.3", mine)
    assert (tmp_path / "my_progress/01.json").is_file()


def test_nothing_but_torch_is_needed():
    """transformers, plotly, ipywidgets and pyarrow stay unloaded."""
    command = (
        "import sys; from varcore.exercises import check, solution; check('1.3', None); solution('1.3')._repr_html_();"
        "print(sorted({'transformers', 'plotly', 'ipywidgets', 'pyarrow', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
