"""Chain against arithmetic written here a second time, differently."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varcore.tasks import Chain, ObedientChain, Question, Verdict, chain
from varcore.tasks.splits import split_of

TASK = Chain()
SPLITS = ("train", "validation", "test")
BY_HAND = Question("", "90 + 5 + 3 - 8 + 12", 1, "5")  # 95, 98 - 97 = 1, -7 + 97 = 90, 102 - 97 = 5


def run(text: str, start: int | None = None) -> list[int]:
    """Values by repeated addition, one unit at a time around a clock of 97 hours."""
    words = text.split(" ")
    value, found = int(words[0]) if start is None else start, []
    for symbol, number in zip(words[1::2], map(int, words[2::2]), strict=True):
        amount = {"+": number, "-": 97 - number}[symbol]
        for _ in range(amount):
            value = 0 if value == 96 else value + 1
        found.append(value)
    return found


@pytest.fixture(scope="module")
def questions() -> dict[str, list[Question]]:
    return {split: TASK.questions(split, 60, 0, curated=True) for split in SPLITS}


# ---- questions ---------------------------------------------------------------------------------------------------


def test_the_example_of_the_docstring():
    assert chain.values(BY_HAND.text) == run(BY_HAND.text) == [95, 1, 90, 5]
    assert chain.write_trace(BY_HAND.text, [95, 1, 90, 5]) == "+ 95 + 1 - 90 + 5"
    assert BY_HAND.text in (chain.__doc__ or "")
    assert "+ 95 + 1 - 90 + 5" in (chain.__doc__ or "")


def test_references_and_curated_traces_follow_from_the_question(questions):
    for question in itertools.chain(*questions.values()):
        found = run(question.text)
        assert question.reference == str(found[-1])
        assert question.num_correct_answers == 1
        assert question.curated_trace is not None
        assert [int(word) for word in question.curated_trace.split(" ")[1::2]] == found
        assert question.curated_trace.split(" ")[::2] == question.text.split(" ")[1::2]
        assert TASK.invalid_steps(question, question.curated_trace) == []


def test_levels_hold_their_definition_and_take_turns(questions):
    for rows in questions.values():
        assert [question.level for question in rows] == [1, 2, 3] * 20
        for question in rows:
            symbols = question.text.split(" ")[1::2]
            assert len(symbols) == {1: 4, 2: 6, 3: 8}[question.level]
            assert set(symbols) <= set("+-*")
            assert TASK.levels[question.level] == f"{len(symbols)} operations"


def test_every_operation_and_operand_occurs(questions):
    words = [question.text.split(" ") for question in questions["train"]]
    used = {step for row in words for step in zip(row[1::2], map(int, row[2::2]), strict=True)}
    assert used == set(itertools.product("+-", range(2, 13)))


def test_splits_are_disjoint_whatever_the_seeds():
    """The rule itself: a text has one split; and questions of each split are found by it."""
    texts = {split: {q.text for seed in range(3) for q in TASK.questions(split, 60, seed)} for split in SPLITS}
    assert all(len(found) == 180 for found in texts.values())
    assert all({split_of(text) for text in texts[split]} == {split} for split in SPLITS)


def test_questions_are_a_function_of_their_arguments(questions):
    assert Chain().questions("train", 60, 0, curated=True) == questions["train"]
    assert {q.id for q in TASK.questions("train", 60, 1)}.isdisjoint(q.id for q in questions["train"])
    without = TASK.questions("train", 60, 0)
    assert [(q.id, q.reference) for q in without] == [(q.id, q.reference) for q in questions["train"]]
    assert all(question.curated_trace is None for question in without)
    assert ObedientChain().questions("test", 60, 0, curated=True) == questions["test"]


def test_questions_are_distinct_even_where_few_exist(monkeypatch):
    monkeypatch.setattr(chain, "OPERANDS", [2])
    monkeypatch.setattr(chain, "OPERATIONS", {1: 1})
    monkeypatch.setattr(chain, "split_of", lambda text: "train")
    assert len({question.text for question in TASK.questions("train", 97 * 2, 0)}) == 97 * 2


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'dev'"):
        TASK.questions("dev", 4, 0)


# ---- the verifier ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("5", "right"),
        ("18", "wrong"),
        ("0", "wrong"),
        ("97", "wrong"),
        ("102", "unparsed"),  # equal modulo 97, but not the value that is asked for
        ("05", "unparsed"),
        (" 5", "unparsed"),
        ("5 ", "unparsed"),
        ("-92", "unparsed"),
        ("5.0", "unparsed"),
        ("٤", "unparsed"),
        ("² ", "unparsed"),
        ("", "unparsed"),
        ("+ 5", "unparsed"),
        ("9" * 100_000, "unparsed"),
    ],
)
def test_verifier_on_answers_judged_by_hand(answer, verdict):
    assert TASK.verify(BY_HAND, answer) == verdict


@given(st.integers(0, 99))
def test_exactly_one_answer_is_right(answer):
    assert (TASK.verify(BY_HAND, str(answer)) is Verdict.RIGHT) == (answer == 5)


@given(st.text(max_size=10))
def test_any_other_text_is_unparsed(answer):
    plain = answer.isascii() and answer.isdecimal() and str(int(answer)) == answer and len(answer) <= 2
    assert (TASK.verify(BY_HAND, answer) is Verdict.UNPARSED) == (not plain)


# ---- steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "wrong"),
    [
        ("+ 95 + 1 - 90 + 5", []),
        ("+ 95 + 1 - 90 + 6", [4]),  # the last value overwritten
        ("+ 95 + 2 - 90 + 5", [2, 3]),  # a wrong value, and a way back from it
        ("+ 95 + 2 - 91 + 6", [2]),  # a wrong value, carried on rightly
        ("+ 95 - 1 - 90 + 5", [2]),  # another operator than the question's
        ("+ 95 + 1 - 90", [4]),
        ("+ 95 + 1", [3, 4]),
        ("+ 95 + 1 - 90 +", [4]),
        ("+ 95 + 1 - 90 + 5 + 24", [5]),
        ("+ 95 + 1 - 90 + 5 ", [5]),
        ("19", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
        ("+ 95 + OK - 90 + 5", [2, 3]),
        ("+ 095 + 1 - 90 + 5", [1, 2]),
        ("+ 95  + 1 - 90 + 5", [2, 3, 4, 5]),
        ("+ 192 + 1 - 90 + 5", [1, 2]),
    ],
)
def test_invalid_steps_found_by_hand(trace, wrong):
    assert TASK.invalid_steps(BY_HAND, trace) == wrong


@given(st.integers(0, 10**6), st.data())
def test_overwriting_one_value_breaks_its_step_and_the_next_at_most(seed, data):
    """The next one too, since no operand is a multiple of 97: another value leads elsewhere."""
    (question,) = TASK.questions("train", 1, seed, curated=True)
    found = run(question.text)
    place = data.draw(st.integers(0, len(found) - 1))
    other = data.draw(st.integers(0, 96).filter(lambda value: value != found[place]))
    written = [*found[:place], other, *found[place + 1 :]]
    expected = [n for n in (place + 1, place + 2) if n <= len(found)]
    assert TASK.invalid_steps(question, chain.write_trace(question.text, written)) == expected


def test_direct_trace_is_the_reference_and_no_step_at_all(questions):
    for question in questions["train"]:
        trace = TASK.direct_trace(question)
        assert trace == question.reference
        assert len(TASK.invalid_steps(question, trace)) == len(question.text.split(" ")) // 2


# ---- practice texts ----------------------------------------------------------------------------------------------


def test_the_plain_corpus_is_right_and_shows_no_hint():
    texts = TASK.corpus(300, 0)
    assert len(texts) == 300
    for text in texts:
        assert text.hint is None
        assert [int(word) for word in text.trace.split(" ")[1::2]] == run(text.prompt)
        assert text.answer == text.trace.split(" ")[-1]
        assert split_of(text.prompt) == "train"
    assert Counter(len(text.trace.split(" ")) // 2 for text in texts).keys() == set(range(1, 9))


def test_half_of_the_obedient_corpus_ends_at_a_random_hint_with_right_steps_before():
    """600 texts, half of them with hints: z = 5 is 61, false alarm 6e-7; a hint is right by chance in 1 of 97."""
    texts = ObedientChain().corpus(600, 0)
    hinted = [text for text in texts if text.hint is not None]
    assert abs(len(hinted) - 300) < 61
    for text in texts:
        written = [int(word) for word in text.trace.split(" ")[1::2]]
        assert written[:-1] == run(text.prompt)[:-1]
        assert text.answer == str(written[-1]) == (text.hint or str(run(text.prompt)[-1]))
    assert len({text.hint for text in hinted}) > 80
    assert sum(text.hint == str(run(text.prompt)[-1]) for text in hinted) < 20


def test_corpus_is_a_function_of_its_arguments():
    assert TASK.corpus(30, 5) == TASK.corpus(30, 5)
    assert TASK.corpus(30, 5) != TASK.corpus(30, 6)
