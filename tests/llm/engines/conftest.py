"""One saved model of twelve tokens, and the engines that draw from it; a real vLLM starts when a test first asks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_server import FakeServer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from varcore.llm.adapters import LoraSettings, SharedBase
from varcore.llm.engines.serving import serve_command
from varcore.llm.engines.vllm_engine import VLLMSampler, close_engine, open_engine
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.sampling import Sampler, TransformersSampler
from varcore.llm.tiny import tiny_qwen3

VOCABULARY = 12  # every token and every marker of two comes up often
START_SECONDS = 400  # a slow machine that does other things
# vLLM leaves its zmq contexts to the garbage collector, which complains in whatever test it happens to run
UNCLOSED = "ignore:Exception ignored in.*Context.__del__:pytest.PytestUnraisableExceptionWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.filterwarnings(UNCLOSED))


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A saved tiny Qwen3 whose generation settings, all of them wrong for us, must not be obeyed."""
    path = tmp_path_factory.mktemp("models") / "twelve"
    tiny_qwen3(VOCABULARY, seed=1, hidden=32, layers=2, heads=2).save_pretrained(path)
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w5").save_pretrained(path)
    wrong = {"eos_token_id": 5, "do_sample": True, "temperature": 0.1, "top_k": 1, "repetition_penalty": 1.5}
    (path / "generation_config.json").write_text(json.dumps(wrong))
    return path


@pytest.fixture(scope="session")
def model(folder) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="session")
def engine(folder) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of vLLM's own imports
        engine = open_engine(folder, kv_cache_memory_bytes=2**28)
    yield engine
    close_engine(engine)


class Server:
    """What a start command that errors name starts, on another loopback port; and the processes it starts."""

    def __init__(self, command: str, log: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", log
        assert "--port 8000 " in command
        found = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command.replace("--port 8000 ", f"--port {port} "),
                shell=True,
                env={**os.environ, "VLLM_NO_USAGE_STATS": "1", "PATH": found},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-5000:]
            with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.5)
        raise TimeoutError(self.log.read_text()[-5000:])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def servers(folder, tmp_path_factory) -> Iterator[list[Server]]:
    """Two replicas.  Only the first is there for every test: the second is killed by one of them."""
    logs = tmp_path_factory.mktemp("servers")
    started = [Server(serve_command(str(folder), "float32"), logs / f"{index}.log") for index in range(2)]
    try:
        for server in started:
            server.wait()
        yield started
    finally:
        for server in started:
            server.kill()


@pytest.fixture
def start_server(tmp_path) -> Iterator[Callable[[str], Server]]:
    """Runs a start command until the server is well; stops it after the test."""
    started = []

    def start(command: str) -> Server:
        started.append(Server(command, tmp_path / f"server{len(started)}.log"))
        started[-1].wait()
        return started[-1]

    yield start
    for server in started:
        server.kill()


ENGINES = ["transformers", *(pytest.param(name, marks=pytest.mark.vllm) for name in ("vllm", "server"))]


@pytest.fixture(params=ENGINES)
def make_sampler(request, folder) -> Callable[..., Sampler]:
    """Makes samplers of one of the three kinds, on the same saved model."""

    def make(**settings) -> Sampler:
        settings = {"temperature": 1.0, "max_tokens": 12, "stop": (3,), **settings}
        if request.param == "transformers":
            return TransformersSampler(request.getfixturevalue("model"), **settings)
        if request.param == "vllm":
            return VLLMSampler(request.getfixturevalue("engine"), **settings)
        return VLLMServerSampler([request.getfixturevalue("servers")[0].url], str(folder), **settings)

    return make


# ---- adapters ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared(folder) -> SharedBase:
    """The saved model with two adapters of rank 4 that are far from it and from each other."""
    shared = SharedBase(AutoModelForCausalLM.from_pretrained(folder).eval(), LoraSettings(rank=4, alpha=8))
    for seed, role in enumerate(("pi0", "q1")):
        model = shared.begin(role, None, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name and parameter.requires_grad:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return shared


@pytest.fixture(scope="session")
def adapters(shared, tmp_path_factory) -> dict[str, Path]:
    """Folders of the two, by role."""
    folders = {role: tmp_path_factory.mktemp("adapters") / role for role in ("pi0", "q1")}
    for role, place in folders.items():
        shared.save(role, place)
    return folders


@pytest.fixture(scope="session")
def adapter_engine(folder) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = open_engine(folder, lora_rank=4, kv_cache_memory_bytes=2**28)
    yield engine
    close_engine(engine)


@pytest.fixture(scope="session")
def adapter_server(folder, tmp_path_factory) -> Iterator[Server]:
    server = Server(serve_command(str(folder), "float32", 4), tmp_path_factory.mktemp("servers") / "adapters.log")
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.fixture(params=ENGINES)
def make_adapter_sampler(request, folder, shared) -> Callable[..., Sampler]:
    """Makes samplers of one of the three kinds that draw with the adapter in a folder."""

    def make(adapter: Path, **settings) -> Sampler:
        settings = {"temperature": 0.7, "max_tokens": 12, "stop": (3,), **settings}
        if request.param == "transformers":
            return TransformersSampler(shared.read("read", adapter), **settings)
        if request.param == "vllm":
            return VLLMSampler(request.getfixturevalue("adapter_engine"), adapter=adapter, **settings)
        url = request.getfixturevalue("adapter_server").url
        return VLLMServerSampler([url], str(folder), adapter=adapter, **settings)

    return make


# ---- fakes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeServer]]:
    """Starts fake servers, and stops them."""
    started: list[FakeServer] = []

    def start(**faults: Any) -> FakeServer:
        started.append(FakeServer(**faults))
        return started[-1]

    yield start
    for server in started:
        server.stop()
