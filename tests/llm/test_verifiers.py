"""A verdict is one of four; a verifier that crashes is none of them."""

from __future__ import annotations

import time

import pytest

from varcore.llm.verifiers import VerifierError, verify
from varcore.tasks import Countdown, Question, Verdict

QUESTION = Question("2-3-4=10", "4 2 3 = 10", 1, "4 * 3 - 2", 4)


class Stub(Countdown):
    """Answers with what it was given, or raises it."""

    name = "stub"

    def __init__(self, reply):
        self.reply = reply

    def verify(self, question, answer):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def test_verdicts_keep_the_order_of_the_pairs():
    answers = ["4 * 3 - 2", "2 + 3 + 4", "?", "2 * 3 + 4"]
    found = verify(Countdown(), ((QUESTION, answer) for answer in answers))
    assert found == [Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSED, Verdict.RIGHT]
    assert verify(Countdown(), []) == []


def test_a_crash_is_an_error_that_names_question_and_answer():
    with pytest.raises(VerifierError, match=r"stub.*ZeroDivisionError.*2-3-4=10.*'1 / 0'") as error:
        verify(Stub(ZeroDivisionError("boom")), [(QUESTION, "1 / 0")])
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_long_answer_does_not_fill_the_screen():
    with pytest.raises(VerifierError) as error:
        verify(Stub(ValueError("boom")), [(QUESTION, "9" * 10_000)])
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("reply", [True, None, "right", 1])
def test_something_else_than_a_verdict_is_an_error(reply):
    """Even the string "right", which equals Verdict.RIGHT: a verifier that returns strings may misspell the next."""
    with pytest.raises(VerifierError, match="must return one of"):
        verify(Stub(reply), [(QUESTION, "4")])


class Side(Stub):
    """Judges four answers at the same time, the later ones sooner."""

    verifiers = 4

    def verify(self, question, answer):
        time.sleep(0.002 * (20 - int(answer)))
        return super().verify(question, answer) if answer == "7" else list(Verdict)[int(answer) % 4]


def test_answers_judged_at_the_same_time_keep_their_order():
    pairs = [(QUESTION, str(n)) for n in range(20)]
    assert verify(Side(Verdict.TIMEOUT), pairs) == [list(Verdict)[n % 4] for n in range(20)]


def test_a_crash_among_answers_judged_at_the_same_time_is_an_error():
    with pytest.raises(VerifierError, match=r"ZeroDivisionError.*'7'"):
        verify(Side(ZeroDivisionError("boom")), [(QUESTION, str(n)) for n in range(20)])


def test_timeouts_pass_through():
    assert verify(Stub(Verdict.TIMEOUT), [(QUESTION, "4")]) == [Verdict.TIMEOUT]
