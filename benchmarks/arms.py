"""What the long experiments share: arms trained from one pi_0, their scores, and a log that grows record by record."""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from varcore.evaluation import pass_at_k
from varcore.llm import algorithm, comparison, stages, storage, training_sets
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import Cost, RunDirectory
from varcore.llm.training import Example
from varcore.llm.workbench import Metrics, Workbench, open_workbench

Job = tuple[str, int, str]  # name, seed, split
Record = dict[str, Any]


def collect(jobs: Sequence[Job], work: Callable[..., Record], runs: Path, out: Path, workers: int) -> list[Record]:
    """Do the jobs that the log `out` does not hold, `workers` at a time with one thread each; all of the jobs' records.

    `work` is called as work(name, seed, split, runs), and never twice at a time for one seed: its jobs may share a run
    directory.  The log gets every finished record at once and is written whole or not at all, so that a command that
    was stopped and repeated does what is missing.
    """
    have = {key(record) for record in finished(out)}
    waiting, running = [job for job in jobs if job not in have], dict[Future, Job]()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
    with pool:
        while waiting or running:
            for job in startable(waiting, running.values(), workers):
                waiting.remove(job)
                running[pool.submit(work, *job, runs)] = job
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                records = [*finished(out), done.result()]
                storage.write_json(out, {"runs": sorted(records, key=key)})
                print("done: {}, seed {}, {}".format(*key(done.result())), flush=True)
    return [record for record in finished(out) if key(record) in jobs]


def startable(waiting: Iterable[Job], running: Collection[Job], workers: int) -> list[Job]:
    """The first waiting jobs whose seed nobody works on, as many as there are workers free."""
    chosen = list(running)
    for job in waiting:
        if len(chosen) < workers and job[1] not in {seed for _, seed, _ in chosen}:
            chosen.append(job)
    return chosen[len(running) :]


def arguments(
    description: str | None, name: str, choice: str, choices: Iterable[str], seeds: str
) -> argparse.Namespace:
    """The command line of the experiment `name`: what to do (`choice`), for which seeds, and where."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{choice}", default=",".join(choices), help="comma-separated")
    parser.add_argument("--seeds", default=seeds, help="comma-separated; below 100 are the pilots'")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="of the questions at the end")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs") / name)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / f"{name}.json")
    return parser.parse_args()


@contextmanager
def finished_run(path: Path, config: Config) -> Iterator[Workbench]:
    """The workbench of a run, which is finished first if it is not."""
    reporter = Reporter(Console(), quiet=True)
    algorithm.run(path, config, reporter)
    with closing(open_workbench(RunDirectory(path, config), reporter)) as bench:
        yield bench


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


def arm(bench: Workbench, role: str, train: Callable[[], tuple[Cost, Metrics]]) -> None:
    """Train a reasoner in whatever way and evaluate it, unless the run directory holds it."""
    if bench.run.done(role):
        return
    began = time.perf_counter()
    cost, metrics = train()
    comparison.evaluate(bench, role, comparison.held_out(bench.config))
    bench.run.finish(role, cost, time.perf_counter() - began, metrics)


def train_and_evaluate(bench: Workbench, role: str, examples: list[Example], *, mixed: bool = True) -> None:
    """An arm by finetuning from pi_0 with the steps of every method; curated examples mixed in."""

    def train() -> tuple[Cost, Metrics]:
        curated = training_sets.curated_examples(bench) if mixed else []
        return stages.train_reasoner(bench, role, "pi0", curated + examples, bench.config.reasoner)

    arm(bench, role, train)


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
