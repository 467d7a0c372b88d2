"""What the columns of each data set mean: one declared schema per set.

`hub`, `config` and `split` say where the set is published, `rows` how many rows it has there; `columns` are those that
`convert` reads, and that the checksum is taken over.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from varcore.tasks.answers import BOX, LETTERS
from varcore.tasks.files import DataError, Row

# per cent of a set's questions, by a hash of their text
TRAINING = {"train": range(0, 94), "validation": range(94, 97), "test": range(97, 100)}
EVALUATION = {"test": range(100)}


@dataclass(frozen=True)
class Item:
    """What a row says: a question, a correct answer, a name for its level, a worked trace where there is one."""

    text: str
    reference: str
    level: str = ""
    trace: str | None = None


Convert = Callable[[Row], Item | str]  # a string says why the row is left out


@dataclass(frozen=True)
class Schema:
    """One data set.  verifier: "mathematics", "choice" or "exact"; rows: None where any number is right."""

    name: str
    columns: tuple[str, ...]
    convert: Convert
    verifier: str
    splits: Mapping[str, range]
    hub: str | None = None
    config: str | None = None
    split: str = "train"
    rows: int | None = None


def own_schema(
    name: str,
    verifier: str,
    *,
    question: str = "question",
    answer: str = "answer",
    trace: str | None = None,
    level: str | None = None,
    splits: Mapping[str, range] = TRAINING,
) -> Schema:
    """A schema for one's own file, from the names of its columns; the trace may be missing in some rows."""

    def convert(row: Row) -> Item | str:
        worked = text_of(row[trace]) if trace else ""
        return item(row[question], row[answer], text_of(row[level]) if level else "", worked or None)

    columns = tuple(column for column in (question, answer, trace, level) if column)
    return Schema(name, columns, convert, verifier, splits)


def item(question: Any, answer: Any, level: str = "", trace: str | None = None) -> Item | str:
    """An Item, or why there is none."""
    text, reference = text_of(question), text_of(answer)
    if not text or not reference:
        return "no answer" if text else "no question"
    return Item(text, reference, level, trace)


def text_of(value: Any) -> str:
    """Stripped text; 27.0 is "27", since some sets publish whole numbers as floats; None is empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def with_options(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question as it is shown: lettered options, and what to answer with."""
    letters = LETTERS[: len(options)]
    lines = [f"{letter}) {option}" for letter, option in zip(letters, options, strict=True)]
    return "\n".join([question, "", *lines, "", f"Answer with one letter, {letters[0]} to {letters[-1]}."])


def sections(text: str) -> tuple[str, str] | None:
    """(thought, solution) of a response in the Thought/Solution style; None if a section is missing or not closed."""
    found = []
    for name in ("thought", "solution"):
        start, end = text.find(f"<|begin_of_{name}|>"), text.find(f"<|end_of_{name}|>")
        if start < 0 or end < start:
            return None
        found.append(text[start + len(f"<|begin_of_{name}|>") : end].strip())
    return found[0], found[1]


def worked(question: Any, thought: Any, solution: Any) -> Item | str:
    """A question with a curated trace, whose reference is a whole solution with a boxed final answer."""
    found = item(question, solution, trace=text_of(thought))
    if isinstance(found, str):
        return found
    if not BOX.search(found.reference):
        return "no boxed answer: programs and proofs are not verified here"
    return found if found.trace else "no trace"


def _stratos(row: Row) -> Item | str:
    turns = row["conversations"]
    if len(turns) != 2:
        return "not one question and one response"
    parts = sections(turns[1]["value"])
    return "thought or solution section missing or not closed" if parts is None else worked(turns[0]["value"], *parts)


def _olympiad(row: Row) -> Item | str:
    if row["answer_type"] == "Need_human_evaluate":
        return "its answer needs a human judge"
    answers = [text_of(answer).strip("$ ") for answer in row["final_answer"] or []]
    if len(answers) > 1 and not row["is_multiple_answer"]:
        return "several answers, not said to be a list"
    return item(row["question"], ", ".join(answers))


def _gpqa(row: Row) -> Item | str:
    """The four options in an order that the question's text alone decides."""
    options = [text_of(row[f"Incorrect Answer {number}"]) for number in (1, 2, 3)]
    right, question = text_of(row["Correct Answer"]), text_of(row["Question"])
    if not all([question, right, *options]):
        return "question or option missing"
    if right in options:
        return "two options are the same"
    order = [right, *options]
    random.Random(f"gpqa/{question}").shuffle(order)
    return item(with_options(question, order), LETTERS[order.index(right)])


def _mmlu_pro(row: Row) -> Item | str:
    options, answer = row["options"], row["answer"]
    if not 2 <= len(options) <= len(LETTERS) or answer not in LETTERS[: len(options)]:
        raise DataError(f"mmlu-pro: the answer {answer!r} is not one of {len(options)} options. Fetch the set again.")
    if LETTERS[row["answer_index"]] != answer:
        raise DataError(f"mmlu-pro: answer {answer!r} and answer_index {row['answer_index']} differ in a row.")
    return item(with_options(text_of(row["question"]), [text_of(option) for option in options]), answer)


SCHEMAS = {
    schema.name: schema
    for schema in (
        Schema(
            "bespoke-stratos-17k",
            ("system", "conversations"),
            _stratos,
            "mathematics",
            TRAINING,
            hub="bespokelabs/Bespoke-Stratos-17k",
            rows=16_710,
        ),
        Schema(  # the same rows as the authors of the paper publish them
            "stratos-reformatted",
            ("question_content", "think_content", "solution_content"),
            lambda row: worked(row["question_content"], row["think_content"], row["solution_content"]),
            "mathematics",
            TRAINING,
            hub="zhouxiangxin/Bespoke-Stratos-17k-Reformatted",
            rows=16_710,
        ),
        Schema(
            "math500",
            ("problem", "answer", "level"),
            lambda row: item(row["problem"], row["answer"], text_of(row["level"])),
            "mathematics",
            EVALUATION,
            hub="HuggingFaceH4/MATH-500",
            split="test",
            rows=500,
        ),
        Schema(
            "aime24",
            ("problem", "answer"),
            lambda row: item(row["problem"], row["answer"]),
            "mathematics",
            EVALUATION,
            hub="HuggingFaceH4/aime_2024",
            rows=30,
        ),
        Schema(
            "aime25",
            ("problem", "answer"),
            lambda row: item(row["problem"], row["answer"]),
            "mathematics",
            EVALUATION,
            hub="math-ai/aime25",
            split="test",
            rows=30,
        ),
        Schema(
            "amc23",
            ("question", "answer"),
            lambda row: item(row["question"], row["answer"]),
            "mathematics",
            EVALUATION,
            hub="math-ai/amc23",
            split="test",
            rows=40,
        ),
        Schema(
            "olympiadbench",
            ("question", "final_answer", "is_multiple_answer", "answer_type"),
            _olympiad,
            "mathematics",
            EVALUATION,
            hub="Hothan/OlympiadBench",
            config="OE_TO_maths_en_COMP",
            rows=674,
        ),
        Schema(
            "gpqa-diamond",
            ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
            _gpqa,
            "choice",
            EVALUATION,
            hub="Idavidrein/gpqa",
            config="gpqa_diamond",
            rows=198,
        ),
        Schema(
            "mmlu-pro",
            ("question", "options", "answer", "answer_index"),
            _mmlu_pro,
            "choice",
            EVALUATION,
            hub="TIGER-Lab/MMLU-Pro",
            split="test",
            rows=12_032,
        ),
    )
}
