"""Axis annotations, and the one error about them.

Signatures read ``Float[Tensor, "*batch K"]``.  Under pytest (see ``addopts`` in pyproject.toml) jaxtyping is loaded
before this package and every call is checked against them.  Otherwise the stand-ins below make
``Float[Tensor, "*batch K"]`` mean plain ``Tensor``: the package needs torch and nothing else, and importing it loads
nothing else, jaxtyping (which brings numpy) included.
"""

import sys
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING or sys.modules.get("jaxtyping"):
    from jaxtyping import Bool, Float, Int, Real
else:

    class _Unchecked:
        def __class_getitem__(cls, array_and_axes):
            return array_and_axes[0]

    Bool = Float = Int = Real = _Unchecked

__all__ = ["Bool", "Float", "Int", "Real", "ShapeError", "require_equal_shapes", "require_samples"]


class ShapeError(ValueError):
    """A tensor has the wrong shape.  The message says the rule, what arrived, and the repair."""


def require_equal_shapes(function: str, **tensors: Tensor) -> None:
    """Nothing is broadcast: [K] against [B, K] is more often a mistake than a wish."""
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ShapeError(
            f"{function}: its arguments need one common shape, got {_describe(tensors)}. "
            "Nothing is broadcast; expand the smaller one first, e.g. small.expand_as(large)."
        )


def require_samples(function: str, **tensors: Tensor) -> None:
    """Equal shapes, and at least one sample on the last axis."""
    shape = next(iter(tensors.values())).shape
    if any(tensor.shape != shape for tensor in tensors.values()):
        require_equal_shapes(function, **tensors)
    if len(shape) == 0 or shape[-1] == 0:
        raise ShapeError(
            f"{function}: needs at least one sample on the last axis, got {_describe(tensors)}. "
            "Sample axis first? Use .movedim(0, -1). A single value? Use .unsqueeze(-1)."
        )


def _describe(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} of shape {tuple(tensor.shape)}" for name, tensor in tensors.items())
