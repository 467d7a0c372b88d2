"""How long a slider of the trace-weight explorer takes to redraw K = 64 traces, beside bars that are only moved.

    python benchmarks/redraw.py [--rounds 40]

Ours is all that Python does when the exponent moves: weigh the traces, write their table, make the picture, hand it to
the live figure; the browser's part comes on top.  The peer hands the same 64 bars, weighed beforehand, to a bare
FigureWidget.  Both take turns in one process on one thread; the ratio is of medians.  Goal: at most 150 ms on a free
core.  Processor time stands beside it for a machine that has other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import torch

from varcore.llm import ledger
from varcore.viz import widgets

K, QUESTIONS, REPEATS, GOAL = 64, 16, 8, 150  # a trace repeats a toy trace's tokens so many times; ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    table = long_ledger()
    box = widgets.trace_weight_explorer(table)
    exponent: Any = next(child for child in box.children if getattr(child, "description", "") == "exponent")
    live: Any = next(child for child in box.children if hasattr(child, "data"))
    bars: Any = go.FigureWidget(live.to_dict())
    ours, bare = [], []
    for turn in range(rounds + 1):
        value = exponent.options[turn % len(exponent.options)]
        ours.append(timed(lambda value=value: setattr(exponent, "value", value)))
        bare.append(timed(lambda: move(bars, live.data[0].x, live.data[0].text)))
        assert bars.data[0].x == live.data[0].x  # the same work, or no comparison
    print(f"exponent to redraw, K = {K}, {len(table):,} rows in the ledger, one thread, medians of {rounds}")
    for index, kind in enumerate((f"wall (goal {GOAL} ms)", "processor")):
        fast, slow = (1e3 * statistics.median(times[index] for times in side[1:]) for side in (ours, bare))
        print(f"  {kind:20}{fast:>7.1f} ms   bare{slow:>7.2f} ms   ratio {fast / slow:.0f}")


def long_ledger() -> pa.Table:
    """QUESTIONS questions of K traces with up to 96 tokens each, made of the toy ledger's traces."""
    toy = widgets.toy_ledger().to_pylist()[:5]
    rows = []
    for question in range(QUESTIONS):
        for k in range(K):
            row = toy[k % len(toy)] | {"question_id": f"question {question}", "trace_index": k}
            row |= {name: REPEATS * row[name] for name in ("trace_ids", "log_pi", "log_q")}
            row["log_pi"] = [value - 0.001 * k for value in row["log_pi"]]  # no two weights alike
            rows.append(row)
    return ledger.from_rows(rows)


def move(bars: Any, weights: tuple[float, ...], texts: tuple[str, ...]) -> None:
    with bars.batch_update():
        bars.data[0].update(x=weights, text=texts)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of this process's processor time."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked


if __name__ == "__main__":
    main()
