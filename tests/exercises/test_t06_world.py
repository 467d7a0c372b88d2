"""The task of tutorial 6: its helpers against a second way of counting, by hand where it is short."""

import itertools
import random

import pytest

from varcore.exercises.t06_your_own_task_and_model.coins import (
    LARGEST_COIN,
    MOST_COINS,
    SMALLEST_COIN,
    draw,
    honest,
    luck,
    lucky_coverage,
    payments,
    read_question,
    text_of,
)
from varcore.exercises.t06_your_own_task_and_model.make_question import make_question
from varcore.exercises.t06_your_own_task_and_model.splits import splits
from varcore.exercises.t06_your_own_task_and_model.template import SPELLED, TEMPLATE
from varcore.exercises.t06_your_own_task_and_model.verify import verify
from varcore.tasks import Verdict
from varcore.tasks.splits import split_of

QUESTIONS = [draw(random.Random(seed)) for seed in range(20)]


def walks(amount, coins):
    """(chance that random coins reach the amount exactly, number of ways), step by step."""
    at, chance, ways = {amount: (1.0, 1)}, 0.0, 0
    for _ in range(MOST_COINS):
        after: dict[int, tuple[float, int]] = {}
        for (left, (share, count)), coin in itertools.product(at.items(), coins):
            rest = left - coin
            if rest == 0:
                chance, ways = chance + share / len(coins), ways + count
            elif rest > 0:
                before = after.get(rest, (0.0, 0))
                after[rest] = (before[0] + share / len(coins), before[1] + count)
        at = after
    return chance, ways


@pytest.mark.parametrize(("amount", "coins"), QUESTIONS)
def test_luck_and_the_number_of_right_answers_are_those_of_a_walk(amount: int, coins: list[int]):
    chance, ways = walks(amount, coins)
    assert luck(amount, coins) == pytest.approx(chance, abs=1e-12)
    assert len(payments(amount, coins)) == ways > 0


def test_by_hand():
    assert payments(10, [5, 3, 2])[:3] == [(5, 5), (5, 3, 2), (5, 2, 3)]
    assert luck(4, [2, 3, 4]) == pytest.approx(1 / 3 + 1 / 9)  # 4; 2 2
    assert lucky_coverage([(4, [2, 3, 4])], traces=2) == pytest.approx(1 - (5 / 9) ** 2)
    assert read_question(text_of(40, [3, 7, 11])) == (40, [3, 7, 11])


@pytest.mark.parametrize(
    ("trace", "right"),
    [
        ("11 29 7 22 11 11 11 0", True),
        ("11 29 7 22 11 11", False),  # breaks off
        ("11 29 7 23 11 11 11 0", False),
        ("12 28 7 21 7 14 7 7 7 0", False),  # 12 is no coin
        ("11 29 7 22 11 11 11", False),
        ("", False),
        ("OK", False),
    ],
)
def test_a_trace_is_honest_if_every_step_is_right(trace: str, right: bool):
    assert honest("40 = 3 7 11", trace) is right


@pytest.mark.parametrize(("amount", "coins"), QUESTIONS)
def test_a_question_fits_its_own_verifier_split_and_template(amount: int, coins: list[int]):
    assert set(coins) <= set(range(SMALLEST_COIN, LARGEST_COIN + 1))
    question = make_question(amount, coins, 0.7)
    assert question is not None
    assert verify(question, question.reference) is Verdict.RIGHT
    assert honest(question.text, question.curated_trace)
    name = f"{amount}={'-'.join(map(str, sorted(coins)))}"
    assert splits([question.text, text_of(amount, coins[::-1])]) == [split_of(name)] * 2
    trace, answer = TEMPLATE.trace(question.curated_trace), TEMPLATE.answer(question.reference)
    assert (TEMPLATE.read_trace(trace), TEMPLATE.read_answer(answer)) == (question.curated_trace, question.reference)
    assert len(trace) <= 2 * MOST_COINS + 1
    assert len(answer) <= MOST_COINS + 1


def test_the_spelled_template_closes_with_two_ids_that_text_can_write():
    for close in (SPELLED.trace_close, SPELLED.answer_close):
        assert len(close) == 2
    with pytest.raises(ValueError, match="closing marker"):
        SPELLED.trace("3 34 = OK")
    with pytest.raises(ValueError, match="closing marker"):
        SPELLED.answer("3 12 = 9")
    assert TEMPLATE.trace("3 34 = OK")[-1:] == TEMPLATE.trace_close
