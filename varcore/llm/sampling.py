"""Drawing traces and answers from a model.

One request is one sequence to draw, with a seed of its own.  The uniform number that picks token t of a request is a
hash of (seed, t), so what is drawn does not depend on the other requests of its batch or on how many came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from varcore.llm.templates import Ids


@dataclass(frozen=True)
class Request:
    """Continue `prompt` with random stream `seed`."""

    prompt: Ids
    seed: int


@dataclass(frozen=True)
class Sample:
    """Ids as drawn (stop marker included), their log-probabilities at the sampling temperature, and why it ended."""

    ids: Ids
    log_probs: tuple[float, ...]
    stopped: bool  # True: the stop marker was drawn.  False: the length limit cut it


@runtime_checkable
class Sampler(Protocol):
    """Anything that turns requests into samples, in the order of the requests."""

    def sample(self, requests: Sequence[Request]) -> list[Sample]: ...


def check_settings(temperature: float, max_tokens: int, stop: Ids) -> None:
    """ValueError unless temperature > 0, max_tokens >= 1 and there is a stop marker."""
    if temperature <= 0 or max_tokens < 1 or not stop:
        raise ValueError(
            "A sampler needs temperature > 0, max_tokens >= 1 and a stop marker, got "
            f"temperature={temperature}, max_tokens={max_tokens}, stop={stop}."
        )


def check_requests(requests: Sequence[Request], max_tokens: int, context: int, vocabulary: int | None = None) -> None:
    """ValueError for a prompt that is empty, has ids outside the vocabulary, or leaves less room than `max_tokens`.

    Engines would cut such a prompt or its continuation short without a word; here nothing is drawn instead.
    `vocabulary` None: the ids are left to the engine.
    """
    for index, prompt in enumerate(request.prompt for request in requests):
        if not prompt:
            raise ValueError(f"Request {index} has an empty prompt. Begin it with a marker.")
        if len(prompt) + max_tokens > context:
            raise ValueError(
                f"Request {index}: a prompt of {len(prompt)} tokens and {max_tokens} more do not fit the model's "
                f"context of {context}. Shorten the prompt or lower the limit (max_trace_tokens, max_answer_tokens)."
            )
        if vocabulary is not None and not (min(prompt) >= 0 and max(prompt) < vocabulary):
            raise ValueError(
                f"Request {index} has token ids from {min(prompt)} to {max(prompt)}; the model knows 0 to "
                f"{vocabulary - 1}. Use the tokenizer that was saved with the model."
            )


class TransformersSampler:
    """Batched sampling with a key-value cache, for any causal language model of transformers.

    Requests of equal prompt length run together, so that no padding enters the model; identical prompts are read
    once.  Rows leave the batch when they stop.

    Args:
        temperature: > 0; logits are divided by it, and `Sample.log_probs` are taken after that division.
        max_tokens: length limit of a continuation.
        stop: ids of the marker that ends a sample.
        advance: called with the number of samples just finished, for progress displays.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float,
        max_tokens: int,
        stop: Ids,
        batch_size: int = 1024,
        advance: Callable[[int], None] = lambda finished: None,
    ):
        check_settings(temperature, max_tokens, stop)
        self.model, self.temperature, self.max_tokens, self.stop = model, temperature, max_tokens, stop
        self.batch_size, self.advance = batch_size, advance

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request]) -> list[Sample]:
        """One sample per request, in order.  ValueError, before anything is drawn, for a request that cannot be met."""
        shape = self.model.config.get_text_config()
        check_requests(requests, self.max_tokens, shape.max_position_embeddings, shape.vocab_size)
        self.model.eval()
        samples: list[Sample | None] = [None] * len(requests)
        for batch in _batches(requests, self.batch_size):
            for index, sample in zip(batch, self._sample_batch([requests[i] for i in batch]), strict=True):
                samples[index] = sample
            self.advance(len(batch))
        return [sample for sample in samples if sample is not None]

    def _sample_batch(self, requests: list[Request]) -> list[Sample]:
        device = self.model.device
        logits, cache = self._read_prompts(requests)
        seeds = np.array([request.seed for request in requests], dtype=np.uint64)
        rows = np.arange(len(requests))  # which request each row of the batch belongs to
        ids = np.zeros((len(requests), self.max_tokens), dtype=np.int64)
        log_probs = np.zeros((len(requests), self.max_tokens), dtype=np.float32)
        lengths = np.full(len(requests), self.max_tokens)
        stopped = np.zeros(len(requests), dtype=bool)
        for step in range(self.max_tokens):
            uniform = torch.from_numpy(uniform_numbers(seeds[rows], step)).to(device)
            token, log_prob = draw(logits / self.temperature, uniform)
            ids[rows, step], log_probs[rows, step] = token.cpu().numpy(), log_prob.cpu().numpy()
            ended = self._just_stopped(ids[rows], step)
            lengths[rows[ended]], stopped[rows[ended]] = step + 1, True
            if ended.all() or step + 1 == self.max_tokens:
                break
            if ended.any():
                going = torch.from_numpy(np.flatnonzero(~ended)).to(device)
                rows, token = rows[~ended], token[going]
                cache.batch_select_indices(going)
            logits = self.model(input_ids=token[:, None], past_key_values=cache).logits[:, -1].float()
        return [
            Sample(tuple(ids[i, :n].tolist()), tuple(log_probs[i, :n].tolist()), bool(stopped[i]))
            for i, n in enumerate(lengths)
        ]

    def _read_prompts(self, requests: list[Request]) -> tuple[Tensor, DynamicCache]:
        prompts = sorted({request.prompt for request in requests})
        place = {prompt: index for index, prompt in enumerate(prompts)}
        cache = DynamicCache(config=self.model.config)
        input_ids = torch.tensor(prompts, device=self.model.device)
        logits = self.model(input_ids=input_ids, past_key_values=cache, logits_to_keep=1).logits[:, -1].float()
        rows = torch.tensor([place[request.prompt] for request in requests], device=self.model.device)
        cache.batch_select_indices(rows)
        return logits[rows], cache

    def _just_stopped(self, ids: np.ndarray, step: int) -> np.ndarray:
        start = step + 1 - len(self.stop)
        if start < 0:
            return np.zeros(len(ids), dtype=bool)
        return (ids[:, start : step + 1] == np.array(self.stop)).all(axis=1)


def draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF draws: logits [B, V] and uniforms [B] in [0, 1) to token ids [B] and their log-probabilities [B]."""
    log_probs = logits.log_softmax(-1)
    cdf = log_probs.double().exp().cumsum(-1)
    # scaled to the last value, so that rounding in the sum cannot put a uniform beyond the end
    token = torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True)[:, 0].clamp_max(logits.shape[-1] - 1)
    return token, log_probs.gather(-1, token[:, None])[:, 0]


def uniform_numbers(seeds: np.ndarray, step: int) -> np.ndarray:
    """A number in [0, 1) for each seed at this step."""
    return (hashed(seeds, step) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hashed(seeds: np.ndarray, step: int) -> np.ndarray:
    """64 bits for each seed (uint64) at this step: SplitMix64 of (seed, step).  One to one in the seed."""
    with np.errstate(over="ignore"):
        return _mix(_mix(seeds) + np.uint64(step))


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _batches(requests: Sequence[Request], size: int) -> Iterator[list[int]]:
    """Indices of requests of equal prompt length, equal prompts side by side, at most `size` at a time."""
    by_length: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        by_length.setdefault(len(request.prompt), []).append(index)
    for length in sorted(by_length):
        indices = sorted(by_length[length], key=lambda i: requests[i].prompt)
        for start in range(0, len(indices), size):
            yield indices[start : start + size]
