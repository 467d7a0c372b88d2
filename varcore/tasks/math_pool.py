"""Processes that compare mathematics, each killed and replaced when it takes too long or dies.

A process rather than a thread: sympy can spend hours inside one call, which nothing but the end of its process stops.
It is started by path and spoken to in lines of JSON, so it works from notebooks, threads and scripts alike, and
importing torch is spared.
"""

from __future__ import annotations

import atexit
import functools
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from varcore.tasks.base import Verdict

WORKER = Path(__file__).with_name("math_worker.py")
START_SECONDS = 300.0  # wall clock, for importing sympy on a busy machine
PATIENCE = 20.0  # wall clock over CPU time at which a comparison is given up, should the kernel's limit not bite


class MathPool:
    """`size` processes; `seconds` of CPU time a comparison.  Threads may share a pool: each takes a free process."""

    def __init__(self, size: int = 2, seconds: float = 5.0, worker: Path = WORKER):
        if size < 1 or seconds <= 0:
            raise ValueError(f"MathPool: needs size >= 1 and seconds > 0, got {size} and {seconds}.")
        self.size = size
        self._all = [_Process(worker, seconds) for _ in range(size)]
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def compare(self, gold: str, answer: str) -> Verdict:
        """Two pieces of LaTeX without dollar signs.

        TIMEOUT when the limit of CPU time or memory was reached.  A process that dies in another way is replaced and
        the comparison tried once more, in case something outside killed it; the second time that is TIMEOUT too.
        Raises RuntimeError if a process cannot be started.
        """
        process = self._free.get()
        try:
            return process.ask(gold, answer) or process.ask(gold, answer) or Verdict.TIMEOUT
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End all processes.  The pool can still be used: they start again."""
        for process in self._all:
            process.stop()


@functools.cache
def shared_pool() -> MathPool:
    """The pool that tasks use unless they are given another; ended when Python ends."""
    pool = MathPool()
    atexit.register(pool.close)
    return pool


class _Process:
    def __init__(self, worker: Path, seconds: float):
        self.worker, self.seconds = worker, seconds
        self.running: subprocess.Popen[str] | None = None

    def ask(self, gold: str, answer: str) -> Verdict | None:
        """A verdict, or None if the process died of something else than its limit."""
        running = self.running = self.running or self._start()
        reply = _exchange(running, json.dumps([gold, answer]), PATIENCE * self.seconds)
        if reply is not None:
            return Verdict(reply)
        code = running.returncode
        self.stop()
        return Verdict.TIMEOUT if code in (-signal.SIGXCPU, -signal.SIGKILL) else None

    def _start(self) -> subprocess.Popen[str]:
        with tempfile.TemporaryFile("w+") as errors:
            # -P: the folder of the script is not searched for modules
            command = [sys.executable, "-P", str(self.worker), str(self.seconds)]
            running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
            )
            if _exchange(running, "", START_SECONDS) != "ready":
                _end(running)
                errors.seek(0)
                raise RuntimeError(
                    f"The process that compares mathematics did not start: {errors.read()[-800:].strip()!r}. "
                    "It needs Math-Verify: pip install 'varcore[llm]'."
                )
        return running

    def stop(self) -> None:
        if self.running is not None:
            _end(self.running)
            self.running = None


def _exchange(running: subprocess.Popen[str], line: str, seconds: float) -> Any:
    """Send a line unless it is empty and read one; None, with the process ended, if it died or `seconds` passed."""
    assert running.stdin is not None
    assert running.stdout is not None
    timer = threading.Timer(seconds, running.kill)
    timer.start()
    try:
        if line:
            running.stdin.write(line + "\n")
            running.stdin.flush()
        reply = running.stdout.readline()
    except BrokenPipeError:
        reply = ""
    finally:
        timer.cancel()
    if not reply.endswith("\n"):
        running.wait()
        return None
    return json.loads(reply)


def _end(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.wait()
    for pipe in (running.stdin, running.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # a line that nobody read
                continue
