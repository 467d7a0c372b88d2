"""Progress of a run on the terminal: bars with rate and time left, or one line a stage where there is no terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Shows stages on `console`; a quiet one shows nothing."""

    def __init__(self, console: Console, *, quiet: bool = False):
        self.console, self.quiet = console, quiet
        self._advance: Callable[[int], None] = lambda amount: None
        self._total: Callable[[int, str], None] = lambda total, unit: None

    @contextlib.contextmanager
    def stage(self, name: str, explanation: str) -> Iterator[None]:
        """Runs the body as a stage; what it does with `begin` and `advance` moves the stage's bar."""
        began = time.perf_counter()
        with contextlib.ExitStack() as stack:
            if not self.quiet and self.console.is_terminal:
                self._show(stack.enter_context(_bar(self.console)), name)
            yield
        self._advance, self._total = (lambda amount: None), (lambda total, unit: None)
        if not self.quiet:
            # two spaces, so that a log can be cut into columns
            self.console.print(f"  {name:<26}{explanation}  [dim]{time.perf_counter() - began:.1f} s[/dim]")

    def begin(self, total: int, unit: str) -> Callable[[int], None]:
        """Sets the current bar to `total` units and returns the function that advances it."""
        self._total(total, unit)
        return lambda amount: self._advance(amount)

    def _show(self, bar: Progress, name: str) -> None:
        task = bar.add_task(name, total=None, rate="")
        clock = {"began": time.perf_counter(), "unit": "", "amount": 0}

        def begin(total: int, unit: str) -> None:
            clock.update(began=time.perf_counter(), unit=unit, amount=0)
            bar.reset(task, total=total)

        def advance(amount: int) -> None:
            clock["amount"] += amount
            seconds = max(time.perf_counter() - clock["began"], 1e-9)
            bar.update(task, advance=amount, rate=f"{clock['amount'] / seconds:,.0f} {clock['unit']}/s")

        self._total, self._advance = begin, advance


def _bar(console: Console) -> Progress:
    columns = (TextColumn("  {task.description:<26}"), BarColumn(24), MofNCompleteColumn())
    return Progress(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console, transient=True)
