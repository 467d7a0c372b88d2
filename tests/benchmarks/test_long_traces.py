"""What scoring holds at once, by the events of torch's allocator, at a size where the naive way may be tried too."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch

from varcore.llm import scoring
from varcore.llm.scoring import token_log_probs
from varcore.llm.tiny import tiny_qwen3

ROOT = Path(__file__).resolve().parents[2]
TOKENS, VOCABULARY, WIDTH = 2048, 8192, 8
LOGITS = 4 * TOKENS * VOCABULARY  # bytes


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import long_traces
    import measuring

    return long_traces, measuring


@pytest.fixture
def inputs():
    hidden, head = torch.randn(TOKENS, WIDTH), torch.randn(VOCABULARY, WIDTH)
    return hidden, head, torch.randint(VOCABULARY, (TOKENS,))


def test_the_counter_counts(load):
    """4,000 bytes beside another 4,000, then 8,000 alone: never more than 8,000, and some bytes of housekeeping."""

    def work():
        a = torch.zeros(1000)
        b = a + 1
        del a, b
        torch.zeros(2000)

    assert load[1].peak_bytes(lambda: torch.zeros(10_000_000)) >= 40_000_000
    assert 8000 <= load[1].peak_bytes(work) < 8200


def test_resident_memory_counts_new_pages(load):
    """Mapped here: malloc may hand out pages that the process already has, and then nothing grows."""

    def work():
        with mmap.mmap(-1, 40_000_000) as pages:
            for start in range(0, len(pages), mmap.PAGESIZE):
                pages[start] = 1

    grown = load[1].resident_bytes(work)
    assert grown is None if sys.platform != "linux" else 39_000_000 <= grown < 60_000_000


@pytest.mark.parametrize("with_gradient", [False, True])
def test_chunks_hold_two_per_cent_of_the_naive_logits(load, inputs, with_gradient):
    """Beside the gradients themselves, which are no logits."""
    hidden, head, targets = inputs
    gradients = 4 * WIDTH * (TOKENS + VOCABULARY) if with_gradient else 0

    def work(log_probs):
        for part in (hidden, head):
            part.requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            found = log_probs()
        if with_gradient:
            torch.autograd.grad(found.sum(), (hidden, head))

    ours = load[1].peak_bytes(lambda: work(lambda: token_log_probs(hidden, head, targets, chunk=16)))
    naive = load[1].peak_bytes(
        lambda: work(lambda: (hidden @ head.T).log_softmax(-1).gather(-1, targets[:, None])[:, 0])
    )
    assert naive - gradients >= 2 * LOGITS
    assert ours - gradients <= 0.02 * LOGITS


def test_the_chunks_of_a_real_vocabulary_are_that_small():
    """The library's own number of logits, at 32k tokens and Qwen3's vocabulary: two copies are below 2% of them all."""
    assert 2 * scoring.LOGITS_AT_ONCE <= 0.02 * 32_768 * 151_936


def test_the_naive_twin_scores_the_same(load):
    long_traces = load[0]
    model = tiny_qwen3(64, seed=0, hidden=32, layers=1, heads=1).float()
    row = long_traces.long_row(30, 64)
    assert scoring.score(model, [row])[0] == pytest.approx(long_traces.naive(model, *row).tolist(), abs=1e-4)


def test_what_is_printed_is_the_share_of_the_naive_logits(load, monkeypatch, capsys):
    long_traces = load[0]
    monkeypatch.setattr(long_traces, "peak_bytes", lambda work: work() or 2**20)
    monkeypatch.setattr(long_traces, "resident_bytes", lambda work: work() or 2**21)
    long_traces.show("somebody", lambda: None, 2**23)
    assert "1 MiB  12.50%         2 MiB  25.00%" in capsys.readouterr().out
    assert long_traces.counted_as(None, 2**23).strip() == "not told"
