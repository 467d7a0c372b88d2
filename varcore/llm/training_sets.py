"""What each model of a run is trained on: weighted examples as functions of the questions and the ledger."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from varcore.llm.run import stream_seed
from varcore.llm.training import Example
from varcore.llm.weighing import correct_answers, training_examples, weigh
from varcore.llm.workbench import Workbench, worked_questions


def practice_examples(bench: Workbench) -> list[Example]:
    """The task's practice texts for a base model that is trained from nothing, some of them behind a hint."""
    template, examples = bench.template, []
    for practice in bench.task.corpus(bench.config.corpus_texts, bench.config.seed):
        prompt, response = template.prompt(practice.prompt), template.text(practice.trace)
        if practice.hint is not None:
            prompt = template.hinted_prompt(practice.prompt, practice.hint)
        if practice.answer is not None:
            response = template.trace(practice.trace) + template.answer(practice.answer)
        examples.append(Example(prompt, response))
    return examples


def curated_examples(bench: Workbench) -> list[Example]:
    template = bench.template
    return [
        Example(template.prompt(q.text), template.trace(trace) + template.answer(q.reference))
        for q, trace in worked_questions(bench.train, bench.config)
    ]


def hinted_curated_examples(bench: Workbench) -> list[Example]:
    """The curated traces for the posterior: the hint is the trace's own answer.  What the authors' code trains on."""
    template = bench.template
    return [
        Example(template.hinted_prompt(q.text, q.reference), template.trace(trace))
        for q, trace in worked_questions(bench.train, bench.config)
    ]


def direct_examples(bench: Workbench) -> list[Example]:
    """Every training question's reference answer, rewritten as a trace of one successful attempt."""
    template = bench.template
    return [
        Example(template.prompt(q.text), template.trace(bench.task.direct_trace(q)) + template.answer(q.reference))
        for q in bench.train
    ]


def posterior_examples(bench: Workbench, table: pa.Table) -> list[Example]:
    """The reasoner's own traces for the posterior, weighted as in Eq. 9: accuracy over its sum in the question.

    The hint is a correct answer that the trace led to.  Questions that no trace solves give nothing.
    """
    correct = table["num_correct"].to_pylist()
    totals: dict[str, float] = {}
    rows = table.to_pylist()
    accuracy = [c / r["num_answers"] if c else 0.0 for c, r in zip(correct, rows, strict=True)]
    for row, value in zip(rows, accuracy, strict=True):
        totals[row["question_id"]] = totals.get(row["question_id"], 0.0) + value
    return [
        Example(
            bench.template.hinted_prompt(row["question"], bench.template.read_answer(answer)),
            tuple(row["trace_ids"]),
            value / totals[row["question_id"]] * share,
        )
        for row, value in zip(rows, accuracy, strict=True)
        if value
        for answer, share in correct_answers(row)
    ]


def rejection_examples(table: pa.Table) -> list[Example]:
    """RFT: every trace of pi with its correct answers, weighted by its accuracy, questions not normalised."""
    return [
        Example(
            tuple(row["prompt_ids"]),
            tuple(row["trace_ids"]) + answer,
            row["num_correct"] / row["num_answers"] * share,
        )
        for row in table.to_pylist()
        if row["num_correct"]
        for answer, share in correct_answers(row)
    ]


def weighted_examples(bench: Workbench, table: pa.Table, exponent: float | None) -> list[Example]:
    """The run's rule with another exponent, on any scored and verified ledger."""
    rule = dataclasses.replace(bench.config.rule, exponent=exponent)
    return training_examples(weigh(table, rule, stream_seed(bench.config.seed, "weigh", exponent))[0], rule)
