"""A run directory belongs to one config, one format and one process, and records a stage only when it is whole."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import math
import os

import pytest

from varcore.llm import presets, storage
from varcore.llm.run import (
    Cost,
    RunDirectory,
    RunDirectoryError,
    environment,
    forward_cost,
    load_config,
    stream_seed,
    training_cost,
)
from varcore.llm.weighing import WeightRule

CONFIG = presets.Config()
COST = Cost(samples=3, decode_flops=2.0, trained_flops=4.0)


@pytest.fixture
def open_run(tmp_path):
    """Opens the same folder again and again; whatever is still open at the end is closed."""
    opened = []

    def open_(config: presets.Config = CONFIG) -> RunDirectory:
        opened.append(RunDirectory(tmp_path / "run", config))
        return opened[-1]

    yield open_
    for run in opened:
        with contextlib.suppress(OSError):  # the test closed it
            run.close()


def reopen(open_run, run: RunDirectory, config: presets.Config = CONFIG) -> RunDirectory:
    run.close()
    return open_run(config)


# ---- whose directory it is ---------------------------------------------------------------------------------------


def test_a_new_run_keeps_its_settings_and_its_environment(tmp_path, open_run):
    run = open_run()
    assert load_config(run.path) == CONFIG
    assert set(storage.read_json(run.path / "environment.json")) == set(environment())
    assert run.stages == []


def test_an_empty_folder_may_be_used(tmp_path, open_run):
    (tmp_path / "run").mkdir()
    assert load_config(open_run().path) == CONFIG


def test_every_setting_survives_the_file(open_run):
    rule = WeightRule("gml", 0.5, False, "token", -3.0, "argmax")
    config = dataclasses.replace(CONFIG, methods=("vr",), rule=rule, seed=7, temperature=1.25)
    assert load_config(open_run(config).path) == config
    assert math.isinf(CONFIG.rule.threshold), "the default, which JSON has no number for, is covered above"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"methods": ("vr",)}, r"methods: \['sft', 'rft', 'vr'\] there, \['vr'\] now"),
        ({"reasoner": dataclasses.replace(CONFIG.reasoner, steps=7)}, "reasoner: .*'steps': 7"),
        ({"rule": WeightRule(exponent=1.0)}, "rule: .*'exponent': 1.0"),
    ],
)
def test_other_settings_are_refused_by_name(open_run, change, words):
    run = open_run()
    before = (run.path / "config.json").read_bytes()
    with pytest.raises(RunDirectoryError, match=words) as error:
        reopen(open_run, run, dataclasses.replace(CONFIG, **change))
    assert "--out" in str(error.value)
    assert (run.path / "config.json").read_bytes() == before


def test_only_the_settings_that_differ_are_listed(open_run):
    run = open_run()
    with pytest.raises(RunDirectoryError) as error:
        reopen(open_run, run, dataclasses.replace(CONFIG, seed=1))
    assert "temperature" not in str(error.value)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, open_run):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="not a run of varcore"):
        open_run()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, open_run):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunDirectoryError, match="not a run of varcore"):
        open_run()
    assert (tmp_path / "run").read_text() == "a file"


@pytest.mark.parametrize("left", [["run.lock"], ["environment.json"], ["run.lock", ".config.json.123.tmp"]])
def test_a_run_killed_before_its_config_stood_can_be_repeated(tmp_path, open_run, left):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_text("")
    assert load_config(open_run().path) == CONFIG


@pytest.mark.parametrize("saved", [1, 3, "2", None])
def test_another_format_is_refused(open_run, saved):
    run = open_run()
    content = storage.read_json(run.path / "config.json")
    storage.write_json(run.path / "config.json", {**content, "format": saved})
    with pytest.raises(RunDirectoryError, match="another version"):
        reopen(open_run, run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "another version"),
        ("null", "another version"),
        ('{"format": 2, "sed": 3}', r"no setting \['sed'\]"),
        ('{"format": 2, "rule": {"gait": "sum"}}', r"config\.rule has no setting \['gait'\]"),
        ('{"format": 2, "rule": 3}', "must be an object"),
        ('{"format": 2, "temperature": "warm"}', "wrong type"),
    ],
)
def test_a_config_that_cannot_be_read_is_an_error_of_words(open_run, content, message):
    run = open_run()
    (run.path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        reopen(open_run, run)


def test_no_run_no_config(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"no config\.json"):
        load_config(tmp_path)


# ---- one process -------------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused(open_run):
    """The second opening has a file handle of its own, as another process would."""
    run = open_run()
    with pytest.raises(RunDirectoryError, match="Another process"):
        open_run()
    assert reopen(open_run, run).stages == []


def test_a_refused_opening_lets_go_of_nothing_that_is_held(open_run):
    run = open_run()
    with pytest.raises(RunDirectoryError):
        open_run()
    with (run.path / "run.lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_failed_opening_leaves_no_lock(open_run, monkeypatch):
    """A notebook whose disk was full must be able to try again in the same process."""

    def full(*arguments):
        raise storage.StorageError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_json", full)
        with pytest.raises(storage.StorageError):
            open_run()
    assert load_config(open_run().path) == CONFIG


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path, monkeypatch):
    def denied(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(storage.StorageError, match="writable --out"):
        RunDirectory(tmp_path / "run", CONFIG)


# ---- stages ------------------------------------------------------------------------------------------------------


def test_costs_by_hand():
    """1,000 parameters, 40 of which learn: 2 FLOPs each and token forward, 2 for the states, 2 for what learns."""
    drawn = forward_cost(1000, samples=2, prefill=3, decode=5)
    assert (drawn.samples, drawn.prefill_tokens, drawn.decode_tokens, drawn.scored_tokens) == (2, 3, 5, 0)
    assert (drawn.prefill_flops, drawn.decode_flops, drawn.flops) == (6000, 10_000, 16_000)
    scored = forward_cost(1000, scored=7).entry()
    assert {name: value for name, value in scored.items() if value} == {
        "scored_tokens": 7,
        "scored_flops": 14_000,
        "flops": 14_000,
    }
    trained = training_cost(1000, 40, tokens=10, steps=4)
    assert (trained.trained_tokens, trained.optimizer_steps, trained.flops) == (10, 4, 40_800)
    assert training_cost(1000, 1000, 10, 4).trained_flops == 6 * 1000 * 10


def test_costs_of_two_parts_add_up():
    total = forward_cost(10, samples=2, prefill=3, decode=5) + training_cost(10, 4, 7, 6)
    assert (total.samples, total.prefill_tokens, total.decode_tokens, total.trained_tokens) == (2, 3, 5, 7)
    assert total.optimizer_steps == 6
    assert total.flops == 2 * 10 * (3 + 5) + (4 * 10 + 2 * 4) * 7


def test_a_stage_is_recorded_with_metrics_and_cost(open_run):
    run = open_run()
    run.finish("base", COST, 1.2345, [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.0}])
    run.finish("weigh-1", COST, 0.0, [])
    assert run.done("base")
    assert not run.done("init-reasoner")
    assert storage.read_json(run.path / "state.json") == {"done": ["base", "weigh-1"]}
    assert storage.read_json(run.path / "compute.json")["base"] == {**COST.entry(), "seconds": 1.23}
    assert storage.read_lines(run.path / "metrics.jsonl") == [
        {"stage": "base", "step": 0, "loss": 2.0},
        {"stage": "base", "step": 1, "loss": 1.0},
    ]
    assert reopen(open_run, run).stages == ["base", "weigh-1"]


def test_a_stage_is_marked_as_done_last_of_all(open_run, monkeypatch):
    """Environment and then config at the start; metrics, cost and only then the mark."""
    written = []
    json_, lines = storage.write_json, storage.write_lines
    monkeypatch.setattr(storage, "write_json", lambda path, value: (written.append(path.name), json_(path, value)))
    monkeypatch.setattr(storage, "write_lines", lambda path, rows: (written.append(path.name), lines(path, rows)))
    run = open_run()
    assert written == ["environment.json", "config.json"]
    run.finish("base", COST, 0.0, [])
    assert written[2:] == ["metrics.jsonl", "compute.json", "state.json"]


@pytest.mark.parametrize("victim", ["metrics.jsonl", "compute.json", "state.json"])
def test_a_stage_broken_off_while_recorded_is_not_done_and_repeats_cleanly(open_run, monkeypatch, victim):
    run = open_run()
    run.finish("base", COST, 0.0, [{"loss": 1.0}])
    replace = os.replace

    def fail(source, target):
        if str(target).endswith(victim):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(storage.StorageError):
            run.finish("init-reasoner", COST, 0.0, [{"loss": 2.0}])
    run = reopen(open_run, run)
    assert run.stages == ["base"]
    run.finish("init-reasoner", COST, 0.0, [{"loss": 2.0}])
    assert run.stages == ["base", "init-reasoner"]
    assert [row["loss"] for row in storage.read_lines(run.path / "metrics.jsonl")] == [1.0, 2.0]
    assert list(storage.read_json(run.path / "compute.json")) == ["base", "init-reasoner"]


# ---- seeds and environment ---------------------------------------------------------------------------------------


def test_stream_seeds_are_the_first_63_bits_of_a_hash():
    digest = hashlib.sha256(b"0/trace/1/prior/1-2-3=6/4").hexdigest()
    assert stream_seed(0, "trace", 1, "prior", "1-2-3=6", 4) == int(digest[:16], 16) // 2
    seeds = {stream_seed(seed, "trace", k) for seed in range(50) for k in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_environment_names_versions_but_neither_machine_nor_user(monkeypatch):
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"python", "system", "threads", "device", "packages"}
    text = json.dumps(found)
    for secret in (os.uname().nodename, os.path.expanduser("~"), os.getcwd()):
        assert secret not in text


# ---- settings ----------------------------------------------------------------------------------------------------


def test_override_changes_what_is_named_and_nothing_else():
    changed = presets.override(CONFIG, {"methods": ["vr"], "reasoner": {"steps": 3}, "rule": {"exponent": 0.5}})
    assert changed.methods == ("vr",)
    assert changed.reasoner == dataclasses.replace(CONFIG.reasoner, steps=3)
    assert changed.rule == WeightRule(exponent=0.5)
    assert dataclasses.replace(changed, methods=CONFIG.methods, reasoner=CONFIG.reasoner, rule=CONFIG.rule) == CONFIG


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": []}, "methods"),
        ({"methods": ["vr", "vr"]}, "methods"),
        ({"methods": ["ppo"]}, "ppo"),
        ({"posterior_data": "all"}, "posterior_data"),
        ({"evaluation_split": "train"}, "evaluation_split"),
        ({"rounds": 0}, "rounds"),
        ({"answers": 0}, "answers"),
        ({"posterior_traces": 0}, "posterior_traces"),
        ({"temperature": 0.0}, "temperatures"),
        ({"rule": {"estimator": "acc"}}, "estimator"),
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(changes, message):
    with pytest.raises(ValueError, match=message):
        presets.override(CONFIG, changes)


def test_presets_are_found_by_name():
    assert presets.preset("tiny") == CONFIG
    with pytest.raises(ValueError, match=r"'huge'.*tiny"):
        presets.preset("huge")
