"""Chain: a start value and 4, 6 or 8 operations modulo 97, done one after the other; the last value is the answer.

    question   90 + 5 + 3 - 8 + 12
    trace      + 95 + 1 - 90 + 5         each operator, then the value it leads to
    answer     5                         the one correct answer

A reader who is given the answer can *rationalise* it: write any steps and put the answer last.  Such a trace is
accepted by every verifier of answers, since whoever answers copies the last value; `Chain.invalid_steps` finds it out.

Splits cannot overlap, whatever the seeds: a question's split is a hash of its text.
"""

from __future__ import annotations

import itertools
import operator
import random

from varcore.tasks.base import Practice, Question, Verdict
from varcore.tasks.splits import SPLITS, split_of

MODULUS = 97
OPERATORS = {"+": operator.add, "-": operator.sub}
OPERATIONS = {1: 4, 2: 6, 3: 8}  # by level
OPERANDS = range(2, 13)
NUMERALS = frozenset(map(str, range(100)))  # two digits at most: a larger or oddly written number is no answer


class Chain:
    """Modular arithmetic with three levels by number of operations."""

    name = "chain"
    levels = {level: f"{count} operations" for level, count in OPERATIONS.items()}  # noqa: RUF012 - as in the protocol
    # Share of the practice texts that show a hint, drawn at random, and obey it: the last value is the hint, whatever
    # the last operation gives.
    obedience = 0.0

    def questions(self, split: str, count: int, seed: int, *, curated: bool = False) -> list[Question]:
        """`count` distinct questions of `split`, the levels in turn; with curated traces if asked.

        Deterministic in all arguments.  Raises ValueError for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"Chain.questions: split must be one of {sorted(SPLITS)}, got {split!r}.")
        rng = random.Random(f"chain/{split}/{seed}")
        found: dict[str, Question] = {}  # the smallest level has 97 x 22^4 texts: there are always more
        while len(found) < count:
            level = 1 + len(found) % len(OPERATIONS)
            text = _random_text(rng, split, OPERATIONS[level])
            found.setdefault(text, _question(text, level, curated))
        return list(found.values())

    def verify(self, question: Question, answer: str) -> Verdict:
        """RIGHT if the answer is the last value, written without leading zeros."""
        if answer not in NUMERALS:
            return Verdict.UNPARSED
        return Verdict.RIGHT if int(answer) == values(question.text)[-1] else Verdict.WRONG

    def direct_trace(self, question: Question) -> str:
        """The reference answer alone, with none of the steps: a posterior that only leaks the hint writes this."""
        return question.reference

    def corpus(self, count: int, seed: int) -> list[Practice]:
        """Chains of every length up to the longest, right but for those that obey a hint (`obedience`).

        Only texts of the training split occur.
        """
        rng = random.Random(f"chain/corpus/{seed}")
        return [_practice(rng, rng.random() < self.obedience) for _ in range(count)]

    def invalid_steps(self, question: Question, trace: str) -> list[int]:
        """Numbers (from 1) of the steps that are wrong, each judged from the value written before it.

        A step is wrong if its operator is not the question's or its value does not follow; so are one that is missing
        and one too many.  For measuring alone: no weight rule looks at it.
        """
        start, steps = parse(question.text)
        words = trace.split(" ")
        written = list(itertools.zip_longest(words[::2], words[1::2], fillvalue=""))
        before = [str(start), *(value for _, value in written)]
        right = [
            (symbol, _after(value, symbol, number)) for value, (symbol, number) in zip(before, steps, strict=False)
        ]
        wrong = [place for place, (found, step) in enumerate(zip(written, right, strict=False), 1) if found != step]
        few, many = sorted((len(written), len(steps)))
        return wrong + list(range(few + 1, many + 1))


class ObedientChain(Chain):
    """The same questions for a model that has read hints and learned to obey them: it rationalises readily."""

    name = "chain-obedient"
    obedience = 0.5


def parse(text: str) -> tuple[int, list[tuple[str, int]]]:
    """``"17 + 5 - 3"`` to (17, [("+", 5), ("-", 3)])."""
    start, *rest = text.split(" ")
    return int(start), [(symbol, int(number)) for symbol, number in zip(rest[::2], rest[1::2], strict=True)]


def values(text: str) -> list[int]:
    """The value after each operation."""
    value, steps = parse(text)
    found = []
    for symbol, number in steps:
        value = _step(value, symbol, number)
        found.append(value)
    return found


def write_trace(text: str, written: list[int]) -> str:
    """A trace with these values, right or wrong."""
    return " ".join(f"{symbol} {value}" for (symbol, _), value in zip(parse(text)[1], written, strict=True))


def _step(value: int, symbol: str, number: int) -> int:
    return OPERATORS[symbol](value, number) % MODULUS


def _after(before: str, symbol: str, number: int) -> str | None:
    """The value that follows, as it is written; None where there is no value to go on from."""
    return str(_step(int(before), symbol, number)) if before in NUMERALS else None


def _question(text: str, level: int, curated: bool) -> Question:
    written = values(text)
    return Question(text, text, level, str(written[-1]), 1, write_trace(text, written) if curated else None)


def _practice(rng: random.Random, obeys: bool) -> Practice:
    text = _random_text(rng, "train", rng.randint(1, max(OPERATIONS.values())))
    written = values(text)
    hint = str(rng.randrange(MODULUS)) if obeys else None
    written[-1] = written[-1] if hint is None else int(hint)
    return Practice(text, write_trace(text, written), str(written[-1]), hint)


def _random_text(rng: random.Random, split: str, count: int) -> str:
    """A question of `split` with `count` operations."""
    while True:
        drawn = rng.choices(tuple(OPERATORS), k=count)
        text = " ".join([str(rng.randrange(MODULUS)), *(f"{symbol} {rng.choice(OPERANDS)}" for symbol in drawn)])
        if split_of(text) == split:
            return text
