"""A task from rows: it keeps the protocol, its splits are disjoint, and every row is accounted for."""

from __future__ import annotations

from collections import Counter

import pytest
from samples import SAMPLES

from varcore.llm.verifiers import verify
from varcore.tasks import Question, Task, Verdict
from varcore.tasks.files import DataError
from varcore.tasks.filetask import FileTask, Record, read_questions
from varcore.tasks.schemas import EVALUATION, SCHEMAS, Schema, own_schema

RECORD = Record("mine", "mine.jsonl", "local", 0, "0" * 64)
SUMS = own_schema("sums", "mathematics", trace="trace", level="level")


def sums(count: int, **changes) -> list[dict]:
    """`count` questions; every third has no trace; levels 1 and 2, twice as many of the first."""
    return [
        {
            "question": f"What is {n} + {n}?",
            "answer": str(2 * n),
            "trace": f"{n} twice is {2 * n}." if n % 3 else None,
            "level": 1 if n % 6 < 4 else 2,
        }
        | changes
        for n in range(count)
    ]


def task_of(rows: list[dict], schema: Schema = SUMS, pool=None) -> FileTask:
    return FileTask(schema, rows, RECORD, pool)


@pytest.fixture(scope="module")
def task() -> FileTask:
    return task_of(sums(600))


def test_it_is_a_task(task):
    assert isinstance(task, Task)
    assert task.name == "sums"
    assert task.levels == {1: "level 1", 2: "level 2"}


def test_splits_are_disjoint_and_hold_everything(task):
    splits = {split: task.questions(split, task.size(split), 0) for split in ("train", "validation", "test")}
    ids = [question.id for questions in splits.values() for question in questions]
    assert len(ids) == len(set(ids)) == task.reading.questions == 600
    # binomial with 600 x 0.94: sd 5.8; the hash fixes the draw, so this cannot change
    assert abs(len(splits["train"]) - 564) < 30


def test_the_split_of_a_question_does_not_depend_on_the_others(task):
    alone = task_of(sums(600)[100:101])
    (split,) = [split for split in SUMS.splits if alone.size(split)]
    (question,) = alone.questions(split, 1, 0)
    assert question.id in {q.id for q in task.questions(split, task.size(split), 0)}


def test_white_space_and_unicode_form_do_not_move_a_question():
    one, other = (
        task_of([{"question": "Is é\n 1?", "answer": "1", "trace": "", "level": 1}]),
        task_of([{"question": "Is e\u0301 1?", "answer": "1", "trace": "", "level": 1}]),
    )
    sizes = [[task.size(split) for split in SUMS.splits] for task in (one, other)]
    assert sizes[0] == sizes[1]


def test_questions_are_a_function_of_their_arguments(task):
    again = task_of(sums(600))
    assert again.questions("train", 50, 3, curated=True) == task.questions("train", 50, 3, curated=True)
    assert {q.id for q in task.questions("train", 50, 4)} != {q.id for q in task.questions("train", 50, 3)}


def test_levels_take_turns_until_one_is_used_up(task):
    with_trace = [q.level for q in task.questions("train", task.size("train"), 0, curated=True) if q.curated_trace]
    fewer = min(Counter(with_trace).values())
    assert with_trace[: 2 * fewer] == [1, 2] * fewer
    assert len(set(with_trace[2 * fewer :])) == 1


def test_questions_with_a_trace_come_first_in_training_only(task):
    marks = [q.curated_trace is None for q in task.questions("train", task.size("train"), 0, curated=True)]
    assert marks == sorted(marks)
    assert True in marks
    # 18 test questions, a third without a trace: sorted by chance with probability about 1 / C(18, 6) = 5e-5
    marks = [q.curated_trace is None for q in task.questions("test", task.size("test"), 0, curated=True)]
    assert marks != sorted(marks)


def test_asking_for_traces_does_not_change_the_questions(task):
    with_traces, without = task.questions("train", 40, 7, curated=True), task.questions("train", 40, 7)
    assert [(q.id, q.text, q.reference) for q in with_traces] == [(q.id, q.text, q.reference) for q in without]
    assert all(question.curated_trace is None for question in without)
    assert all(question.curated_trace for question in with_traces)


def test_an_unknown_split_and_too_many_questions_are_named(task):
    with pytest.raises(ValueError, match=r"one of \['train', 'validation', 'test'\], got 'dev'"):
        task.questions("dev", 1, 0)
    with pytest.raises(ValueError, match=r"601 train questions were asked for, and there are \d+"):
        task.questions("train", 601, 0)


