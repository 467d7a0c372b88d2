"""Every lesson has the anatomy that its reader relies on, and the rules that hold it to that can fail."""

import copy
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import anatomy
import pytest
from anatomy import Cells, at, cells_of, put, text

ROOT = Path(__file__).resolve().parent.parent
START, *LESSONS = sorted((ROOT / "notebooks").glob("[01][0-9]_*.ipynb"))
NOT_YET = "not written yet"
RUN_FAULTS = runpy.run_path(str(ROOT / "tools/check_notebooks.py"))["faults"]


def row_of(path: Path) -> str:
    """The row of a lesson in the map: what its title and its card say."""
    cells = cells_of(path)
    card = anatomy.card_of(cells)
    return f"| [{path.name[:2]}]({path.name}) | {anatomy.title_of(cells)} | {card['Time']} | {card['Hardware']} |"


def map_faults(prose: str, files: set[str]) -> list[str]:
    """Rows of the map that name a notebook which is no file, unless they say that it is not written yet."""
    faults = []
    for row in re.findall(r"^\| \[?\d\d\b.*$", prose, re.MULTILINE):
        linked = set(re.findall(r"\]\(([^)]+\.ipynb)\)", row))
        if NOT_YET in row and linked:
            faults.append(f"{row} is marked and linked. Repair: link a lesson that is a file, mark one that is not")
        elif NOT_YET not in row and not (linked and linked <= files):
            faults.append(f"{row} names no file. Repair: mend the link, or take it away and write '{NOT_YET}'")
    return faults


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_the_anatomy_of_a_lesson(path: Path):
    assert anatomy.faults(cells_of(path), anatomy.LESSON) == [], path.name


def test_start_here_has_an_anatomy_of_its_own():
    cells = cells_of(START)
    assert anatomy.faults(cells, anatomy.EVERYWHERE) == [], START.name
    checks = [cell for cell in anatomy.code(cells) if "doctor.examine()" in text(cell)]
    pages = [page for cell in checks for page in anatomy.outputs(cell, "text/html")]
    assert len(pages) == 1, "one cell looks at the reader's machine and shows what it found. Repair: doctor.examine()"
    for what in ("python", "packages", "memory", "speed"):
        assert f">{what}<" in pages[0]


@pytest.mark.parametrize("path", [START, *LESSONS], ids=lambda path: path.stem)
def test_a_notebook_is_the_record_of_one_clean_run(path: Path):
    assert list(RUN_FAULTS(path.relative_to(ROOT), path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", [START, *LESSONS], ids=lambda path: path.stem)
def test_the_map_says_of_each_notebook_what_its_card_says(path: Path):
    listed = anatomy.prose(cells_of(START)).splitlines()
    assert row_of(path) in listed, f"the map in {START.name} has a row for each notebook. Repair: paste\n{row_of(path)}"


def test_every_notebook_on_the_map_is_a_file():
    prose = anatomy.prose(cells_of(START))
    assert len(re.findall(r"^\| \[\d\d\]", prose, re.MULTILINE)) >= len(LESSONS)
    assert map_faults(prose, {path.name for path in ROOT.glob("notebooks/*.ipynb")}) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("| [01](01_here.ipynb) | Why? |", ""),
        ("| 02 | Why? | not written yet |", ""),
        ("| [02](02_gone.ipynb) | Why? |", "names no file"),
        ("| 02 | Why? |", "names no file"),
        ("| [01](01_here.ipynb) | Why? | not written yet |", "marked and linked"),
    ],
)
def test_a_lesson_on_the_map_is_a_file_or_marked(row: str, said: str):
    found = map_faults(f"| lesson |\n|---|\n{row}\n| `README.md` | installing |", {"01_here.ipynb"})
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize("path", [START, *LESSONS], ids=lambda path: path.stem)
def test_a_lesson_names_other_lessons_as_the_map_does(path: Path):
    on_the_map = re.findall(r"\]\((\d\d_\w+)\.ipynb\)", anatomy.prose(cells_of(START)))
    assert on_the_map == sorted(set(on_the_map))
    named = set(re.findall(r"`(\d\d_[a-z_]+)`", anatomy.prose(cells_of(path))))
    assert named <= set(on_the_map), (
        f"{path.name} names lessons that the map in {START.name} does not. Repair: the name"
    )


# ------------------------------------------------------------------------- a lesson that breaks one rule is told so


def output_with(cells: Cells, kind: str) -> dict:
    return next(output for cell in anatomy.code(cells) for output in cell["outputs"] if kind in output.get("data", {}))


def unname(cells: Cells) -> None:
    data = output_with(cells, "image/svg+xml")["data"]
    data["image/svg+xml"] = "".join(data["image/svg+xml"]).replace("aria-label", "id", 1)


def as_png(cells: Cells) -> None:
    output_with(cells, "image/svg+xml")["data"] = {"image/png": "iVBORw0KGgo="}


def no_still(cells: Cells) -> None:
    live = next(
        i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and anatomy.shows(cell, anatomy.WIDGET)
    )
    cells[live + 1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "nothing to see"}]


