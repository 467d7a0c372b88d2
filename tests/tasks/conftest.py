"""One pool of comparing processes for all tests of tasks; two seconds of CPU time a comparison."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from varcore.tasks.math_pool import MathPool


@pytest.fixture(scope="session")
def pool() -> Iterator[MathPool]:
    pool = MathPool(size=2, seconds=2.0)
    yield pool
    pool.close()
