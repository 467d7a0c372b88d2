"""The report's sections about the traces: their weights, what leaked from the hint, and the trace browser."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import AutoTokenizer

from varcore.bounds import normalized_weights
from varcore.estimators import effective_sample_size
from varcore.llm import ledger
from varcore.llm.run import stream_seed
from varcore.llm.templates import Markers, Template
from varcore.llm.weighing import WeighingSummary, describe, weigh
from varcore.viz import browser
from varcore.viz.figures import effective_sample_sizes, weight_bars
from varcore.viz.markup import figure, number, paragraph, safe_json, section, table
from varcore.viz.runview import RunView

MOST_REASONS = 10
BASELINE_WORK = 20_000_000  # token comparisons spent on what the reasoner's own traces share with the hint


def weights(view: RunView) -> str:
    """Effective sample sizes, largest weights, and questions without a usable trace, round by round."""
    return _section("weights", "Weights", _weights, view)


def leaks(view: RunView) -> str:
    """How much of the hint stands verbatim in q's traces, beside traces that never saw it."""
    return _section("leaks", "What leaks from the hint", _leaks, view)


def traces(view: RunView) -> str:
    """The trace browser's place and data."""
    return _section("traces", "Traces", _traces, view)


def _section(name: str, title: str, parts: Callable[[RunView], list[str]], view: RunView) -> str:
    """The section, or what its ledgers lack."""
    try:
        found = parts(view)
    except ledger.LedgerError as error:
        found = [paragraph(f"Left out. {error}", "missing")]
    return section(name, title, *found)


def _weights(view: RunView) -> list[str]:
    parts = [part for round_, found in view.weighed() for part in _round_weights(view, round_, found)]
    hinted = {"vr", "accuracy"} & set(view.config.methods)
    text = "Not there yet: the traces have to be weighed first." if hinted else "None of this run's methods uses q."
    return parts or [paragraph(text, "missing")]


def _leaks(view: RunView) -> list[str]:
    parts = []
    for round_ in range(1, view.config.rounds + 1):
        table_ = view.table(round_, "posterior")
        if table_ is not None:
            parts.append(_leak_table(view, round_, table_))
    if not parts:
        return [paragraph("No trace has been drawn from q.", "missing")]
    text = (
        "q sees a correct answer. A trace may copy it instead of finding it, which a reasoner without the hint could "
        "never write. Measured here: the longest run of hint tokens that stands verbatim in the trace, as a share of "
        "the hint. It is no verdict, for a trace that reaches the answer has to mention some of it; compare with the "
        "reasoner's own traces on the same questions, which never saw the hint (its first trace of each question)."
    )
    return [paragraph(text), *parts]


def _traces(view: RunView) -> list[str]:
    tables = {f"{source}-{round_}": found for round_, source, found in view.tables()}
    saved = view.path / "models" / "base"
    if not tables or not saved.exists():
        return [paragraph("Not there yet: no trace has been sampled.", "missing")]
    template = Template(AutoTokenizer.from_pretrained(saved, local_files_only=True), Markers())
    labels = {f"{source}-{round_}": _label(view, round_, source) for round_, source, _ in view.tables()}
    data = browser.payload(tables, labels, template, view.config.rule)
    shown = len(data["questions"])
    text = (
        f"All {shown:,} training questions" if shown == data["total"] else f"{shown:,} of {data['total']:,} questions"
    )
    how = "" if shown == data["total"] else ", chosen by the hash of their ids, so from all levels alike"
    return [
        paragraph(f"{text} are on this page{how}. The ledger in the run directory holds everything."),
        '<div id="browser"></div>',
        f'<script type="application/json" id="browser-data">{safe_json(data)}</script>',
    ]


def _label(view: RunView, round_: int, source: str) -> str:
    round_text = f", round {round_}" if view.config.rounds > 1 else ""
    start = "π₀" if round_ == 1 else "the reasoner"
    texts = {
        "posterior": f"q, who is shown the answer{round_text}",
        "prior": f"{start}, without a hint{round_text}",
        "extra": "π₀, without a hint, the extra traces of rejection sampling",
    }
    return texts[source]


def _round_weights(view: RunView, round_: int, found: pa.Table) -> list[str]:
    rule = view.config.rule
    total = len(ledger.question_ids(found))
    found, broken = _without_nan(found)
    said = f"Left out, for NaN among their log-probabilities: {broken:,} of {total:,} questions. " if broken else ""
    if len(found) == 0:
        return [paragraph(said, "missing")]
    summary = weigh(found, rule, stream_seed(view.config.seed, "weigh"))[1]
    head = [f"<h3>Round {round_}</h3>"] if view.config.rounds > 1 else []
    usable = summary.questions - len(summary.unusable)
    count = ledger.num_traces(found)
    said += f"The rule (estimator, exponent of π/q, normalisation, gate, selection): {describe(rule)}. "
    said += f"{usable:,} of {summary.questions:,} questions have a usable trace. "
    if usable:
        said += (
            f"Of their {count} traces, {number(summary.mean_effective_sample_size, 2)} count effectively on average, "
            f"and the heaviest carries {number(100 * summary.mean_max_weight, 2)}% of the weight."
        )
    else:
        said += "Every weight is zero: these traces train nothing."
    parts = [*head, paragraph(said), figure(effective_sample_sizes(found), effective_sample_sizes(found, columns=1))]
    parts += [_level_weights(found), _reasons(summary)]
    return [*parts, figure(weight_bars(found, _typical(found)))] if usable else parts


