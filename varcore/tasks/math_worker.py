"""A process that compares two mathematical expressions with Math-Verify: one line of JSON in, one line out.

`math_pool` starts it by its path, so it imports nothing of varcore.  The kernel ends it when a comparison has used up
its seconds of CPU time, even inside one long operation on integers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import resource
import sys
import time
from typing import Any

MEMORY = 2 << 30  # bytes of address space; beyond it Python raises MemoryError
TOLERANCE = 2e-6  # relative


def compare(gold: str, answer: str) -> str:
    """Math-Verify's verdict on two pieces of LaTeX, and a second look at whatever it accepts."""
    try:
        expected, found = parse(gold), parse(answer)
        if expected is None or found is None:
            return "unparsed"
        return "right" if equal(expected, found, decimal_places(gold, answer)) else "wrong"
    except MemoryError:
        return "timeout"
    except Exception:  # whatever sympy raises on text that a model wrote: it could not be read
        return "unparsed"


def parse(text: str) -> Any:
    """A sympy object, or None.  Units and boxes are dealt with already, so the library's own rules for them are off."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig
    from math_verify import parse as extract
    from sympy import Basic, I, MatrixBase

    rules = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
    config = [LatexExtractionConfig(normalization_config=rules)]
    items = extract(f"${text}$", config, parsing_timeout=0, raise_on_error=True)
    found = next((item for item in items if isinstance(item, Basic | MatrixBase)), None)
    if found is None:
        return None
    # the library reads i as a variable
    return found.subs({symbol: I for symbol in found.free_symbols if str(symbol) in ("i", "imath")})


def equal(expected: Any, found: Any, places: int | None) -> bool:
    from math_verify import verify
    from sympy import Eq, solve

    accepted = verify(expected, found, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    if isinstance(expected, Eq) and isinstance(found, Eq):
        # the library compares solutions, and two equations without any would be the same
        return proportional(expected, found) or (accepted and bool(solve(expected)))
    return accepted and is_region(expected) == is_region(found) and plausible(expected, found, places)


def is_region(expression: Any) -> bool:
    """An interval, a union or an inequality: the library takes the interval (1, 2) for the list of its ends."""
    from sympy import Eq, FiniteSet, Set
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import Boolean

    if isinstance(expression, Set):
        return not isinstance(expression, FiniteSet) and not expression.is_empty
    return isinstance(expression, Relational | Boolean) and not expression.has(Eq)


def proportional(expected: Any, found: Any) -> bool:
    """Two equations that differ by a constant factor."""
    from sympy import simplify

    ratio = simplify((expected.lhs - expected.rhs) / (found.lhs - found.rhs))
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def plausible(expected: Any, found: Any, places: int | None) -> bool:
    """False for decimals that are off in a digit that was written, for an answer that states a false equation, and for
    an equation still to be solved, such as ``x - 1 = 5``, that is accepted for its right-hand side."""
    from sympy import Eq, N

    for item in (expected, found, *getattr(found, "args", ())):
        if isinstance(item, Eq) and not is_name(item.lhs) and not is_true(item):
            return False
    expected, found = (item.rhs if isinstance(item, Eq) else item for item in (expected, found))
    if getattr(expected, "is_number", False) and getattr(found, "is_number", False):
        return close(N(expected, 30), N(found, 30), places)
    return True


def is_name(side: Any) -> bool:
    """A variable, a product of variables such as the segment AB, or a function of something."""
    return all(part.is_Symbol or part.is_Function for part in (side.args if side.is_Mul else [side]))


def is_true(equation: Any) -> bool:
    from sympy import N

    return not equation.free_symbols and close(N(equation.lhs, 30), N(equation.rhs, 30), None)


def close(a: Any, b: Any, places: int | None) -> bool:
    """Equal, or rounded: relative difference within TOLERANCE and below one unit of the last decimal place.

    0.999 of a unit, because a decimal that is off by exactly one is stored as a binary fraction on either side of it.
    """
    if a == b:
        return True
    near = abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
    return bool(near and (places is None or abs(a - b) < 0.999 * 10**-places))


def decimal_places(*texts: str) -> int | None:
    """The most digits after the point of those that are plain decimals; None if none is."""
    matches = [re.fullmatch(r"-?\d*\.(\d+)", text.strip()) for text in texts]
    return max((len(match[1]) for match in matches if match), default=None)


def limit_seconds(seconds: float) -> None:
    """The kernel ends this process once it has used `seconds` more of CPU time, rounded up to whole seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), resource.RLIM_INFINITY))


def main(seconds: float) -> None:
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints does not disturb the replies
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compare(r"\frac{1}{2}", "0.5")  # loads the grammar and compiles its patterns outside anybody's time
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps("ready"), file=replies, flush=True)
    for line in sys.stdin:
        limit_seconds(seconds)
        print(json.dumps(compare(*json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
