"""That both sides of a ratio do the same work; how fast they do it is for the benchmark to say."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from varcore.llm.scoring import score
from varcore.llm.templates import Markers, Template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rates

    return rates


@pytest.fixture(scope="module")
def template() -> Template:
    return Template(tiny_tokenizer(), Markers())


def test_everybody_scores_the_same(rates, template):
    """float32, cut and padded differently: 1e-4 nats, a hundred roundings."""
    rows = rates.worked_rows(template, 12)
    assert len({len(prompt) + len(response) for prompt, response in rows}) > 5, "of mixed lengths"
    model = tiny_qwen3(len(template.tokenizer), seed=0).eval()
    ours = score(model, rows)
    trainer = rates.trl_scorer(template)
    for size in (5, 12):
        for values, theirs in zip(ours, rates.score_with_trl(trainer, rows, size), strict=True):
            assert values == pytest.approx(theirs, abs=1e-4)
    for values, row in zip(ours, rows, strict=True):
        assert values == pytest.approx(rates.score_alone(model, *row), abs=1e-4)


def test_both_samplers_draw_as_many_tokens(rates, template, monkeypatch):
    monkeypatch.setattr(rates, "TOKENS", 3)
    model = tiny_qwen3(len(template.tokenizer), seed=0).eval()
    prompts = [prompt for prompt, _ in rates.worked_rows(template, 2)]
    drawn = rates.drawn(model, template, prompts * rates.GROUP)
    assert sum(map(len, drawn)) == rates.one_by_one(model, prompts) == 2 * rates.GROUP * 3


def test_both_trainers_learn_from_the_same_tokens(rates, template, monkeypatch):
    """One pass over the data each, in different orders: the tokens are equal, the mean losses nearly.

    The last four of six steps count, for tokens and seconds."""
    monkeypatch.setattr(rates, "STEPS", 6)
    monkeypatch.setattr(rates, "UNMEASURED", 2)
    rows = rates.worked_rows(template, 6 * rates.BATCH)
    (tokens, seconds, loss), (peers, peers_seconds, peers_loss) = rates.train(template, rows), rates.sft(template, rows)
    assert tokens == peers == sum(len(prompt) + len(response) for prompt, response in rows) * 4 // 6
    assert min(seconds, peers_seconds) > 0
    assert loss == pytest.approx(peers_loss, rel=0.05)


def test_a_ratio_is_of_medians_with_its_spread(rates, capsys):
    ours, peer = iter([9.0, 1.0, 2.0, 4.0]), iter([9.0, 4.0, 4.0, 4.0])
    rates.compare("doing", "nobody", 1, 3, lambda: (8, next(ours)), lambda: (8, next(peer)))
    assert "ratio   2.00 (1.00 to 4.00; goal 1)" in capsys.readouterr().out


@pytest.mark.parametrize("with_gradient", [False, True])
def test_the_heads_sides_run(rates, with_gradient):
    assert [side() for side in rates.head_sides(7, 30, with_gradient)] == [7, 7]
    assert torch.is_grad_enabled()
