"""Countdown against evaluators, searches and levels written here a second time, differently."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varcore.tasks import Countdown, Question, Verdict, countdown
from varcore.tasks.splits import split_of

TASK = Countdown()
SPLITS = ("train", "validation", "test")
NUMERAL = re.compile(r"0|[1-9][0-9]?")


# ---- a second, slow statement of the task ------------------------------------------------------------------------


def step(value: int, operator: str, number: int) -> int:
    if operator == "+":
        return value + number
    if operator == "-":
        return value - number
    assert operator == "*"
    return value * number


def judge(question: str, answer: str) -> str:
    """The rules in the module's docstring, read character by character."""
    pieces = re.split("( )", answer)
    words, blanks = pieces[::2], pieces[1::2]
    if len(answer) > 200 or any(blank != " " for blank in blanks):
        return "unparsed"
    for place, word in enumerate(words):
        if (place % 2 == 0 and NUMERAL.fullmatch(word) is None) or (place % 2 == 1 and word not in {"+", "-", "*"}):
            return "unparsed"
    if len(words) % 2 == 0:
        return "unparsed"
    numbers, target = question.split(" = ")
    if Counter(map(int, words[::2])) != Counter(map(int, numbers.split())):
        return "wrong"
    value = int(words[0])
    for operator, number in zip(words[1::2], words[2::2], strict=True):
        value = step(value, operator, int(number))
        if value < 0 or value > 99:
            return "wrong"
    return "right" if value == int(target) else "wrong"


def search(numbers: list[int], target: int) -> set[str]:
    """Y_x by depth-first search over what is left, instead of permutations times operators."""

    def extend(value: int, left: list[int], text: str) -> set[str]:
        if not left:
            return {text} if value == target else set()
        found: set[str] = set()
        for place, number in enumerate(left):
            rest = left[:place] + left[place + 1 :]
            for operator in "+-*":
                after = step(value, operator, number)
                if 0 <= after <= 99:
                    found |= extend(after, rest, f"{text} {operator} {number}")
        return found

    starts = ((number, numbers[:place] + numbers[place + 1 :]) for place, number in enumerate(numbers))
    return set().union(*(extend(number, left, str(number)) for number, left in starts))


def numbers_and_target(question: Question) -> tuple[list[int], int]:
    left, right = question.text.split(" = ")
    return [int(word) for word in left.split()], int(right)


def key(question: Question) -> tuple[tuple[int, ...], int]:
    numbers, target = numbers_and_target(question)
    return tuple(sorted(numbers)), target


def read_attempts(trace: str) -> list[tuple[list[str], str]]:
    """``4 + 8 12 x 8 * 4 32 OK`` as [(["4", "+", "8", "12"], "x"), (["8", "*", "4", "32"], "OK")]."""
    attempts: list[tuple[list[str], str]] = []
    words: list[str] = []
    for word in trace.split(" "):
        if word in ("x", "OK"):
            attempts.append((words, word))
            words = []
        else:
            words.append(word)
    assert not words, f"the trace ends inside an attempt: {trace!r}"
    return attempts


def check_attempt(words: list[str], mark: str, numbers: list[int], target: int) -> str:
    """Running values, numbers used and mark of one attempt; returns its expression."""
    value, used, expression = int(words[0]), [int(words[0])], words[0]
    assert (len(words) - 1) % 3 == 0
    for place in range(1, len(words), 3):
        operator, number, shown = words[place], int(words[place + 1]), int(words[place + 2])
        value = step(value, operator, number)
        assert value == shown
        assert 0 <= value <= 99
        used.append(number)
        expression += f" {operator} {number}"
    assert sorted(used) == sorted(numbers)
    assert mark == ("OK" if value == target else "x")
    return expression


def belongs(numbers: int, answers: int, level: int) -> bool:
    """Whether the words in `Countdown.levels`, such as ``4 numbers, 6-15 answers``, describe such a question."""
    match = re.fullmatch(r"(\d) numbers(?:, (?:>= (\d+)|(\d+)-(\d+)) answers)?", TASK.levels[level])
    assert match, TASK.levels[level]
    size, at_least, low, high = (None if part is None else int(part) for part in match.groups())
    fits = answers >= (at_least or low or 2) and (high is None or answers <= high)
    return numbers == size and fits


