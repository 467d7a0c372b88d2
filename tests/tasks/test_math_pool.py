"""Processes that can be killed: a limit that bites, a crash that is never right, order, no one left behind."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from varcore.tasks import Verdict
from varcore.tasks.math_pool import MathPool

TOWER = "9^{9^{9^{9}}}"


def running(pool: MathPool) -> list[int]:
    """Ids of the pool's processes that are alive."""
    return [p.running.pid for p in pool._all if p.running is not None and p.running.poll() is None]


@pytest.fixture
def script(tmp_path):
    """A pool of one process that runs a script of ours instead of the real one."""
    pools = []

    def make(body: str, seconds: float = 1.0) -> MathPool:
        path = tmp_path / "worker.py"
        path.write_text("import os, sys, time\nprint('\"ready\"', flush=True)\nfor line in sys.stdin:\n" + body)
        pools.append(MathPool(1, seconds, path))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_verdicts_of_the_real_process(pool):
    assert pool.compare(r"\frac{1}{2}", "0.5") is Verdict.RIGHT
    assert pool.compare(r"\frac{1}{2}", "0.6") is Verdict.WRONG
    assert pool.compare(r"\frac{1}{2}", r"\frac{1}{") is Verdict.UNPARSED


def test_a_comparison_that_does_not_end_is_a_timeout_and_the_next_one_is_judged():
    pool = MathPool(1, 1.0)
    try:
        assert pool.compare("5", TOWER) is Verdict.TIMEOUT
        assert running(pool) == []
        assert pool.compare("5", "5.0") is Verdict.RIGHT
        assert len(running(pool)) == 1
    finally:
        pool.close()
    assert running(pool) == []


def test_a_process_that_sleeps_is_given_up_by_the_clock(script):
    """It uses no CPU time, so the kernel's limit never comes; 0.05 s x 20 of patience."""
    pool = script("    time.sleep(600)\n", seconds=0.05)
    assert pool.compare("5", "5") is Verdict.TIMEOUT
    assert running(pool) == []


def test_a_crash_is_tried_again_and_is_never_right(script, tmp_path):
    pool = script(f"    open({str(tmp_path / 'tries')!r}, 'a').write('x')\n    os._exit(3)\n")
    assert pool.compare("5", "5") is Verdict.TIMEOUT
    assert (tmp_path / "tries").read_text() == "xx"


def test_a_reply_cut_short_is_a_crash(script):
    pool = script("    sys.stdout.write('\"right\"')\n    sys.stdout.flush()\n    os._exit(0)\n")
    assert pool.compare("5", "5") is Verdict.TIMEOUT


def test_a_process_killed_between_two_comparisons_is_replaced():
    pool = MathPool(1, 1.0)
    try:
        assert pool.compare("5", "5.0") is Verdict.RIGHT
        (first,) = running(pool)
        os.kill(first, signal.SIGTERM)
        assert pool.compare("5", "5.0") is Verdict.RIGHT
        assert running(pool) != [first]
    finally:
        pool.close()


def test_many_threads_get_their_own_verdicts(pool):
    numbers = list(range(60))
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda n: pool.compare(str(n % 7), rf"\frac{{{2 * n}}}{{2}}"), numbers))
    assert verdicts == [Verdict.RIGHT if n < 7 else Verdict.WRONG for n in numbers]


def test_what_a_model_writes_is_not_executed(pool, tmp_path):
    mark = tmp_path / "mark"
    for text in (f"__import__('pathlib').Path('{mark}').touch()", rf"\write18{{touch {mark}}}", f"open('{mark}','w')"):
        assert pool.compare("5", text) is not Verdict.RIGHT
    assert not mark.exists()


def test_a_process_that_cannot_start_says_why(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text("import no_such_module")
    with pytest.raises(RuntimeError, match=r"no_such_module.*pip install 'varcore\[llm\]'"):
        MathPool(1, 1.0, path).compare("5", "5")


def test_the_worker_does_not_import_varcore_or_torch():
    """Its start would cost seconds and hundreds of megabytes."""
    source = Path(__file__).parents[2].joinpath("varcore/tasks/math_worker.py").read_text()
    lines = [line.split() for line in source.splitlines()]
    imported = {words[1].split(".")[0] for words in lines if words[:1] in (["import"], ["from"])}
    assert imported <= {
        "__future__",
        "contextlib",
        "json",
        "logging",
        "math",
        "os",
        "re",
        "resource",
        "sys",
        "time",
        "typing",
        "math_verify",
        "sympy",
        "latex2sympy2_extended",
    }


@pytest.mark.parametrize(("size", "seconds"), [(0, 1.0), (1, 0.0)])
def test_impossible_settings_are_refused(size, seconds):
    with pytest.raises(ValueError, match="size >= 1 and seconds > 0"):
        MathPool(size, seconds)
