"""The questions the paper left open, and its own ablations, on the preset "tiny": one reasoner for every variant.

    python benchmarks/ablations.py                       every part, 5 seeds; continues where it was stopped
    python benchmarks/ablations.py --parts hints --seeds 9 --split validation --out /somewhere.json

A seed's pi_0, q and traces are made once, by the stages of Algorithm 1 (varcore.llm.algorithm), in runs/ablations/.
Every arm is then trained from that pi_0 with the same number of steps and evaluated on the same fresh questions.

Parts, each a record of its own per seed in the log:
    weights     the methods of the runner; exponents 0, 0.2, 1/|z| ("vr") and 1 on the trace ratio pi/q; K = 1 to 16;
                three estimators of pi(Y_x|x,z); all traces or the heaviest, with and without curated examples; how each
                rule's weights lie against the exact ones
    rules       benchmarks/weight_rules.py on this task: its arms over the same traces, normalised or not, and its gates
    diversity   64 samples of 240 questions: Pass@k up to 64, distinct correct answers, entropy of a trace
    hints       q shown another question's answer, one with a changed number, the first half, or no hint, for half of
                the training questions or all
    trainings   vr's loss over the tokens of each batch instead of a constant; GRPO
    reverse     a posterior by reverse KL from pi_0 and from q, step by step: tokens, distinct traces, what it copies;
                then a reasoner from its traces
    rounds      T = 1, 2, 3, and T = 1 with the steps of three rounds; RFT with the steps and samples of three
    adapters    pi_0, q and the reasoners of VR and RFT as LoRA adapters of rank 32 over one base, against whole models
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ablation_parts
import ablation_trainings
import ablation_variants
import weight_rules
from ablations_table import show
from arms import Record, about, arguments, collect, finished_run

from varcore.llm import presets
from varcore.llm.presets import Config

PARTS = ablation_parts.PARTS | {"rules": weight_rules.measure} | ablation_trainings.PARTS
METHODS = ["sft", "rft", "nohint", "accuracy", "direct", "vr"]


def main() -> None:
    parts = [*PARTS, *ablation_variants.VARIANTS]
    asked = arguments(__doc__, "ablations", "parts", parts, "301,302,303,304,305")
    jobs = [(part, int(seed), asked.split) for part in asked.parts.split(",") for seed in asked.seeds.split(",")]
    show(collect(jobs, one_part, asked.runs, asked.out, asked.workers))


def settings(seed: int, split: str, **changes: Any) -> Config:
    common = {"seed": seed, "evaluation_split": split, "methods": METHODS}
    return presets.override(presets.preset("tiny"), common | changes)


def one_part(part: str, seed: int, split: str, runs: Path) -> Record:
    """A part of one seed; continues what its run directory holds.  Only one part of a seed can run at a time."""
    path = runs / f"{split}-{seed}"
    with finished_run(path, settings(seed, split)) as bench:
        if part in PARTS:
            return {**about(part, seed, split, path), **PARTS[part](bench)}
        changes, work = ablation_variants.VARIANTS[part]
        config, other = settings(seed, split, **changes), runs / f"{split}-{seed}-{part}"
        ablation_variants.share(bench, other, config)
        with finished_run(other, config) as variant:
            return {**about(part, seed, split, other), **work(bench, variant)}


if __name__ == "__main__":
    main()
