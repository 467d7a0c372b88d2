"""Countdown: reach a target with every number used once, left to right, no brackets, values kept in 0..99.

    question   4 8 2 1 = 31
    trace      4 + 8 12 + 2 14 + 1 15 x 8 * 4 32 / ...     each attempt: numbers, operators and running values, then
                                                           ``x`` (missed) or ``OK`` (reached); the first OK ends it
    answer     8 * 4 - 2 + 1

Operators are + - * and act strictly from left to right, so ``1 + 2 * 3`` is 9.  Swapping the first two operands of a
sum or product gives another correct answer, and most questions have several more: |Y_x| >= 2 for every question.

Splits cannot overlap, whatever the seeds: a question's split is a hash of its sorted numbers and target.
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
from collections.abc import Iterator, Sequence

from varcore.tasks.base import Practice, Question, Verdict
from varcore.tasks.splits import SPLITS, split_of

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
LARGEST_VALUE = 99
LARGEST_NUMBER = 13
NUMERALS = frozenset(map(str, range(LARGEST_VALUE + 1)))
LONGEST_ANSWER = 200  # characters; nothing longer is parsed
# A curated trace misses again with this probability.  Memoryless, so that an attempt's position tells nothing about
# whether it will succeed: the model has to look at the value to write OK.
CONTINUE_SEARCH = 0.6
MOST_MISSES = 8
# Practice texts: short ones, and many that hit, because a base model that has not learned to tell a hit from a miss by
# the end of its training makes a reasoner that says OK to anything.
LUCKY = 0.8  # share of texts on three numbers whose search ends at its target
MOST_BLIND_ATTEMPTS = 3


class Countdown:
    """The built-in task, with four levels by count of numbers and of correct answers."""

    name = "countdown"
    levels = {  # noqa: RUF012 - a constant of the class, part of the Task protocol
        1: "3 numbers",
        2: "4 numbers, >= 16 answers",
        3: "4 numbers, 6-15 answers",
        4: "4 numbers, 2-5 answers",
    }

    def questions(self, split: str, count: int, seed: int, *, curated: bool = False) -> list[Question]:
        """`count` distinct questions of `split`, the levels in turn; with curated traces if asked.

        Deterministic in all arguments.  Raises ValueError for an unknown split and when the split has fewer distinct
        questions than asked for.
        """
        if split not in SPLITS:
            raise ValueError(f"Countdown.questions: split must be one of {sorted(SPLITS)}, got {split!r}.")
        quota = {level: len(range(level - 1, count, len(self.levels))) for level in self.levels}
        found: dict[int, list[Question]] = {level: [] for level in self.levels}
        seen: set[str] = set()
        draws = _random_questions(random.Random(f"countdown/{split}/{seed}"), split)
        for numbers, target, rng in itertools.islice(draws, 400 * count + 10_000):
            level = _level(numbers, target)
            name = _name(numbers, target)
            if level is None or name in seen or len(found[level]) == quota[level]:
                continue
            seen.add(name)
            found[level].append(_question(name, numbers, target, level, rng, curated))
            if len(seen) == count:
                break
        if len(seen) < count:
            have = {level: len(rows) for level, rows in found.items()}
            raise ValueError(
                f"Countdown.questions: {count} {split} questions were asked for, but only {have} per level were found. "
                "Ask for fewer: the space of questions is finite."
            )
        columns = itertools.zip_longest(*found.values())
        return [question for row in columns for question in row if question is not None]

    def verify(self, question: Question, answer: str) -> Verdict:
        """RIGHT if the expression uses each number once and reaches the target, values staying in 0..99."""
        if len(answer) > LONGEST_ANSWER:
            return Verdict.UNPARSED
        words = answer.split(" ")
        operands, operators = words[::2], words[1::2]
        plain = all(word in NUMERALS for word in operands)  # "04" is not among the counted answers
        if len(words) % 2 == 0 or not plain or any(word not in OPERATORS for word in operators):
            return Verdict.UNPARSED
        numbers, target = parse_question(question.text)
        steps = running_values([int(word) for word in operands], operators)
        used_once = sorted(map(int, operands)) == sorted(numbers)
        return Verdict.RIGHT if used_once and steps is not None and steps[-1] == target else Verdict.WRONG

    def direct_trace(self, question: Question) -> str:
        """The reference answer as a trace with one successful attempt."""
        words = question.reference.split(" ")
        return write_attempt([int(word) for word in words[::2]], words[1::2], parse_question(question.text)[1])

    def corpus(self, count: int, seed: int) -> list[Practice]:
        """Blind searches on training numbers: attempts drawn at random, three at most.

        They teach form, arithmetic and how to tell a hit from a miss.  On three numbers most of them (LUCKY) have as
        target the value that the last attempt happens to reach, so that it says OK and an answer follows; the others,
        and all on four numbers, have a random target and are cut off unless they hit it by chance.  How to aim with
        four numbers is left to the curated traces.  Only numbers and targets of the training split occur.
        """
        rng = random.Random(f"countdown/corpus/{seed}")
        texts: list[Practice] = []
        for numbers, _, draw in itertools.islice(_random_questions(rng, "train"), 10 * count + 1000):
            practice = _blind_search(numbers, draw)
            if split_of(_name(*parse_question(practice.prompt))) == "train":
                texts.append(practice)
            if len(texts) == count:
                break
        return texts


def parse_question(text: str) -> tuple[list[int], int]:
    """``"4 8 2 1 = 31"`` to ([4, 8, 2, 1], 31)."""
    left, right = text.split(" = ")
    return [int(word) for word in left.split(" ")], int(right)


def running_values(operands: Sequence[int], operators: Sequence[str]) -> list[int] | None:
    """Values after each operator, from left to right; None if one leaves 0..99."""
    value, *rest = operands
    values = [value]
    for op, right in zip(operators, rest, strict=True):
        value = OPERATORS[op](value, right)
        if not 0 <= value <= LARGEST_VALUE:
            return None
        values.append(value)
    return values if 0 <= values[0] <= LARGEST_VALUE else None


def write_attempt(operands: Sequence[int], operators: Sequence[str], target: int) -> str:
    """One attempt as it stands in a trace: ``4 + 8 12 + 2 14 x``.  Raises ValueError if a value leaves 0..99."""
    values = running_values(operands, operators)
    if values is None:
        raise ValueError(f"write_attempt: values must stay in 0..{LARGEST_VALUE}, got {operands} with {operators}.")
    steps = (f"{op} {right} {value}" for op, right, value in zip(operators, operands[1:], values[1:], strict=True))
    return " ".join([str(operands[0]), *steps, "OK" if values[-1] == target else "x"])


def write_expression(operands: Sequence[int], operators: Sequence[str]) -> str:
    """An answer: ``8 * 4 - 2 + 1``."""
    rest = (f" {op} {right}" for op, right in zip(operators, operands[1:], strict=True))
    return "".join([str(operands[0]), *rest])


def solutions(numbers: Sequence[int], target: int) -> list[str]:
    """Y_x: every correct answer, each once, in an order that depends on the numbers alone."""
    return _expressions_by_value(tuple(sorted(numbers))).get(target, [])


@functools.cache
def _expressions_by_value(numbers: tuple[int, ...]) -> dict[int, list[str]]:
    by_value: dict[int, list[str]] = {}
    for operands in sorted(set(itertools.permutations(numbers))):
        for operators in itertools.product(OPERATORS, repeat=len(numbers) - 1):
            values = running_values(operands, operators)
            if values is not None:
                by_value.setdefault(values[-1], []).append(write_expression(operands, operators))
    return by_value


def _random_questions(rng: random.Random, split: str) -> Iterator[tuple[list[int], int, random.Random]]:
    """Endless questions of `split`, each with a generator of its own: skipping one does not change the next."""
    while True:
        draw = random.Random(rng.getrandbits(64))
        numbers = [draw.randint(1, LARGEST_NUMBER) for _ in range(draw.choice([3, 4]))]
        operands, operators = _random_expression(numbers, draw)
        values = running_values(operands, operators)
        if values is not None and split_of(_name(numbers, values[-1])) == split:
            yield numbers, values[-1], draw


def _random_expression(numbers: Sequence[int], rng: random.Random) -> tuple[list[int], list[str]]:
    return rng.sample(numbers, len(numbers)), rng.choices(list(OPERATORS), k=len(numbers) - 1)


def _name(numbers: Sequence[int], target: int) -> str:
    return f"{'-'.join(map(str, sorted(numbers)))}={target}"


def _level(numbers: Sequence[int], target: int) -> int | None:
    count = len(solutions(numbers, target))
    if count < 2:
        return None
    if len(numbers) == 3:
        return 1
    return 2 if count >= 16 else 3 if count >= 6 else 4


def _question(name: str, numbers: list[int], target: int, level: int, rng: random.Random, curated: bool) -> Question:
    answers = solutions(numbers, target)
    reference = rng.choice(answers)
    trace = _curated_trace(numbers, target, reference, rng) if curated else None
    return Question(name, f"{' '.join(map(str, numbers))} = {target}", level, reference, len(answers), trace)


def _curated_trace(numbers: list[int], target: int, reference: str, rng: random.Random) -> str:
    """A noisy searcher's record: misses drawn at random, then `reference`."""
    attempts = []
    while len(attempts) < MOST_MISSES and rng.random() < CONTINUE_SEARCH:
        expression = _legal_expression(numbers, rng)
        if _value(*expression) != target:
            attempts.append(write_attempt(*expression, target))
    words = reference.split(" ")
    return " ".join([*attempts, write_attempt([int(word) for word in words[::2]], words[1::2], target)])


def _blind_search(numbers: list[int], rng: random.Random) -> Practice:
    expressions = [_legal_expression(numbers, rng) for _ in range(rng.randint(1, MOST_BLIND_ATTEMPTS))]
    values = [_value(*expression) for expression in expressions]
    lucky = len(numbers) == 3 and rng.random() < LUCKY
    target = values[-1] if lucky else rng.randint(0, LARGEST_VALUE)
    finished = target in values
    expressions = expressions[: values.index(target) + 1] if finished else expressions
    return Practice(
        f"{' '.join(map(str, numbers))} = {target}",
        " ".join(write_attempt(*expression, target) for expression in expressions),
        write_expression(*expressions[-1]) if finished else None,
    )


def _legal_expression(numbers: list[int], rng: random.Random) -> tuple[list[int], list[str]]:
    for _ in range(1000):
        operands, operators = _random_expression(numbers, rng)
        if running_values(operands, operators) is not None:
            return operands, operators
    raise RuntimeError(f"_legal_expression: none in 1000 draws for {numbers}.")


def _value(operands: list[int], operators: list[str]) -> int:
    values = running_values(operands, operators)
    assert values is not None
    return values[-1]
