"""A run draws with the engine that its settings name, from the saved model of the role whose turn it is."""

from __future__ import annotations

import contextlib
import importlib.util
import json

import pytest
from transformers import AutoModelForCausalLM

from varcore.llm import algorithm, ledger, storage, workbench
from varcore.llm.engines.drafts import EngineError
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.run import RunDirectory, RunDirectoryError
from varcore.llm.sampling import Request
from varcore.llm.scoring import score


@pytest.fixture
def open_bench(tmp_path, quiet, miniature, miniature_world):
    """Opens a new run's workbench; what it trained last time is still there."""
    runs = []

    def open_(*servers: str, **changes) -> workbench.Workbench:
        runs.append(RunDirectory(tmp_path / "run", miniature(**changes)))
        return workbench.open_workbench(runs[-1], quiet, servers)

    yield open_
    for run in runs:
        with contextlib.suppress(OSError):  # the test closed it
            run.close()


def test_a_server_is_asked_for_the_folder_of_the_role(open_bench, fake, tmp_path):
    folder = (tmp_path / "run" / "models" / "pi0").resolve()
    server = fake(model=str(folder))
    bench = open_bench(server.url, engine="server")
    sampler = bench.sampler("pi0", (3,), 20, 1, 1.3)
    assert isinstance(sampler, VLLMServerSampler)
    sampler.sample([Request((5,), 1)])
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"]) == (str(folder), 1.3, 20)


def test_a_run_whose_server_is_missing_stops_with_the_command_and_goes_on_elsewhere(
    tmp_path, quiet, miniature, miniature_world, fake
):
    config, path = miniature(engine="server", methods=["sft"]), tmp_path / "run"
    other = fake(model="another")
    with pytest.raises(EngineError) as error:
        algorithm.run(path, config, quiet, [other.url])
    assert f"vllm serve {(path / 'models' / 'pi0').resolve()} --port 8000 --dtype float32" in str(error.value)
    done = storage.read_json(path / "state.json")["done"]
    assert done[-1] == "train-reasoner-sft"
    serving = [fake(model=str((path / "models" / role).resolve())) for role in ("pi0", "sft")]
    results = algorithm.run(path, config, quiet, [server.url for server in serving])
    assert storage.read_json(path / "state.json")["done"] == [*done, "evaluate-pi0", "evaluate-sft"]
    assert set(results["methods"]) == {"pi0", "sft"}
    assert all(len(server.bodies) >= 16 for server in serving), "8 questions, 2 samples each"


def test_a_model_that_is_trained_again_is_not_drawn_from_the_old_engine(open_bench, make_model, monkeypatch):
    closed = []
    monkeypatch.setattr(workbench, "close_engine", closed.append)
    bench = open_bench()
    bench.vllm = ("pi0", "engine")
    bench.save_model("q1", make_model())
    assert closed == []
    bench.save_model("pi0", make_model())
    assert (closed, bench.vllm) == (["engine"], None)


@pytest.mark.parametrize(
    ("engine", "servers", "words"),
    [
        ("server", [], "goes with addresses of servers.*--servers"),
        ("transformers", ["http://127.0.0.1:8000"], "goes with addresses of servers"),
        ("vllm", [], r"not installed.*varcore\[vllm\].*make vllm"),
    ],
)
def test_an_engine_that_is_not_at_hand_is_refused_before_anything_is_written(
    tmp_path, quiet, miniature, monkeypatch, engine, servers, words
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises((ValueError, EngineError), match=words):
        algorithm.run(tmp_path / "run", miniature(engine=engine), quiet, servers)
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_before_there_were_engines_goes_on_with_transformers(tmp_path, open_bench, miniature, quiet):
    run = open_bench().run
    run.close()
    saved = storage.read_json(run.path / "config.json")
    del saved["engine"]
    (run.path / "config.json").write_text(json.dumps(saved))
    assert open_bench().config.engine == "transformers"
    with pytest.raises(RunDirectoryError, match="engine: transformers there, server now"):
        RunDirectory(run.path, miniature(engine="server"))


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # those of vLLM's own imports
def test_a_run_with_vllm_records_what_the_scorer_gives(tmp_path, start_run):
    path, results = start_run(tmp_path / "run", engine="vllm", methods=["rft"])
    assert set(results["methods"]) == {"pi0", "rft"}
    model = AutoModelForCausalLM.from_pretrained(path / "models" / "pi0").eval()
    rows = ledger.check(storage.read_table(path / "ledger" / "round1-prior-000.parquet")).to_pylist()
    pairs = [(tuple(row["prompt_ids"]), tuple(row["trace_ids"])) for row in rows]
    assert len({ids for _, ids in pairs}) > len(pairs) // 2, "the traces of a question differ"
    temperature = storage.read_json(path / "config.json")["temperature"]
    for row, expected in zip(rows, score(model, pairs, temperature=temperature), strict=True):
        assert row["log_q"] == pytest.approx(expected, abs=1e-4)
    assert "vllm" in storage.read_json(path / "environment.json")["packages"]
