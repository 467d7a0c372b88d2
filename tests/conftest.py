"""Fixtures for every test: a fixed seed, float64 for the mathematics only, and a browser."""

import shutil
from collections.abc import Iterator

import hypothesis
import pytest
import torch
from helpers import PATIENCE
from playwright.sync_api import Browser, sync_playwright

# Examples drawn the same way each time, no clock, nothing written to disk: a failure is a failure on every machine.
# pytest --hypothesis-profile=nightly draws more of them.
for name, examples in (("varcore", 50), ("nightly", 500)):
    hypothesis.settings.register_profile(name, max_examples=examples, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("varcore")

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window.  Not for a session: it holds the event loop that kaleido needs."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("These tests drive Chromium, which is missing. Install it: apt-get install -y chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()
