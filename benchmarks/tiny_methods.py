"""All methods on the tiny preset, over seeds and in both regimes: the long version of ``make demo``.

    python benchmarks/tiny_methods.py            8 + 5 seeds; writes benchmarks/results/tiny_methods.json
    python benchmarks/tiny_methods.py --regimes tiny=1 --out /somewhere.json

"tiny" has few curated traces and many questions with only an answer; in "tiny-one-set" every training question has a
curated trace.  Every seed has its own training, weights and test questions.  Runs live in runs/tiny_methods/ and are
continued if the command is repeated.  Two intervals are printed for every paired difference: Student's t over the means
of the seeds (training varies, the honest one for a claim about the method) and a bootstrap over all questions (these
trained models only).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

METHODS = "sft,rft,nohint,accuracy,direct,vr"
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # Student's t


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=1, help="the demo uses 0; the log uses questions of its own")
    parser.add_argument("--regimes", default="tiny=8,tiny-one-set=5", help="preset=number of seeds, comma-separated")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 1)), help="runs at a time, one thread each"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/tiny_methods"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tiny_methods.json")
    arguments = parser.parse_args()
    regimes = {name: int(count) for name, _, count in (part.partition("=") for part in arguments.regimes.split(","))}
    jobs = [(name, arguments.first_seed + i) for name, count in regimes.items() for i in range(count)]
    with ThreadPoolExecutor(arguments.workers) as pool:
        results = dict(zip(jobs, pool.map(lambda job: one_run(*job, arguments.runs), jobs), strict=True))
    log = {
        "command": "python benchmarks/tiny_methods.py",
        "date": datetime.date.today().isoformat(),
        "environment": json.loads((arguments.runs / f"{jobs[0][0]}-{jobs[0][1]}" / "environment.json").read_text()),
        "regimes": {regime: summary([results[job] for job in jobs if job[0] == regime]) for regime in regimes},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(log, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for regime, found in log["regimes"].items():
        show(regime, found)


def one_run(regime: str, seed: int, runs: Path) -> dict:
    """A run in a process of its own, on one thread, so that several can share the machine."""
    command = [sys.executable, "-m", "varcore.cli", "run", "--preset", regime, "--seed", str(seed), "--json"]
    command += ["--methods", METHODS, "--threads", "1", "--out", str(runs / f"{regime}-{seed}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    print(f"done: {regime}, seed {seed}", flush=True)
    return json.loads(done.stdout)


def summary(results: list[dict]) -> dict:
    """Means over seeds of every score, and both intervals of every paired difference."""
    groups = ("all", *sorted(results[0]["levels"]))
    kinds = ("avg", "pass")
    return {
        "seeds": [result["seed"] for result in results],
        "k": results[0]["methods"]["pi0"]["k"],
        "questions_per_seed": results[0]["questions"],
        "methods": {
            method: {
                g: {kind: over_seeds([r["methods"][method][g][kind] for r in results]) for kind in kinds}
                for g in groups
            }
            for method in results[0]["methods"]
        },
        "differences": {
            pair: {
                g: {kind: over_seeds([r["differences"][pair][g][kind] for r in results]) for kind in kinds}
                for g in groups
            }
            for pair in results[0]["differences"]
        },
        "spent": {
            method: {name: statistics.mean(r["spent"][method][name] for r in results) for name in costs}
            for method, costs in results[0]["spent"].items()
        },
        "per_seed": results,
    }


def student_half_width(values: Sequence[float]) -> float:
    """Of the 95% Student interval for the mean; infinite for one value."""
    count = len(values)
    return T_975[count - 1] * statistics.stdev(values) / math.sqrt(count) if count > 1 else math.inf


def over_seeds(cells: list[dict[str, float]]) -> dict[str, float]:
    """Mean over seeds; "t": 95% Student interval over the seeds' means; "questions": 95% over questions, seeds fixed.

    The second combines the seeds' bootstrap intervals as independent: half-widths add in squares.
    """
    means = [cell["mean"] for cell in cells]
    mean, count = statistics.mean(means), len(means)
    spread = student_half_width(means)
    questions = math.sqrt(sum(((cell["high"] - cell["low"]) / 2) ** 2 for cell in cells)) / count
    return {"mean": mean, "low": mean - spread, "high": mean + spread, "question_half_width": questions}


def show(regime: str, found: dict) -> None:
    k, groups = found["k"], [g for g in found["methods"]["pi0"]]
    hardest = groups[-1]
    print(f"\n{regime}: {len(found['seeds'])} seeds, {found['questions_per_seed']} test questions each, per cent")
    columns = [("all", "avg"), ("all", "pass"), (hardest, "avg"), (hardest, "pass")]
    header = [f"Avg@{k}", f"Pass@{k}", f"hardest Avg@{k}", f"hardest Pass@{k}"]
    print(f"{'':16}" + "".join(f"{name:>24}" for name in header) + f"{'TFLOPs':>10}")
    for method, scores in found["methods"].items():
        cells = "".join(f"{percent(scores[g][kind]):>24}" for g, kind in columns)
        print(f"{method:16}{cells}{found['spent'][method]['flops'] / 1e12:>10.2f}")
    print("paired differences: mean [t interval over seeds] +- half-width over questions")
    for pair, groups_ in found["differences"].items():
        cells = "".join(f"{with_half_width(groups_[g][kind]):>32}" for g, kind in columns)
        print(f"{pair:16}{cells}")


def with_half_width(cell: dict[str, float]) -> str:
    return f"{percent(cell, '+')} +-{100 * cell['question_half_width']:.1f}"


def percent(cell: dict[str, float], sign: str = "") -> str:
    return f"{100 * cell['mean']:{sign}.1f} [{100 * cell['low']:{sign}.1f}, {100 * cell['high']:{sign}.1f}]"


if __name__ == "__main__":
    main()
