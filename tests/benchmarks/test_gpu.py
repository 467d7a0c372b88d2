"""The GPU's script at toy size, on a CPU, with no package but those that torch, transformers and peft bring."""

from __future__ import annotations

import ast
import copy
import datetime
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import torch
from anatomy import at, cells_of, text
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from varcore.llm.scoring import score
from varcore.llm.tiny import tiny_qwen3

ROOT = Path(__file__).resolve().parents[2]
ALONE = """
import runpy, sys
from importlib.machinery import PathFinder
refused = set(sys.argv.pop(1).split(","))

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.argv[0] = "benchmarks/gpu.py"
sys.path.insert(0, "benchmarks")
runpy.run_path("benchmarks/gpu.py", run_name="__main__")
"""


def brought(names: list[str]) -> set[str]:
    """These distributions and all they require, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        try:
            required = [] if name in found else distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform
        found.add(name)
        needs = [Requirement(line) for line in required]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> dict:
    kept = brought(["torch", "transformers", "peft"])
    owners = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
    refused = [module for module, names in owners.items() if not names & kept and module != "varcore"]
    assert {"pyarrow", "datasets", "math_verify", "trl", "plotly"} <= set(refused)
    path = tmp_path_factory.mktemp("gpu") / "log.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ALONE, ",".join(refused), "--toy", "--out", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_log_says_when_where_and_with_what(log):
    assert datetime.date.fromisoformat(log["date"]) <= datetime.date.today()
    assert log["device"].startswith("cpu")
    assert set(log["versions"]) == {"torch", "transformers", "peft", "accelerate"}, "TRL was hidden"
    assert log["versions"]["torch"] == torch.__version__
    assert log["seed"] == 0


def test_every_arm_is_scored_and_paid_for(log):
    arms = log["method"]["arms"]
    assert list(arms) == ["pi0", "vr", "rft", "sft", "sft, steps of vr"]
    for arm in arms.values():
        assert 0 <= arm["avg"]["lower"] <= arm["avg"]["mean"] <= arm["avg"]["upper"] <= 1
        assert arm["avg"]["mean"] <= arm["pass"]["mean"]
        difference = arms["vr"]["avg"]["mean"] - arm["avg"]["mean"]
        assert arm["vr minus this, avg"]["mean"] == pytest.approx(difference)
    assert any(arm["avg"]["mean"] > 0 for arm in arms.values()), "or all of this was about zeros"


def test_compute_is_matched(log):
    """RFT draws whole traces for every question, SFT takes whole steps on examples of its own length: a tenth."""
    arms, flops = log["method"]["arms"], log["method"]["flops"]
    assert arms["rft"]["flops"] == pytest.approx(arms["vr"]["flops"], rel=0.1)
    assert arms["sft"]["flops"] == pytest.approx(arms["vr"]["flops"], rel=0.1)
    parts = ("sample prior", "train posterior", "sample posterior", "score", "train vr")
    assert arms["vr"]["flops"] == pytest.approx(sum(flops[part] for part in parts))
    assert set(log["method"]["seconds"]) == set(flops)


def test_sampler_and_scorer_agree(log):
    """float32, another cut of the batch: 1e-4 nats a token on average over a trace is a hundred roundings."""
    assert 0 < log["method"]["sampler minus scorer, nats a token"] < 1e-4


def test_rates_are_of_the_same_work(log):
    rates = log["rates"]
    assert rates["matmul_flops_per_second"] > 0
    assert set(rates["toy"]["scoring"]) == {"varcore, 16 MiB of logits", "varcore, 64 MiB of logits", "naive"}
    for results in rates["toy"].values():
        work = {round(r["tokens_per_second"] * r["seconds"]["median"]) for r in results.values()}
        assert len(work) == 1
        per_token = [r["fraction_of_matmul"] / r["tokens_per_second"] for r in results.values()]
        assert per_token == pytest.approx([per_token[0]] * len(per_token))
        assert all(r["peak_bytes"] is None for r in results.values()), "there is no such count on a CPU"


@pytest.fixture
def gpu_rates(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_rates

    return gpu_rates


def test_a_side_that_runs_out_of_memory_is_recorded_as_such(gpu_rates):
    def work():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 74.19 GiB.")

    assert gpu_rates.rated(work, 10, 1.0, torch.device("cpu"), 3) == {"out of memory": True}
    assert gpu_rates.said({"out of memory": True}) == "out of memory"


def test_the_naive_sides_do_what_varcore_does(gpu_rates):
    """Scores, and the loss of a step, in float32: the step's constant is the mean length times the number of rows."""
    settings = gpu_rates.TOY
    model = tiny_qwen3(64, 0, hidden=32, layers=2, heads=2).float()
    rows = gpu_rates.mixed_rows(settings, 64, seed=0)
    assert len({len(prompt) + len(rest) for prompt, rest in rows}) > 5
    ours = score(model, rows)
    for peer in gpu_rates.PEERS.values():
        for values, theirs in zip(ours, gpu_rates.score_whole(model, rows, settings.tokens, peer), strict=True):
            assert values == pytest.approx(theirs, abs=1e-4)
    weights = [parameter.clone() for parameter in model.parameters()]
    [loss] = gpu_rates.our_step(model, rows, settings)
    stepped = [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(value)
    assert gpu_rates.naive_step(model, rows, settings) == pytest.approx([loss], rel=1e-4)
    for parameter, value in zip(model.parameters(), stepped, strict=True):
        torch.testing.assert_close(parameter, value, rtol=1e-3, atol=1e-4)


def test_it_does_not_run_on_a_cpu_by_itself():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert "--toy" in done.stderr


def test_lesson_10_shows_every_arm_and_rate_of_a_log(log):
    (path,) = (ROOT / "notebooks").glob("10_*.ipynb")
    tree = ast.parse(text(at(cells_of(path), "def rows_of(")))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    lesson: dict = {}
    exec(ast.unparse(function), lesson)
    shown = dict(lesson["rows_of"](log))
    arms, rates = log["method"]["arms"], log["rates"]["toy"]
    assert len(shown) == len(arms) + sum(map(len, rates.values()))
    mean = 100 * arms["vr"]["avg"]["mean"]
    assert shown["vr, Avg@8, %"].startswith(f"{mean:.0f} [")
    assert f"{rates['scoring']['naive']['tokens_per_second']:,.0f} tokens a second" in shown["toy, scoring, naive"]
    poor = copy.deepcopy(log)
    poor["rates"]["toy"]["scoring"]["naive"] = {"out of memory": True}
    assert dict(lesson["rows_of"](poor))["toy, scoring, naive"] == "out of memory"
