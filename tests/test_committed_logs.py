"""What the lessons show of a committed log is what the log says: their stored outputs are not from an older one."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LOG = json.loads((RESULTS / "tiny_methods.json").read_text(encoding="utf-8"))
REGIMES = LOG["regimes"]


def shown(number: str) -> str:
    """All stored outputs of a lesson, as text."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    outputs = [o for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for o in cell.get("outputs", [])]
    texts = [o.get("text", []) for o in outputs] + [lines for o in outputs for lines in o.get("data", {}).values()]
    return "\n".join("".join(lines) for lines in texts)


def gain(regime: str, pair: str, level: str = "all", kind: str = "avg") -> tuple[float, float, float]:
    cell = REGIMES[regime]["differences"][pair][level][kind]
    return tuple(100 * cell[end] for end in ("mean", "low", "high"))


def in_points(cell: tuple[float, float, float]) -> str:
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*cell)


def in_a_figure(cell: tuple[float, float, float]) -> str:
    return "{:.3g} [{:.3g}, {:.3g}]".format(*cell)


@pytest.mark.parametrize("regime", REGIMES)
def test_05_gives_the_logs_gain_of_the_ratio(regime):
    mean, low, high = gain(regime, "vr - accuracy")
    text = shown("05")
    assert f"{mean:+.1f}</td>" in text
    assert f"[{low:+.1f}, {high:+.1f}]" in text
    assert LOG["date"] in text


@pytest.mark.parametrize("regime", REGIMES)
def test_08_gives_every_difference_of_the_log(regime):
    text = shown("08")
    pairs = [pair for pair in REGIMES[regime]["differences"] if pair.startswith("vr - ")]
    missing = [pair for pair in pairs if in_a_figure(gain(regime, pair)) not in text]
    assert len(pairs) == 6
    assert not missing
    for level in REGIMES[regime]["per_seed"][0]["levels"]:
        for pair in ("vr - rft", "vr - nohint", "vr - direct"):
            for kind in ("avg", "pass"):
                assert in_points(gain(regime, pair, level, kind)) in text, (level, pair, kind)
    assert in_points(gain(regime, "sft - pi0")) in text
    assert LOG["date"] in text


def test_11_gives_every_seed_of_the_log():
    text = shown("11")
    for seed, run in zip(REGIMES["tiny"]["seeds"], REGIMES["tiny"]["per_seed"], strict=True):
        cell = run["differences"]["vr - rft"]["all"]["avg"]
        assert f"seed {seed} " + in_a_figure(tuple(100 * cell[end] for end in ("mean", "low", "high"))) in text
    assert in_a_figure(gain("tiny", "vr - rft")) in text
    assert LOG["date"] in text


def records(name: str) -> list[dict]:
    """The five test runs of a part of the ablations, or of a task of the weight rules, by seed."""
    log = "weight_rules" if name.startswith("chain") else "ablations"
    runs = json.loads((RESULTS / f"{log}.json").read_text(encoding="utf-8"))["runs"]
    found = [run for run in runs if run["name"] == name and run["split"] == "test"]
    assert len({run["seed"] for run in found}) == len(found) == 5
    return sorted(found, key=lambda run: run["seed"])


def difference(name: str, arm: str, minus: str, level: str = "all", kind: str = "avg") -> tuple[float, float, float]:
    """Paired over seeds, in points."""
    scores = [run["scores"] for run in records(name)]
    return over_five([100 * (found[arm][level][kind] - found[minus][level][kind]) for found in scores])


def over_five(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95% interval over five seeds, for which Student's 97.5% quantile is 2.776."""
    half = 2.776 * statistics.stdev(values) / math.sqrt(5)
    return statistics.mean(values), statistics.mean(values) - half, statistics.mean(values) + half


def test_08_gives_grpos_differences_of_the_log():
    text = shown("08")
    for minus in ("vr", "rft", "pi0"):
        for level, kind in itertools.product(("all", "4"), ("avg", "pass")):
            assert in_a_figure(difference("trainings", "grpo", minus, level, kind)) in text, (minus, level, kind)


RULES = ("accuracy", "mean-ratio", "exact", "exact-free", "gate-sum", "gate-token", "mixture")
VARIANTS = (
    "accuracy",
    "exponent-0.2",
    "exact",
    "likelihood",
    "gml",
    "best-one",
    "unmixed",
    "best-one-unmixed",
    "nohint",
)
HINTS = ("wrong", "noisy", "partial", "missing")
PAIRS_OF_09 = [
    *itertools.product(("chain", "chain-obedient", "rules"), (*RULES, "pi0"), ("rft",)),
    *itertools.product(("weights",), (*VARIANTS, *(f"k-{k}" for k in (1, 2, 4, 16)), "rft", "rft-unmixed"), ("vr",)),
    ("weights", "unmixed", "rft-unmixed"),
    *itertools.product(("reverse",), ("reverse", "reverse-from-q"), ("vr",)),
    *itertools.product(("hints",), (f"{kind}-{rate}" for kind in HINTS for rate in (0.5, 1.0)), ("vr",)),
    *(("adapters", role, f"whole-{role}") for role in ("pi0", "rft", "vr")),
    *(("adapters", f"{base}vr", f"{base}rft") for base in ("", "whole-")),
    ("rounds", "vr-round2", "vr-round1"),
    *itertools.product(("rounds",), ("vr",), ("vr-round1", "vr-round2", "vr-longer", "rft")),
    ("rounds", "vr-longer", "vr-round1"),
    ("trainings", "token-mean", "vr"),
    ("trainings", "grpo", "vr"),
    ("trainings", "grpo", "pi0"),
]


@pytest.mark.parametrize(("name", "arm", "minus"), PAIRS_OF_09)
def test_09_gives_the_logs_differences(name, arm, minus):
    found = difference(name, arm, minus)
    assert in_points(found) in shown("09") or in_a_figure(found) in shown("09")


def per_tflop(name: str, arm: str) -> list[float]:
    """Points of Avg@8 over pi_0 for 1e12 FLOPs after it, a number per seed."""
    runs = [(run["scores"][arm]["all"]["avg"], run["scores"]["pi0"]["all"]["avg"], run) for run in records(name)]
    return [100 * (own - start) / (run["flops"][arm] / 1e12) for own, start, run in runs]


PAID_IN_09 = [
    *(("weights", arm) for arm in ("sft", "direct", "nohint", "k-1", "k-2", "k-4", "vr", "unmixed", "k-16")),
    *(("rounds", arm) for arm in ("rft", "vr")),
    ("trainings", "grpo"),
]


@pytest.mark.parametrize(("name", "arm"), PAID_IN_09)
def test_09_gives_gains_per_flop_beside_those_of_rft(name, arm):
    pairs = zip(per_tflop(name, arm), per_tflop("weights", "rft"), strict=True)
    assert in_a_figure(over_five([own - rft for own, rft in pairs])) in shown("09")


def test_09_says_when_every_log_was_made():
    text = shown("09")
    names = {name for name, *_ in PAIRS_OF_09} | {"diversity"}
    for date in {run["date"] for name in names for run in records(name)}:
        assert date in text, date
