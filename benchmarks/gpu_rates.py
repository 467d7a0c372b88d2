"""Rates at real sizes: scoring and a LoRA step of random models of Qwen3's shapes; a part of gpu.py.

In bfloat16, in tokens/s and as a fraction of what a large matrix product reaches on the same device; peak memory as the
allocator counts it.  The naive twin does the same batches with all logits at once; where it runs out of memory the log
says so.  FLOPs are the model's own: 2 per parameter and token and attention's products, as many again for the gradient
of the states; what checkpointing computes a second time is not counted.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from measuring import middle, seconds
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from varcore.llm import scoring
from varcore.llm.shapes import flops_per_token, qwen3_config, shape_of
from varcore.llm.templates import Ids
from varcore.llm.training import Example, TrainSettings, finetune

Rows = list[tuple[Ids, Ids]]


@dataclass(frozen=True)
class Rates:
    """Which shapes, how many sequences of which lengths, tokens side by side, and the side of the matrix product."""

    shapes: dict[str, Qwen3Config]
    rows: int
    shortest: int
    longest: int
    tokens: int
    repeats: int
    side: int
    chunks: tuple[int, ...]  # logits held at once: the library's own number, and one that suits a GPU's memory


FULL = Rates(
    {name: qwen3_config(name) for name in ("qwen3-0.6b", "qwen3-4b")},
    rows=48, shortest=256, longest=4096, tokens=16_384, repeats=3, side=8192, chunks=(scoring.LOGITS_AT_ONCE, 2**28),
)  # fmt: skip
TOY_SHAPE = Qwen3Config(
    vocab_size=8192, hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=512, tie_word_embeddings=True,
)  # fmt: skip
TOY = Rates(
    {"toy": TOY_SHAPE}, rows=12, shortest=20, longest=200, tokens=1024, repeats=3, side=512, chunks=(2**22, 2**24)
)


def measure(toy: bool, seed: int, device: torch.device, save: Callable[[dict[str, Any]], None]) -> None:
    """All shapes in turn; `save` gets what is known so far."""
    settings = TOY if toy else FULL
    ceiling = matmul_rate(settings.side, device)
    print(f"  {settings.side} x {settings.side} matrix product in bfloat16: {ceiling / 1e12:.2f} TFLOP/s", flush=True)
    found: dict[str, Any] = {
        "settings": {**vars(settings), "shapes": list(settings.shapes)},
        "matmul_flops_per_second": ceiling,
    }
    for name, config in settings.shapes.items():
        for what, side, result in measured(config, settings, seed, device, ceiling):
            found.setdefault(name, {}).setdefault(what, {})[side] = result
            save(found)
            print(f"  {name:12}{what:10}{side:30}{said(result)}", flush=True)


def measured(
    config: Qwen3Config, settings: Rates, seed: int, device: torch.device, ceiling: float
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(what, by whom, result) of every measurement on one random model."""
    torch.manual_seed(seed)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    rows, shape = mixed_rows(settings, config.vocab_size, seed), shape_of(config)
    lengths = [len(prompt) + len(response) for prompt, response in rows]
    forward = sum(n * flops_per_token(shape, n / 2) for n in lengths)  # a token sees half of its sequence on average

    def rate(work: Callable[[], object], flops: float) -> dict[str, Any]:
        return rated(work, sum(lengths), flops / ceiling, device, settings.repeats)

    for chunk, side in sides(settings):
        with logits_at_once(chunk):
            yield "scoring", side, rate(lambda: scoring.score(model, rows, tokens_per_batch=settings.tokens), forward)
    for side, log_probs in PEERS.items():
        if side != "TRL" or importlib.util.find_spec("trl"):
            yield "scoring", side, rate(lambda f=log_probs: score_whole(model, rows, settings.tokens, f), forward)
    model.add_adapter(LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"))
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    step = 2 * forward + 6 * learned * sum(lengths)  # frozen weights hand the gradient on and have none of their own
    for chunk, side in sides(settings):
        with logits_at_once(chunk):
            yield "LoRA step", side, rate(lambda: our_step(model, rows, settings), step)
    yield "LoRA step", "naive", rate(lambda: naive_step(model, rows, settings), step)


def rated(work: Callable[[], object], tokens: int, ideal: float, device: torch.device, repeats: int) -> dict[str, Any]:
    """Rate and peak memory of `work`; `ideal`: the seconds it would take at the rate of the matrix product."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times: list[float] = []
    with contextlib.suppress(torch.OutOfMemoryError):
        times = seconds(work, device, repeats)
    if not times:  # the error's traceback, which held the tensors, is gone by now
        gc.collect()
        torch.cuda.empty_cache()
        return {"out of memory": True}
    found = middle(times)
    return {
        "seconds": found,
        "tokens_per_second": tokens / found["median"],
        "fraction_of_matmul": ideal / found["median"],
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def sides(settings: Rates) -> list[tuple[int, str]]:
    return [(chunk, f"varcore, {4 * chunk // 2**20} MiB of logits") for chunk in settings.chunks]


@contextlib.contextmanager
def logits_at_once(count: int) -> Iterator[None]:
    before, scoring.LOGITS_AT_ONCE = scoring.LOGITS_AT_ONCE, count
    yield
    scoring.LOGITS_AT_ONCE = before


def matmul_rate(side: int, device: torch.device) -> float:
    """FLOPs a second of a square product in bfloat16, of random numbers: zeros are faster."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / middle(seconds(lambda: a @ b, device, 10))["median"]


def mixed_rows(settings: Rates, vocabulary: int, seed: int) -> Rows:
    """Random ids: prompts of a sixteenth of the longest, responses of any length between the two ends."""
    rng, prompt = random.Random(seed), settings.longest // 16
    lengths = [(prompt, rng.randint(settings.shortest, settings.longest) - prompt) for _ in range(settings.rows)]
    return [(ids(rng, vocabulary, prompt), ids(rng, vocabulary, rest)) for prompt, rest in lengths]


def ids(rng: random.Random, vocabulary: int, count: int) -> Ids:
    return tuple(rng.randrange(vocabulary) for _ in range(count))


def whole_log_probs(model: PreTrainedModel, rows: Rows, log_probs: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """The naive way: rows padded on the right, logits of every position at once."""
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(prompt + rest) for prompt, rest in rows], batch_first=True)
    padded = padded.to(model.device)
    found = log_probs(model(input_ids=padded, use_cache=False).logits[:, :-1], padded[:, 1:])
    ends = [(len(prompt) - 1, len(prompt) + len(rest) - 1) for prompt, rest in rows]
    return [values[slice(*end)] for values, end in zip(found, ends, strict=True)]


