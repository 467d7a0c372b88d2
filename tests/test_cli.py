"""The command line as a newcomer meets it: one small run, then everything that can be asked of it."""

import json
from pathlib import Path

import pytest
import torch

from varcore.cli import main

SMALL = {
    "num_curated": 24,
    "num_answer_only": 16,
    "num_test": 16,
    "evaluation_samples": 2,
    "prior_traces": 2,
    "posterior_traces": 3,
    "answers": 1,
    "max_trace_tokens": 24,
    "corpus_texts": 64,
    "base": {"steps": 3},
    "initial": {"steps": 3},
    "posterior": {"steps": 3},
    "reasoner": {"steps": 3},
}


@pytest.fixture(autouse=True)
def keep_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")  # wide enough for every table
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture(scope="module")
def run(config: Path) -> Path:
    out = config.parent / "run"
    assert main(["run", "--config", str(config), "--out", str(out), "--threads", "1"]) == 0
    return out


def test_run_prints_stages_tables_and_sentences(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.parent / "printed"
    assert main(["run", "--config", str(config), "--out", str(out), "--threads", "1", "--methods", "sft,rft,vr"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for expected in (
        "train-posterior-1",
        "Paired on the same questions",
        "VR - RFT",
        "Spent after pi0",
        "Against RFT, VR",
        "Next:",
    ):
        assert expected in text
    assert "plateaued" in text


def test_a_finished_run_is_shown_again_at_once(run: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = (run / "state.json").stat().st_mtime_ns
    assert main(["run", "--config", str(config), "--out", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "results.json").read_text())
    assert (run / "state.json").stat().st_mtime_ns == state


def test_eval_draws_other_questions_and_leaves_the_run_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "results.json").read_bytes()
    arguments = ["eval", str(run), "--questions", "12", "--samples", "3", "--seed", "9", "--json"]
    assert main(arguments) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["questions"], results["seed"], results["methods"]["vr"]["k"]) == (12, 9, 3)
    assert (run / "results.json").read_bytes() == before


def test_weigh_shows_what_another_rule_changes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledgers = {path: path.read_bytes() for path in (run / "ledger").iterdir()}
    assert main(["weigh", str(run), "--estimator", "gml", "--exponent", "1", "--selection", "argmax", "--json"]) == 0
    change = json.loads(capsys.readouterr().out)
    assert change["own"]["questions"] == change["other"]["questions"] == 40
    assert change["other"]["traces_with_weight"] <= 40  # argmax keeps one trace a question at most
    assert {path: path.read_bytes() for path in (run / "ledger").iterdir()} == ledgers
    assert main(["weigh", str(run), "--gate", "sum", "--threshold", "1000"]) == 0
    assert "questions without a usable trace" in " ".join(capsys.readouterr().out.split())


def test_view_writes_one_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(run)]) == 0
    assert (run / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert "Open it in a browser" in capsys.readouterr().out


def test_export_writes_a_folder_and_merge_says_why_it_does_not(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vr"
    assert main(["export", str(run), "--role", "vr", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"Wrote {out}: the model of vr.\n"
    assert (out / "model.safetensors").read_bytes() == (run / "models" / "vr" / "model.safetensors").read_bytes()
    assert main(["merge", str(run), "--role", "vr", "--out", str(tmp_path / "other")]) == 1
    assert "is a whole model, with no adapter to merge. Use varcore export" in capsys.readouterr().err
    assert main(["export", str(run), "--role", "pi0", "--out", str(tmp_path / "pi0"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--preset", "huge"], "There is no preset 'huge'"),
        (["run", "--methods", "vr,magic"], "methods must be different names"),
        (["run", "--rounds", "0"], "rounds must be at least 1"),
        (["run", "--engine", "abacus"], "engine must be one of"),
        (["run", "--engine", "server"], "goes with addresses of servers"),
        (["run", "--servers", "http://127.0.0.1:8000"], "the engine transformers and the addresses"),
        (["view", "nowhere"], "is not a run of varcore"),
        (["weigh", "nowhere"], "is not a run of varcore"),
        (["eval", "nowhere"], "is not a run of varcore"),
        (["export", "nowhere", "--role", "vr", "--out", "mine"], "is not a run of varcore"),
        (["merge", "nowhere", "--role", "vr", "--out", "mine"], "is not a run of varcore"),
    ],
)
def test_errors_say_what_is_wrong_and_write_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"reasoner": {"stepz": 1}}))
    assert main(["run", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "run")]) == 1
    assert "config.reasoner has no setting ['stepz']" in capsys.readouterr().err


def test_doctor_reports_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"python", "packages", "memory", "disk", "speed"} <= set(findings)
    assert "tokens/s" in findings["speed"]["text"]
