"""What a task is: a title, cases, hints, solutions, mistakes.  And where the tasks of a tutorial are found."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch


@dataclass(frozen=True)
class Case:
    """One call of the reader's function.

    Args:
        words: completes "on ...", e.g. "three questions of four traces".
        arguments: what the function is called with; it gets copies.
        slopes: numbers of the arguments, tensors, in which the gradient of the value's sum is compared as well.
    """

    words: str
    arguments: tuple[Any, ...]
    slopes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """One task of a tutorial; ``varcore.exercises`` says how to write one.

    Args:
        name: "1.2" is the second task of tutorial 1.
        title: as in the notebook's heading.
        tier, kind: as in the notebook's heading, "(core)" or "(core, debugging)".
        hints: the idea, the formula, the code with gaps.
        solution: the function asked for.  Where a value is asked for: a function without arguments that returns it.
        alternatives: other code that is right.
        mistakes: code that is wrong; its docstring completes "wrong, because ...".
        cases: fresh random calls on which the answer must do as the solution does, from the plainest to the oddest.
        examine: what else must hold: given the answer and a generator, "" or what completes "wrong, because ...".
        wants: whether the answer is a function or a value.
        library: the function of varcore that does the same, e.g. "varcore.elbo".
        seconds: time that the answer may take, over all cases.
    """

    name: str
    title: str
    tier: Literal["warm-up", "core", "stretch"]
    hints: tuple[str, str, str]
    solution: Callable[..., Any]
    mistakes: tuple[Callable[..., Any], ...]
    alternatives: tuple[Callable[..., Any], ...] = ()
    cases: Callable[[torch.Generator], list[Case]] | None = None
    examine: Callable[[Any, torch.Generator], str] | None = None
    kind: Literal["", "debugging", "experiment"] = ""
    wants: Literal["function", "value"] = "function"
    library: str = ""
    seconds: float = 10.0

    def answer_of(self, code: Callable[..., Any]) -> Any:
        """What the reader hands in who wrote this code: the function, or the value that it returns."""
        return code if self.wants == "function" else code()


def source_of(code: Callable[..., Any]) -> str:
    """The source of a function, as the reader would write it."""
    return textwrap.dedent(inspect.getsource(inspect.unwrap(code))).rstrip()


def diagnosis_of(mistake: Callable[..., Any]) -> str:
    """The docstring of a mistake, on one line."""
    return " ".join((mistake.__doc__ or "").split())


def tutorials() -> dict[int, str]:
    """The packages t01_..., t02_... beside this file, by number."""
    return {int(path.name[1:3]): path.name for path in sorted(Path(__file__).parent.glob("t[0-9][0-9]_*"))}


def tasks_of(tutorial: int) -> tuple[Task, ...]:
    """The tasks of a tutorial, in its order.  Raises ValueError if there is no such tutorial."""
    found = tutorials()
    if tutorial not in found:
        raise ValueError(f"There is no tutorial {tutorial!r}; there are {', '.join(map(str, found))}.")
    return importlib.import_module(f"varcore.exercises.{found[tutorial]}").TASKS


def find(name: str) -> Task:
    """The task of this name.  Raises ValueError if there is none."""
    if not isinstance(name, str) or not re.fullmatch(r"\d+\.\d+", name):
        raise ValueError(f'A task is named by text such as "1.2", tutorial and number; got {name!r}.')
    tasks = {task.name: task for task in tasks_of(int(name.partition(".")[0]))}
    if name not in tasks:
        raise ValueError(f"There is no task {name!r}; this tutorial has {', '.join(tasks)}.")
    return tasks[name]
