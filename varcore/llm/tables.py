"""A run's results as tables and sentences for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from varcore.llm.presets import METHODS
from varcore.llm.weighing import RuleComparison, WeightRule, describe

NAMES = {
    "pi0": "pi0 (start)",
    "sft": "continued SFT",
    "rft": "RFT",
    "grpo": "GRPO",
    "nohint": "no hint",
    "accuracy": "accuracy-only",
}
NAMES |= {"direct": "direct", "vr": "VR"}
SHORT = {**NAMES, "pi0": "pi0", "sft": "SFT", "accuracy": "acc.-only"}


def show_results(console: Console, results: dict[str, Any], path: Path) -> None:
    """The score table, the paired differences, what each method spent, and what it means in words."""
    order = [role for role in NAMES if role in results["methods"]]
    results = {**results, **{part: {role: results[part][role] for role in order} for part in ("methods", "spent")}}
    console.print()
    console.print(score_table(results))
    if results["differences"]:
        console.print(difference_table(results))
    console.print(spent_table(results))
    for line in sentences(results):
        console.print(line)
    console.print(
        f"\nNext: [bold]varcore view {path}[/bold] writes the report; notebooks/00_start_here.ipynb explains it."
    )


def score_table(results: dict[str, Any]) -> Table:
    """Avg@k and Pass@k per method, in per cent, with 95% intervals over questions."""
    k, levels = results["methods"]["pi0"]["k"], sorted(results["levels"])
    table = Table(title=f"Held-out {results['split']} questions, per cent ± half a 95% interval")
    table.add_column("method", no_wrap=True)
    for name in (f"Avg@{k}", f"Pass@{k}", f"hardest\nAvg@{k}", f"hardest\nPass@{k}"):
        table.add_column(name, justify="right", no_wrap=True)
    for role, scores in results["methods"].items():
        cells = [scores[group][kind] for group in ("all", levels[-1]) for kind in ("avg", "pass")]
        table.add_row(NAMES[role], *(_cell(cell) for cell in cells), style="bold" if role == "vr" else "")
    return table


def difference_table(results: dict[str, Any]) -> Table:
    """Paired differences on the same questions, in percentage points."""
    k, levels = results["methods"]["pi0"]["k"], sorted(results["levels"])
    table = Table(title="Paired on the same questions, points ± half a 95% interval")
    table.add_column("difference", no_wrap=True)
    for name in (f"Avg@{k}", f"Pass@{k}", f"hardest\nAvg@{k}", f"hardest\nPass@{k}"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair, groups in results["differences"].items():
        cells = [groups[group][kind] for group in ("all", levels[-1]) for kind in ("avg", "pass")]
        table.add_row(" - ".join(SHORT[role] for role in pair.split(" - ")), *(_cell(cell, "+") for cell in cells))
    return table


def spent_table(results: dict[str, Any]) -> Table:
    """What each method spent after pi0."""
    table = Table(title="Spent after pi0 (evaluation not counted)")
    table.add_column("method", no_wrap=True)
    for name in ("draws", "sampled\ntokens", "trained\ntokens", "final\nsteps", "TFLOPs", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for role, cost in results["spent"].items():
        if role != "pi0":
            table.add_row(
                NAMES[role],
                f"{cost['samples']:,}",
                f"{cost['decode_tokens']:,}",
                f"{cost['trained_tokens']:,}",
                f"{cost['final_steps']:,}",
                f"{cost['flops'] / 1e12:.2f}",
                f"{cost['seconds']:.0f}",
            )
    return table


def sentences(results: dict[str, Any]) -> list[str]:
    """What happened, in words that follow from the intervals."""
    differences, hardest = results["differences"], sorted(results["levels"])[-1]
    lines = []
    if "sft - pi0" in differences:
        gain = differences["sft - pi0"]["all"]["avg"]
        lines.append(f"More of pi0's own training {_verdict(gain)} ({_percent(gain, '+')} points): {_plateau(gain)}.")
    for role in results["methods"]:
        pair = differences.get(f"vr - {role}")
        if pair and role not in ("pi0", "sft"):
            overall, hard = pair["all"]["avg"], pair[hardest]["avg"]
            lines.append(
                f"Against {NAMES[role]}, VR {_comparison(overall)} overall ({_percent(overall, '+')}) and "
                f"{_comparison(hard)} on the hardest level ({_percent(hard, '+')})."
            )
    return lines + [f"{NAMES[role]}: {METHODS[role]}." for role in results["methods"] if role in ("rft", "direct")]


def show_rules(console: Console, own: WeightRule, other: WeightRule, change: dict[str, Any]) -> None:
    """Two rules on the same traces, side by side."""
    table = Table(title="Two weight rules on the same traces")
    table.add_column("", no_wrap=True)
    table.add_column("this run's rule")
    table.add_column("asked for")
    table.add_row("rule", describe(own), describe(other))
    old, new, moved = change["own"], change["other"], change["moved"]
    assert isinstance(moved, RuleComparison)
    for name in ("mean_effective_sample_size", "mean_max_weight", "mean_bound"):
        table.add_row(name.replace("_", " "), f"{getattr(old, name):.3f}", f"{getattr(new, name):.3f}")
    table.add_row("traces with weight", f"{old.traces_with_weight:,}", f"{new.traces_with_weight:,}")
    table.add_row("questions without a usable trace", f"{len(old.unusable):,}", f"{len(new.unusable):,}")
    console.print(table)
    console.print(
        f"Weight moved to other traces: {100 * moved.total_variation:.1f}% on average over questions; the heaviest "
        f"trace changes in {100 * moved.heaviest_changed:.1f}% of questions."
    )
    for id_, reason in new.unusable[:10]:
        console.print(f"  without a usable trace: {id_} ({reason})", markup=False)
    if len(new.unusable) > 10:
        console.print(f"  ... and {len(new.unusable) - 10} more; --json lists all.")


def _cell(cell: dict[str, float], sign: str = "") -> str:
    """``42.7 ±2.8``: short, so that a table fits a terminal of 80 columns."""
    return f"{100 * cell['mean']:{sign}.1f} ±{50 * (cell['high'] - cell['low']):.1f}"


def _percent(cell: dict[str, float], sign: str = "") -> str:
    mean, low, high = (100 * cell[name] for name in ("mean", "low", "high"))
    return f"{mean:{sign}.1f} \\[{low:{sign}.1f}, {high:{sign}.1f}]"


def _comparison(cell: dict[str, float]) -> str:
    if cell["low"] > 0:
        return "is better"
    return "is worse" if cell["high"] < 0 else "cannot be told apart"


def _verdict(cell: dict[str, float]) -> str:
    if cell["low"] > 0:
        return "still helped"
    return "hurt" if cell["high"] < 0 else "changed nothing that can be told from zero"


def _plateau(cell: dict[str, float]) -> str:
    return "pi0 had not plateaued, so part of every gain is more training" if cell["low"] > 0 else "pi0 had plateaued"
