"""What every stage of a run works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from varcore.llm import ledger, storage
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectory
from varcore.llm.sampling import TransformersSampler
from varcore.llm.templates import Ids, Markers, Template
from varcore.llm.tiny import tiny_tokenizer
from varcore.tasks import Countdown, Question, Task

Metrics = list[dict[str, Any]]
TASKS = {"countdown": Countdown}


@dataclass
class Workbench:
    """What every stage needs: the run directory, the task's questions, the template, models by role."""

    run: RunDirectory
    reporter: Reporter
    task: Task
    template: Template
    train: list[Question]
    loaded: dict[str, PreTrainedModel] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return self.run.config

    def model(self, role: str) -> PreTrainedModel:
        """The model of a role ("base", "pi0", "q1", "vr", ...), read from the run directory and kept."""
        if role not in self.loaded:
            self.loaded[role] = AutoModelForCausalLM.from_pretrained(self.run.path / "models" / role)
        return self.loaded[role]

    def save_model(self, role: str, model: PreTrainedModel) -> None:
        with storage.replacing(self.run.path / "models" / role) as folder:
            model.save_pretrained(folder)
            self.template.tokenizer.save_pretrained(folder)
        self.loaded[role] = model

    def shard_paths(self, round_: int, source: str) -> list[Path]:
        count = -(-len(self.train) // self.config.shard_questions)
        return [self.run.path / "ledger" / f"round{round_}-{source}-{i:03d}.parquet" for i in range(count)]

    def table(self, round_: int, source: str) -> pa.Table:
        return pa.concat_tables([ledger.check(storage.read_table(p)) for p in self.shard_paths(round_, source)])

    def sampler(self, model: PreTrainedModel, stop: Ids, max_tokens: int, requests: int) -> TransformersSampler:
        config = self.config
        return TransformersSampler(
            model,
            temperature=config.temperature,
            max_tokens=max_tokens,
            stop=stop,
            batch_size=config.batch_size,
            advance=self.reporter.begin(requests, "samples"),
        )


def open_workbench(run: RunDirectory, reporter: Reporter) -> Workbench:
    """A workbench for the task that the run's config names."""
    config = run.config
    if config.task not in TASKS:
        raise ValueError(f"There is no task {config.task!r}; choose one of {sorted(TASKS)}.")
    task = TASKS[config.task]()
    saved = run.path / "models" / "tokenizer"
    if not saved.exists():
        with storage.replacing(saved) as folder:
            tiny_tokenizer().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(saved)  # read back in every process, so that all of them save the same
    train = task.questions("train", config.num_train, config.seed, curated=True)
    return Workbench(run, reporter, task, Template(tokenizer, Markers()), train)