def widget_without_words(cells: Cells) -> None:
    output_with(cells, anatomy.WIDGET)["data"]["text/plain"] = "VBox(...)"


def claim_without_number(cells: Cells) -> None:
    data = [cell for cell in anatomy.code(cells) if '"claim"' in text(cell)][-1]["outputs"][0]["data"]
    data["text/html"] = re.sub(
        r"(?<=</td>)<td[^>]*>[^<]*\d[^<]*</td>", "<td>some</td>", "".join(data["text/html"]), count=1
    )


def no_equality(cells: Cells) -> None:
    for cell in anatomy.code(cells):
        if "def " in text(cell):
            cell["source"] = text(cell).replace("assert ", "_ = ")


def checkpoint(cells: Cells, number: int) -> int:
    return cells.index(at(cells, f"### Checkpoint {number}"))


BREAKS: dict[str, tuple[Callable[[Cells], object], str]] = {
    "a title that asks nothing": (lambda c: put(c, "lose?\n", "lose.\n"), "the title is a question"),
    "a card without a row": (lambda c: put(c, "**Hardware**", "**Machine**"), "the card has the rows"),
    "a card without minutes": (lambda c: put(c, "30 minutes to read", "an evening"), "Time says minutes"),
    "prose before the setup": (lambda c: c.insert(1, c[2]), "the setup cell follows the card"),
    "the network left on": (lambda c: put(c, "HF_HUB_OFFLINE", "OTHER"), "turns the network off"),
    "no versions": (lambda c: c[1].update(outputs=c[3]["outputs"]), "prints the versions"),
    "a late import": (lambda c: put(c, "traces = [", "import json\n\ntraces = ["), "only the setup cell imports"),
    "a helper of its own": (lambda c: put(c, "traces = [", "def show(): ...\n\n\ntraces = ["), "defines it anew"),
    "no prediction": (lambda c: put(c, "### Predict", "### Think"), "predicts before the first displayed equation"),
    "an equation before it": (lambda c: put(c, "### Predict", "$$p$$\n\n### Predict"), "predicts before"),
    "too many equations": (lambda c: put(c, "## 9. Recap", "$$a$$ $$b$$\n\n## 9. Recap"), "there are 4"),
    "too few code cells": (
        lambda c: [c.remove(at(c, "hint_gaps = {}")), c.remove(at(c, "targets = {"))],
        "there are 17",
    ),
    "too many words": (lambda c: put(c, "## 9. Recap", 600 * "so " + "\n\n## 9. Recap"), "at most 1,800 words"),
    "no function held to varcore's": (no_equality, "asserts it equal to varcore's"),
    "nothing broken": (lambda c: put(c, "Break it on purpose", "On purpose"), "plants a bug"),
    "a bug that nothing catches": (
        lambda c: at(c, '"scored at 1 (bug)"').update(source="caught"),
        "asserts that a check catches it",
    ),
    "nothing to explore": (lambda c: put(c, "5. Explore", "5. Look"), "there is none. Repair: live"),
    "a live figure alone": (no_still, "a still picture follows a live one"),
    "a live figure without words": (widget_without_words, "words where widgets do not run"),
    "a checkpoint without number": (
        lambda c: put(c, "### Checkpoint 2", "### A checkpoint"),
        "checkpoint 2 is heading",
    ),
    "an answer in the open": (
        lambda c: put(c, "<details><summary>Answer</summary>\n\n2, the coin", "2, the coin"),
        "folded answer",
    ),
    "an answered checkpoint": (
        lambda c: c[checkpoint(c, 1) + 1].update(
            outputs=[{"output_type": "stream", "name": "stdout", "text": "Correct."}]
        ),
        "committed unanswered",
    ),
    "no recap": (lambda c: put(c, "## 9. Recap", "## 9. The end"), "the last section is 'Recap'"),
    "a prediction without answer": (lambda c: put(c, "**Your guesses.**", "Well."), "begins with '**Your guesses"),
    "an unnumbered reference": (
        lambda c: put(c, "2026: Eq. 2 (ELBO), 3 (posterior), 4 (gap), A.8 (best proposal)", "2026"),
        "by number",
    ),
    "no claim table": (
        lambda c: at(c, '"claim"').update(outputs=c[3]["outputs"]),
        "a table of claim, number, interval",
    ),
    "a claim without number": (claim_without_number, "a claim has a number"),
    "a picture without words": (unname, "every picture has alt text; one of cell"),
    "a PNG without words": (as_png, "every picture has alt text; one of cell"),
    "an image without words": (lambda c: put(c, "## 9. Recap", "![](a.png)\n\n## 9. Recap"), "one in the prose"),
    "outputs taken away": (lambda c: at(c, "bars = {").update(outputs=[]), "outputs are committed"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_can_fail_and_is_the_only_one_named(name: str):
    breaks, said = BREAKS[name]
    cells = copy.deepcopy(cells_of(next(path for path in LESSONS if path.name.startswith("02"))))
    breaks(cells)
    found = anatomy.faults(cells, anatomy.LESSON)
    assert len(found) == 1, found
    assert said in found[0]
    assert "Repair: " in found[0]
