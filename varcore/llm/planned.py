"""Tokens of every stage of a run, from its settings and mean lengths: what compute.json will say, before the run."""

from __future__ import annotations

from dataclasses import dataclass

from varcore.llm.algorithm import plan, trainings
from varcore.llm.presets import Config


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt, a trace and an answer, and the longest sequence that is sampled or trained on.

    `closed`: share of the traces that come to their end; the others are as long as the limit, and nothing is drawn
    after them.
    """

    prompt: float | int
    trace: float | int
    answer: float | int
    longest: int
    closed: float | int = 1


@dataclass(frozen=True)
class StageTokens:
    """Tokens drawn one at a time, read in one pass (prompts, and sequences that are scored), and trained on."""

    name: str
    sampled: float | int = 0
    read: float | int = 0
    trained: float | int = 0


def stage_tokens(config: Config, lengths: Lengths) -> list[StageTokens]:
    """Every stage of `config`, in order.

    Every prompt, trace and answer is taken to have its mean length, a worked trace that of a drawn one, a hint that of
    an answer.
    """
    traces = {
        "prior": config.prior_traces,
        "posterior": config.posterior_traces,
        # VR draws M + K traces a question and round, and rejection sampling as many; the first M are in "prior"
        "extra": config.posterior_traces * config.rounds + config.prior_traces * (config.rounds - 1),
    }
    return [_tokens(config, lengths, traces, stage.name) for stage in plan(config)]


def _tokens(config: Config, lengths: Lengths, traces: dict[str, int], name: str) -> StageTokens:
    kind, _, rest = name.partition("-")
    source = "posterior" if kind in ("score", "verify") and rest.isdecimal() else rest.split("-")[0]
    drawn = config.num_train * traces.get(source, 0)
    asked, hint = lengths.prompt + lengths.trace, lengths.answer
    if kind == "sample":
        prompt = lengths.prompt + (hint if source == "posterior" else 0)
        return StageTokens(name, drawn * lengths.trace, config.num_train * prompt)
    if kind == "verify":
        closed = drawn * lengths.closed
        written = drawn * lengths.trace - (drawn - closed) * config.max_trace_tokens  # in those that come to their end
        return StageTokens(name, closed * config.answers * lengths.answer, closed * lengths.prompt + written)
    if kind == "score":
        return StageTokens(name, read=drawn * (asked + lengths.closed * lengths.answer))
    if kind == "evaluate":
        samples = config.num_held_out * config.evaluation_samples
        return StageTokens(name, samples * (lengths.trace + lengths.answer), config.num_held_out * lengths.prompt)
    settings = trainings(config).get(name)
    if settings is None:  # weigh, or a base that is there already
        return StageTokens(name)
    examples = settings.steps * settings.batch_size
    trained = examples * (asked + lengths.answer)
    if name == "train-reasoner-grpo":  # at most: groups that are all right or all wrong are drawn, not trained on
        groups = examples // config.prior_traces
        return StageTokens(name, examples * (lengths.trace + lengths.answer), groups * lengths.prompt, trained)
    return StageTokens(name, trained=trained)
