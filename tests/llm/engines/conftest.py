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
from fake_server import FakeServer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from varcore.llm.engines.vllm_engine import VLLMSampler, close_engine, open_engine
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.sampling import Sampler, TransformersSampler
from varcore.llm.tiny import tiny_qwen3

VOCABULARY = 12  # every token and every marker of two comes up often
START_SECONDS = 400  # a slow machine that does other things


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
    """A `vllm serve` on a loopback port, and the processes it starts."""

    def __init__(self, folder: Path, log: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", log
        command = [Path(sys.executable).with_name("vllm"), "serve", folder, "--host", "127.0.0.1", "--port", port]
        options = ["--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", 2**28]
        options += ["--logprobs-mode", "processed_logprobs", "--no-enable-chunked-prefill"]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command + options],
                env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
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
    started = [Server(folder, logs / f"{index}.log") for index in range(2)]
    try:
        for server in started:
            server.wait()
        yield started
    finally:
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
