"""EQUATIONS.md is complete, and every function, test and notebook it names exists."""

import re
from pathlib import Path

import varcore

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "EQUATIONS.md").read_text(encoding="utf-8")
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in TEXT.splitlines() if re.match(r"\| (?!equation)", line)]


def quoted(cells):
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_rows_are_whole():
    assert len(ROWS) >= 50
    assert {len(row) for row in ROWS} == {5}


def test_every_public_name_has_a_row_and_every_function_named_is_public():
    named = set(quoted(row[2] for row in ROWS))
    assert named | {"ShapeError"} == set(varcore.__all__)


def test_every_test_named_exists():
    for name in quoted(row[3] for row in ROWS):
        path, _, function = name.partition("::")
        assert f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_row_has_a_test_and_every_notebook_named_exists():
    for row in ROWS:
        assert quoted(row[3:4]), row
        assert row[4].strip() == "–" or quoted(row[4:]), row
    for name in quoted(row[4] for row in ROWS):
        assert (ROOT / "notebooks" / f"{name}.ipynb").exists(), name


def test_every_equation_of_the_method_is_here():
    # the numbered equations that state a quantity of their own; Eq. 3 is the form of q
    numbered = {int(n) for n in re.findall(r"Eq\. (\d+)", TEXT)}
    assert {1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 21, 22, 24, 25, 34} <= numbered
    assert {"A.2", "A.5", "A.6", "A.7", "A.8", "A.9"} <= set(re.findall(r"A\.\d", TEXT))


def test_a_reader_finds_it():
    assert "(EQUATIONS.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
