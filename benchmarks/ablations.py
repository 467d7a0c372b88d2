"""The questions the paper left open, and its own ablations, on the preset "tiny": one reasoner for every variant.

    python benchmarks/ablations.py                       every part, 5 seeds; continues where it was stopped
    python benchmarks/ablations.py --parts hints --seeds 9 --split validation --out /somewhere.json

A seed's pi_0, q and traces are made once, by the stages of Algorithm 1 (varcore.llm.algorithm), in runs/ablations/.
Every arm is then trained from that pi_0 with the same number of steps and evaluated on the same fresh questions.

Parts, each a record of its own per seed in the log:
    weights     the methods of the runner; exponents 0, 0.2, 1/|z| ("vr") and 1 on the trace ratio pi/q; K = 1 to 16;
                three estimators of pi(Y_x|x,z); all traces or the heaviest, with and without curated examples; how each
                rule's weights lie against the exact ones
    diversity   64 samples of 240 questions: Pass@k up to 64, distinct correct answers, entropy of a trace
    hints       q shown another question's answer, one with a changed number, the first half, or no hint, for half of
                the training questions or all
    trainings   vr's loss over the tokens of each batch instead of a constant; GRPO
    reverse     a posterior by reverse KL from pi_0 and from q, step by step: tokens, distinct traces, what it copies;
                then a reasoner from its traces
    rounds      T = 1, 2, 3, and T = 1 with the steps of three rounds; baselines with the steps and samples of three
    adapters    pi_0, q and every reasoner as LoRA adapters of rank 32 over one base, against whole models
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ablation_parts
import ablation_trainings
import ablation_variants
from ablations_table import show
from arms import Record, about, collect
from rich.console import Console

from varcore.llm import algorithm, presets
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectory
from varcore.llm.workbench import Workbench, open_workbench

PARTS = ablation_parts.PARTS | ablation_trainings.PARTS
METHODS = ["sft", "rft", "nohint", "accuracy", "direct", "vr"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join([*PARTS, *ablation_variants.VARIANTS]), help="comma-separated")
    parser.add_argument("--seeds", default="301,302,303,304,305", help="comma-separated; below 100 are the pilots'")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="of the questions at the end")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ablations.json")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    jobs = [(part, seed, arguments.split) for part in arguments.parts.split(",") for seed in seeds]
    show(collect(jobs, one_part, arguments.runs, arguments.out, arguments.workers))


def settings(seed: int, split: str, **changes: Any) -> Config:
    common = {"seed": seed, "evaluation_split": split, "methods": METHODS}
    return presets.override(presets.preset("tiny"), common | changes)


def one_part(part: str, seed: int, split: str, runs: Path) -> Record:
    """A part of one seed; continues what its run directory holds.  Only one part of a seed can run at a time."""
    path = runs / f"{split}-{seed}"
    with run(path, settings(seed, split)) as bench:
        if part in PARTS:
            return {**about(part, seed, split, path), **PARTS[part](bench)}
        changes, work = ablation_variants.VARIANTS[part]
        config, other = settings(seed, split, **changes), runs / f"{split}-{seed}-{part}"
        ablation_variants.share(bench, other, config)
        with run(other, config) as variant:
            return {**about(part, seed, split, other), **work(bench, variant)}


@contextmanager
def run(path: Path, config: Config) -> Iterator[Workbench]:
    """The workbench of a run that is finished first if it is not."""
    reporter = Reporter(Console(), quiet=True)
    algorithm.run(path, config, reporter)
    with closing(open_workbench(RunDirectory(path, config), reporter)) as bench:
        yield bench


if __name__ == "__main__":
    main()
