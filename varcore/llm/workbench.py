"""What every stage of a run works with."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from varcore.llm import ledger, processes, storage
from varcore.llm.engines.drafts import EngineError
from varcore.llm.engines.serving import RANKS
from varcore.llm.engines.vllm_engine import INSTALL, VLLMSampler, close_engine, open_engine
from varcore.llm.engines.vllm_server import VLLMServerSampler
from varcore.llm.models import Models
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectory
from varcore.llm.sampling import Sampler, TransformersSampler
from varcore.llm.templates import Ids, Markers, Template, load_template
from varcore.llm.tiny import tiny_tokenizer
from varcore.tasks import Chain, Countdown, ObedientChain, Question, Task
from varcore.tasks.loaders import import_task, load_task, load_task_from_hub
from varcore.tasks.schemas import SCHEMAS, own_schema

Metrics = list[dict[str, Any]]
TASKS = {task.name: task for task in (Countdown, Chain, ObedientChain)}
OWN = {f"own-{kind}": kind for kind in ("mathematics", "choice", "exact")}  # columns question, answer, trace


@dataclass
class Workbench:
    """What every stage needs: the run directory, the task's questions, the template, models by role.

    A vLLM engine and models of this process never share the device: whoever asks for one ends the other.  So no stage
    holds a model while it samples.
    """

    run: RunDirectory
    reporter: Reporter
    task: Task
    template: Template
    train: list[Question]
    models: Models
    servers: tuple[str, ...] = ()
    vllm: tuple[str, Any] | None = None  # the model that an engine holds, and the engine

    @property
    def config(self) -> Config:
        return self.run.config

    def model(self, role: str) -> PreTrainedModel:
        """The model of a role ("base", "pi0", "q1", "vr", ...), read from the run directory and kept."""
        self._end_engine()
        return self.models.get(role)

    def begin(self, start: str | PreTrainedModel, role: str, seed: int) -> PreTrainedModel:
        """A model for `role` to be trained: with the weights of the role `start`, or the model `start` itself."""
        self._end_engine()
        return self.models.begin(start, role, seed) if isinstance(start, str) else start

    def shard_paths(self, round_: int, source: str) -> list[Path]:
        count = -(-len(self.train) // self.config.shard_questions)
        return [self.run.path / "ledger" / f"round{round_}-{source}-{i:03d}.parquet" for i in range(count)]

    def my_shards(self, round_: int, source: str) -> list[tuple[Path, list[Question]]]:
        """The shards that this process works on, each a file and its questions; other processes have the others."""
        size = self.config.shard_questions
        questions = [self.train[start : start + size] for start in range(0, len(self.train), size)]
        return list(processes.share(list(zip(self.shard_paths(round_, source), questions, strict=True))))

    def table(self, round_: int, source: str) -> pa.Table:
        return pa.concat_tables([ledger.check(storage.read_table(p)) for p in self.shard_paths(round_, source)])

    def sampler(self, role: str, stop: Ids, max_tokens: int, requests: int, temperature: float) -> Sampler:
        """Draws from a role's saved model with the run's engine; `requests` is how many the progress bar expects."""
        settings: dict[str, Any] = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stop": stop,
            "advance": self.reporter.begin(requests, "samples"),
        }
        if self.config.engine != "transformers":
            model, settings["adapter"] = self.models.files(role)
        if self.config.engine == "vllm":
            return VLLMSampler(self._engine(model), **settings)
        if self.config.engine == "server":
            return VLLMServerSampler(self.servers, model, dtype=self.config.dtype, **settings)
        return TransformersSampler(self.model(role), batch_size=self.config.batch_size, **settings)

    def close(self) -> None:
        """End the vLLM engine, if there is one, and let go of the run directory."""
        self._end_engine()
        self.run.close()

    def _end_engine(self) -> None:
        if self.vllm:
            close_engine(self.vllm[1])
        self.vllm = None

    def _engine(self, model: str) -> Any:
        """One engine at a time, and no model beside it: it takes most of a GPU's memory."""
        if self.vllm is None or self.vllm[0] != model:
            self._end_engine()
            self.models.release()
            self.vllm = model, open_engine(model, lora_rank=self.config.lora_rank, dtype=self.config.dtype)
        return self.vllm[1]