@pytest.fixture(scope="module")
def questions() -> dict[str, list[Question]]:
    return {split: TASK.questions(split, 80, 0, curated=True) for split in SPLITS}


# ---- the verifier ------------------------------------------------------------------------------------------------

QUESTION = Question("2-3-4=10", "4 2 3 = 10", 2, "4 * 2 + 2", 4)
operand = st.one_of(st.integers(0, 13).map(str), st.integers(-5, 10**6).map(str), st.sampled_from(["", "04", "²", "٤"]))
symbol = st.sampled_from(["+", "-", "*", "+", "-", "*", "/", "**", "x", "×", "", "＋"])
blank = st.sampled_from([" "] * 20 + ["  ", "\t", "\n", "", "\u00a0"])


@st.composite
def expressions(draw) -> tuple[str, str]:
    """An answer that is often right, often nearly so: the question's own numbers or others, here and there a fault."""
    numbers = draw(st.lists(st.integers(1, 13), min_size=2, max_size=4))
    used = numbers if draw(st.integers(0, 4)) else draw(st.lists(st.integers(1, 13), min_size=2, max_size=4))
    operands = [str(number) for number in draw(st.permutations(used))]
    operators = draw(st.lists(st.sampled_from("+-*"), min_size=len(operands) - 1, max_size=len(operands) - 1))
    value = int(operands[0])
    for operator, number in zip(operators, operands[1:], strict=True):
        value = step(value, operator, int(number))
    target = value if 0 <= value <= 99 and draw(st.booleans()) else draw(st.integers(0, 99))
    words = [operands[0]]
    for operator, number in zip(operators, operands[1:], strict=True):
        words += [operator, number]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(words) - 1))
        words[place] = draw(operand if place % 2 == 0 else symbol)
    text = words[0] + "".join(draw(blank) + word for word in words[1:])
    return f"{' '.join(map(str, numbers))} = {target}", draw(st.sampled_from(["", "", "", " "])) + text


@given(expressions())
@settings(max_examples=600)
def test_verifier_agrees_with_a_naive_one(case):
    text, answer = case
    assert TASK.verify(Question("", text, 1, ""), answer) == judge(text, answer)


@given(st.one_of(st.text(max_size=40), st.text("0123456789+-* ", max_size=30)))
@settings(max_examples=400)
def test_verifier_judges_any_text_without_raising(answer):
    assert TASK.verify(QUESTION, answer) == judge(QUESTION.text, answer)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("4 + 2 * 3", "wrong"),  # from left to right this is 18, though precedence would say 10
        ("4 * 3 - 2", "right"),
        ("3 * 4 - 2", "right"),
        ("2 * 3 + 4", "right"),
        ("3 * 2 + 4", "right"),
        ("4 * 3", "wrong"),
        ("10", "wrong"),
        ("5 * 2", "wrong"),  # the right value from other numbers
        ("4 * 3 - 2 + 0", "wrong"),
        ("2 - 3 + 4", "wrong"),  # through -1
        ("", "unparsed"),
        (" ", "unparsed"),
        (" 4 * 3 - 2", "unparsed"),
        ("4 * 3 - 2 ", "unparsed"),
        ("4 * 3 - 2\n", "unparsed"),
        ("4 * 3\n- 2", "unparsed"),
        ("4  * 3 - 2", "unparsed"),
        ("4*3-2", "unparsed"),
        ("04 * 3 - 2", "unparsed"),  # not among the |Y_x| answers that are counted
        ("٤ * 3 - 2", "unparsed"),
        ("4 * ³ - 2", "unparsed"),
        ("4 * 3 − 2", "unparsed"),  # a typographic minus
        ("4 * 3 - -2", "unparsed"),
        ("+4 * 3 - 2", "unparsed"),
        ("4 ** 3 - 2", "unparsed"),
        ("4 * 3 -", "unparsed"),
        ("4 * 3 - 2 = 10", "unparsed"),
        ("( 4 * 3 ) - 2", "unparsed"),
        ("4_0 * 3 - 2", "unparsed"),
        ("400 * 3 - 2", "unparsed"),
        ("1e1", "unparsed"),
        ("__import__('os').system('true')", "unparsed"),
        ("4 * 3 - __import__", "unparsed"),
        ("</think>", "unparsed"),
        ("9" * 100_000, "unparsed"),
        ("4 * 3 - 2 + " + "9" * 5000, "unparsed"),
        ("1 + " * 500_000 + "1", "unparsed"),
        ("\x00", "unparsed"),
    ],
)
def test_verifier_on_answers_judged_by_hand(answer, verdict):
    assert judge(QUESTION.text, answer) == verdict  # the oracle is held to the same list
    assert TASK.verify(QUESTION, answer) == verdict


