"""A reader's code is run safely: a time limit in any thread, exceptions with their line, values up to rounding."""

import signal
import threading
import time

import pytest
import torch

from varcore.exercises.running import OutOfTime, Session, observe, same, time_limit
from varcore.exercises.task import Case


def spin() -> None:
    while True:
        sum(range(100))


def stubborn() -> None:
    """Swallows the first exception, whatever it is."""
    try:
        spin()
    except BaseException:
        spin()


@pytest.mark.parametrize("code", [spin, stubborn, lambda: time.sleep(3600)])
def test_the_time_limit_ends_a_loop_and_a_sleep(code):
    handler = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTime), time_limit(0.1):
        code()
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_time_limit_holds_in_another_thread():
    caught = []

    def work() -> None:
        try:
            with time_limit(0.1):
                spin()
        except OutOfTime:
            caught.append(threading.current_thread())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == [thread]


def test_code_that_was_in_time_leaves_nothing_behind():
    """Neither a timer nor the thread that would raise: nothing can come later."""
    left = []

    def work() -> None:
        before = threading.enumerate()
        with time_limit(600.0):
            left.append(threading.enumerate() != before)
        left.append(threading.enumerate() != before)

    work()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert left == [False, False, True, False]


def test_an_interrupt_by_the_reader_goes_through():
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Session(1.0).try_out(interrupted, interrupted)


def test_an_exception_is_told_with_its_line():
    def reader(values):
        return values.no_such_method()

    seen = observe(reader, Case("one value", (torch.zeros(1),)), Session(1.0))
    assert "it raises AttributeError: 'Tensor' object has no attribute 'no_such_method'" in seen.fault
    assert "of `reader`'s cell: `return values.no_such_method()`)" in seen.fault


def test_a_stub_that_is_called_by_another_function_is_named():
    def first(values):
        raise NotImplementedError

    def second(values):
        return first(values)

    case = Case("one value", (torch.zeros(1),))
    assert observe(first, case, Session(1.0)).fault == ""
    seen = observe(second, case, Session(1.0))
    assert seen.fault == "`second` calls `first`, which still raises NotImplementedError."
    assert not seen.attempted


def test_gradients_are_those_of_the_sum():
    values = torch.tensor([1.0, 2.0, 3.0])
    seen = observe(lambda x, y: x * x * y.detach(), Case("", (values, values), slopes=(0, 1)), Session(1.0))
    torch.testing.assert_close(seen.slopes[0], 2 * values * values)
    assert seen.slopes[1].count_nonzero() == 0
    cut = observe(lambda x: x.detach(), Case("", (values,), slopes=(0,)), Session(1.0))
    assert cut.slopes[0].isnan().all()


def test_the_case_keeps_its_arguments():
    values, items = torch.tensor([1.0]), [1, [2]]

    def spoil(x, y):
        x += 1
        y[1].append(3)

    seen = observe(spoil, Case("", (values, items)), Session(1.0))
    assert "changes its input in place" in seen.fault
    assert values.item() == 1.0
    assert items == [1, [2]]


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (torch.tensor([1.0]), torch.tensor([1.0 + 1e-6]), True),
        (torch.tensor([1.0]), torch.tensor([1.01]), False),
        (torch.tensor([1.0]).double(), torch.tensor([1.0 + 1e-7]).double(), False),
        (torch.tensor([1.0]), torch.tensor([1.0]).double(), False),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (torch.tensor([1]), torch.tensor([2]), False),
        (torch.tensor([float("nan"), -torch.inf]), torch.tensor([float("nan"), -torch.inf]), True),
        (torch.tensor([torch.inf]), torch.tensor([-torch.inf]), False),
        (torch.tensor([True]), torch.tensor([False]), False),
        (0.1 + 0.2, 0.3, True),
        (float("nan"), float("nan"), True),
        (1.0, 1, False),
        (torch.tensor(1.0), 1.0, True),
        (torch.tensor(1.0), 1, True),
        (torch.tensor(1.0).double(), 1.0, True),
        (torch.tensor(1.0), 1.1, False),
        (torch.tensor(1), 1.9, False),
        (torch.tensor([1.0]), 1.0, False),
        (torch.tensor(1.0), "1", False),
        (torch.tensor(1.0), None, False),
        ([1, (2.0, "x")], [1, (2.0, "x")], True),
        ([1, (2.0, "x")], [1, (2.0, "y")], False),
        ([1], [1, 2], False),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, True),
        ({"a": 1}, {"b": 1}, False),
        ("x", "x", True),
    ],
)
def test_same(a, b, equal: bool):
    assert same(a, b) is equal
    assert same(b, a) is equal
