"""Fixtures for every test: a fixed seed, and float64 for the mathematics only."""

import hypothesis
import pytest
import torch

# Examples drawn the same way each time, no clock, nothing written to disk: a failure is a failure on every machine.
# pytest --hypothesis-profile=nightly draws more of them.
for name, examples in (("varcore", 50), ("nightly", 500)):
    hypothesis.settings.register_profile(name, max_examples=examples, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("varcore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def float64():
    """Default dtype float64 for one module; the language-model tests need the float32 that this restores."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