def test_values_may_touch_the_ends_of_the_range_but_not_leave_it():
    assert TASK.verify(Question("", "11 9 = 99", 1, ""), "11 * 9") is Verdict.RIGHT
    assert TASK.verify(Question("", "10 10 1 = 99", 1, ""), "10 * 10 - 1") is Verdict.WRONG
    assert TASK.verify(Question("", "5 5 3 = 3", 1, ""), "5 - 5 + 3") is Verdict.RIGHT


# ---- solutions ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 13), min_size=3, max_size=4), st.integers(0, 99))
@settings(max_examples=80)
def test_solutions_are_complete(numbers, target):
    found = countdown.solutions(numbers, target)
    assert len(found) == len(set(found))
    assert set(found) == search(numbers, target)


def test_references_and_all_listed_solutions_are_right(questions):
    for question in [q for split in questions.values() for q in split][::3]:
        numbers, target = numbers_and_target(question)
        answers = countdown.solutions(numbers, target)
        assert question.reference in answers
        assert question.num_correct_answers == len(answers) == len(search(numbers, target))
        assert all(TASK.verify(question, answer) is Verdict.RIGHT for answer in answers)
        assert TASK.verify(question, question.reference) is Verdict.RIGHT


def test_the_reference_is_uniform_over_the_correct_answers():
    """A hint that favoured one end of the sorted list would leak.  Mean relative rank of n uniforms: 1/2 with standard
    error at most 1/sqrt(12 n) x sqrt(3) (two answers: variance 1/4); z = 5, false alarm 6e-7."""
    ranks = []
    for question in TASK.questions("train", 240, 3):
        answers = countdown.solutions(*numbers_and_target(question))
        ranks.append(answers.index(question.reference) / (len(answers) - 1))
    assert abs(sum(ranks) / len(ranks) - 0.5) < 5 * 0.5 / len(ranks) ** 0.5


# ---- questions ---------------------------------------------------------------------------------------------------


def test_splits_are_disjoint_whatever_the_seeds():
    """By numbers and target, not by text: two orders of the same numbers are the same question."""
    keys = {split: {key(q) for seed in range(3) for q in TASK.questions(split, 80, seed)} for split in SPLITS}
    assert all(len(found) > 150 for found in keys.values())
    assert not keys["train"] & keys["validation"]
    assert not keys["train"] & keys["test"]
    assert not keys["validation"] & keys["test"]


def test_the_split_does_not_depend_on_the_order_of_the_numbers():
    """The rule itself: every ordering of the numbers hashes to one split."""
    names = {countdown._name(order, 31) for order in ([2, 1, 8, 4], [4, 8, 2, 1], [1, 2, 4, 8], [8, 1, 4, 2])}
    assert len({split_of(name) for name in names}) == 1
    assert names == {"1-2-4-8=31"}


def test_questions_are_distinct_and_named_after_what_they_ask(questions):
    for rows in questions.values():
        assert len(rows) == 80
        assert len({key(question) for question in rows}) == len({question.id for question in rows}) == 80


def test_levels_hold_their_definition_and_take_turns(questions):
    for rows in questions.values():
        assert [question.level for question in rows] == [1, 2, 3, 4] * 20
        for question in rows:
            numbers, target = numbers_and_target(question)
            count = len(search(numbers, target))
            assert count >= 2
            assert [level for level in TASK.levels if belongs(len(numbers), count, level)] == [question.level]
            assert all(1 <= number <= 13 for number in numbers)
            assert 0 <= target <= 99


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_a_count_that_levels_do_not_divide_is_met_exactly(count):
    assert [q.level for q in TASK.questions("test", count, 0)] == ([1, 2, 3, 4] * 2)[:count]


