"""What the long experiments share: arms trained from one pi_0, their scores, and a log that grows record by record."""

from __future__ import annotations

import datetime
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from varcore.evaluation import pass_at_k
from varcore.llm import comparison, stages, storage, training_sets
from varcore.llm.training import Example
from varcore.llm.workbench import Workbench

Job = tuple[str, int, str]  # name, seed, split
Record = dict[str, Any]


def collect(jobs: Sequence[Job], work: Callable[..., Record], runs: Path, out: Path, workers: int) -> list[Record]:
    """Do the jobs that the log `out` does not hold, `workers` at a time with one thread each; all of the jobs' records.

    `work` is called as work(name, seed, split, runs).  The log gets every finished record at once and is written whole
    or not at all, so that a command that was stopped and repeated does what is missing.
    """
    have = {key(record) for record in finished(out)}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
    with pool:
        for done in as_completed([pool.submit(work, *job, runs) for job in jobs if job not in have]):
            records = [*finished(out), done.result()]
            storage.write_json(out, {"runs": sorted(records, key=key)})
            print("done: {}, seed {}, {}".format(*key(done.result())), flush=True)
    return [record for record in finished(out) if key(record) in jobs]


def finished(out: Path) -> list[Record]:
    return storage.read_json(out)["runs"] if out.exists() else []


def key(record: Record) -> Job:
    return record["name"], record["seed"], record["split"]


def about(name: str, seed: int, split: str, run: Path) -> Record:
    """What says which record this is, when and where it was made."""
    return {
        "name": name,
        "seed": seed,
        "split": split,
        "date": datetime.date.today().isoformat(),
        "environment": storage.read_json(run / "environment.json"),
    }


def train_and_evaluate(bench: Workbench, role: str, examples: list[Example], *, mixed: bool = True) -> None:
    """An arm from pi_0 with the steps of every method, unless the run directory holds it; curated examples mixed in."""
    if bench.run.done(role):
        return
    began = time.perf_counter()
    examples = (training_sets.curated_examples(bench) if mixed else []) + examples
    cost, metrics = stages.train_reasoner(bench, role, "pi0", examples, bench.config.reasoner)
    comparison.evaluate(bench, role, comparison.held_out(bench.config))
    bench.run.finish(role, cost, time.perf_counter() - began, metrics)


def by_level(levels: Sequence[int]) -> dict[str, list[int]]:
    """Row numbers of all and of each level."""
    groups = {"all": list(range(len(levels)))}
    return groups | {str(level): [i for i, own in enumerate(levels) if own == level] for level in sorted(set(levels))}


def scores(bench: Workbench, role: str) -> dict[str, dict[str, float]]:
    """Per level: Avg@k and Pass@k, means over the held-out questions."""
    where = comparison.held_out(bench.config)
    correct, levels = comparison.correct_matrix(bench, role, where)
    solved = pass_at_k(where.samples, correct.sum(-1), where.samples)
    return {
        level: {"avg": correct[rows].mean().item(), "pass": solved[rows].mean().item()}
        for level, rows in by_level(levels.tolist()).items()
    }
