"""How close the estimates are to what tiny runs of both layouts really take, held to the bounds that the docs state."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from varcore.llm import estimate, scoring
from varcore.llm.adapters import LoraSettings, SharedBase
from varcore.llm.scoring import response_log_probs
from varcore.llm.shapes import shape_of

ROOT = Path(__file__).resolve().parents[2]
EXACT = ("memory: weights", "memory: gradients", "memory: optimizer")


@pytest.fixture(autouse=True)
def as_in_life():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def estimates():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import estimates

        yield estimates


@pytest.fixture(scope="module")
def base(estimates, tmp_path_factory):
    return estimates.tiny_base(tmp_path_factory.mktemp("runs") / "base")


@pytest.mark.parametrize("rank", [0, 4])
def test_a_run_takes_what_was_estimated(estimates, base, rank, tmp_path):
    """States to the byte; one pass's FLOPs to 3%; what a step holds, models and disk to 15%.

    All else to 25%: one mean stands for worked and drawn traces, and for hints and answers.
    """
    machine = estimates.Gpu(memory=1, tflops=1, bandwidth=1)
    rows = {row.name: row for row in estimates.rows(base, rank, tmp_path / "run", machine) if row.held}
    stages = {"score-1: tokens read, own lengths", "verify-prior-1: FLOPs, own lengths", "train-posterior-1: FLOPs"}
    assert stages <= set(rows)
    for name, row in rows.items():
        low, high = bounds(name)
        assert low <= row.ratio <= high, row


def bounds(name: str) -> tuple[float, float]:
    if name.startswith(EXACT):
        return 1, 1
    if name.startswith("one training pass"):
        return 0.97, 1.03
    return (0.85, 1.15) if name.startswith(("memory", "disk: models")) else (0.75, 1.25)


SHAPES = {
    "attention as wide as the states": ((256, 8, 4, 64, 768, 256), 512, 2**24),
    "attention twice as wide": ((128, 4, 4, 64, 384, 1024), 1024, 2**24),
    "a large vocabulary in chunks": ((64, 2, 2, 32, 192, 16_384), 1024, 2**20),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("what", list(SHAPES))
def test_what_a_backward_pass_holds(estimates, monkeypatch, what, rank, dtype):
    """To 25%, at shapes where different parts of it decide."""
    (hidden, layers, heads, head, mlp, vocabulary), tokens, logits = SHAPES[what]
    for module in (estimate, scoring):
        monkeypatch.setattr(module, "LOGITS_AT_ONCE", logits)
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads // 2, head_dim=head, intermediate_size=mlp, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(dtype)
    if rank:
        model = SharedBase(model, LoraSettings(rank, rank)).begin("pi0", None, seed=0)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    row = (0,), tuple(torch.randint(vocabulary, (tokens - 1,)).tolist())

    def work():
        response_log_probs(model, [row]).sum().backward()

    work()  # from here on the gradients are there
    held = estimate.activation_bytes(
        shape_of(config), tokens, dtype=str(dtype).removeprefix("torch."), head_learns=not rank
    )
    assert held / estimates.peak_bytes(work) == pytest.approx(1, abs=0.25)


def test_a_step_of_adamw_holds_as_much_as_it_changes(estimates):
    """As it is done on a GPU, all parameters together."""
    parameters = [torch.nn.Parameter(torch.randn(100, 100)) for _ in range(8)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    optimizer.step()
    assert estimates.peak_bytes(optimizer.step) == pytest.approx(sum(p.nbytes for p in parameters), rel=0.01)


def test_a_model_that_is_held_beside_is_counted(estimates):
    before = estimates.parameters()
    model, other = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(100, 100, bias=False)
    found = estimates.states(torch.optim.AdamW(model.parameters()), before)
    assert found == {"weights": model.weight.nbytes + other.weight.nbytes, "gradients": 0, "optimizer": 0}
