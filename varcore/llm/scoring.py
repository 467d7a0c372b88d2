"""Log-probabilities of given tokens, without ever holding a [tokens, vocabulary] matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from varcore.llm.templates import Ids

LOGITS_AT_ONCE = 2**24  # numbers: 64 MB in float32


def token_log_probs(
    hidden: Tensor, head: Tensor, targets: Tensor, *, temperature: float = 1.0, chunk: int | None = None
) -> Tensor:
    """log softmax(hidden head^T / temperature) at `targets`, in nats; float32, or float64 for a float64 model.

    Args:
        hidden: [T, H] final hidden states; gradients flow to it.
        head: [V, H] output embedding; gradients flow to it.
        targets: [T] token ids.
        chunk: tokens whose logits are held at once; None holds about LOGITS_AT_ONCE numbers.  With gradients, a
            chunk's logits are computed a second time in the backward pass instead of being kept.

    Returns: [T].  Equal to ``(hidden @ head.T / temperature).log_softmax(-1)`` at the targets.  Differentiable once.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # once for all chunks; the products inside are then as they are
        hidden, head = (part.to(torch.get_autocast_dtype(device)) for part in (hidden, head))
    size = chunk or max(1, LOGITS_AT_ONCE // head.shape[0])
    with torch.autocast(device, enabled=False):
        if len(targets) <= size:  # few enough to be kept for the backward pass
            logits = _logits(hidden, head, temperature)
            return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)
        found = _ChunkedLogProbs.apply(hidden, head, targets, temperature, size)
    assert isinstance(found, Tensor)
    return found


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    logits = hidden @ head.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if temperature == 1 else logits.div_(temperature)


class _ChunkedLogProbs(torch.autograd.Function):
    """One chunk's logits at a time, changed in place: forward [n, V] to their exponentials, backward to the gradient.

    d log p(y) / d logits = (1 at y) - softmax.  The head's gradient is added up in the log-probabilities' own dtype.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, temperature: float, size: int) -> Tensor:
        chosen, norms = [], []
        for states, ids in zip(hidden.split(size), targets.split(size), strict=True):
            logits = _logits(states, head, temperature)
            chosen.append(logits.gather(-1, ids[:, None])[:, 0])
            largest = logits.amax(-1, keepdim=True)
            norms.append(logits.sub_(largest).exp_().sum(-1).log_().add_(largest[:, 0]))
        norm = torch.cat(norms)
        ctx.save_for_backward(hidden, head, targets, norm)
        ctx.settings = temperature, size
        return torch.cat(chosen).sub_(norm)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (hidden, head, targets, norm), (temperature, size) = ctx.saved_tensors, ctx.settings
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        for_hidden = torch.empty_like(hidden) if needs_hidden else None
        for_head = torch.zeros_like(head, dtype=upstream.dtype) if needs_head else None
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            scale = (upstream[part] / temperature)[:, None]
            slope = _logits(hidden[part], head, temperature).sub_(norm[part, None]).exp_().mul_(-scale)
            slope = slope.scatter_add_(-1, targets[part, None], scale).to(head.dtype)
            if for_hidden is not None:
                for_hidden[part] = slope @ head
            if for_head is not None and for_head.dtype == slope.dtype:
                for_head.addmm_(slope.T, hidden[part])  # in place: a product of its own is as large as the head
            elif for_head is not None:
                for_head += slope.T @ hidden[part]
        return for_hidden, None if for_head is None else for_head.to(head.dtype), None, None, None


def response_log_probs(model: PreTrainedModel, rows: Sequence[tuple[Ids, Ids]], *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of every response token of (prompt, response) rows, one after the other: [sum of lengths].

    Rows are padded on the right.  Attention is causal, so padding is never seen by a token that counts, and no mask
    is needed.  Gradients flow to the model's parameters.
    """
    device = model.device
    longest = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    position = []
    for row, (prompt, response) in enumerate(rows):
        ids[row, : len(prompt) + len(response)] = torch.tensor(prompt + response)
        start = row * longest + len(prompt) - 1  # the state before a token predicts it
        position.append(torch.arange(start, start + len(response)))
    where = torch.cat(position).to(device)
    hidden = model.base_model(input_ids=ids[:, :-1].to(device), use_cache=False).last_hidden_state
    # hidden has longest - 1 columns: the row offset above counted `longest` of them
    where = where - where // longest
    targets = ids.flatten().to(device)[torch.cat(position).to(device) + 1]
    return token_log_probs(hidden.flatten(0, 1)[where], head(model).weight, targets, temperature=temperature)


def head(model: PreTrainedModel) -> nn.Linear:
    """The output embedding.  ValueError for a model that has none."""
    found = model.get_output_embeddings()
    if not isinstance(found, nn.Linear):
        raise ValueError(f"head: {type(model).__name__} has no output embedding. Use a ...ForCausalLM model.")
    return found


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    rows: Sequence[tuple[Ids, Ids]],
    *,
    temperature: float = 1.0,
    tokens_per_batch: int = 2048,
    advance: Callable[[int], None] = lambda finished: None,
) -> list[list[float]]:
    """Per-token log-probabilities of each response given its prompt, in the order of `rows`.  Empty response: [].

    Raises ValueError if a prompt is empty, for its first token then has nothing to be conditioned on.
    """
    if any(not prompt for prompt, _ in rows):
        raise ValueError("score: every prompt needs at least one token, got an empty one. Begin it with a marker.")
    model.eval()
    scores: list[list[float]] = [[] for _ in rows]
    for batch in length_batches([len(prompt) + len(response) for prompt, response in rows], tokens_per_batch):
        batch = [index for index in batch if rows[index][1]]
        if batch:
            flat = response_log_probs(model, [rows[index] for index in batch], temperature=temperature)
            for index, piece in zip(batch, flat.split([len(rows[index][1]) for index in batch]), strict=True):
                scores[index] = piece.tolist()
        advance(len(batch))
    return scores


def length_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices sorted by length, cut so that rows x longest row <= `tokens` (a longer row goes alone)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
