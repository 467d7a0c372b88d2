"""Evaluation of a run's reasoners on held-out questions, and their comparison question by question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from varcore.evaluation import Interval, avg_at_k, bootstrap_interval, paired_bootstrap, pass_at_k
from varcore.llm import processes, storage
from varcore.llm.presets import Config
from varcore.llm.run import Cost, forward_cost, stream_seed
from varcore.llm.sampling import Request, Sample
from varcore.llm.verifiers import verify
from varcore.llm.workbench import Metrics, Workbench
from varcore.tasks import Question, Verdict


@dataclass(frozen=True)
class HeldOut:
    """Which questions are evaluated, how often each, and in which folder of the run the samples are kept."""

    split: str
    questions: int
    samples: int
    seed: int
    folder: str


def held_out(config: Config) -> HeldOut:
    """The evaluation that belongs to a run."""
    return HeldOut(config.evaluation_split, config.num_held_out, config.evaluation_samples, config.seed, "evaluation")


def evaluate(bench: Workbench, role: str, where: HeldOut) -> tuple[Cost, Metrics]:
    """Trace and answer drawn in one go, `where.samples` times a question; every sample is kept as a row.

    All roles see the same questions and the same random streams.
    """
    questions = bench.task.questions(where.split, where.questions, where.seed)
    place = {question.id: index for index, question in enumerate(questions)}
    drawn = processes.gather(_draw(bench, role, where, processes.share(questions)))
    drawn.sort(key=lambda pair: (place[pair[0]["question_id"]], pair[0]["sample_index"]))
    rows = [row for row, _ in drawn]
    if processes.state().is_main_process:
        storage.write_table(bench.run.path / where.folder / f"{role}.parquet", pa.Table.from_pylist(rows))
    sampled = sum(len(row["trace_ids"]) + len(row["answer_ids"]) for row in rows)
    read = sum(len(bench.template.prompt(question.text)) for question in questions)
    cost = forward_cost(bench.models.num_parameters(role), samples=len(rows), prefill=read, decode=sampled)
    return cost, [{"mean_tokens": sampled / len(rows), "finished": sum(stopped for _, stopped in drawn) / len(rows)}]


def _draw(
    bench: Workbench, role: str, where: HeldOut, questions: Sequence[Question]
) -> list[tuple[dict[str, Any], bool]]:
    """Rows of these questions' samples, each with whether the sample came to its end."""
    config, template, count = bench.config, bench.template, where.samples
    requests = [
        Request(template.prompt(q.text), stream_seed(where.seed, "evaluate", q.id, k))
        for q in questions
        for k in range(count)
    ]
    limit = config.max_trace_tokens + config.max_answer_tokens
    sampler = bench.sampler(role, template.answer_close, limit, len(requests), config.evaluation_temperature)
    samples = sampler.sample(requests)
    asked = [question for question in questions for _ in range(count)]
    pieces, verdicts = [template.split(sample.ids) for sample in samples], judge(bench, asked, samples)
    return [
        (
            {
                "question_id": question.id,
                "question": question.text,
                "level": question.level,
                "sample_index": index % count,
                "trace_ids": trace,
                "answer_ids": answer,
                "verdict": verdict,
            },
            sample.stopped,
        )
        for index, (question, sample, (trace, answer), verdict) in enumerate(
            zip(asked, samples, pieces, verdicts, strict=True)
        )
    ]


def judge(bench: Workbench, asked: Sequence[Question], samples: Sequence[Sample]) -> list[Verdict]:
    """The verdict on the answer in each sample of trace and answer; one that the length limit cut has none to read."""
    answers = (bench.template.read_answer(bench.template.split(sample.ids)[1]) for sample in samples)
    verdicts = verify(bench.task, zip(asked, answers, strict=True))
    return [v if sample.stopped else Verdict.UNPARSED for v, sample in zip(verdicts, samples, strict=True)]


