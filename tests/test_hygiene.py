"""Nothing in the tree belongs to one machine: no path of somebody's disk, no address of a package index."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MADE_HERE = {".venv", "runs", "dist", "build", "__pycache__", "checkpoints"}
MACHINE_PATH = runpy.run_path(str(ROOT / "tools/check_notebooks.py"))["MACHINE_PATH"]  # as notebooks are held to
INDEX = re.compile(
    r"(?:extra[-_])?index[-_]url|find[-_]links|[a-z]+://[^\s\"']*/simple\b"
    r"|(?:pypi|pythonhosted)\.org|(?:download\.pytorch|conda\.anaconda)\.org",
    re.IGNORECASE,
)


def files() -> list[Path]:
    """What git tracks or would add; where there is no git (an unpacked sdist), all but what work leaves behind."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        walk = (path for path in ROOT.rglob("*") if not MADE_HERE & set(path.relative_to(ROOT).parts))
        paths = [path for path in walk if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())


def test_files_are_found():
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"pyproject.toml", "Makefile", "varcore/__init__.py", "tests/test_hygiene.py"} <= names


def test_no_file_belongs_to_one_machine():
    found = []
    for path in files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture or a table, not text
        for number, line in enumerate(lines, 1):
            hit = MACHINE_PATH.search(line) or INDEX.search(line)
            if hit:
                found.append(f"{path.relative_to(ROOT)}:{number}: {hit[0]}")
    assert found == [], "a relative path, or the name of the package alone, belongs there"


# Written in halves, so that this file passes its own test.
@pytest.mark.parametrize(
    "line",
    [
        "/ro" + "ot/x",
        "see /ho" + "me/ada/notes",
        "'/Us" + "ers/ada/x'",
        "file:///tm" + "p/x",
        "a=/wo" + "rk/tree",
        "C:\\Us" + "ers\\ada",
    ],
)
def test_paths_of_a_machine_are_caught(line: str):
    assert MACHINE_PATH.search(line)


@pytest.mark.parametrize(
    "line", ["runs/tmp/x", "https://example.com/home/x", "~/work/x", "/dev/null", "/usr/bin/env bash"]
)
def test_other_paths_are_not(line: str):
    assert not MACHINE_PATH.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "--index" + "-url https://x",
        "PIP_EXTRA_INDEX" + "_URL=x",
        "find" + "-links = wheels",
        "https://mirror.example/si" + "mple",
        "https://py" + "pi.org/p",
    ],
)
def test_addresses_of_an_index_are_caught(line: str):
    assert INDEX.search(line)
