"""What the tutorials call: ``check``, ``hint``, ``solution``, ``use`` and ``progress``.  Needs torch alone;
tutorial 5 needs transformers as well, tutorial 7 also TRL.

How a tutorial is written.  Tutorial 4 is the notebook ``tutorials/04_some_skill.ipynb`` and the package
``varcore/exercises/t04_some_skill``: one module a task, and an ``__init__.py`` that lists ``TASKS`` in the notebook's
order.  Both are found by their names; ``tests/test_tutorials.py`` and ``tests/exercises`` pick them up.

A module holds one ``TASK`` (see ``Task``) and, as ordinary code:

* ``cases(generator)``: fresh random calls, from the plainest (no two axes of one length) to the oddest (-inf, float32,
  more axes).  ``Case(..., slopes=(0,))`` compares gradients as well.
* the solution, named as the notebook's stub is, with nothing but what the notebook imports and earlier solutions: the
  tests paste its source into the stub's cell.
* ``alternatives``, at least two: vectorised, looped, another idiom.
* ``mistakes``, at least five: each is code that readers do write, and its docstring completes "wrong, because ...":
  what is wrong and why, without the corrected line.  Two mistakes must differ on some case.  A check recognises a
  mistake by its values, so one version of it is enough.

For what cases cannot say (a target reached, a property), ``examine(answer, generator)`` returns "" or a diagnosis.
With ``wants="value"`` the answer is a number or tensor, and solution, alternatives and mistakes are functions without
arguments that return it: the module writes ``def my_number():``, the notebook's stub ``my_number = None``.
One task has ``kind="debugging"``: the cell before its stub shows the faulty function as ``def suspect(...)``, and the
faulty code is one of the mistakes.  One task has ``kind="experiment"``.

In the notebook each task is a heading ``### 4.2 Title (core)`` or ``(core, debugging)``, text with **Why.** and
**Spec.**, a stub that raises NotImplementedError, and one cell each of ``check("4.2", name)``, ``hint("4.2")`` and
``solution("4.2")``.  Cells below that need the reader's function take ``use("4.2")``, so that a blank notebook runs.
``tests/tutorial_anatomy.py`` spells out the rest of the anatomy.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from varcore.exercises import record
from varcore.exercises.judging import judge
from varcore.exercises.showing import Folded, Hints, Line, Verdict, hints_of, solution_of
from varcore.exercises.task import Case, Task, find, tasks_of

__all__ = ["Case", "Task", "check", "hint", "progress", "solution", "use"]

_accepted: dict[str, Any] = {}  # answers that were correct, in this kernel
_stages: dict[str, int] = {}  # hints given, in this kernel


def check(name: str, answer: Any) -> Verdict:
    """Is this answer *not attempted*, *wrong, because ...* or *correct*?  Judged on fresh random cases each time.

    Nothing that the answer does ends the check: an exception is shown with its line, a loop without end is stopped.
    With the environment variable VARCORE_SOLUTIONS=1 the committed solution is checked in the answer's place and
    nothing is recorded.  Raises ValueError if there is no task of this name.
    """
    task = find(name)
    if _checking_solutions():
        answer = task.answer_of(task.solution)
    generator = torch.Generator()
    generator.seed()
    verdict = judge(task, answer, generator)
    if verdict.outcome != "correct":
        return verdict
    _accepted[name] = answer
    remark = "" if _checking_solutions() else record.add(_tutorial(name), name)
    return Verdict(task, verdict.outcome, notes=(*verdict.notes, *filter(None, [remark])))


def hint(name: str) -> Hints:
    """Each call adds the next of three hints, folded: the idea, the formula, the code with gaps."""
    task = find(name)
    _stages[name] = min(_stages.get(name, 0) + 1, 3)
    return hints_of(task, _stages[name])


def solution(name: str) -> Folded:
    """The committed solution and other code that is right."""
    return solution_of(find(name))


def use(name: str) -> Any:
    """Your answer, if it was checked and correct in this kernel; otherwise the committed one, so that you can go on."""
    task = find(name)
    return _accepted[name] if name in _accepted else task.answer_of(task.solution)


def progress(tutorial: int) -> Line:
    """How many tasks of a tutorial were ever correct, also before the last restart, and where that is kept."""
    tasks = tasks_of(tutorial)
    solved, remark = record.load(tutorial)
    open_ones = [task.name for task in tasks if task.name not in solved]
    text = f"Tutorial {tutorial}: {len(tasks) - len(open_ones)} of {len(tasks)} correct."
    if open_ones:
        text += f" To do: {', '.join(open_ones)}."
    if record.place(tutorial).exists():
        text += f" Kept in {record.place(tutorial)}; delete it to start anew."
    if _checking_solutions():
        text += " VARCORE_SOLUTIONS=1: the committed solutions were checked, and nothing was recorded."
    return Line(" ".join(filter(None, [text, remark])))


def _tutorial(name: str) -> int:
    return int(name.partition(".")[0])


def _checking_solutions() -> bool:
    return os.environ.get("VARCORE_SOLUTIONS") == "1"
