"""What the rest of varcore asks of a task: questions, a verifier, and curated traces for some questions."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Verdict(enum.StrEnum):
    """Is an answer in Y_x?  A crashed verifier is none of these: it raises (see llm.verifiers)."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Question:
    """One question x.

    `reference` is one correct answer, drawn once and for all from a uniform distribution over Y_x: it serves as the
    answer hint y'.  `num_correct_answers` is |Y_x|, or None where a task cannot count.  `curated_trace` is a worked
    trace that ends in `reference`; None says that only the answer is known.
    """

    id: str
    text: str
    level: int
    reference: str
    num_correct_answers: int | None = None
    curated_trace: str | None = None


@dataclass(frozen=True)
class Practice:
    """A question-like prompt and a trace-like text; with an answer the trace is closed, without one it breaks off.

    A `hint` stands behind the prompt as it does for the posterior.
    """

    prompt: str
    trace: str
    answer: str | None
    hint: str | None = None


@runtime_checkable  # the tests check every call's types
class Task(Protocol):
    """A source of questions.  Two calls with the same arguments return equal questions."""

    name: str
    levels: dict[int, str]

    def questions(self, split: str, count: int, seed: int, *, curated: bool = False) -> list[Question]:
        """`count` questions of `split` ("train", "validation" or "test"), levels in turn."""
        ...

    def verify(self, question: Question, answer: str) -> Verdict:
        """Is `answer` in Y_x?"""
        ...

    def direct_trace(self, question: Question) -> str:
        """The reference answer itself, written as a trace: what a posterior that only leaks the hint would give."""
        ...

    def corpus(self, count: int, seed: int) -> list[Practice]:
        """Practice text for a base model that is trained from nothing: its form and arithmetic, not its skill."""
        ...
