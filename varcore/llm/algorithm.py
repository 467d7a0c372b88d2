"""Algorithm 1 as resumable stages over a run directory.

    base -> pi0 -> [ sample-prior -> train-posterior -> sample-posterior -> score -> verify -> weigh
                     -> train-reasoner ] x T
    and, beside it, the baselines from the same pi0 with the same number of optimiser steps; then evaluate, compare

`stages` lists a run's stages in order; `run` does those that are not done.  Calling `run` again continues.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers.utils import logging as transformers_logging

from varcore.llm import comparison, grpo, ledger, processes, stages, storage, training_sets
from varcore.llm.inputs import check_inputs
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import Cost, RunDirectory, RunDirectoryError, load_config
from varcore.llm.training import Example, TrainSettings, check_batch
from varcore.llm.weighing import WeightRule, compare, training_examples, weigh
from varcore.llm.workbench import Metrics, Workbench, check_engine, open_workbench


@dataclass(frozen=True)
class Stage:
    """A named step; `work` is called with the workbench and returns its cost and metrics."""

    name: str
    explanation: str
    work: Callable[[Workbench], tuple[Cost, Metrics]]


def run(path: Path, config: Config, reporter: Reporter, servers: Sequence[str] = ()) -> dict[str, Any]:
    """Do every stage of `config` that `path` does not hold yet; returns the results (also in results.json).

    The same config gives the same ledger, models and results on the same machine and thread count, also when the
    process was killed on the way and the call repeated.  `servers` are the addresses for the engine "server"; they may
    be others each time.  Raises RunDirectoryError, StorageError or EngineError with nothing damaged,
    and, before a new `path` is made, ValueError for what `check_inputs` finds.
    """
    transformers_logging.disable_progress_bar()
    _check_processes(config)
    check_engine(config, servers)
    if not (path / "config.json").exists():
        check_inputs(config)
    with closing(_open(path, config, reporter, servers)) as bench:
        directory = bench.run
        for stage in plan(config):
            if not directory.done(stage.name):
                began = time.perf_counter()
                with reporter.stage(stage.name, stage.explanation):
                    cost, metrics = stage.work(bench)
                processes.state().wait_for_everyone()
                directory.finish(stage.name, cost, time.perf_counter() - began, metrics)
        return comparison.write_results(bench, comparison.held_out(config))


def evaluate_again(
    path: Path,
    reporter: Reporter,
    *,
    split: str,
    questions: int,
    samples: int,
    seed: int,
    servers: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate the models of a finished run on other held-out questions; written to RUN/evaluation-SPLIT-SEED/.

    The run itself is left as it is.  Raises RunDirectoryError if `path` holds no run or one that is not finished.
    """
    transformers_logging.disable_progress_bar()
    config = load_config(path)
    check_engine(config, servers)
    with closing(_open(path, config, reporter, servers)) as bench:
        missing = [stage.name for stage in plan(config) if not bench.run.done(stage.name)]
        if missing:
            raise RunDirectoryError(f"{path} is not finished: {missing[0]} is next. Run varcore run on it first.")
        held_out = comparison.HeldOut(split, questions, samples, seed, f"evaluation-{split}-{seed}")
        for role in ("pi0", *config.methods):
            with reporter.stage(f"evaluate-{role}", f"{questions} {split} questions, {samples} samples each"):
                comparison.evaluate(bench, role, held_out)
        return comparison.write_results(bench, held_out)


def _check_processes(config: Config) -> None:
    """ValueError if several processes were started for what one has to do, or more than can share a batch."""
    count = processes.state().num_processes
    if count > 1 and "grpo" in config.methods:
        raise ValueError(
            f"grpo draws and trains in turn in one process, and {count} were started. Start without accelerate launch, "
            "or leave grpo out of the methods."
        )
    if count > 1 and config.engine == "vllm":
        raise ValueError(
            f"The engine vllm draws inside one process, and {count} were started. Use --engine server with vllm serve "
            "on other GPUs, or --engine transformers."
        )
    for settings in trainings(config).values():
        check_batch(settings, count)


