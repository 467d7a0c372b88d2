"""The parts of benchmarks/ablations.py: each a function of a finished run's workbench that returns its figures."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from arms import scores, train_and_evaluate

from varcore.evaluation import pass_at_k
from varcore.llm import algorithm, comparison, ledger, stages, storage
from varcore.llm.run import Cost, stream_seed
from varcore.llm.scoring import score
from varcore.llm.training import Example
from varcore.llm.weighing import WeightRule, compare, training_examples, weigh
from varcore.llm.workbench import Workbench
from varcore.tasks import Question, Verdict

Found = dict[str, Any]
Accepted = dict[str, list[tuple[float, int, float]]]  # what `accepted_lengths` finds, by question
RUNNER = ("pi0", "sft", "rft", "nohint", "accuracy", "direct", "vr")  # roles that the run itself evaluated
RULES = {
    "accuracy": WeightRule(exponent=0.0),
    "exponent-0.2": WeightRule(exponent=0.2),
    "exact": WeightRule(exponent=1.0),
    "vr": WeightRule(),
    "gml": WeightRule(estimator="gml"),
    "likelihood": WeightRule(estimator="likelihood"),
    "best-one": WeightRule(selection="argmax"),
}
K_SMALLER, MORE = (1, 2, 4), 100  # MORE: the "round" under which the traces 9 to 16 of K = 16 are kept
DIVERSE = comparison.HeldOut("test", 240, 64, 0, "diversity")


def weights(bench: Workbench) -> Found:
    """Arms that differ in how the same traces are weighed, or in how many there are."""
    table, plain = bench.table(1, "posterior"), WeightRule()
    for name, rule in RULES.items():
        if name not in RUNNER:
            train_and_evaluate(bench, name, weighted(table, rule))
    train_and_evaluate(bench, "unmixed", weighted(table, plain), mixed=False)
    train_and_evaluate(bench, "best-one-unmixed", weighted(table, RULES["best-one"]), mixed=False)
    train_and_evaluate(bench, "rft-unmixed", algorithm.TRAINING_SETS["rft"](bench, 1), mixed=False)
    for count in K_SMALLER:
        train_and_evaluate(bench, f"k-{count}", weighted(first(table, count), plain))
    train_and_evaluate(bench, "k-16", weighted(joined(table, traces_of(bench, "q1", MORE, "posterior")), plain))
    own = ("unmixed", "best-one-unmixed", "rft-unmixed", *(f"k-{count}" for count in (*K_SMALLER, 16)))
    roles = [*RUNNER, *(name for name in RULES if name not in RUNNER), *own]
    alone = accepted_lengths(bench)
    return {
        "scores": {role: scores(bench, role) for role in roles},
        "flops": flops(bench, roles),
        "curves": curves(bench, roles),
        "lie": {name: lie(table, rule, alone) for name, rule in RULES.items()} | {"prior": lie_of_prior(alone)},
    }


def weighted(table: pa.Table, rule: WeightRule) -> list[Example]:
    return training_examples(weigh(table, rule, seed=0)[0], rule)


def first(table: pa.Table, count: int) -> pa.Table:
    """The first `count` traces of every question."""
    return table.filter([index < count for index in table["trace_index"].to_pylist()])


def joined(table: pa.Table, more: pa.Table) -> pa.Table:
    """The traces of both, question by question."""
    own, others = ledger.num_traces(table), ledger.num_traces(more)
    more = ledger.with_columns(more, trace_index=[index + own for index in more["trace_index"].to_pylist()])
    order = []
    for b in range(len(table) // own):
        order += [*range(b * own, (b + 1) * own), *(len(table) + i for i in range(b * others, (b + 1) * others))]
    return pa.concat_tables([table, more]).take(order)


def traces_of(
    bench: Workbench, role: str, round_: int, source: str, hints: Callable[[Question], str] | None = None
) -> pa.Table:
    """K more traces for every training question, from the model `role`, scored and answered by pi_0.

    `source` "posterior" shows the hint, that of `hints` if it is given; "prior" shows none.  They are kept in the
    run's ledger as a round of their own.
    """
    name = f"traces-{round_}"
    if hints is not None:
        train = [dataclasses.replace(question, reference=hints(question)) for question in bench.train]
        bench = dataclasses.replace(bench, train=train)
    if not bench.run.done(name):
        count = bench.config.posterior_traces
        parts = [
            stages.sample_traces(bench, round_, source, role, count),
            stages.score_traces(bench, round_, source, "pi0"),
            stages.verify_traces(bench, round_, source, "pi0"),
        ]
        cost = sum((cost for cost, _ in parts), Cost())
        bench.run.finish(name, cost, 0.0, [row for _, rows in parts for row in rows])
    return bench.table(round_, source)


def flops(bench: Workbench, roles: Sequence[str]) -> dict[str, float]:
    """What each arm needed after pi_0: q and its traces, with K in proportion, or RFT's, and its own training."""
    costs = storage.read_json(bench.run.path / "compute.json")
    hinted, alone = (
        comparison.spent(costs, method)["flops"] - costs[f"train-reasoner-{method}"]["flops"]
        for method in ("vr", "rft")
    )
    per_trace = sum(costs[f"{stage}-1"]["flops"] for stage in ("sample-posterior", "score", "verify"))
    per_trace /= bench.config.posterior_traces
    found = {role: comparison.spent(costs, role)["flops"] for role in roles if role in RUNNER}
    for role in (role for role in roles if role not in RUNNER):
        missing = bench.config.posterior_traces - int(role[2:]) if role.startswith("k-") else 0
        before = alone if role == "rft-unmixed" else hinted - missing * per_trace
        found[role] = before + costs[role]["flops"]
    return found


