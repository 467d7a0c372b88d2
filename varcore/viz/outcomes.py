"""The report's sections about what came out: scores, differences, training curves, and what all of it cost."""

from __future__ import annotations

from typing import Any

from varcore.viz.figures import compute_bars, method_bars, pass_curves, training_curves
from varcore.viz.markup import (
    Html,
    code,
    details,
    escape,
    figure,
    number,
    paragraph,
    percent,
    scientific,
    section,
    strong,
    table,
)
from varcore.viz.runview import RunView
from varcore.viz.style import in_order, look

Results = dict[str, Any]
NOT_YET = "Not there yet: every reasoner has to be evaluated first."
COSTS = ("samples", "decode_tokens", "prefill_tokens", "scored_tokens", "trained_tokens", "optimizer_steps")
COST_NAMES = (
    "samples drawn",
    "tokens drawn",
    "tokens of prompts",
    "tokens scored",
    "tokens trained on",
    "optimiser steps",
)


def scores(view: RunView) -> str:
    """Avg@k and Pass@k by level, and paired differences."""
    results = view.results
    if results is None:
        return section("results", "Results", paragraph(NOT_YET, "missing"))
    return section(
        "results",
        "Results",
        figure(method_bars(results), method_bars(results, columns=1)),
        _score_table(results, "avg"),
        paragraph(_levels(results), "note"),
        figure(pass_curves(results), pass_curves(results, columns=1)),
        details("Pass@k by level", _score_table(results, "pass")),
        *_difference_tables(results),
    )


def training(view: RunView) -> str:
    rows = [row for row in view.metrics if "loss" in row]
    if not rows:
        return section("training", "Training", paragraph("Not there yet: nothing has been trained.", "missing"))
    last = {row["stage"]: row for row in rows}
    first = {row["stage"]: row for row in reversed(rows)}
    ends = table(
        "First and last step of every training",
        ["stage", "steps", "first loss", "last loss", "first gradient norm", "last gradient norm"],
        [
            [code(stage), number(last[stage]["step"] + 1)]
            + [number(end[stage][name]) for name in ("loss", "gradient_norm") for end in (first, last)]
            for stage in first
            if stage in last
        ],
    )
    note = "Losses of different methods are not comparable: they are averages over different training data."
    wide, narrow = training_curves(rows), training_curves(rows, columns=1)
    return section("training", "Training", figure(wide, narrow), paragraph(note, "note"), details("In numbers", ends))


def compute(view: RunView) -> str:
    parts = [figure(compute_bars(view.results), compute_bars(view.results, columns=1))] if view.results else []
    if view.results:
        parts.append(_spent_table(view.results))
    else:
        parts.append(paragraph("What each method spent is added up when the run is finished.", "missing"))
    seconds = sum(cost["seconds"] for cost in view.costs.values())
    flops = sum(cost["flops"] for cost in view.costs.values())
    spent = f"{number(round(seconds))} seconds and {escape(scientific(flops))} FLOPs"
    said = Html(f"All stages together{'' if view.results else ', so far'}: {spent}.")
    return section("compute", "Compute", *parts, paragraph(said), _stage_table(view))


def _score_table(results: Results, kind: str) -> str:
    methods = results["methods"]
    groups = ["all", *_level_names(results)]
    k = next(iter(methods.values()))["k"]
    name = {"avg": f"Avg@{k}: samples that are correct", "pass": f"Pass@{k}: questions solved at least once"}[kind]
    return table(
        f"{name}, in per cent with 95% intervals over questions",
        ["reasoner", *(_group(group) for group in groups)],
        [[look(role).label, *(percent(methods[role][group][kind]) for group in groups)] for role in in_order(methods)],
    )


def _difference_tables(results: Results) -> list[str]:
    differences = results["differences"]
    if not differences:
        return []
    pairs = [pair for b in in_order(results["methods"]) for pair in differences if pair.endswith(f" - {b}")]
    pairs.sort(key=lambda pair: not pair.startswith("vr "))
    k = next(iter(results["methods"].values()))["k"]
    groups = ["all", *_level_names(results)]
    tables = [
        table(
            f"Paired differences in {name}, percentage points with 95% intervals over questions",
            ["difference", *(_group(group) for group in groups)],
            [[_pair(pair), *(_difference(differences[pair][group][kind]) for group in groups)] for pair in pairs],
        )
        for kind, name in (("avg", f"Avg@{k}"), ("pass", f"Pass@{k}"))
    ]
    note = (
        "Both reasoners answer the same questions, so differences are surer than the intervals above suggest. "
        "Positive: the first one is better. Bold: the interval leaves out zero. One run is one training seed: another "
        "seed may move these numbers further, and among many differences a few leave out zero by chance."
    )
    return [
        "<h3>Who is better, question by question</h3>",
        tables[0],
        paragraph(note, "note"),
        details("In Pass@k", tables[1]),
    ]


def _difference(cell: dict[str, float]) -> str | Html:
    text = percent(cell, signed=True)
    return strong(text) if cell["low"] > 0 or cell["high"] < 0 else text


def _pair(pair: str) -> str:
    a, _, b = pair.partition(" - ")
    return f"{look(a).label} − {look(b).label}"


def _spent_table(results: Results) -> str:
    spent, methods = results["spent"], results["methods"]
    k = next(iter(methods.values()))["k"]
    return table(
        "What each method needed after π₀ (evaluation not counted)",
        ["reasoner", f"Avg@{k}, %", "FLOPs", "seconds", *COST_NAMES],
        [
            [
                look(role).label,
                f"{100 * methods[role]['all']['avg']['mean']:.1f}",
                scientific(spent[role]["flops"]),
                number(round(spent[role]["seconds"], 1)),
                *(number(spent[role][name]) for name in COSTS),
            ]
            for role in in_order(spent)
        ],
    )


def _stage_table(view: RunView) -> str:
    rows: list[list[str | Html]] = []
    for name, text in view.stages:
        cost = view.costs.get(name) if name in view.done else None
        if cost is None:
            rows.append([code(name), text, "not done", *["–"] * (1 + len(COSTS))])
        else:
            rows.append([code(name), text, number(cost["seconds"]), scientific(cost["flops"])])
            rows[-1] += [number(cost[column]) for column in COSTS]
    header = ["stage", "what it does", "seconds", "FLOPs", *COST_NAMES]
    return table("Stages in order, and what each cost", header, rows, words=(1,))


def _level_names(results: Results) -> list[str]:
    """Levels that every method was evaluated on."""
    methods = results["methods"].values()
    return [level for level in sorted(results["levels"], key=int) if all(level in method for method in methods)]


def _group(name: str) -> str:
    return "all" if name == "all" else f"level {name}"


def _levels(results: Results) -> str:
    said = (f"level {level} is {results['levels'][level]}" for level in _level_names(results))
    return f"Of the questions, {'; '.join(said)}.".replace(">=", "≥")
