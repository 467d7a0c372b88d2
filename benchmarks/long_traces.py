"""Memory of scoring one long trace over a real vocabulary on a CPU, with and without gradient.

    python benchmarks/long_traces.py [--tokens 32768] [--vocabulary 151936]

The naive way writes out logits, tokens x vocabulary in float32: here 19 GB, before a log-softmax and a gradient of the
same size.  What varcore holds is measured on a Qwen3 of one narrow layer, in whole (logits, states, gradients): by the
events of torch's allocator, and, where the system tells it, by the process's resident memory, which has the buffers of
libraries and what was freed but kept as well.  The naive twin runs on a 32nd of the tokens, so that one sees the
counter see it.  Goal: the allocator's count at most 2% of the naive logits.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
from measuring import peak_bytes, resident_bytes
from transformers import Qwen3ForCausalLM

from varcore.llm.scoring import response_log_probs, score
from varcore.llm.templates import Ids
from varcore.llm.tiny import tiny_qwen3

SHARE = 32  # of the tokens, for the naive twin
HEADER = f"{'':40}{'allocator':>22}{'resident':>22}{'seconds':>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    arguments = parser.parse_args()
    model = tiny_qwen3(arguments.vocabulary, seed=0, hidden=64, layers=1, heads=1)
    row = long_row(arguments.tokens, arguments.vocabulary)
    few = row[0], row[1][: arguments.tokens // SHARE]
    logits, fewer = (4 * len(response) * arguments.vocabulary for _, response in (row, few))
    print(
        f"{arguments.tokens:,} tokens x {arguments.vocabulary:,} words: {logits / 2**20:,.0f} MiB of logits\n{HEADER}"
    )
    gradient(model, lambda: response_log_probs(model, [few]))  # what libraries and threads take once and keep
    show("varcore", lambda: score(model, [row]), logits)
    show("varcore, with gradient", lambda: gradient(model, lambda: response_log_probs(model, [row])), logits)
    part = f"a {SHARE}nd of the tokens"
    show(f"naive, {part}", lambda: without_gradient(model, few), fewer)
    show(f"naive, with gradient, {part}", lambda: gradient(model, lambda: naive(model, *few)), fewer)


def long_row(tokens: int, vocabulary: int) -> tuple[Ids, Ids]:
    rng = random.Random(0)
    return (0,), tuple(rng.randrange(vocabulary) for _ in range(tokens))


def naive(model: Qwen3ForCausalLM, prompt: Ids, response: Ids) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]


@torch.inference_mode()
def without_gradient(model: Qwen3ForCausalLM, row: tuple[Ids, Ids]) -> None:
    naive(model, *row)


def gradient(model: Qwen3ForCausalLM, log_probs: Callable[[], torch.Tensor]) -> None:
    """With the layers' states computed again, as in training at this length."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    log_probs().sum().backward()
    model.zero_grad()


def show(name: str, work: Callable[[], object], logits: int) -> None:
    """Both counts of one call, and what share of the logits in whole they are."""
    allocated = 0

    def counted() -> None:
        nonlocal allocated
        allocated = peak_bytes(work)

    began = time.perf_counter()
    resident = resident_bytes(counted)
    seconds = time.perf_counter() - began
    print(f"{name:40}{counted_as(allocated, logits)}{counted_as(resident, logits)}{seconds:>9.1f}", flush=True)


def counted_as(count: int | None, logits: int) -> str:
    return f"{'not told':>22}" if count is None else f"{count / 2**20:>10,.0f} MiB{100 * count / logits:>7.2f}%"


if __name__ == "__main__":
    main()
