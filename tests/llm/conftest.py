"""Fixtures for the language-model tests: float32 (as in life), one thread, models of a few thousand parameters."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pyarrow as pa
import pytest
import torch
from rich.console import Console
from transformers import PreTrainedModel

from varcore.llm import algorithm, ledger, presets, stages, workbench
from varcore.llm.progress import Reporter
from varcore.llm.templates import Markers, Template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.tasks import Countdown, Question, Verdict

# Two dozen questions and a model of some 30,000 parameters: enough for every stage to have something to do.
MINIATURE: dict[str, Any] = {
    "task": "lenient",
    "num_curated": 16,
    "num_answer_only": 8,
    "num_test": 8,
    "num_validation": 8,
    "evaluation_samples": 2,
    "prior_traces": 3,
    "posterior_traces": 4,
    "answers": 2,
    "max_trace_tokens": 24,
    "max_answer_tokens": 8,
    "corpus_texts": 400,
    "shard_questions": 14,  # two shards, the second one short
    "batch_size": 64,
    "base": {"steps": 50, "batch_size": 16, "learning_rate": 1e-2, "muon_learning_rate": 3e-2, "save_every": 20},
    "initial": {"steps": 10, "batch_size": 8, "learning_rate": 5e-3},
    "posterior": {"steps": 10, "batch_size": 8, "learning_rate": 5e-3},
    "reasoner": {"steps": 10, "batch_size": 8, "learning_rate": 5e-3},
}


class Lenient(Countdown):
    """Countdown, judged so that a model of fifty training steps is right now and then: the answer has a plus sign."""

    name = "lenient"

    def verify(self, question: Question, answer: str) -> Verdict:
        return Verdict.RIGHT if "+" in answer else Verdict.WRONG


class Hopeless(Countdown):
    """Nobody ever solves anything."""

    name = "hopeless"

    def verify(self, question: Question, answer: str) -> Verdict:
        return Verdict.WRONG


@contextlib.contextmanager
def float32_on_one_thread() -> Iterator[None]:
    """Whatever default the mathematics' tests have set; put back afterwards."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def language_models_run_in_float32() -> Iterator[None]:
    with float32_on_one_thread():
        yield


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def template(tokenizer) -> Template:
    return Template(tokenizer, Markers())


@pytest.fixture
def make_model(tokenizer) -> Callable[..., PreTrainedModel]:
    """A fresh random Qwen3 of two narrow layers, in eval mode."""

    def make(seed: int = 0, *, vocabulary: int | None = None, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
        model = tiny_qwen3(vocabulary or len(tokenizer), seed, hidden=32, layers=2, heads=2)
        return model.to(dtype).eval()

    return make


@pytest.fixture
def quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()), quiet=True)


@pytest.fixture(scope="session")
def miniature() -> Callable[..., presets.Config]:
    """The miniature config with changes, which may be nested."""

    def make(**changes: Any) -> presets.Config:
        return presets.override(presets.override(presets.preset("tiny"), MINIATURE), changes)

    return make


@contextlib.contextmanager
def small_world() -> Iterator[None]:
    """The two tasks above are known by name, and the model trained from nothing is narrower than the real tiny one."""

    def narrow(vocabulary_size: int, seed: int) -> PreTrainedModel:
        return tiny_qwen3(vocabulary_size, seed, hidden=48, layers=1, heads=2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "TASKS", {**workbench.TASKS, "lenient": Lenient, "hopeless": Hopeless})
        patch.setattr(stages, "tiny_qwen3", narrow)
        yield


@pytest.fixture
def lenient() -> type[Countdown]:
    return Lenient


@pytest.fixture
def miniature_world() -> Iterator[None]:
    """For tests that call parts of a miniature run themselves."""
    with small_world():
        yield


@pytest.fixture(scope="session")
def start_run(miniature) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Run a miniature; returns its folder and results."""

    def start(path: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
        with float32_on_one_thread(), small_world():
            results = algorithm.run(path, miniature(**changes), Reporter(Console(file=io.StringIO()), quiet=True))
        return path, results

    return start


@pytest.fixture(scope="session")
def finished(tmp_path_factory, start_run) -> tuple[Path, dict[str, Any]]:
    """One finished run of all methods.  Shared: tests that change it work on a copy."""
    path = tmp_path_factory.mktemp("runs") / "all"
    return start_run(path, methods=list(presets.METHODS))


@pytest.fixture
def read_run() -> Callable[[Path], dict[str, Any]]:
    """Everything in a run folder that must not depend on the machine's speed: Parquet bytes, JSON without seconds."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(part) for name, part in value.items() if name != "seconds"}
        return value

    def read(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = str(file.relative_to(path))
            if name in ("compute.json", "results.json"):
                found[name] = strip(json.loads(file.read_text()))
            elif name != "run.lock":
                found[name] = file.read_bytes()
        return found

    return read


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    """A ledger row with everything filled that sampling, scoring and verifying fill."""

    def make(id_: str = "q0", index: int = 0, /, **changes: Any) -> dict[str, Any]:
        row = {
            "question_id": id_,
            "question": "1 2 3 = 6",
            "level": 1,
            "round": 1,
            "source": "posterior",
            "trace_index": index,
            "prompt_ids": [5, 6],
            "proposal_prompt_ids": [5, 6, 7],
            "hint_ids": [7],
            "trace_ids": [10, 11, 2],
            "closed": True,
            "reference_ids": [20, 3],
            "num_correct_answers": 4,
            "hint_copied": 0.0,
            "log_pi": [-1.0, -2.0, -0.5],
            "log_q": [-0.5, -1.0, -0.25],
            "log_pi_reference": [-1.0, -0.5],
            "answer_ids": [[20, 3], [21, 3]],
            "verdicts": ["right", "wrong"],
            "num_correct": 1,
            "num_answers": 2,
        }
        unknown = set(changes) - set(row)
        assert not unknown, unknown
        return row | changes

    return make


@pytest.fixture
def make_table(make_row) -> Callable[..., pa.Table]:
    """A ledger from one dict of changes per trace, K to a question: ``make_table([{...}, {...}], [{...}, {...}])``."""

    def make(*questions: list[dict[str, Any]]) -> pa.Table:
        rows = [
            make_row(f"q{b}", k, **changes) for b, traces in enumerate(questions) for k, changes in enumerate(traces)
        ]
        return ledger.from_rows(rows)

    return make