def check_engine(config: Config, servers: Sequence[str]) -> None:
    """EngineError or ValueError if the config's engine is not at hand."""
    if config.engine != "transformers" and config.lora_rank > RANKS[-1]:
        raise ValueError(
            f"vLLM draws with adapters up to rank {RANKS[-1]}, got lora_rank = {config.lora_rank}. Use a smaller one, "
            "or --engine transformers."
        )
    if config.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise EngineError(f"The engine vllm is not installed. {INSTALL}")
    if (config.engine == "server") != bool(servers):
        raise ValueError(
            f"The engine server goes with addresses of servers, the others without; got the engine {config.engine} and "
            f"the addresses {list(servers)}. Use --engine server with --servers http://127.0.0.1:8000, or neither."
        )


def open_workbench(run: RunDirectory, reporter: Reporter, servers: Sequence[str] = ()) -> Workbench:
    """A workbench for the task that the run's config names."""
    config = run.config
    task = open_task(config)
    saved = run.path / "models" / "tokenizer"
    if not saved.exists():
        with storage.replacing(saved) as folder:
            read_tokenizer(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(saved)  # read back in every process, so that all of them save the same
    train = task.questions("train", config.num_train, config.seed, curated=True)
    models = Models(run.path / "models", config, tokenizer)
    return Workbench(run, reporter, task, read_template(config, tokenizer), train, models, tuple(servers))


def read_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The base model's, or the tiny models'.  ValueError if there is none, of which transformers makes an empty one."""
    if not config.model:
        return tiny_tokenizer()
    try:
        tokenizer, trouble = AutoTokenizer.from_pretrained(config.model), "it has no vocabulary"
    except (OSError, ValueError) as error:
        tokenizer, trouble = None, str(error)
    if tokenizer is None or not tokenizer.encode("1 + 1", add_special_tokens=False):
        raise ValueError(
            f"The model {config.model!r} comes with no tokenizer that can be read ({trouble}). Put the files that it "
            "was published with (tokenizer.json, tokenizer_config.json) beside its config.json."
        )
    return tokenizer


def read_template(config: Config, tokenizer: PreTrainedTokenizerBase) -> Template:
    return load_template(config.template, tokenizer) if config.template else Template(tokenizer, Markers())


def worked_questions(train: Sequence[Question], config: Config) -> list[tuple[Question, str]]:
    """The first `num_curated` training questions, each with its worked trace.  ValueError if some have none."""
    found = [(q, q.curated_trace) for q in train[: config.num_curated] if q.curated_trace]
    if len(found) < config.num_curated:
        others = f"num_curated {len(found)} and num_answer_only {len(train) - len(found)} use the others' answers alone"
        raise ValueError(
            f"num_curated asks for {config.num_curated} training questions with a worked trace, and {len(found)} of "
            f"these have one. Add traces to the data{f'; {others}' if found else ', for pi_0 learns from them'}."
        )
    return found


def open_task(config: Config) -> Task:
    """A built-in task, one's own ("module:Class"), or a data set, from its folder or (data "") from the hub."""
    if config.task in TASKS:
        return TASKS[config.task]()
    if ":" in config.task:
        return import_task(config.task)
    if config.task in OWN:
        return load_task(own_schema(config.task, OWN[config.task], trace="trace"), Path(config.data))
    if config.task not in SCHEMAS:
        raise ValueError(
            f"There is no task {config.task!r}; choose one of {[*TASKS, *OWN, *SCHEMAS]}, or MODULE:CLASS."
        )
    if config.data:
        return load_task(config.task, Path(config.data))
    return load_task_from_hub(config.task)
