"""A task whose questions come from a file: split by a hash of their text, repeated ones set aside and said."""

from __future__ import annotations

import hashlib
import itertools
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from varcore.tasks.answers import judge_choice, judge_exact
from varcore.tasks.base import Practice, Question, Verdict
from varcore.tasks.files import DataError, Row
from varcore.tasks.math_pool import MathPool, shared_pool
from varcore.tasks.math_text import asks_percentage
from varcore.tasks.mathematics import judge_mathematics
from varcore.tasks.schemas import Item, Schema

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Record:
    """Which data a task was made of.  sha256: `files.fingerprint` of the columns that the schema reads."""

    name: str
    source: str
    revision: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Reading:
    """What became of the rows: every one is a question, repeats an earlier one, or is left out for a reason.

    `repeated` lists (row that is kept, row that repeats its question), counted from 0; `conflicts` those of them that
    give another answer.
    """

    rows: int
    questions: int
    left_out: dict[str, int]
    repeated: Pairs
    conflicts: Pairs

    def __str__(self) -> str:
        parts = [f"{self.rows} rows, {self.questions} questions"]
        parts += [f"{count} rows left out ({reason})" for reason, count in self.left_out.items()]
        if self.repeated:
            parts.append(
                f"{len(self.repeated)} rows repeat an earlier question (the first is row {self.repeated[0][1]})"
            )
        if self.conflicts:
            parts.append(f"{len(self.conflicts)} of these with another answer (row {self.conflicts[0][1]})")
        return "; ".join(parts) + "."


class FileTask:
    """Satisfies `base.Task`.  `reading` says what became of the rows, `record` which data they were.

    Args:
        pool: processes for the verifier of mathematics; None is the pool that all tasks share.
    """

    def __init__(self, schema: Schema, rows: Sequence[Row], record: Record, pool: MathPool | None = None):
        self.name, self.schema, self.record = schema.name, schema, record
        self._pool = pool
        found, self.levels = read_questions(schema, rows)
        kept, self.reading = _without_repeats(found)
        if not kept:
            raise DataError(f"{schema.name}: {record.source} holds no question. {self.reading}")
        self._by_split = {split: [q for q in kept if _percent(q.text) in part] for split, part in schema.splits.items()}

    @property
    def verifiers(self) -> int:
        """How many answers can be judged at the same time."""
        return self._mathematics.size if self.schema.verifier == "mathematics" else 1

    def size(self, split: str) -> int:
        """Number of questions in `split`."""
        return len(self._of(split))

    def questions(self, split: str, count: int, seed: int, *, curated: bool = False) -> list[Question]:
        """`count` distinct questions of `split` in an order that `seed` decides, the levels in turn.

        With `curated` they keep their traces.  In the training split those that have one come first, whether asked
        for or not.  Raises ValueError for an unknown split and when there are fewer questions than asked for.
        """
        found = self._of(split)
        if count > len(found):
            raise ValueError(
                f"{self.name}: {count} {split} questions were asked for, and there are {len(found)}. Ask for fewer."
            )
        shuffled = random.Random(f"{self.name}/{split}/{seed}").sample(found, len(found))
        last = [q for q in shuffled if split == "train" and q.curated_trace is None]
        first = [q for q in shuffled if split != "train" or q.curated_trace is not None]
        chosen = [*_in_turn(first), *_in_turn(last)][:count]
        return chosen if curated else [replace(question, curated_trace=None) for question in chosen]

    def verify(self, question: Question, answer: str) -> Verdict:
        """By the schema's verifier, against `question.reference`."""
        if self.schema.verifier == "mathematics":
            asked = asks_percentage(question.text)
            return judge_mathematics(self._mathematics, question.reference, answer, asks_percentage=asked)
        return JUDGES[self.schema.verifier](question.reference, answer)

    def unverifiable(self, split: str) -> list[Question]:
        """Questions whose own reference the verifier does not call right: look at them before a run."""
        return [q for q in self._of(split) if self.verify(q, q.reference) is not Verdict.RIGHT]

    def direct_trace(self, question: Question) -> str:
        """The reference itself."""
        return question.reference

    def corpus(self, count: int, seed: int) -> list[Practice]:
        """Raises ValueError: a model that is to learn from such data has been trained on text before."""
        raise ValueError(
            f"{self.name} has no practice text for a model trained from nothing. Start from a trained model."
        )

    @property
    def _mathematics(self) -> MathPool:
        return self._pool or shared_pool()

    def _of(self, split: str) -> list[Question]:
        if split not in self._by_split:
            raise ValueError(f"{self.name}: split must be one of {list(self._by_split)}, got {split!r}.")
        return self._by_split[split]


def _in_turn(questions: Sequence[Question]) -> list[Question]:
    """One of each level after the other, until a level is used up."""
    levels = sorted({question.level for question in questions})
    columns = [[question for question in questions if question.level == level] for level in levels]
    return [question for row in itertools.zip_longest(*columns) for question in row if question is not None]


def read_questions(schema: Schema, rows: Sequence[Row]) -> tuple[list[Question | str], dict[int, str]]:
    """One entry a row, a Question or why the row is left out; and the names of the levels, which are sorted.

    A question's id is a hash of its text, so it is the same in every file that holds the question.
    """
    _check_columns(schema, rows)
    items = [schema.convert(row) for row in rows]
    names = sorted({item.level for item in items if isinstance(item, Item)})
    number = {name: place for place, name in enumerate(names, 1)}
    found = [
        Question(_digest(item.text).hex()[:16], item.text, number[item.level], item.reference, None, item.trace)
        if isinstance(item, Item)
        else item
        for item in items
    ]
    return found, {place: f"level {name}" if name else "all" for name, place in number.items()}


def _check_columns(schema: Schema, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        missing = [column for column in schema.columns if column not in row]
        if missing:
            raise DataError(
                f"{schema.name}: row {place} lacks the columns {missing}; it has {sorted(row)}. "
                "Rename those in the file, name them with varcore.tasks.schemas.own_schema, or fetch the published set."
            )


def _without_repeats(found: Sequence[Question | str]) -> tuple[list[Question], Reading]:
    first: dict[str, int] = {}
    kept: list[Question] = []
    repeated, conflicts = [], []
    for place, question in enumerate(found):
        if isinstance(question, str):
            continue
        earlier = first.setdefault(question.id, place)
        if earlier == place:
            kept.append(question)
            continue
        repeated.append((earlier, place))
        original = found[earlier]
        if isinstance(original, Question) and original.reference != question.reference:
            conflicts.append((earlier, place))
    reasons = Counter(entry for entry in found if isinstance(entry, str))
    return kept, Reading(len(found), len(kept), dict(reasons), tuple(repeated), tuple(conflicts))


def _digest(text: str) -> bytes:
    """Of the text as a reader sees it: Unicode form and white space do not matter."""
    return hashlib.sha256(" ".join(unicodedata.normalize("NFC", text).split()).encode()).digest()


def _percent(text: str) -> int:
    """0 to 99.  From other bytes of the hash than the id."""
    return int.from_bytes(_digest(text)[8:16], "big") % 100


JUDGES = {"choice": judge_choice, "exact": judge_exact}