def curves(
    bench: Workbench, roles: Sequence[str], names: Sequence[str] = ("loss", "gradient_norm"), every: int = 20
) -> dict[str, dict[str, list[float]]]:
    """What was noted of each arm's training, means of `every` steps."""
    rows = storage.read_lines(bench.run.path / "metrics.jsonl")
    found = {}
    for role in roles:
        own = [row for row in rows if row["stage"] in (role, f"train-reasoner-{role}") and "step" in row]
        blocks = [own[start : start + every] for start in range(0, len(own), every)]
        found[role] = {
            name: [round(statistics.mean(row[name] for row in block), 5) for block in blocks]
            for name in names
            if own and name in own[0]
        }
    return found


def lie(table: pa.Table, rule: WeightRule, alone: Accepted) -> Found:
    """Where a rule's weights lie: effective sample size, distance from the exact weights, length of a weighed trace.

    "length": mean over questions of sum_k w_k |z_k|, over those that pi_0 solved `alone`, so that it can be held
    against `lie_of_prior`, whose accepted traces are draws from the true posterior.
    """
    (ours, summary), (exact, _) = (weigh(table, r, seed=0) for r in (rule, RULES["exact"]))
    moved = compare(ours, exact)
    w = ledger.matrix(ours, ours["weight"].to_pylist())
    ids, means = ledger.question_ids(ours), (w * ledger.lengths(ours)).sum(-1) / w.sum(-1)
    copied = (w * ledger.matrix(ours, ours["hint_copied"].to_pylist())).sum(-1) / w.sum(-1)
    rows = [i for i, id_ in enumerate(ids) if id_ in alone and w[i].sum() > 0]
    return {
        "ess": summary.mean_effective_sample_size,
        "max_weight": summary.mean_max_weight,
        "total_variation": moved.total_variation,
        "heaviest_changed": moved.heaviest_changed,
        "length": means[rows].mean().item(),
        "hint_copied": copied[rows].mean().item(),
    }


def accepted_lengths(bench: Workbench) -> Accepted:
    """Per question that pi_0 solved alone: (accuracy, length, share of the reference copied) of its accepted traces."""
    found: Accepted = {}
    references = {question.id: bench.template.text(question.reference) for question in bench.train}
    for row in pa.concat_tables([bench.table(1, "prior"), bench.table(1, "extra")]).to_pylist():
        if row["num_correct"]:
            copied = ledger.copied_share(references[row["question_id"]], row["trace_ids"])
            values = (row["num_correct"] / row["num_answers"], len(row["trace_ids"]), copied)
            found.setdefault(row["question_id"], []).append(values)
    return found


def lie_of_prior(alone: Accepted) -> Found:
    """The same of pi_0's own accepted traces, each weighed by its accuracy."""
    means = []
    for values in alone.values():
        mass = sum(accuracy for accuracy, *_ in values)
        means.append([sum(value[0] * value[i] for value in values) / mass for i in (1, 2)])
    lengths, copied = zip(*means, strict=True)
    return {"length": statistics.mean(lengths), "hint_copied": statistics.mean(copied), "questions": len(means)}


def diversity(bench: Workbench) -> Found:
    """Many samples of few questions, by the runner's reasoners."""
    return {"diversity": {role: diverse(bench, role) for role in RUNNER}}


