"""Traces in the columns in which the paper's authors publish theirs: into the ledger, and out of it.

    traces     prompt, prompt_idx, posterior_responses     one set a seed, K sets; their sampling script writes the last
                                                           column as variational_posterior_responses
    log-probs  prompt_idx, response_logps (under q), think_logps and answer_logps (under pi)
    rollouts   prompt_idx, prompts, initial_responses, correctness                      N rows a question and a seed
    training   prompt, response, source, average_correctness                            one trace a question, no weights

prompt_idx counts the rows of their question set (schema ``stratos-reformatted``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from varcore.llm import ledger
from varcore.llm.templates import Ids, Template
from varcore.llm.weighing import correct_answers
from varcore.tasks import Question
from varcore.tasks.files import DataError, Row

RESPONSES = ("posterior_responses", "variational_posterior_responses")
END = "<|end_of"  # of a thought or an explanation; they cut at the first one


def import_traces(sets: Sequence[Sequence[Row]], questions: Sequence[Question | str], template: Template) -> pa.Table:
    """A ledger of their traces, not scored and not verified yet.

    Args:
        sets: the rows of set k at place k.
        questions: what `read_questions` gives for their question set; rows that it leaves out have no traces here.

    Each response is cut before its first ``<|end_of``.  One without it is unclosed: their scripts append the marker,
    and train on it.  Their log-probabilities belong to other tokens (text tokenised again, temperature 1), so they are
    not taken over.  Of a question that stands in several rows the first counts.  Raises DataError for a missing column,
    and if the sets do not hold the same questions, or more than there are.
    """
    by_question = [_by_question(rows, place) for place, rows in enumerate(sets)]
    for place, rows in enumerate(by_question):
        if set(rows) != set(by_question[0]):
            odd = sorted(set(rows) ^ set(by_question[0]))
            raise DataError(
                f"Trace sets 0 and {place} hold different questions: prompt_idx {odd[:5]}. Fetch them again."
            )
    found: dict[str, list[dict[str, Any]]] = {}
    for index in sorted(by_question[0]) if by_question else []:
        if index >= len(questions):
            raise DataError(
                f"The traces name question {index}, and there are {len(questions)}. Load their question set."
            )
        question = questions[index]
        if isinstance(question, Question) and question.id not in found:
            found[question.id] = [_row(template, question, k, rows[index]) for k, rows in enumerate(by_question)]
    return ledger.from_rows([row for rows in found.values() for row in rows])


def _by_question(rows: Sequence[Row], place: int) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, row in enumerate(rows):
        named = [row[column] for column in RESPONSES if row.get(column) is not None]
        index = row.get("prompt_idx", number)
        if len(set(named)) != 1 or index in found:
            raise DataError(
                f"Trace set {place}, row {number}: needs a response in one of the columns {list(RESPONSES)} and a "
                f"prompt_idx of its own, got the columns {sorted(row)} and prompt_idx {index}."
            )
        found[index] = named[0]
    return found


def _row(template: Template, question: Question, k: int, response: str) -> dict[str, Any]:
    text, marker, _ = response.partition(END)
    hint, trace = template.text(question.reference), template.trace(text.rstrip()) if marker else template.text(text)
    return {
        "question_id": question.id,
        "question": question.text,
        "level": question.level,
        "round": 1,
        "source": "posterior",
        "trace_index": k,
        "prompt_ids": template.prompt(question.text),
        "proposal_prompt_ids": template.hinted_prompt(question.text, question.reference),
        "hint_ids": hint,
        "trace_ids": trace,
        "closed": bool(marker),
        "reference_ids": template.answer(question.reference),
        "num_correct_answers": question.num_correct_answers,
        "hint_copied": ledger.copied_share(hint, trace),
    }


def export_traces(table: pa.Table, template: Template, k: int) -> list[Row]:
    """Set k of the ledger's traces.  An unclosed trace ends where it was cut."""
    return [
        {
            "prompt_idx": index,
            "prompt": _decode(template, row["proposal_prompt_ids"]),
            "posterior_responses": _decode(template, row["trace_ids"]),
        }
        for index, row in enumerate(_set(table, k))
    ]


def export_log_probs(table: pa.Table, k: int) -> list[Row]:
    """Per-token log-probabilities of set k, at the temperature of the ledger (theirs are at 1)."""
    ledger.check(table, needs=["log_pi", "log_q", "log_pi_reference"])
    names = {"response_logps": "log_q", "think_logps": "log_pi", "answer_logps": "log_pi_reference"}
    return [
        {"prompt_idx": index} | {theirs: row[ours] for theirs, ours in names.items()}
        for index, row in enumerate(_set(table, k))
    ]


def export_rollouts(table: pa.Table, template: Template, k: int) -> list[Row]:
    """The answers drawn after set k's traces with their verdicts; correctness is whether the verdict is right."""
    ledger.check(table, needs=["answer_ids", "verdicts"])
    return [
        {
            "prompt_idx": index,
            "prompts": _decode(template, row["prompt_ids"] + row["trace_ids"]),
            "initial_responses": _decode(template, answer),
            "correctness": verdict == "right",
        }
        for index, row in enumerate(_set(table, k))
        for answer, verdict in zip(row["answer_ids"], row["verdicts"], strict=True)
    ]


def export_training_set(table: pa.Table, template: Template) -> list[Row]:
    """The chosen trace of each question with its first correct answer, or with the reference where none was drawn.

    Their format has no weights.  Raises LedgerError unless at most one trace of each question was chosen, which is what
    the selections argmax and resample do.
    """
    ledger.check(table, needs=["chosen", "num_correct", "num_answers"])
    chosen = table.filter(table["chosen"]).to_pylist()
    if len({row["question_id"] for row in chosen}) != len(chosen):
        raise ledger.LedgerError(
            "The authors' training set holds one trace a question and no weights, and several traces of a question "
            "were chosen. Weigh the ledger with the selection argmax or resample first."
        )
    return [
        {
            "prompt": _decode(template, row["prompt_ids"]),
            "response": _decode(template, [*row["trace_ids"], *_answer(row)]),
            "source": row["trace_index"],
            "average_correctness": row["num_correct"] / row["num_answers"] if row["num_answers"] else 0.0,
        }
        for row in chosen
    ]


def _answer(row: dict[str, Any]) -> Ids:
    right = correct_answers(row)
    return right[0][0] if right else tuple(row["reference_ids"])


def _set(table: pa.Table, k: int) -> list[dict[str, Any]]:
    return table.slice(k).to_pylist()[:: ledger.num_traces(table)]


def _decode(template: Template, ids: Sequence[int]) -> str:
    return str(template.tokenizer.decode(list(ids)))
