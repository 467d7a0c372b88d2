"""What a reader sees: verdicts, hints, solutions, the progress line; as plain text and as HTML.

No colours: words and the kind of line on the left carry the meaning, in greyscale and in a dark theme alike.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

from varcore.exercises.task import Task, source_of

LINES = {"correct": "4px solid", "wrong": "6px double", "not attempted": "4px dotted", "": "1px solid"}
STAGES = ("the idea", "the formula", "the code, with gaps")


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` found; `outcome` and `because` are for programs, the display for the reader."""

    task: Task
    outcome: Literal["not attempted", "wrong", "correct"]
    because: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{self.task.name} {self.task.title}: " + "\n".join([self._said(), *self.notes])

    def _said(self) -> str:
        if self.outcome == "wrong":
            return f"wrong, because {self.because}"
        if self.outcome == "correct":
            return "correct." + (f" Now import it: `{self.task.library}`." if self.task.library else "")
        return f"not attempted. {self.because}".rstrip()

    def _repr_html_(self) -> str:
        first, rest = self._said()[: len(self.outcome)], self._said()[len(self.outcome) :]
        body = f"{inline(self.task.name)} <b>{first.capitalize()}</b>{inline(rest)}"
        return boxed("".join([body, *[f"<br>{inline(note)}" for note in self.notes]]), self.outcome)


@dataclass(frozen=True, repr=False)
class Folded:
    """A text that opens on a click; in plain text it is simply there.  `parts` are (heading, body, is it code?)."""

    summary: str
    parts: tuple[tuple[str, str, bool], ...]

    def __repr__(self) -> str:
        return "\n\n".join([self.summary, *["\n".join(filter(None, part[:2])) for part in self.parts]])

    def _repr_html_(self) -> str:
        shown = []
        for heading, body, is_code in self.parts:
            text = f"<pre>{html.escape(body)}</pre>" if is_code else f"<p>{inline(body)}</p>"
            shown.append((f"<p><b>{inline(heading)}</b></p>" if heading else "") + text)
        return boxed(f"<details><summary>{inline(self.summary)}</summary>{''.join(shown)}</details>", "")


@dataclass(frozen=True, repr=False)
class Line:
    """One line of text."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return boxed(inline(self.text), "")


@dataclass(frozen=True, repr=False)
class Hints:
    """The hints given so far, each folded by itself, and what comes next."""

    parts: tuple[Folded | Line, ...]

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.parts))

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.parts)


def hints_of(task: Task, count: int) -> Hints:
    """The first `count` hints of a task."""
    given = zip(STAGES, task.hints[:count], strict=False)
    folds = [
        Folded(f"Hint {number} of 3 for {task.name}: {stage}", (("", text, number == 3),))
        for number, (stage, text) in enumerate(given, 1)
    ]
    after = f'For the next hint, run hint("{task.name}") again.' if count < 3 else "There are no more hints."
    return Hints((*folds, Line(after)))


def solution_of(task: Task) -> Folded:
    """The committed solution and its alternatives."""
    parts = [("", source_of(task.solution), True)]
    parts += [("Also right:", source_of(code), True) for code in task.alternatives]
    if task.library:
        parts.append(("", f"In varcore: `{task.library}`.", False))
    return Folded(f"Solution of {task.name} {task.title}", tuple(parts))


def boxed(content: str, outcome: str) -> str:
    return f'<div style="border-left:{LINES[outcome]};padding:0.2em 0.8em;margin:0.3em 0">{content}</div>'


def inline(text: str) -> str:
    """Escaped; what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)).replace("\n", "<br>")