def _open(path: Path, config: Config, reporter: Reporter, servers: Sequence[str]) -> Workbench:
    """The workbench of this process; where there are several, the main one opens the run directory first."""
    state = processes.state()
    reporter.quiet = reporter.quiet or not state.is_main_process
    with state.main_process_first():
        directory = RunDirectory(path, config, writes=state.is_main_process)
        try:
            return open_workbench(directory, reporter, servers)
        except BaseException:
            directory.close()
            raise


def compare_rules(path: Path, own: WeightRule, other: WeightRule) -> dict[str, Any]:
    """Two weight rules on the last round's posterior traces: {"own": ..., "other": ..., "moved": RuleComparison}."""
    config = load_config(path)
    files = sorted((path / "ledger").glob(f"round{config.rounds}-posterior-*.parquet"))
    if not files:
        raise RunDirectoryError(f"{path} has no posterior traces yet. Let the run reach its stage weigh first.")
    table = pa.concat_tables([ledger.check(storage.read_table(file)) for file in files])
    (ours, summary), (theirs, others) = (weigh(table, rule, config.seed) for rule in (own, other))
    return {"own": summary, "other": others, "moved": compare(ours, theirs)}


def plan(config: Config) -> Iterator[Stage]:
    """The stages of a run, in order."""
    yield Stage("base", "a tiny Qwen3 reads practice texts", stages.train_base)
    yield Stage("init-reasoner", f"pi0 learns {config.num_curated} curated traces", stages.train_initial_reasoner)
    methods = set(config.methods)
    start = "pi0"
    for t in range(1, config.rounds + 1):
        start = yield from _round(config, t, start)
    if methods & {"rft", "nohint"}:
        # VR draws M + K traces a question and round; sample-prior drew the first M of rejection sampling's share
        count = config.posterior_traces * config.rounds + config.prior_traces * (config.rounds - 1)
        yield _sample("sample-extra", 1, "extra", "pi0", count)
        yield _verify("verify-extra", 1, "extra", "pi0")
    if "nohint" in methods:
        yield Stage("score-extra", "log pi of pi0's own traces", lambda b: stages.score_traces(b, 1, "extra", "pi0"))
    for method in config.methods:
        if method == "grpo":
            yield _grpo(config)
        elif method not in ("vr", "accuracy"):
            yield _train(config, method, method, "pi0", config.rounds)
    for method in ("pi0", *config.methods):
        held_out = comparison.held_out(config)
        text = f"{held_out.questions} {held_out.split} questions, {held_out.samples} samples each"
        yield Stage(f"evaluate-{method}", text, _evaluate(method))


def trainings(config: Config) -> dict[str, TrainSettings]:
    """The settings of every training of a run, by its stage; each leaves one model.

    A baseline of a run of several rounds is trained once, with as many steps as vr has in all rounds.
    """
    kinds = {"init-reasoner": config.initial, "train-posterior": config.posterior, "train-reasoner": config.reasoner}
    kinds |= {} if config.model else {"base": config.base}
    long = dataclasses.replace(config.reasoner, steps=config.reasoner.steps * config.rounds)
    kinds |= {f"train-reasoner-{method}": long for method in set(config.methods) - {"vr", "accuracy"}}
    kinds |= {"train-reasoner-grpo": grpo.policy_settings(config)} if "grpo" in config.methods else {}
    names = [stage.name for stage in plan(config)]
    return {name: kinds[kind] for name in names for kind in (_kind(name, kinds),) if kind is not None}


def _kind(name: str, kinds: Iterable[str]) -> str | None:
    return max((kind for kind in kinds if name.startswith(kind)), key=len, default=None)


