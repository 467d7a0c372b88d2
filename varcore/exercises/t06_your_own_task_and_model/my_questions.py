"""Task 6.4: questions with many right answers that luck does not find."""

import itertools
import random
from typing import Any

from varcore.exercises.t06_your_own_task_and_model import make_question as task_3
from varcore.exercises.t06_your_own_task_and_model.coins import (
    KINDS,
    LARGEST_COIN,
    SMALLEST_COIN,
    draw,
    luck,
    lucky_coverage,
    payments,
    rng_of,
)
from varcore.exercises.task import Task

QUESTIONS, ANSWERS, TARGET = 50, 10, 0.25
make_question: Any = task_3.make_question  # None for what cannot be paid, which `draw` does not give


def examine(my_questions, generator):
    seed = rng_of(generator).random()
    questions = my_questions(random.Random(seed))
    because = _malformed(questions)
    if because:
        return because
    if _plain(my_questions(random.Random(seed))) != _plain(questions):
        return "the same `rng` gives other questions the second time: draw from `rng`, and from nothing else."
    if _plain(my_questions(random.Random(seed + 1))) == _plain(questions):
        return "another `rng` gives the same questions: draw them, do not list them."
    return _missed(questions)


def _malformed(questions):
    if questions is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(questions, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in questions):
        return "it should return a list of pairs, (amount, coins)."
    if len(questions) != QUESTIONS:
        return f"it returns {len(questions)} questions, where the spec asks for {QUESTIONS}."
    for amount, coins in questions:
        fits = isinstance(coins, list) and all(type(number) is int for number in (amount, *coins))
        if not fits or len(set(coins)) != KINDS or len(coins) != KINDS or not set(coins) <= set(COINS):
            return (
                f"{amount!r} with {coins!r} is not a question: the amount is a whole number, and the coins are a list "
                f"of {KINDS} different whole numbers from {SMALLEST_COIN} to {LARGEST_COIN}."
            )
    if len({(amount, *sorted(coins)) for amount, coins in questions}) < QUESTIONS:
        return (
            "a question comes twice, perhaps with its coins in another order. What asks the same is the same question."
        )
    return ""


COINS = range(SMALLEST_COIN, LARGEST_COIN + 1)


def _plain(questions):
    return [(amount, list(coins)) for amount, coins in questions]


def _missed(questions):
    answers = [payments(*question) for question in questions]
    if min(map(len, answers)) < ANSWERS:
        return (
            f"a question has fewer than {ANSWERS} right answers. List them, as in task 6.3, and leave out what has too "
            "few."
        )
    if lucky_coverage(questions) <= TARGET:
        return ""
    short = sum(len(ways[0]) < 5 for ways in answers) / len(answers)
    if short > 0.25:
        return (
            "luck still finds too many, for many of these amounts are paid by few coins. What is the chance to put "
            "down a given sequence of three coins by luck, and what is it for five?"
        )
    return (
        "luck still finds too many, although most of these amounts take five coins: the chances of *all* right answers "
        "add up. How many may there be?"
    )


def my_questions(rng):
    found = {}
    while len(found) < 50:
        amount, coins = draw(rng)
        question = make_question(amount, coins, 0.0)
        if len(question.reference.split(" ")) == 5 and 10 <= question.num_correct_answers <= 16:
            found[amount, tuple(sorted(coins))] = (amount, coins)
    return list(found.values())


def by_luck(rng):
    found, seen = [], set()
    while len(found) < 50:
        amount, coins = draw(rng)
        name = (amount, *sorted(coins))
        if name in seen or len(payments(amount, coins)) < 10 or 1 - (1 - luck(amount, coins)) ** 4 > 0.25:
            continue
        seen.add(name)
        found.append((amount, coins))
    return found


def three_of_one_kind(rng):
    # 3 + 1 + 1 coins can be put down in 20 orders, and each has the chance 3 ** -5; 3 + 2 coins in 10
    found = {}
    while len(found) < 50:
        coins = rng.sample(range(2, 13), 3)
        amount = 3 * coins[0] + 2 * coins[1]
        right = [way for n in range(1, 6) for way in itertools.product(coins, repeat=n) if sum(way) == amount]
        if 10 <= len(right) <= 16 and min(map(len, right)) == 5:
            found[(amount, frozenset(coins))] = amount, coins
    return list(found.values())


def _drawn(rng, fits, draws=draw):
    found = {}
    while len(found) < QUESTIONS:
        amount, coins = draws(rng)
        if fits(payments(amount, coins)):
            found[amount, tuple(sorted(coins))] = (amount, coins)
    return list(found.values())


def as_they_come(rng):
    """a question has fewer than 10 right answers. List them, as in task 6.3, and leave out what has too few."""
    return _drawn(rng, lambda ways: True)


def many_answers(rng):
    """luck still finds too many, for many of these amounts are paid by few coins. What is the chance to put down a
    given sequence of three coins by luck, and what is it for five?"""
    return _drawn(rng, lambda ways: len(ways) >= ANSWERS)


def five_coins(rng):
    """luck still finds too many, although most of these amounts take five coins: the chances of *all* right answers add
    up. How many may there be?"""
    return _drawn(rng, lambda ways: len(ways) >= ANSWERS and len(ways[0]) == 5)


def repeated(rng):
    """a question comes twice, perhaps with its coins in another order. What asks the same is the same question."""
    found = my_questions(rng)
    amount, coins = found[0]
    return [*found[:-1], (amount, coins[::-1])]


def own_random_numbers(rng):
    """the same `rng` gives other questions the second time: draw from `rng`, and from nothing else."""
    return my_questions(random.Random())


def always_the_same(rng):
    """another `rng` gives the same questions: draw them, do not list them."""
    return my_questions(random.Random(0))


def too_few(rng):
    """it returns 49 questions, where the spec asks for 50."""
    return my_questions(rng)[1:]


def texts(rng):
    """it should return a list of pairs, (amount, coins)."""
    return [f"{amount} = {coins}" for amount, coins in my_questions(rng)]


TASK = Task(
    name="6.4",
    title="Many right answers, and still hard",
    tier="core",
    kind="experiment",
    hints=(
        "Draw questions, and keep those that fit. Print luck for some, beside their right answers: what do those have "
        "in common whose luck is small? Look at the number of coins in an answer, and at that of the answers.",
        "luck = Σ over right answers of 3^(-coins). An answer of three coins has the chance 1/27, one of five 1/243. "
        "With n answers, all of five coins, luck is n/243; and 1 - (1 - n/243)⁴ ≤ 0.25 up to n = 16.",
        "found = {}\nwhile len(found) < 50:\n    amount, coins = draw(rng)\n    question = make_question(...)\n"
        "    if len(question.reference.split(...)) == ... and 10 <= question.num_correct_answers <= ...:\n"
        "        found[amount, tuple(sorted(coins))] = (amount, coins)\nreturn list(found.values())",
    ),
    examine=examine,
    solution=my_questions,
    alternatives=(by_luck, three_of_one_kind),
    mistakes=(
        as_they_come,
        many_answers,
        five_coins,
        repeated,
        own_random_numbers,
        always_the_same,
        too_few,
        texts,
    ),
    seconds=60.0,
)
