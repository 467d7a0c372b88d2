"""Scores against a naive twin: one row at a time, no padding, the whole [tokens, vocabulary] matrix."""

from __future__ import annotations

import random

import pytest
import torch

from varcore.llm import scoring
from varcore.llm.scoring import length_batches, response_log_probs, score, token_log_probs

ROWS = [
    ((5, 6), (7, 8, 9)),
    ((5,), (1,)),
    ((9, 9, 9, 9, 9, 2), (4, 4)),
    ((3, 1, 4), ()),
    ((1, 5), (9, 2, 6, 5, 3, 5, 8, 9, 7, 9)),
    ((0,), (0, 0)),
]


def naive(model, prompt, response, temperature=1.0):
    """log p of each response token, [T]; the matrix that the module avoids is written out here."""
    logits = model(torch.tensor([prompt + response])).logits[0] / temperature
    log_probs = torch.log(torch.softmax(logits, -1))
    return torch.stack([log_probs[len(prompt) + t - 1, token] for t, token in enumerate(response)])


@pytest.fixture
def exact_norm(monkeypatch):
    """Qwen3's norm computes in float32 whatever the model's dtype; float64 tests need one that does not."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def forward(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(Qwen3RMSNorm, "forward", forward)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_equal_the_naive_twin(make_model, exact_norm, temperature, dtype):
    model = make_model(dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    found = score(model, ROWS, temperature=temperature)
    for (prompt, response), values in zip(ROWS, found, strict=True):
        expected = naive(model, prompt, response, temperature).tolist() if response else []
        assert values == pytest.approx(expected, abs=tolerance)


def test_the_rows_of_a_temperature_still_sum_to_one(make_model):
    """Over every token that could come next: a check on the scale that no twin is needed for."""
    model = make_model(vocabulary=30)
    values = score(model, [((3, 4), (token,)) for token in range(30)], temperature=0.6)
    assert sum(torch.tensor(values).exp().flatten().tolist()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, None])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_leave_values_and_gradients_as_they_are(chunk, temperature):
    torch.manual_seed(0)
    hidden = torch.randn(23, 8, dtype=torch.float64, requires_grad=True)
    head = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    targets, upstream = torch.randint(50, (23,)), torch.randn(23, dtype=torch.float64)
    expected = (hidden @ head.T / temperature).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    gradients = torch.autograd.grad(expected @ upstream, (hidden, head))
    found = token_log_probs(hidden, head, targets, temperature=temperature, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(found @ upstream, (hidden, head)), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_frozen_head_or_state_gets_no_gradient():
    torch.manual_seed(0)
    hidden, head, targets = torch.randn(9, 4), torch.randn(11, 4), torch.randint(11, (9,))
    for learned, frozen in ((hidden, head), (head, hidden)):
        learned.requires_grad_(True), frozen.requires_grad_(False)
        expected = torch.autograd.grad((hidden @ head.T).log_softmax(-1)[range(9), targets].sum(), learned)
        found = torch.autograd.grad(token_log_probs(hidden, head, targets, chunk=4).sum(), learned)
        torch.testing.assert_close(found, expected)
        assert frozen.grad is None


def test_gradients_of_half_precision_are_added_up_in_float32():
    """A thousand chunks of one token each: summed in bfloat16, the head's gradient would stop growing at some point."""
    hidden = torch.ones(1000, 1, dtype=torch.bfloat16)
    head = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    token_log_probs(hidden, head, torch.zeros(1000, dtype=torch.long), chunk=1).sum().backward()
    assert head.grad is not None
    assert head.grad.flatten().tolist() == [500.0, -500.0]