def _round(config: Config, t: int, start: str) -> Iterator[Stage]:
    """One round from the reasoner `start`; returns the role of the reasoner it ends with."""
    hinted = bool(set(config.methods) & {"vr", "accuracy"})
    if "rft" in config.methods or (hinted and config.posterior_data != "curated"):  # who learns from them
        yield _sample(f"sample-prior-{t}", t, "prior", start, config.prior_traces)
        yield _verify(f"verify-prior-{t}", t, "prior", start)
    if not hinted:
        return start
    yield Stage(
        f"train-posterior-{t}",
        f"q learns to use the hint ({config.posterior_data} traces)",
        lambda b: stages.train_posterior(b, t, start),
    )
    yield _sample(f"sample-posterior-{t}", t, "posterior", f"q{t}", config.posterior_traces)
    yield Stage(f"score-{t}", "log pi of every trace of q", lambda b: stages.score_traces(b, t, "posterior", start))
    yield _verify(f"verify-{t}", t, "posterior", start)
    yield Stage(f"weigh-{t}", "importance weights", lambda b: stages.weigh_traces(b, t, "posterior"))
    for method in config.methods:
        if method == "vr" or (method == "accuracy" and t == config.rounds):
            last = method if t == config.rounds else f"{method}-round{t}"
            yield _train(config, method, last, start, 1, t)
    return f"vr-round{t}" if "vr" in config.methods and t < config.rounds else start


def _sample(name: str, t: int, source: str, role: str, count: int) -> Stage:
    text = f"{role} draws {count} traces a question" + (", hint shown" if source == "posterior" else "")
    return Stage(name, text, lambda b: stages.sample_traces(b, t, source, role, count))


def _verify(name: str, t: int, source: str, role: str) -> Stage:
    return Stage(name, f"{role} answers after every trace", lambda b: stages.verify_traces(b, t, source, role))


def _evaluate(method: str) -> Callable[[Workbench], tuple[Cost, Metrics]]:
    return lambda b: comparison.evaluate(b, method, comparison.held_out(b.config))


def _train(config: Config, method: str, role: str, start: str, rounds: int, t: int = 1) -> Stage:
    """Every method takes the same number of optimiser steps in all; several rounds give the baselines as many more."""
    settings = dataclasses.replace(config.reasoner, steps=config.reasoner.steps * rounds)
    return Stage(
        f"train-reasoner-{role}",
        f"{settings.steps} steps from {start}",
        lambda b: stages.train_reasoner(b, role, start, training_set(b, method, t), settings),
    )


def _grpo(config: Config) -> Stage:
    settings = grpo.policy_settings(config)
    text = f"{settings.steps} steps of {settings.batch_size} rollouts from pi0"
    return Stage("train-reasoner-grpo", text, lambda b: grpo.train_policy(b, "grpo", "pi0"))


def training_set(bench: Workbench, method: str, t: int) -> list[Example]:
    """A method's weighted examples in round t, the curated ones mixed in where the config says so."""
    config = bench.config
    mixed = training_sets.curated_examples(bench) if config.mix_curated and method != "sft" else []
    return mixed + TRAINING_SETS[method](bench, t)


def _rejection(bench: Workbench, t: int) -> list[Example]:
    tables = [bench.table(1, "prior"), bench.table(1, "extra")]
    return training_sets.rejection_examples(pa.concat_tables(tables))


TRAINING_SETS: dict[str, Callable[[Workbench, int], list[Example]]] = {
    "sft": lambda b, t: training_sets.curated_examples(b),
    "rft": _rejection,
    "nohint": lambda b, t: training_sets.weighted_examples(b, b.table(1, "extra"), b.config.rule.exponent),
    "accuracy": lambda b, t: training_sets.weighted_examples(b, b.table(t, "posterior"), 0.0),
    "direct": lambda b, t: training_sets.direct_examples(b),
    "vr": lambda b, t: training_examples(b.table(t, "posterior"), b.config.rule),  # the weights that stage weigh wrote
}
