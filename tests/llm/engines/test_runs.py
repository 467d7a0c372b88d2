"""A run draws with the engine that its settings name, from the saved model of the role whose turn it is."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from varcore.llm import algorithm, ledger, storage, workbench
from varcore.llm.engines.drafts import EngineError
from varcore.llm.engines.vllm_engine import open_engine
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
    assert f": vllm serve {(path / 'models' / 'pi0').resolve()} --host 127.0.0.1 --port 8000 --dtype float32" in str(
        error.value
    )
    done = storage.read_json(path / "state.json")["done"]
    assert done[-1] == "train-reasoner-sft"
    serving = [fake(model=str((path / "models" / role).resolve())) for role in ("pi0", "sft")]
    results = algorithm.run(path, config, quiet, [server.url for server in serving])
    assert storage.read_json(path / "state.json")["done"] == [*done, "evaluate-pi0", "evaluate-sft"]
    assert set(results["methods"]) == {"pi0", "sft"}
    assert all(len(server.bodies) >= 16 for server in serving), "8 questions, 2 samples each"


@pytest.mark.parametrize("ask", ["model", "train a copy", "train a new one"])
def test_whoever_asks_for_a_model_ends_the_engine(open_bench, make_model, monkeypatch, ask):
    closed = []
    monkeypatch.setattr(workbench, "close_engine", closed.append)
    bench = open_bench()
    bench.models.save("pi0", make_model())
    bench.vllm = (bench.models.files("pi0")[0], "engine")
    bench.models.num_parameters("pi0")
    assert closed == [], "counting asks for none"
    if ask == "model":
        bench.model("pi0")
    else:
        bench.begin("pi0" if ask == "train a copy" else make_model(1), "q1", 0)
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


def test_a_run_with_adapters_asks_for_its_base_and_the_role(open_bench, shared, fake, tmp_path):
    models = tmp_path.resolve() / "run" / "models"
    server = fake(model=str(models / "base"), loading=200)
    bench = open_bench(server.url, engine="server", lora_rank=4)
    shared.save("pi0", models / "pi0")
    bench.sampler("pi0", (3,), 20, 1, 1.0).sample([Request((5,), 1)])
    assert [body["lora_path"] for body in server.loads] == [str(models / "pi0")]
    assert bench.models.files("base") == (str(models / "base"), None)


def test_a_rank_beyond_what_vllm_holds_is_refused(tmp_path, quiet, miniature):
    with pytest.raises(ValueError, match=r"adapters up to rank 512, got lora_rank = 513.*--engine transformers"):
        algorithm.run(tmp_path / "run", miniature(engine="server", lora_rank=513), quiet, ["http://127.0.0.1:8000"])
    assert list(tmp_path.iterdir()) == []


def assert_recorded_as_scored(path: Path, file: str, model) -> None:
    """log q of a ledger's traces, which differ, within 1e-4 of what our scorer gives."""
    rows = ledger.check(storage.read_table(path / "ledger" / file)).to_pylist()
    pairs = [(tuple(row["proposal_prompt_ids"]), tuple(row["trace_ids"])) for row in rows]
    assert len({ids for _, ids in pairs}) > len(pairs) // 2, "the traces of a question differ"
    temperature = storage.read_json(path / "config.json")["temperature"]
    for row, expected in zip(rows, score(model, pairs, temperature=temperature), strict=True):
        assert row["log_q"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_an_engine_that_cannot_start_says_what_to_look_at(tmp_path):
    with pytest.raises(EngineError, match=r"(?s)vLLM could not start on .*free memory, or a build for another device"):
        open_engine(tmp_path)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # those of vLLM's own imports
def test_a_run_with_vllm_records_what_the_scorer_gives(tmp_path, start_run):
    path, results = start_run(tmp_path / "run", engine="vllm", methods=["rft"])
    assert set(results["methods"]) == {"pi0", "rft"}
    model = AutoModelForCausalLM.from_pretrained(path / "models" / "pi0").eval()
    assert_recorded_as_scored(path, "round1-prior-000.parquet", model)
    assert "vllm" in storage.read_json(path / "environment.json")["packages"]


def with_adapter(path: Path, role: str):
    base = AutoModelForCausalLM.from_pretrained(path / "models" / "base").eval()
    return PeftModel.from_pretrained(base, str(path / "models" / role)).get_base_model()


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_a_run_with_adapters_and_vllm_records_what_the_scorer_gives(tmp_path, start_run):
    path, results = start_run(tmp_path / "run", engine="vllm", lora_rank=4, methods=["vr"])
    assert set(results["methods"]) == {"pi0", "vr"}
    assert_recorded_as_scored(path, "round1-prior-000.parquet", with_adapter(path, "pi0"))
    assert_recorded_as_scored(path, "round1-posterior-000.parquet", with_adapter(path, "q1"))


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_the_command_that_a_run_prints_starts_the_server_that_it_goes_on_with_to_its_end(
    tmp_path, quiet, miniature, miniature_world, start_server
):
    """With adapters one server is enough: each is handed over when its turn comes."""
    path, config = tmp_path / "run", miniature(engine="server", lora_rank=4, methods=["vr"])
    with pytest.raises(EngineError) as error:
        algorithm.run(path, config, quiet, ["http://127.0.0.1:1"])
    (command,) = re.findall(r"Start one: (.*); name its address", str(error.value))
    server = start_server(command)
    results = algorithm.run(path, config, quiet, [server.url])
    assert set(results["methods"]) == {"pi0", "vr"}
    assert_recorded_as_scored(path, "round1-prior-000.parquet", with_adapter(path, "pi0"))
    assert_recorded_as_scored(path, "round1-posterior-000.parquet", with_adapter(path, "q1"))
