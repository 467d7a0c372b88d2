"""Checks that several test files share.  Nothing here imports varcore."""

import torch
from torch import Tensor

INF = float("inf")
PATIENCE = 180_000  # milliseconds that a browser may take on a busy machine


def assert_mean(xs: Tensor, truth: float, z: float = 5.0) -> None:
    """The mean of independent draws is `truth`, within z standard errors.

    False-alarm rate by the normal approximation: 6e-7 a check at z = 5.  The tests fix their seeds, so it is paid once,
    when the test is written, and not on each run.
    """
    error = xs.std() / len(xs) ** 0.5
    assert (xs.mean() - truth).abs() < z * error, f"mean {xs.mean():.6g}, expected {truth:.6g} +- {error:.2g}"


def leaf(*values: float) -> Tensor:
    """A tensor of the default dtype that collects gradient."""
    return torch.tensor(values, requires_grad=True)


def assert_exact(actual: Tensor, expected: Tensor | float | list, atol: float = 1e-12) -> None:
    """Equal up to float64 rounding; shapes and dtypes must agree."""
    expected = expected if isinstance(expected, Tensor) else torch.tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=0, atol=atol)