def write_results(bench: Workbench, where: HeldOut) -> dict[str, Any]:
    """Avg@k and Pass@k per level with intervals, paired differences, what each method spent.

    Returned and written to results.json, in the run or in the folder of another evaluation.
    """
    tables = {role: correct_matrix(bench, role, where) for role in ("pi0", *bench.config.methods)}
    costs = storage.read_json(bench.run.path / "compute.json")
    results = {
        "seed": where.seed,
        "split": where.split,
        "questions": where.questions,
        "levels": {str(level): text for level, text in bench.task.levels.items()},
        "methods": {role: _scores(*table) for role, table in tables.items()},
        "differences": {f"{a} - {b}": _differences(tables[a], tables[b]) for a, b in comparisons(list(tables))},
        "spent": {role: spent(costs, role) for role in tables},
    }
    folder = bench.run.path if where == held_out(bench.config) else bench.run.path / where.folder
    if processes.state().is_main_process:
        storage.write_json(folder / "results.json", results)
    return results


def comparisons(roles: list[str]) -> list[tuple[str, str]]:
    """Which pairs are compared: vr with everything else, and continued SFT with pi_0 (has pi_0 plateaued?)."""
    pairs = [("vr", role) for role in roles if role != "vr"] if "vr" in roles else []
    return pairs + ([("sft", "pi0")] if "sft" in roles else [])


def correct_matrix(bench: Workbench, role: str, where: HeldOut) -> tuple[Tensor, Tensor]:
    """([B, k] samples that are correct, [B] levels) of an evaluated role."""
    table = storage.read_table(bench.run.path / where.folder / f"{role}.parquet")
    right = torch.tensor([v == Verdict.RIGHT for v in table["verdict"].to_pylist()], dtype=torch.float64)
    count = where.samples
    return right.view(-1, count), torch.tensor(table["level"].to_pylist()[::count])


def _scores(correct: Tensor, levels: Tensor) -> dict[str, Any]:
    """Per level and overall: {"avg": {...}, "pass": {...}}, each a mean with its 95% interval over questions."""
    count = correct.shape[1]
    solved = pass_at_k(count, correct.sum(-1), count)
    scores: dict[str, Any] = {"k": count}
    for name, rows in _groups(levels).items():
        scores[name] = {
            "avg": _interval(bootstrap_interval(avg_at_k(correct[rows]), seed=0)),
            "pass": _interval(bootstrap_interval(solved[rows], seed=0)),
        }
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= count]
    scores["pass_curve"] = {str(k): pass_at_k(count, correct.sum(-1), k).mean().item() for k in ks}
    return scores


def _differences(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> dict[str, Any]:
    (correct_a, levels), (correct_b, _) = a, b
    count = correct_a.shape[1]
    solved = [pass_at_k(count, correct.sum(-1), count) for correct in (correct_a, correct_b)]
    return {
        name: {
            "avg": _interval(paired_bootstrap(avg_at_k(correct_a[rows]), avg_at_k(correct_b[rows]), seed=0)),
            "pass": _interval(paired_bootstrap(solved[0][rows], solved[1][rows], seed=0)),
        }
        for name, rows in _groups(levels).items()
    }


def _groups(levels: Tensor) -> dict[str, Tensor]:
    groups = {"all": torch.ones_like(levels, dtype=torch.bool)}
    return groups | {str(level): levels == level for level in sorted(set(levels.tolist()))}


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.lower, "high": interval.upper}


def spent(costs: dict[str, Any], role: str) -> dict[str, int | float]:
    """Samples, tokens and FLOPs of the stages that a method needed after pi_0; evaluation is not counted.

    `final_steps` are the optimiser steps of the method's own reasoner, earlier rounds included, the same for all
    methods; `optimizer_steps` count a posterior's training too.
    """
    pattern = rf"train-reasoner-{role}" + (f"|{NEEDS[role]}" if role in NEEDS else "")
    needed = [name for name in costs if re.fullmatch(pattern, name)]
    total = {field: sum(costs[name][field] for name in needed) for field in (*Cost().entry(), "seconds")}
    reasoners = [name for name in needed if name.startswith("train-reasoner")]
    return {**total, "final_steps": sum(costs[name]["optimizer_steps"] for name in reasoners)}


_HINTED = r"(sample-prior|verify-prior|train-posterior|sample-posterior|score|verify|weigh)-\d+"
NEEDS = {  # names of the stages a method shares with others
    "rft": r"(sample|verify)-prior-1|(sample|verify)-extra",
    "nohint": r"(sample|verify|score)-extra",
    "vr": _HINTED + r"|train-reasoner-vr-round\d+",
    "accuracy": _HINTED + r"|train-reasoner-vr-round\d+",
}
