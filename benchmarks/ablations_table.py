"""The tables of benchmarks/ablations.py: means over seeds, paired differences with 95% Student intervals.

python benchmarks/ablations_table.py [LOG]        prints the committed log, or another
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from weight_rules_table import difference, mean, table

Record = dict[str, Any]
LOG = Path(__file__).parent / "results" / "ablations.json"


def show(records: Sequence[Record]) -> None:
    for part, split in sorted({(record["name"], record["split"]) for record in records}):
        own = [record for record in records if (record["name"], record["split"]) == (part, split)]
        if part == "rules":
            print(table(own))
            continue
        seeds = ", ".join(str(record["seed"]) for record in own)
        print(f"\n{part}, {split} questions, {len(own)} seeds ({seeds})")
        for name, lines in TABLES.items():
            if name in own[0]:
                print("\n".join(lines(own)))


def scores(records: Sequence[Record]) -> list[str]:
    """Per cent; every arm against vr.  A single seed has no interval and supports no claim."""
    hardest = max(level for level in records[0]["scores"]["pi0"] if level != "all")
    names = ("all avg", "all pass", "hardest avg", "hardest pass")
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in names) + f"{'minus vr':>24}{'minus rft':>24}"]
    for arm in records[0]["scores"]:
        cells = [
            mean(records, lambda record, arm=arm, level=level, kind=kind: record["scores"][arm][level][kind])
            for level in ("all", hardest)
            for kind in ("avg", "pass")
        ]
        paired = [difference(records, arm, other) for other in ("vr", "rft")]
        lines.append(f"{arm:18}" + "".join(f"{c:>14}" for c in cells) + "".join(f"{c:>24}" for c in paired))
    return lines


def figures(name: str, columns: Sequence[str]) -> Callable[[Sequence[Record]], list[str]]:
    """A table of one entry of the records, a row for each of its names, plain means over the seeds."""

    def lines(records: Sequence[Record]) -> list[str]:
        head = f"{name:18}" + "".join(f"{column:>18}" for column in columns)
        return [head, *(f"{row:18}" + "".join(cell(records, row, c) for c in columns) for row in records[0][name])]

    def cell(records: Sequence[Record], row: str, column: str) -> str:
        found = [record[name][row].get(column) for record in records]
        return f"{statistics.mean(found):>18.3f}" if None not in found else f"{'-':>18}"

    return lines


TABLES = {
    "scores": scores,
    "lie": figures("lie", ("ess", "max_weight", "total_variation", "heaviest_changed", "length", "hint_copied")),
    "solved": figures("solved", ("traces", "answers")),
    "leaks": figures("leaks", ("hint_copied", "leaked_nats", "mean_tokens", "distinct", "log_ratio")),
    "diversity": figures("diversity", ("distinct_correct", "distinct_traces", "entropy", "length")),
}


if __name__ == "__main__":
    log = Path(sys.argv[1]) if len(sys.argv) > 1 else LOG
    show(json.loads(log.read_text(encoding="utf-8"))["runs"])