def test_questions_are_a_function_of_their_arguments():
    again = TASK.questions("train", 40, 7, curated=True)
    assert Countdown().questions("train", 40, 7, curated=True) == again
    assert {q.id for q in TASK.questions("train", 40, 8)} != {q.id for q in again}


def test_asking_for_traces_does_not_change_the_questions():
    with_traces, without = TASK.questions("train", 40, 7, curated=True), TASK.questions("train", 40, 7)
    assert [(q.id, q.text, q.reference) for q in with_traces] == [(q.id, q.text, q.reference) for q in without]
    assert all(question.curated_trace is None for question in without)


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'dev'"):
        TASK.questions("dev", 4, 0)


def test_more_questions_than_there_are_is_an_error(monkeypatch):
    """In a space shrunk to the numbers 1 and 2, so that it is exhausted at once."""
    monkeypatch.setattr(countdown, "LARGEST_NUMBER", 2)
    with pytest.raises(ValueError, match="Ask for fewer"):
        TASK.questions("train", 40, 0)


# ---- traces and practice texts -----------------------------------------------------------------------------------


def test_curated_traces_are_searches_that_end_in_the_reference(questions):
    lengths = []
    for question in [q for split in questions.values() for q in split]:
        assert question.curated_trace is not None
        numbers, target = numbers_and_target(question)
        attempts = read_attempts(question.curated_trace)
        written = [check_attempt(words, mark, numbers, target) for words, mark in attempts]
        assert [mark for _, mark in attempts] == ["x"] * (len(attempts) - 1) + ["OK"]
        assert written[-1] == question.reference
        lengths.append(len(attempts))
    assert min(lengths) == 1
    assert max(lengths) > 3


def test_direct_trace_is_the_reference_and_nothing_else(questions):
    for question in questions["train"]:
        (attempt,) = read_attempts(TASK.direct_trace(question))
        assert attempt[1] == "OK"
        assert check_attempt(*attempt, *numbers_and_target(question)) == question.reference


def test_corpus_is_made_of_training_questions_and_correct_arithmetic():
    texts = TASK.corpus(300, 0)
    assert len(texts) == 300
    finished = 0
    for text in texts:
        question = Question("", text.prompt, 1, "")
        numbers, target = numbers_and_target(question)
        assert split_of(countdown._name(numbers, target)) == "train"
        attempts = read_attempts(text.trace)
        assert 1 <= len(attempts) <= 6
        written = [check_attempt(words, mark, numbers, target) for words, mark in attempts]
        marks = [mark for _, mark in attempts]
        assert "OK" not in marks[:-1]
        assert (marks[-1] == "OK") == (text.answer is not None)
        if text.answer is not None:
            finished += 1
            assert text.answer == written[-1]
            assert TASK.verify(question, text.answer) is Verdict.RIGHT
    assert 0 < finished < 300


def test_corpus_shares_no_question_with_the_held_out_splits():
    practised = {key(Question("", text.prompt, 1, "")) for text in TASK.corpus(1500, 1)}
    held_out = {key(q) for split in ("validation", "test") for q in TASK.questions(split, 200, 1)}
    assert not practised & held_out


def test_corpus_is_a_function_of_its_arguments():
    assert TASK.corpus(30, 5) == TASK.corpus(30, 5)
    assert TASK.corpus(30, 5) != TASK.corpus(30, 6)


def test_an_attempt_that_leaves_the_range_cannot_be_written():
    with pytest.raises(ValueError, match=r"0\.\.99"):
        countdown.write_attempt([13, 13], ["*"], 5)
    assert countdown.write_attempt([4, 8, 2], ["+", "-"], 10) == "4 + 8 12 - 2 10 OK"
    assert countdown.write_attempt([4, 8, 2], ["+", "-"], 11) == "4 + 8 12 - 2 10 x"
