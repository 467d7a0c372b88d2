"""The table of benchmarks/weight_rules.py: means over seeds, paired differences with their intervals.

python benchmarks/weight_rules_table.py [LOG]        prints the committed log, or another
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiny_methods import student_half_width

Run = dict[str, Any]
LOG = Path(__file__).parent / "results" / "weight_rules.json"


def show(runs: Sequence[Run]) -> None:
    for task, split in sorted({(run["name"], run["split"]) for run in runs}):
        print(table([run for run in runs if (run["name"], run["split"]) == (task, split)]))


def table(runs: Sequence[Run]) -> str:
    """Arms of one task and split; per cent.  A single seed has no interval and supports no claim."""
    first, hardest = runs[0], max(runs[0]["scores"]["pi0"], key=lambda level: level if level != "all" else "")
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines = ["", f"{first['name']}, {first['split']} questions, {len(runs)} seeds ({seeds}); per cent"]
    lines += [*traces(runs), *gates(runs)]
    names = ["all avg", "all pass", "hardest avg", "hardest pass", "weight on invalid"]
    lines.append(f"{'':16}" + "".join(f"{name:>15}" for name in names) + f"{'minus rft':>22}{'minus mean-ratio':>22}")
    lines += [row(runs, arm, hardest) for arm in first["scores"]]
    return "\n".join([*lines, f"pi0 at its plateau?  sft minus pi0: {difference(runs, 'sft', 'pi0')}"])


def row(runs: Sequence[Run], arm: str, hardest: str) -> str:
    columns = [(level, kind) for level in ("all", hardest) for kind in ("avg", "pass")]
    cells = [mean(runs, lambda run, c=c: run["scores"][arm][c[0]][c[1]]) for c in columns]
    cells.append(mean(runs, lambda run: run["weights"].get(arm, {}).get("all", {}).get("invalid")))
    paired = [difference(runs, arm, other) for other in ("rft", "mean-ratio")]
    return f"{arm:16}" + "".join(f"{cell:>15}" for cell in cells) + "".join(f"{cell:>22}" for cell in paired)


def traces(runs: Sequence[Run]) -> list[str]:
    """Accepted traces of pi_0 and q, by level."""
    lines = []
    for source in ("pi0", "q"):
        for level in runs[0]["traces"][source]:
            names = ("traces", "questions", "invalid", "last_invalid", "questions_only_invalid")
            cells = [mean(runs, lambda run, n=n, s=source, g=level: run["traces"][s][g].get(n)) for n in names]
            words = "accepted {}, questions with one {}; invalid step {}, invalid last step {}, only such {}".format(
                *cells
            )
            lines.append(f"  {source}, level {level}: {words}")
    return lines


def gates(runs: Sequence[Run]) -> list[str]:
    limits = [(run["thresholds"]["sum"], run["thresholds"]["token"]) for run in runs]
    return ["  gates, nats (sum, worst token): " + "; ".join(f"{total:.1f}, {worst:.1f}" for total, worst in limits)]


def mean(runs: Sequence[Run], read: Callable[[Run], float | None]) -> str:
    found = [value for run in runs if (value := read(run)) is not None]
    return f"{100 * statistics.mean(found):.1f}" if found else "-"


def difference(runs: Sequence[Run], arm: str, other: str) -> str:
    """Paired over seeds: mean [95% Student interval]."""
    values = [run["scores"][arm]["all"]["avg"] - run["scores"][other]["all"]["avg"] for run in runs]
    middle, low, high = interval(values)
    return f"{100 * middle:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95% Student interval; infinite for one value."""
    middle, half = statistics.mean(values), student_half_width(values)
    return middle, middle - half, middle + half


if __name__ == "__main__":
    log = Path(sys.argv[1]) if len(sys.argv) > 1 else LOG
    show(json.loads(log.read_text(encoding="utf-8"))["runs"])
