"""The README's example runs and prints what it says, and its figures are those of the committed log."""

import doctest
import json
import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
LOG = json.loads((README.parent / "benchmarks" / "results" / "tiny_methods.json").read_text(encoding="utf-8"))
ROWS = {
    "RFT": "vr - rft",
    "no hint (traces from π₀)": "vr - nohint",
    "more SFT": "vr - sft",
    "`direct`": "vr - direct",
    "weights from accuracy alone": "vr - accuracy",
}
COLUMNS = [("all", "avg"), ("all", "pass"), ("4", "avg"), ("4", "pass")]


def test_the_example_prints_what_the_readme_says() -> None:
    failures, attempts = doctest.testfile(str(README), module_relative=False)
    assert attempts == 8
    assert failures == 0


def test_every_path_in_the_readme_exists() -> None:
    named = [path for path in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in path]
    assert {"docs/method_bars.svg", "CITATION.cff", "EQUATIONS.md"} <= set(named)
    assert [path for path in named if not (README.parent / path).is_file()] == []


@pytest.mark.parametrize("regime", LOG["regimes"])
def test_the_tables_are_those_of_the_log(regime: str) -> None:
    differences = LOG["regimes"][regime]["differences"]
    for label, pair in ROWS.items():
        cells = [differences[pair][group][kind] for group, kind in COLUMNS]
        said = [f"{100 * c['mean']:+.1f} [{100 * c['low']:+.1f}, {100 * c['high']:+.1f}]" for c in cells]
        assert f"| {label} | {' | '.join(said)} |" in TEXT, f"{regime}: | {label} | {' | '.join(said)} |"


def test_the_claim_of_the_default_regime_holds_in_the_log() -> None:
    """Above RFT, more SFT and no hint, overall and on the hardest level, and above direct overall."""
    differences = LOG["regimes"]["tiny"]["differences"]
    assert len(LOG["regimes"]["tiny"]["seeds"]) >= 5
    for pair in ("vr - rft", "vr - sft", "vr - nohint"):
        for group, kind in COLUMNS:
            assert differences[pair][group][kind]["low"] > 0, (pair, group, kind)
    for kind in ("avg", "pass"):
        assert differences["vr - direct"]["all"][kind]["low"] > 0