@torch.inference_mode()
def score_whole(
    model: PreTrainedModel, rows: Rows, tokens: int, log_probs: Callable[[Tensor, Tensor], Tensor]
) -> list[list[float]]:
    """The same batches as varcore's."""
    scores: dict[int, list[float]] = {}
    for batch in scoring.length_batches([len(prompt) + len(rest) for prompt, rest in rows], tokens):
        found = whole_log_probs(model, [rows[index] for index in batch], log_probs)
        scores |= {index: values.tolist() for index, values in zip(batch, found, strict=True)}
    return [scores[index] for index in range(len(rows))]


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def trl(logits: Tensor, targets: Tensor) -> Tensor:
    from trl.trainer.utils import selective_log_softmax

    return selective_log_softmax(logits, targets)


PEERS = {"naive": naive, "TRL": trl}


def our_step(model: PreTrainedModel, rows: Rows, settings: Rates) -> list[float]:
    """One optimiser step on all rows, by `finetune`; its loss."""
    size = settings.tokens // settings.longest
    once = TrainSettings(1, len(rows), muon=False, micro_batch_size=size, gradient_checkpointing=True)
    return finetune(model, [Example(*row) for row in rows], once, seed=0).losses


def naive_step(model: PreTrainedModel, rows: Rows, settings: Rates) -> list[float]:
    """The same step with all logits of a micro-batch at once."""
    rows, size = sorted(rows, key=lambda row: len(row[0]) + len(row[1])), settings.tokens // settings.longest
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
    total, responses = 0.0, sum(len(rest) for _, rest in rows)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    for start in range(0, len(rows), size):
        loss = -torch.cat(whole_log_probs(model, rows[start : start + size], naive)).sum() / responses
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return [total]


def said(result: dict[str, Any]) -> str:
    if "out of memory" in result:
        return "out of memory"
    peak = f"{result['peak_bytes'] / 2**30:8.1f} GiB" if result["peak_bytes"] else ""
    rate, share = result["tokens_per_second"], result["fraction_of_matmul"]
    return f"{rate:>12,.0f} tokens/s {100 * share:8.1f}% of the product's rate {peak}"