@pytest.mark.parametrize("chunk", [2, None])
def test_autocast_rounds_the_products_and_nothing_after(chunk):
    torch.manual_seed(0)
    hidden, head, targets = torch.randn(9, 16), torch.randn(40, 16), torch.randint(40, (9,))
    half = (hidden.bfloat16() @ head.bfloat16().T).float() / 0.7
    expected = half.log_softmax(-1)[range(9), targets]
    hidden.requires_grad_(), head.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = token_log_probs(hidden, head, targets, temperature=0.7, chunk=chunk)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), expected)
    gradients = torch.autograd.grad(found.sum(), (hidden, head))
    exact = torch.autograd.grad(token_log_probs(hidden, head, targets, temperature=0.7).sum(), (hidden, head))
    for rounded, gradient in zip(gradients, exact, strict=True):
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded, gradient, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("logits_at_once", [1, 3 * 370, 2**24])
def test_gradients_of_the_model_equal_the_naive_twins(make_model, exact_norm, monkeypatch, logits_at_once):
    """Through padding and chunks at once: one token's logits at a time, three tokens', all."""
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", logits_at_once)
    model = make_model(dtype=torch.float64)
    rows = [row for row in ROWS if row[1]]
    torch.manual_seed(0)
    upstream = [torch.randn(len(response), dtype=torch.float64) for _, response in rows]

    sum(naive(model, *row) @ weights for row, weights in zip(rows, upstream, strict=True)).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    (response_log_probs(model, ROWS) @ torch.cat(upstream)).backward()
    assert all(gradient.abs().max() > 0 for gradient in expected)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-10)


def test_chunks_are_fine_without_gradients(make_model, monkeypatch):
    model = make_model()
    whole = score(model, ROWS)
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 1)
    for ours, theirs in zip(score(model, ROWS), whole, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_half_precision_model_is_scored_in_float32(make_model):
    values = response_log_probs(make_model(dtype=torch.bfloat16), [((5, 6), (7, 8))])
    assert values.dtype == torch.float32
    logits = torch.randn(4, 9).bfloat16(), torch.randn(9, 9).bfloat16()
    assert token_log_probs(*logits, torch.arange(4)).dtype == torch.float32


def test_a_row_does_not_depend_on_its_batch(make_model):
    """Float32 sums may be cut differently: 1e-5, some forty units in the last place of a log-probability of 6 nats."""
    model, rng = make_model(), random.Random(0)
    rows = [
        (tuple(rng.choices(range(370), k=rng.randint(1, 9))), tuple(rng.choices(range(370), k=rng.randint(0, 20))))
        for _ in range(30)
    ]
    together = score(model, rows)
    for size in (1, 40, 100):
        for ours, theirs in zip(score(model, rows, tokens_per_batch=size), together, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
    order = rng.sample(range(30), 30)
    shuffled = score(model, [rows[index] for index in order])
    for place, index in enumerate(order):
        assert shuffled[place] == pytest.approx(together[index], abs=1e-5)


def test_empty_responses_and_empty_lists(make_model):
    model = make_model()
    assert score(model, []) == []
    assert score(model, [((5,), ()), ((6, 7), ())]) == [[], []]


def test_an_empty_prompt_is_refused(make_model):
    with pytest.raises(ValueError, match="every prompt needs at least one token"):
        score(make_model(), [((5,), (6,)), ((), (6,))])


def test_scoring_neither_trains_nor_records(make_model):
    model = make_model().train()
    before = [parameter.clone() for parameter in model.parameters()]
    score(model, ROWS)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_progress_counts_every_row_with_tokens(make_model):
    finished = []
    score(make_model(), ROWS, tokens_per_batch=20, advance=finished.append)
    assert sum(finished) == len([row for row in ROWS if row[1]])


def test_batches_hold_each_row_once_and_stay_below_their_size():
    rng = random.Random(0)
    lengths = [rng.randint(1, 60) for _ in range(200)]
    found = list(length_batches(lengths, 100))
    assert sorted(index for batch in found for index in batch) == list(range(200))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 100 for batch in found)
    assert list(length_batches([300, 5], 100)) == [[1], [0]], "a longer row goes alone"
