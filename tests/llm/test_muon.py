"""The stacked Muon against torch's own, matrix by matrix."""

from __future__ import annotations

import pytest
import torch

from varcore.llm.muon import Muon, orthogonalized

SHAPES = [(6, 6), (4, 10), (10, 4), (6, 6), (10, 4), (4, 10), (1, 5)]


def parameters(seed: int) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def trained(optimizer: torch.optim.Optimizer, weights: list[torch.nn.Parameter], steps: int) -> None:
    """Steps whose gradients depend on where the last one led."""
    for step in range(steps):
        optimizer.zero_grad()
        sum((weight.sin() * (step + 1)).sum() for weight in weights).backward()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.3, "momentum": 0.5}, {"ns_steps": 2}])
def test_the_update_is_that_of_torch(settings):
    ours, theirs = parameters(0), parameters(0)
    trained(Muon(ours, lr=0.1, **settings), ours, 4)
    trained(torch.optim.Muon(theirs, lr=0.1, **settings), theirs, 4)
    for a, b, start in zip(ours, theirs, parameters(0), strict=True):
        # bfloat16 has 8 bits: where a stack is added up in another order, an entry of the update may turn by 1 in 128
        torch.testing.assert_close(a, b, rtol=0, atol=0.1 * 4 / 128)
        assert (a - start).abs().max() > 0.05, "it moved"


def test_its_state_is_read_by_torchs_and_the_other_way():
    ours, theirs = parameters(1), parameters(1)
    first, second = Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1)
    trained(first, ours, 2)
    second.load_state_dict(first.state_dict())
    read = second.state_dict()["state"]
    assert [read[index]["momentum_buffer"].shape for index in range(len(ours))] == [p.shape for p in ours]
    first.load_state_dict(second.state_dict())
    trained(first, ours, 1)


def test_a_parameter_without_gradient_stays():
    still, moving = parameters(2)[:2]
    before = still.detach().clone()
    optimizer = Muon([still, moving], lr=0.1)
    moving.sum().backward()
    optimizer.step()
    assert torch.equal(still, before)
    assert still not in optimizer.state


@pytest.mark.parametrize("shape", [(3, 5, 5), (2, 3, 8), (2, 8, 3)])
def test_singular_values_go_to_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    found = orthogonalized(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7)
    values = torch.linalg.svdvals(found.float())
    # the quintic of Muon is tuned for steep slopes at zero, and leaves values between 0.7 and 1.2
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_zero_gradients_give_zero_and_no_nan():
    assert torch.equal(
        orthogonalized(torch.zeros(2, 3, 4), (3.4445, -4.775, 2.0315), 5, 1e-7).float(), torch.zeros(2, 3, 4)
    )
