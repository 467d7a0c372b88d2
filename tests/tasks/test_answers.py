"""Which part of a text is its answer, and the verifiers that need no mathematics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varcore.tasks import Verdict
from varcore.tasks.answers import chosen_letter, final_answer, judge_choice, judge_exact


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("  42\n", "42"),
        (r"so \boxed{42}", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),  # escaped braces do not count
        (r"\boxed{a}, then much later and for other reasons \boxed{b}", "b"),
        (r"\boxed{1} and \boxed{2}", "1,2"),
        (r"$x = \boxed{1}$ or $x = \boxed{2}$", "1,2"),
        (r"\boxed{1}, \boxed{2}, \boxed{3}", "1,2,3"),
        (r"\boxed{1} \boxed{1}", "1"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{7", None),
        (r"\boxed{1} but \boxed{7", None),
        (r"\boxed{}", None),
        ("Answer: 7", "7"),
        ("**Answer:** 7", "7"),
        ("**Answer**: 7", "7"),
        ("The final answer is 3.5. Thank you.", "3.5"),
        ("The answer is 6. No, the answer is 7.", "7"),
        ("Answer: 6\nNo.\nAnswer: 7", "7"),
        ("Answer:", None),
        ("", None),
        (" \n ", None),
        ("we add\nand get 7", None),
        ("7" * 201, None),
        ("answers: 7", "answers: 7"),  # another word: the line as it is
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


def braced(text: str) -> str:
    return r"\boxed{" + text + "}"


@given(st.text("ab{}\\ $,\n", max_size=30))
def test_any_text_has_an_answer_or_none_and_a_box_with_balanced_braces_is_opened(text):
    found = final_answer(text)
    assert found is None or found.strip()
    if "\\" not in text and text.count("{") == text.count("}") == 0 and text.strip():
        assert final_answer("noise " + braced(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{" * 50_000, None),
        (r"\boxed{1}" * 50_000, "1"),
        ("{" * 300_000, None),
        ("answer is " * 50_000, None),
        ("the answer is " + "5" * 300_000, "5" * 300_000),
        (r"\boxed{" + "\\" * 300_000 + "}", "\\" * 300_000),
    ],
    ids=["open boxes", "boxes", "braces", "announcements", "digits", "backslashes"],
)
def test_long_texts_are_read_in_time_that_grows_with_their_length(text, answer):
    """A scan of every box to the end would take 50,000 x 350,000 steps: hours, and this test would not end."""
    assert final_answer(text) == answer


def test_choice_takes_the_letter_and_nothing_else():
    assert [chosen_letter(text) for text in ("C", "(C)", "C) 3 m", r"\boxed{\text{(C)}}", "The answer is C.")] == [
        "C"
    ] * 5
    assert [chosen_letter(text) for text in ("", "K", "C or D", "C, D", "A word", "3 m", r"\boxed{C}\boxed{D}")] == [
        None
    ] * 7


@pytest.mark.parametrize("gold", "ABCDEFGHIJ")
def test_every_letter_is_right_for_itself_alone(gold):
    verdicts = {letter: judge_choice(gold, f"The answer is ({letter}).") for letter in "ABCDEFGHIJ"}
    assert [letter for letter, verdict in verdicts.items() if verdict is Verdict.RIGHT] == [gold]
    assert set(verdicts.values()) == {Verdict.RIGHT, Verdict.WRONG}


def test_an_option_may_contain_a_letter_of_its_own():
    assert judge_choice("B", "B) vitamin C") is Verdict.RIGHT
    assert judge_choice("C", "B) vitamin C") is Verdict.WRONG


@given(st.text(max_size=40))
def test_exact_is_reflexive_except_for_nothing(text):
    expected = Verdict.RIGHT if text.split() else Verdict.UNPARSED
    if "\\" not in text:
        assert judge_exact(text, text) is expected


def test_exact_sees_case_and_punctuation_but_not_white_space():
    assert judge_exact("dark blue", "dark\n blue ") is Verdict.RIGHT
    assert judge_exact("dark blue", r"It is \boxed{dark blue}") is Verdict.RIGHT
    assert judge_exact("dark blue", "Dark blue") is Verdict.WRONG
    assert judge_exact("dark blue", "dark blue.") is Verdict.WRONG
    assert judge_exact("", "") is Verdict.UNPARSED