def test_an_evaluation_set_has_no_training_split():
    task = task_of(sums(9), own_schema("sums", "mathematics", splits=EVALUATION))
    assert task.size("test") == 9
    with pytest.raises(ValueError, match=r"one of \['test'\], got 'train'"):
        task.questions("train", 1, 0)


def test_repeated_questions_are_kept_once_and_said():
    rows = sums(4)
    rows += [rows[1] | {"question": "What  is 1 + 1?\n"}, rows[2] | {"answer": "5"}, rows[3] | {"answer": None}]
    task = task_of(rows)
    assert task.reading.repeated == ((1, 4), (2, 5))
    assert task.reading.conflicts == ((2, 5),)
    assert task.reading.left_out == {"no answer": 1}
    assert str(task.reading) == (
        "7 rows, 4 questions; 1 rows left out (no answer); 2 rows repeat an earlier question (the first is row 4); "
        "1 of these with another answer (row 5)."
    )
    references = {q.text: q.reference for split in SUMS.splits for q in task.questions(split, task.size(split), 0)}
    assert references["What is 2 + 2?"] == "4"  # the first answer stands


def test_missing_columns_and_an_empty_set_are_errors():
    with pytest.raises(DataError, match=r"row 1 lacks the columns \['answer'\]; it has \['question'\]"):
        task_of([{"question": "1?", "answer": "1"}, {"question": "2?"}], own_schema("x", "exact"))
    with pytest.raises(DataError, match=r"holds no question. 1 rows, 0 questions; 1 rows left out \(no answer\)"):
        task_of(sums(1, answer=""))
    with pytest.raises(DataError, match="holds no question"):
        task_of([])


def test_questions_stand_in_the_place_of_their_rows():
    rows = sums(5)
    rows[2]["answer"] = None
    found, levels = read_questions(SUMS, rows)
    assert [entry.text if isinstance(entry, Question) else entry for entry in found] == [
        "What is 0 + 0?",
        "What is 1 + 1?",
        "no answer",
        "What is 3 + 3?",
        "What is 4 + 4?",
    ]
    assert levels == {1: "level 1", 2: "level 2"}


def test_mathematics_is_verified_in_the_pool(pool):
    task = task_of(sums(9), pool=pool)
    question = Question("x", "What is 3 + 3?", 1, "6")
    assert task.verifiers == pool.size
    answers = ["6", r"\boxed{\frac{12}{2}}", "7", "", "9^{9^{9^{9}}}"]
    expected = [Verdict.RIGHT, Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSED, Verdict.TIMEOUT]
    assert verify(task, [(question, answer) for answer in answers]) == expected
    assert verify(task, [(question, answer) for answer in reversed(answers)]) == expected[::-1]


def test_the_question_decides_what_a_percent_sign_means(pool):
    task = task_of(sums(9), pool=pool)
    assert task.verify(Question("x", "What percentage is 1 of 2?", 1, "50"), r"50\%") is Verdict.RIGHT
    assert task.verify(Question("x", "How many are 50?", 1, "50"), r"50\%") is Verdict.WRONG


def test_a_reference_that_its_own_verifier_does_not_accept_is_found(pool):
    rows = [*sums(3), {"question": "What is it?", "answer": r"\frac{1}{", "trace": "", "level": 1}]
    rows += [{"question": "And that?", "answer": "We see.\nIt is five.", "trace": "", "level": 1}]
    schema = own_schema("sums", "mathematics", splits=EVALUATION)
    task = task_of(rows, schema, pool)
    assert [question.text for question in task.unverifiable("test")] == ["And that?"]


def test_a_posterior_that_only_leaks_would_write_the_reference(task):
    question = task.questions("train", 1, 0)[0]
    assert task.direct_trace(question) == question.reference


def test_there_is_no_practice_text(task):
    with pytest.raises(ValueError, match="Start from a trained model"):
        task.corpus(1, 0)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_published_set_verifies_its_own_references(name, pool):
    task = FileTask(SCHEMAS[name], SAMPLES[name], RECORD, pool)
    assert [q.text for split in SCHEMAS[name].splits for q in task.unverifiable(split)] == []
    assert task.reading.questions == len(SAMPLES[name]) - sum(task.reading.left_out.values())
