"""Judge an answer: not attempted, wrong because ..., or correct.

An answer must do as the solution does on fresh random cases.  Where it first does not, the committed mistakes are run
on the same cases: the one whose values the answer shares names what went wrong.  So a mistake is recognised by what
it computes, in whatever words it was written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from varcore.exercises.running import Seen, Session, observe, same
from varcore.exercises.showing import Verdict
from varcore.exercises.task import Case, Task, diagnosis_of


def judge(task: Task, answer: Any, generator: torch.Generator) -> Verdict:
    """The verdict on an answer, on cases drawn with this generator."""
    session = Session(task.seconds)
    if answer is None or answer is Ellipsis:
        return Verdict(task, "not attempted")
    if task.wants == "function" and not callable(answer):
        because = (
            f"it is the {type(answer).__name__} that a call returned: hand over the function itself, without `()`."
        )
        return Verdict(task, "wrong", because)
    because, examine = "", task.examine
    if task.cases is not None:
        cases = task.cases(generator)
        seen = _seen(answer, cases, session)
        if not seen[0].attempted:
            return Verdict(task, "not attempted", seen[0].fault)
        because = _compared(task, cases, seen) or _repeated(answer, cases[0], seen[0], session)
    if not because and examine is not None:
        examined = session.try_out(answer, lambda: examine(answer, generator))
        if not examined.attempted:
            return Verdict(task, "not attempted", examined.fault)
        because = examined.fault or examined.value
    return Verdict(task, "wrong" if because else "correct", because, session.notes())


def _seen(function: Callable[..., Any], cases: list[Case], session: Session) -> list[Seen]:
    """What the function does on each case, up to the first fault: an endless loop is waited for once."""
    seen = []
    for case in cases:
        seen.append(observe(function, case, session))
        if seen[-1].fault or not seen[-1].attempted:
            break
    return seen


def _repeated(function: Callable[..., Any], case: Case, before: Seen, session: Session) -> str:
    if same(before.value, observe(function, case, session).value):
        return ""
    return "called again with the same input it gives another value: does it remember something between calls?"


def _compared(task: Task, cases: list[Case], seen: list[Seen]) -> str:
    """What is wrong on the first case where the answer does not do as the solution does; "" if there is none."""
    expected = _observed(task.solution, cases)
    for number, (case, want, got) in enumerate(zip(cases, expected, seen, strict=False)):
        if got.fault or not got.attempted:
            fault = got.fault or "it still raises NotImplementedError."
            return fault if number == 0 else f"on {case.words} {fault}"
        if not _alike(want, got):
            return _recognised(task, cases, seen, number) or _described(task, case, want, got)
    return ""


def _observed(function: Callable[..., Any], cases: list[Case]) -> list[Seen]:
    session = Session(seconds=60.0)
    return [observe(function, case, session) for case in cases]


def _alike(a: Seen, b: Seen) -> bool:
    return not a.fault and not b.fault and same(a.value, b.value) and same(a.slopes, b.slopes)


def _recognised(task: Task, cases: list[Case], seen: list[Seen], number: int) -> str:
    """The diagnosis of the mistake that does as the answer does: on this case, and on more cases than any other."""
    best, most = "", 0
    for mistake in task.mistakes:
        likewise = [_alike(a, b) for a, b in zip(_observed(mistake, cases), seen, strict=False)]
        if likewise[number] and sum(likewise) > most:
            best, most = diagnosis_of(mistake), sum(likewise)
    return best


def _described(task: Task, case: Case, want: Seen, got: Seen) -> str:
    """In what way a value is wrong that no committed mistake gives; the right one is not told."""
    where, value, right = f"on {case.words} ", got.value, want.value
    if value is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(right, Tensor) or not isinstance(value, Tensor):
        if type(value) is not type(right):
            return f"{where}it returns {_a(value)}, where the spec asks for {_a(right)}."
        return where + _unlike(value, right)
    if value.shape != right.shape:
        return f"{where}the result has shape {tuple(value.shape)}, where the spec asks for {tuple(right.shape)}."
    if value.dtype != right.dtype:
        return f"{where}the result has dtype {value.dtype}, where the spec asks for {right.dtype}."
    if value.isnan().any():
        return f"{where}the result is NaN."
    if not same(value, right):
        if same(value, -right):
            return f"{where}the sign is wrong."
        return f"{where}the value is {_off(value, right)}."
    return where + _slope(task, case, want, got)


def _unlike(value: Any, right: Any) -> str:
    """Which entry of a dict is wrong, and which type inside a list; of other values only that they are."""
    if not isinstance(right, dict):
        return _inside(value, right) or "it returns something else than the spec says."
    if value.keys() != right.keys():
        return f"its keys are not those of the spec: {', '.join(map(repr, value.keys() ^ right.keys()))}."
    key = next(key for key in right if not same(value[key], right[key]))
    if type(value[key]) is not type(right[key]):
        return f"`{key}` is {_a(value[key])}, where the spec asks for {_a(right[key])}."
    return f"`{key}` is something else than the spec says."


def _inside(value: Any, right: Any) -> str:
    """A type or dtype that is wrong in the first item that is wrong, of lists and tuples of one length."""
    if isinstance(value, Tensor) and isinstance(right, Tensor):
        return f"it holds a tensor of {value.dtype}, not of {right.dtype}." if value.dtype != right.dtype else ""
    if type(value) is not type(right):
        return f"it holds {_a(value)}, where the spec asks for {_a(right)}."
    if not isinstance(right, list | tuple) or len(value) != len(right):
        return ""
    return next((_inside(a, b) for a, b in zip(value, right, strict=True) if not same(a, b)), "")


def _a(value: Any) -> str:
    return "a tensor" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"


def _off(value: Tensor, right: Tensor) -> str:
    """By how much, at worst; or where it is infinite and should not be, or should be infinite or NaN and is not."""
    value, right = value.detach().flatten(), right.detach().flatten()
    wrong = (value != right) & (value.isinf() | right.isinf() | right.isnan())
    if wrong.any():
        there = right[wrong][0]
        return f"{value[wrong][0].item():.4g} where it should be {'finite' if there.isfinite() else there.item()}"
    return f"off by up to {(value.double() - right.double()).abs().nan_to_num(nan=0.0).max().item():.3g}"


def _slope(task: Task, case: Case, want: Seen, got: Seen) -> str:
    if not got.value.requires_grad:
        return (
            "the value is right, but carries no gradient: `.item()`, `.tolist()`, `.detach()`, `torch.tensor(...)` or "
            "`torch.no_grad()` on the way cuts it off."
        )
    names = list(inspect.signature(inspect.unwrap(task.solution)).parameters)
    pairs = zip(case.slopes, want.slopes, got.slopes, strict=True)
    wrong = {names[n]: b for n, a, b in pairs if not same(a, b)}
    said = "NaN" if any(slope.isnan().any() for slope in wrong.values()) else "not"
    return f"the value is right, but its gradient in `{'`, `'.join(wrong)}` is {said}."
