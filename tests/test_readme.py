"""The README's example runs and prints what it says."""

import doctest
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_example_prints_what_the_readme_says() -> None:
    failures, attempts = doctest.testfile(str(README), module_relative=False)
    assert attempts == 8
    assert failures == 0


def test_every_path_in_the_readme_exists() -> None:
    named = ["docs/method_bars.svg", "CITATION.cff", "CONTRIBUTING.md", "notebooks/00_start_here.ipynb"]
    text = README.read_text(encoding="utf-8")
    for path in named:
        assert path in text or path.split("/")[-1] in text
        assert (README.parent / path).is_file()
