"""Killed, starved of disk, pointed at the wrong place: a run continues, or says what is wrong and damages nothing."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from varcore.llm import algorithm, presets, storage

SMALL = {
    "methods": ["sft", "rft", "grpo", "nohint", "accuracy", "direct", "vr"],
    "num_curated": 24,
    "num_answer_only": 16,
    "num_test": 16,
    "evaluation_samples": 2,
    "prior_traces": 2,
    "posterior_traces": 2,
    "answers": 1,
    "max_trace_tokens": 24,
    "shard_questions": 20,
    "corpus_texts": 64,
    "base": {"steps": 5, "save_every": 2},
    "initial": {"steps": 4, "save_every": 2},
    "posterior": {"steps": 4, "save_every": 2},
    "reasoner": {"steps": 4, "save_every": 2},
}
STAGES = [stage.name for stage in algorithm.plan(presets.override(presets.preset("tiny"), SMALL))]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture(scope="module")
def unbroken(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    done = varcore_run(config, out)
    assert done.returncode == 0, done.stderr
    return out


def varcore_run(config: Path, out: Path, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "varcore.cli", "run", "--config", str(config), "--out", str(out)]
    return subprocess.run(
        [*command, "--threads", "1", "--json"], capture_output=True, text=True, check=False, **options
    )


def contents(run: Path) -> dict[str, object]:
    """Every file that must not depend on interruptions, byte for byte; compute.json without its seconds."""
    files = [
        p for p in sorted(run.rglob("*")) if p.is_file() and p.name not in ("run.lock", "compute.json", "results.json")
    ]
    found: dict[str, object] = {str(p.relative_to(run)): p.read_bytes() for p in files}
    costs = json.loads((run / "compute.json").read_text())
    found["compute.json"] = {stage: {k: v for k, v in cost.items() if k != "seconds"} for stage, cost in costs.items()}
    results = json.loads((run / "results.json").read_text())
    found["results.json"] = {k: v for k, v in results.items() if k != "spent"}
    return found


def test_killed_in_every_stage_ends_as_if_it_had_not_been(config: Path, unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    driver = Path(__file__).with_name("killed_run.py")
    for stage in STAGES:
        killed = subprocess.run(
            [sys.executable, str(driver), str(out), str(config), stage], capture_output=True, text=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, f"{stage} was not reached: {killed.stderr}"
    done = varcore_run(config, out)
    assert done.returncode == 0, done.stderr
    broken, whole = contents(out), contents(unbroken)
    assert list(broken) == list(whole)
    assert [name for name in whole if broken[name] != whole[name]] == []


def test_same_seed_twice_gives_the_same_ledger_bit_for_bit(config: Path, unbroken: Path, tmp_path: Path) -> None:
    assert varcore_run(config, tmp_path / "run").returncode == 0
    again, whole = contents(tmp_path / "run"), contents(unbroken)
    assert [name for name in whole if again[name] != whole[name]] == []


def test_a_disk_that_fills_up_loses_nothing(config: Path, unbroken: Path, tmp_path: Path) -> None:
    """No file may grow beyond 200 kB: the base model cannot be written, as on a full disk."""

    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    out = tmp_path / "run"
    starved = varcore_run(config, out, preexec_fn=starve)
    assert starved.returncode == 1
    assert "Could not write" in starved.stderr
    assert "run the same command again" in starved.stderr
    assert not list(out.rglob("*.tmp"))
    done = varcore_run(config, out)
    assert done.returncode == 0, done.stderr
    finished, whole = contents(out), contents(unbroken)
    assert [name for name in whole if finished[name] != whole[name]] == []


def without_stage(run: Path, copy: Path, stage: str) -> Path:
    """A copy of a finished run in which `stage` is still to be done."""
    shutil.copytree(run, copy)
    done = json.loads((copy / "state.json").read_text())["done"]
    done.remove(stage)
    (copy / "state.json").write_text(json.dumps({"done": done}))
    return copy


def test_half_a_shard_that_a_killed_process_left_is_none(config: Path, unbroken: Path, tmp_path: Path) -> None:
    """It stands under another name until it is whole; it is taken away, and the shard is drawn again."""
    run = without_stage(unbroken, tmp_path / "run", "sample-extra")
    shard = run / "ledger" / "round1-extra-000.parquet"
    half = shard.with_name(f".{shard.name}.123.tmp")
    half.write_bytes(shard.read_bytes()[:500])
    before = storage.read_table(shard)["trace_ids"]
    shard.unlink()
    done = varcore_run(config, run)
    assert done.returncode == 0, done.stderr
    assert not half.exists()
    assert storage.read_table(shard)["trace_ids"] == before


def test_a_shard_that_was_cut_short_later_is_named_with_its_repair(
    config: Path, unbroken: Path, tmp_path: Path
) -> None:
    run = without_stage(unbroken, tmp_path / "run", "score-1")
    shard = run / "ledger" / "round1-posterior-001.parquet"
    shard.write_bytes(shard.read_bytes()[:500])
    before = contents(run)
    done = varcore_run(config, run)
    assert done.returncode == 1
    assert f"varcore: {shard} is not a Parquet file that can be read" in done.stderr
    assert "bring it back from a copy, or begin the run anew with another --out" in done.stderr
    assert contents(run) == before


def test_a_place_that_cannot_be_written_is_named(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = varcore_run(config, tmp_path / "file" / "run")
    assert done.returncode == 1
    assert "Choose a writable --out" in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_with_other_settings_is_refused_and_intact(config: Path, unbroken: Path, tmp_path: Path) -> None:
    before = contents(unbroken)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**SMALL, "answers": 2}))
    done = varcore_run(other, unbroken)
    assert done.returncode == 1
    assert "answers: 1 there, 2 now" in done.stderr
    assert contents(unbroken) == before


def test_a_run_of_another_format_is_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"format": 0}))
    done = varcore_run(config, tmp_path)
    assert done.returncode == 1
    assert "another version" in done.stderr


def test_a_folder_of_other_files_is_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    done = varcore_run(config, tmp_path)
    assert done.returncode == 1
    assert "is not a run of varcore" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