def diverse(bench: Workbench, role: str) -> Found:
    where = dataclasses.replace(DIVERSE, split=bench.config.evaluation_split, seed=bench.config.seed)
    if not (bench.run.path / where.folder / f"{role}.parquet").exists():
        comparison.evaluate(bench, role, where)
    table = storage.read_table(bench.run.path / where.folder / f"{role}.parquet")
    correct, _ = comparison.correct_matrix(bench, role, where)
    rows = table.to_pylist()
    right = {(row["question_id"], tuple(row["answer_ids"])) for row in rows if row["verdict"] == Verdict.RIGHT}
    traces = {(row["question_id"], tuple(row["trace_ids"])) for row in rows}
    pairs = [(bench.template.prompt(r["question"]), tuple(r["trace_ids"])) for r in rows[:: where.samples // 8]]
    log_probs = score(bench.model(role), pairs, temperature=bench.config.evaluation_temperature)
    ks = [1, 2, 4, 8, 16, 32, 64]
    counts = correct.sum(-1)
    return {
        "pass": {str(k): pass_at_k(where.samples, counts, k).mean().item() for k in ks},
        "distinct_correct": len(right) / where.questions,
        "distinct_traces": len(traces) / len(rows),
        "entropy": -statistics.mean(sum(tokens) for tokens in log_probs),  # nats a trace
        "length": statistics.mean(len(trace) for _, trace in pairs),
    }


def hints(bench: Workbench) -> Found:
    """Arms whose posterior traces were drawn under worse hints, for half of the questions and for all."""
    clean, plain = bench.table(1, "posterior"), WeightRule()
    others = dict(zip((q.id for q in bench.train), rotated(bench), strict=True))
    seeds = {q.id: stream_seed(bench.config.seed, "noisy", q.id) for q in bench.train}
    tables = {
        "wrong": traces_of(bench, "q1", 101, "posterior", lambda q: others[q.id]),
        "noisy": traces_of(bench, "q1", 102, "posterior", lambda q: changed(q.reference, seeds[q.id])),
        "partial": traces_of(bench, "q1", 103, "posterior", lambda q: first_half(q.reference)),
        "missing": traces_of(bench, "q1", 104, "prior"),
    }
    ids = sorted(q.id for q in bench.train)
    random.Random(stream_seed(bench.config.seed, "hints")).shuffle(ids)
    for kind, table in tables.items():
        for rate in (0.5, 1.0):
            spoilt = set(ids[: round(rate * len(ids))])
            examples = weighted(of_questions(table, spoilt), plain)
            if rate < 1:
                examples += weighted(of_questions(clean, set(ids) - spoilt), plain)
            train_and_evaluate(bench, f"{kind}-{rate}", examples)
    roles = ["pi0", "rft", "vr", *(f"{kind}-{rate}" for kind in tables for rate in (0.5, 1.0))]
    return {
        "scores": {role: scores(bench, role) for role in roles},
        "solved": {kind: solved(table) for kind, table in {"clean": clean, **tables}.items()},
    }


def of_questions(table: pa.Table, ids: set[str]) -> pa.Table:
    return table.filter([id_ in ids for id_ in table["question_id"].to_pylist()])


def solved(table: pa.Table) -> dict[str, float]:
    """Share of the traces with a correct answer, and of correct ones among all answers."""
    correct = ledger.matrix(table, table["num_correct"].to_pylist())
    answers = ledger.matrix(table, table["num_answers"].to_pylist())
    return {"traces": (correct > 0).double().mean().item(), "answers": (correct.sum() / answers.sum()).item()}


def rotated(bench: Workbench) -> list[str]:
    """For each training question the reference of the next one of its level."""
    following: dict[int, list[str]] = {}
    for question in bench.train:
        following.setdefault(question.level, []).append(question.reference)
    turned = {level: iter(found[1:] + found[:1]) for level, found in following.items()}
    return [next(turned[question.level]) for question in bench.train]


def changed(expression: str, seed: int) -> str:
    """The expression with one of its numbers replaced by another one from 1 to 20."""
    rng, words = random.Random(seed), expression.split(" ")
    place = rng.choice([i for i, word in enumerate(words) if word.isdigit()])
    words[place] = rng.choice([str(n) for n in range(1, 21) if str(n) != words[place]])
    return " ".join(words)


def first_half(expression: str) -> str:
    """Up to the middle number: "8 + 3 * 2" to "8 + 3"."""
    words = expression.split(" ")
    return " ".join(words[: 2 * (len(words) // 4) + 1])


PARTS: dict[str, Callable[[Workbench], Found]] = {"weights": weights, "diversity": diversity, "hints": hints}