def _without_nan(found: pa.Table) -> tuple[pa.Table, int]:
    """The questions whose weights are numbers, and how many have another."""
    ledger.check(found, needs=["log_weight", "weight", "flags"])
    broken = ledger.matrix(found, found["log_weight"].to_pylist()).isnan().any(-1)
    kept = ~broken.repeat_interleave(ledger.num_traces(found))
    return found.filter(pa.array(kept.tolist())), int(broken.sum())


def _level_weights(found: pa.Table) -> str:
    log_weights = ledger.matrix(found, found["log_weight"].to_pylist())
    correct = ledger.matrix(found, found["num_correct"].to_pylist()) > 0
    closed = ledger.matrix(found, found["closed"].to_pylist())
    levels = torch.tensor(found["level"].to_pylist()[:: ledger.num_traces(found)])
    usable = (log_weights > -torch.inf).any(-1)
    rows = []
    for level in sorted(set(levels.tolist())):
        here = levels == level
        some = log_weights[here & usable]
        sizes, largest = effective_sample_size(some), normalized_weights(some).amax(-1)
        shares = [sizes.mean().item(), 100 * largest.mean().item()] if len(some) else [None, None]
        rows.append(
            [f"level {level}", number(int(here.sum())), number(int((here & ~usable).sum()))]
            + [number(share) for share in shares]
            + [f"{100 * part[here].double().mean().item():.1f}" for part in (closed, correct)]
        )
    header = ["", "questions", "without a usable trace", "effective traces, mean", "heaviest trace, mean %"]
    return table("Weights by level", [*header, "traces closed, %", "traces with a correct answer, %"], rows)


def _reasons(summary: WeighingSummary) -> str:
    """Why questions have no usable trace: what the traces' flags say, the most frequent combinations first."""
    if not summary.unusable:
        return paragraph("Every question has a usable trace.")
    counts = Counter(reason for _, reason in summary.unusable).most_common()
    rows = [[reason, number(count)] for reason, count in counts[:MOST_REASONS]]
    if counts[MOST_REASONS:]:
        rows.append(["other combinations", number(sum(count for _, count in counts[MOST_REASONS:]))])
    return table("Questions without any usable trace, by what happened to their traces", ["traces", "questions"], rows)


def _typical(found: pa.Table) -> str:
    """The first question whose effective sample size is closest to the mean over usable questions."""
    log_weights = ledger.matrix(found, found["log_weight"].to_pylist())
    sizes = effective_sample_size(log_weights)
    usable = (log_weights > -torch.inf).any(-1)
    distance = (sizes - sizes[usable].mean()).abs().masked_fill(~usable, torch.inf)
    return ledger.question_ids(found)[int(distance.argmin())]


def _leak_table(view: RunView, round_: int, found: pa.Table) -> str:
    rows = found.select(["question_id", "level", "hint_copied", "weight", "hint_ids"]).to_pylist()
    own = _own_traces(view, round_, {row["question_id"]: (row["level"], row["hint_ids"]) for row in rows})
    lines = []
    for level in [None, *sorted({row["level"] for row in rows})]:
        here = [row for row in rows if level is None or row["level"] == level]
        copied = [row["hint_copied"] for row in here]
        weighted = [row["hint_copied"] for row in here if row["weight"] and row["weight"] > 0]  # not NaN
        base = [share for own_level, share in own if level is None or own_level == level]
        whole = 100 * sum(share >= 1 for share in copied) / len(copied)
        shares = [_mean(copied), _mean(weighted), _mean(base)]
        lines.append(["all" if level is None else f"level {level}", number(len(here)), *shares, f"{whole:.1f}"])
    header = ["", "traces of q", "of the hint copied, mean %", "same, traces with weight"]
    header += ["same, reasoner's own traces", "traces with the whole hint, %"]
    return table(f"Share of the hint found verbatim in a trace, round {round_}", header, lines)


def _own_traces(view: RunView, round_: int, hints: dict[str, tuple[int, list[int]]]) -> list[tuple[int, float]]:
    """(level, share of the question's hint) of the first trace that the reasoner drew without it."""
    prior = view.table(round_, "prior")
    if prior is None:
        return []
    shares, work = [], 0
    for row in prior.filter(pc.field("trace_index") == 0).select(["question_id", "trace_ids"]).to_pylist():
        if row["question_id"] not in hints:  # q has no trace of it
            continue
        level, hint = hints[row["question_id"]]
        work += len(hint) * len(row["trace_ids"])
        if work > BASELINE_WORK:
            break
        shares.append((level, ledger.copied_share(hint, row["trace_ids"])))
    return shares


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(shares):.1f}" if shares else "–"
