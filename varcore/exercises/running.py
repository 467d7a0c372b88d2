"""Run code that a reader wrote, whatever it does: raises, never ends, prints, spoils its input, changes settings.

The time limit.  In the main thread, where Jupyter runs its cells, a timer signal raises ``OutOfTime``; it also ends a
sleep.  In any other thread, which gets no signals, a second thread asks the interpreter to raise it there.  Both act
between two steps of Python: one long operation inside torch is waited for, and code that catches BaseException in an
endless loop has to be ended by restarting the kernel.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import io
import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from varcore.exercises.task import Case

CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}  # relative, absolute
MOST_PRINTED = 500  # characters of the reader's own printing that are shown


class OutOfTime(BaseException):
    """The time limit has passed.  Not an Exception, so that ``except Exception`` in the reader's loop lets it out."""


@dataclass(frozen=True)
class Seen:
    """What one call did: its value and gradients, or the fault that makes these meaningless."""

    value: Any = None
    slopes: tuple[Tensor, ...] = ()
    fault: str = ""
    attempted: bool = True


@dataclass
class Session:
    """The calls of one check share a time limit and what was printed."""

    seconds: float
    printed: io.StringIO = field(default_factory=io.StringIO)

    def try_out(self, answer: Any, call: Callable[[], Any]) -> Seen:
        """The value of `call`, which uses the reader's `answer`; or what went wrong."""
        before = torch.get_default_dtype(), torch.is_grad_enabled()
        quiet = contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.printed)
        try:
            with quiet[0], quiet[1], torch.random.fork_rng(devices=[]), time_limit(self.seconds):
                seen = Seen(call())
        except NotImplementedError as error:
            seen = Seen(fault=unfinished(error, answer), attempted=False)
        except OutOfTime:
            seen = Seen(fault=f"it did not finish within {self.seconds:g} seconds: is there a loop without an end?")
        except (Exception, SystemExit) as error:
            seen = Seen(fault=told(error, answer))
        after = torch.get_default_dtype(), torch.is_grad_enabled()
        torch.set_default_dtype(before[0])
        torch.set_grad_enabled(before[1])
        if after != before and seen.attempted and not seen.fault:
            seen = Seen(
                fault="it changes torch's default dtype or gradient mode for everybody: leave these as they are."
            )
        return seen

    def notes(self) -> tuple[str, ...]:
        lines = dict.fromkeys(self.printed.getvalue().splitlines())  # the same line on every case is shown once
        text = "\n".join(line for line in lines if line.strip())
        shown = f"{text[:MOST_PRINTED]} ..." if len(text) > MOST_PRINTED else text
        return (f"It printed: {shown}",) if shown else ()


def observe(function: Callable[..., Any], case: Case, session: Session) -> Seen:
    """Call the function on copies of the case's arguments; its value, and the gradients that the case asks for."""
    leaves = [copied(argument) for argument in case.arguments]
    for number in case.slopes:
        leaves[number].requires_grad_()
    given = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    seen = session.try_out(function, lambda: function(*given))
    if seen.fault or not seen.attempted:
        return seen
    for argument, now in zip(case.arguments, given, strict=True):
        if isinstance(argument, Tensor | list | dict) and not same(copied(argument), copied(now)):
            return Seen(fault="it changes its input in place; work on a new tensor: `x = x - 1`, not `x -= 1`.")
    if not case.slopes or not isinstance(seen.value, Tensor):
        return seen
    wanted = [leaves[number] for number in case.slopes]
    if not seen.value.requires_grad:
        return Seen(seen.value, tuple(torch.full_like(leaf, math.nan) for leaf in wanted))
    total = seen.value.sum()
    return Seen(seen.value, torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True))


def copied(argument: Any) -> Any:
    return argument.detach().clone() if isinstance(argument, Tensor) else copy.deepcopy(argument)


def same(a: Any, b: Any) -> bool:
    """Equal up to rounding, in shape and dtype too; NaN equals NaN; lists, tuples and dicts are compared by item.

    A tensor without axes and a Python number may stand for each other: "one number" is either.
    """
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return _same_tensors(_like(a, b), _like(b, a))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def _like(a: Any, b: Any) -> Any:
    """A Python number as a tensor of the other's dtype, where that can hold it."""
    fits = isinstance(b, Tensor) and (type(a) is int or (type(a) is float and b.is_floating_point()))
    return torch.tensor(a, dtype=b.dtype) if fits else a


def _same_tensors(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape != b.shape:
        return False
    if a.dtype != b.dtype:
        return False
    close = CLOSE.get(a.dtype, 0.0)
    return torch.allclose(a.detach(), b.detach(), rtol=close, atol=close, equal_nan=True)


def unfinished(error: NotImplementedError, answer: Any) -> str:
    """Which other stub the answer ran into; nothing to say if it is the stub itself."""
    name = traceback.extract_tb(error.__traceback__)[-1].name
    own = getattr(answer, "__name__", name)
    return "" if name == own else f"`{own}` calls `{name}`, which still raises NotImplementedError."


def told(error: BaseException, answer: Any) -> str:
    """An exception with its own message, and the reader's line that raised it."""
    code = getattr(answer, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code and frame.filename == code.co_filename]
    said = f"it raises {type(error).__name__}: {' '.join(str(error).split())}"
    return f"{said} (line {own[-1].lineno} of `{own[-1].name}`'s cell: `{own[-1].line}`)" if own else said


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside the block when it takes longer; see the top of this file."""
    in_main = threading.current_thread() is threading.main_thread()
    with _by_signal(seconds) if in_main else _by_thread(seconds):
        yield


class _Alarm:
    """A signal handler.  Not a function inside `_by_signal`: type checks in the tests would wrap it for every call."""

    armed = True

    def __call__(self, number: int, frame: Any) -> None:
        if self.armed:
            raise OutOfTime


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    alarm = _Alarm()
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # again and again, should the code swallow the first one
    try:
        yield
    finally:
        alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    ask = ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(seconds, ask, [thread, ctypes.py_object(OutOfTime)])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        ask(thread, None)  # asked for at the last moment and not raised yet: no longer
