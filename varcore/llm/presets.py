"""Named settings of a whole run.  A run directory keeps its own in config.json."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from varcore.llm.shapes import QWEN3
from varcore.llm.training import TrainSettings
from varcore.llm.weighing import WeightRule

METHODS = {
    "sft": "more of pi_0's own training, on the same curated data",
    "rft": "rejection sampling: every correct trace of pi_0, as many samples as vr spends",
    "grpo": "reinforcement learning on pi_0's own verdicts, as many rollouts as vr draws traces",
    "nohint": "vr's pipeline with traces from pi_0 instead of q",
    "accuracy": "vr with the ratio pi/q left out (exponent 0)",
    "direct": "the reference answer itself, written as a trace: what a posterior that only leaks would give",
    "vr": "variational reasoning (Algorithm 1)",
}
DTYPES = ("float32", "bfloat16")
POSTERIOR_DATA = ("curated", "own", "both")
ENGINES = ("transformers", "vllm", "server")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's result, the seed included.

    num_curated, num_answer_only: training questions with a curated trace, and with only a reference answer.
    prior_traces, posterior_traces, answers: M, K and N of the method sheet, per question.
    temperature: of every draw; log pi and log q are taken at it too.  pi and q are the tempered models.
    mix_curated: add the curated examples (weight 1) to every method's own training data.
    task: a built-in task, one's own as "module:Class", or the name of a data set (docs/data.md) whose file is in the
        folder `data`.
    model: folder or hub name of a base model; "" trains a tiny one from nothing.
    template: name or .toml file of the texts around question, trace and answer; "" is the tiny model's.
    lora_rank: 0 finetunes all weights; otherwise every role is a LoRA adapter of this rank over one frozen base.
    posterior_data: forward-KL data for q: the reasoner's "own" correct traces (Eq. 9), "curated" traces, or "both".
    grpo_learning_rate_factor: GRPO's learning rates as a share of the reasoner's, which are those of finetuning.
    engine: what draws traces and answers: "transformers", "vllm" or "server" (vllm serve; each command says where).
    """

    seed: int = 0
    task: str = "countdown"
    data: str = ""
    model: str = ""
    template: str = ""
    dtype: str = "float32"
    lora_rank: int = 0
    methods: tuple[str, ...] = ("sft", "rft", "vr")
    rounds: int = 1
    num_curated: int = 1200
    num_answer_only: int = 1200
    num_validation: int = 400
    num_test: int = 800
    evaluation_split: str = "test"
    evaluation_samples: int = 8
    evaluation_temperature: float = 0.7
    prior_traces: int = 8
    posterior_traces: int = 8
    answers: int = 2
    temperature: float = 0.7
    max_trace_tokens: int = 72
    max_answer_tokens: int = 16
    posterior_data: str = "both"
    mix_curated: bool = True
    rule: WeightRule = field(default_factory=WeightRule)
    corpus_texts: int = 64_000
    base: TrainSettings = field(
        default_factory=lambda: TrainSettings(2000, learning_rate=1e-2, muon_learning_rate=3e-2)
    )
    initial: TrainSettings = field(default_factory=lambda: TrainSettings(300, learning_rate=5e-3))
    posterior: TrainSettings = field(
        default_factory=lambda: TrainSettings(500, learning_rate=1e-2, muon_learning_rate=3e-2)
    )
    reasoner: TrainSettings = field(default_factory=lambda: TrainSettings(400, learning_rate=5e-3))
    grpo_learning_rate_factor: float = 0.1
    shard_questions: int = 1024
    batch_size: int = 1024
    engine: str = "transformers"

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods or len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods must be different names out of {list(METHODS)}, got {list(self.methods)}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {list(DTYPES)}, got {self.dtype!r}.")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank must be 0 (all weights learn) or a rank, got {self.lora_rank}.")
        if self.posterior_data not in POSTERIOR_DATA:
            raise ValueError(f"posterior_data must be one of {list(POSTERIOR_DATA)}, got {self.posterior_data!r}.")
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {list(ENGINES)}, got {self.engine!r}.")
        if "grpo" in self.methods:
            _check_grpo(self.engine, self.prior_traces)
        if self.evaluation_split not in ("validation", "test"):
            raise ValueError(f"evaluation_split must be validation or test, got {self.evaluation_split!r}.")
        for name in ("rounds", "num_curated", "num_test", "prior_traces", "posterior_traces", "answers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.num_held_out < 2:
            raise ValueError(
                f"An interval needs at least 2 {self.evaluation_split} questions, got {self.num_held_out}."
            )
        if min(self.temperature, self.evaluation_temperature) <= 0:
            raise ValueError(f"temperatures must be > 0, got {self.temperature} and {self.evaluation_temperature}.")

    @property
    def num_held_out(self) -> int:
        return self.num_test if self.evaluation_split == "test" else self.num_validation

    @property
    def num_train(self) -> int:
        return self.num_curated + self.num_answer_only


def _check_grpo(engine: str, prior_traces: int) -> None:
    if engine != "transformers":
        raise ValueError(
            f"grpo draws from weights that change at every step, and the engine {engine} reads saved ones. Use "
            "--engine transformers, or leave grpo out of the methods."
        )
    if prior_traces < 2:
        raise ValueError(
            f"grpo compares the prior_traces rollouts of a question with each other and needs at least 2, got "
            f"{prior_traces}. Set prior_traces to 2 or more, or leave grpo out of the methods."
        )


PAPER = TrainSettings(  # Zhou et al.: batch, AdamW, cosine with warmup, clipping, epochs as steps
    steps=0, learning_rate=1e-5, muon=False, clip=1.0, micro_batch_size=1, gradient_checkpointing=True, save_every=100
)
QUESTIONS_17K, QUESTIONS_1K = 15_000, 1_000  # of the training part of Bespoke-Stratos-17k


def _epochs(examples: int, epochs: int, batch: int) -> int:
    return math.ceil(examples * epochs / batch)


def _qwen3_17k(model: str) -> Config:
    """The paper's large setting: of each question the heaviest trace, mixed with the original data."""
    reasoner = dataclasses.replace(PAPER, betas=(0.9, 0.999), warmup=0.1)
    return Config(
        methods=("sft", "vr"),
        task="bespoke-stratos-17k",
        data="data",
        model=model,
        template="thought-solution-pb",
        dtype="bfloat16",
        engine="vllm",
        num_curated=QUESTIONS_17K,
        num_answer_only=0,
        num_validation=200,
        num_test=200,
        answers=8,
        max_trace_tokens=16_384,
        max_answer_tokens=4_096,
        posterior_data="curated",
        rule=WeightRule(selection="argmax"),
        initial=dataclasses.replace(reasoner, batch_size=96, steps=_epochs(QUESTIONS_17K, 3, 96)),
        posterior=dataclasses.replace(
            PAPER, batch_size=16, weight_decay=1e-4, warmup=0.05, steps=_epochs(QUESTIONS_17K, 10, 16)
        ),
        reasoner=dataclasses.replace(reasoner, batch_size=192, steps=_epochs(2 * QUESTIONS_17K, 3, 192)),
        shard_questions=64,
    )


def _qwen3_1k(model: str) -> Config:
    """The paper's small setting: all K traces with their weights, nothing mixed in."""
    small = dataclasses.replace(PAPER, batch_size=16, weight_decay=1e-4, warmup=0.05)
    return dataclasses.replace(
        _qwen3_17k(model),
        num_curated=QUESTIONS_1K,
        mix_curated=False,
        rule=WeightRule(),
        initial=dataclasses.replace(small, steps=_epochs(QUESTIONS_1K, 5, 16)),
        posterior=dataclasses.replace(small, steps=_epochs(QUESTIONS_1K, 10, 16)),
        reasoner=dataclasses.replace(small, steps=_epochs(8 * QUESTIONS_1K, 5, 16)),
    )


PRESETS = {
    "tiny": Config(),
    "tiny-one-set": Config(num_curated=2400, num_answer_only=0),
}
for _name, (_hub, *_) in QWEN3.items():
    PRESETS |= {_name: _qwen3_17k(_hub), f"{_name}-1k": _qwen3_1k(_hub)}


def preset(name: str) -> Config:
    """The settings called `name`; ValueError lists the names."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; choose one of {list(PRESETS)}.")
    return PRESETS[name]


def to_dict(config: Config) -> dict[str, Any]:
    """Plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def override(config: Config, changes: dict[str, Any]) -> Config:
    """`config` with nested `changes`: ``{"methods": ["vr"], "reasoner": {"steps": 100}}``.

    Raises ValueError for a name that Config, TrainSettings or WeightRule does not have.
    """
    return _override(config, changes, "config")


def _override(settings: Any, changes: Any, where: str) -> Any:
    if not isinstance(changes, dict):
        raise ValueError(f"{where} must be an object of settings, got {changes!r}.")
    names = {f.name for f in dataclasses.fields(settings)}
    unknown = set(changes) - names
    if unknown:
        raise ValueError(f"{where} has no setting {sorted(unknown)}; it has {sorted(names)}.")
    values = {}
    for name, value in changes.items():
        old = getattr(settings, name)
        if dataclasses.is_dataclass(old):
            value = _override(old, value, f"{where}.{name}")
        values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return dataclasses.replace(settings, **values)
    except TypeError as error:
        raise ValueError(f"{where}: a setting has the wrong type ({error}) in {changes!r}.") from error
