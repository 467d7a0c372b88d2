"""Sampling and scoring rates of the tiny model, as ratios against plain transformers in the same process.

    python benchmarks/rates.py [--rounds 3]

The peers: ``model.generate`` one question at a time, and scoring one sequence at a time.  Both sides do
the same work (model, prompts, temperature, lengths).  Sampling runs every sequence to the limit, for the weights are
random; scoring reads the built-in task's own curated traces and answers.  Rounds alternate; the median counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GenerationConfig, Qwen3ForCausalLM

from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.scoring import score
from varcore.llm.templates import Ids, Markers, Template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.tasks import Countdown

TOKENS, GROUP, QUESTIONS, PEER_QUESTIONS = 64, 8, 128, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    tokenizer = tiny_tokenizer()
    model = tiny_qwen3(len(tokenizer), seed=0).eval()
    template = Template(tokenizer, Markers())
    prompts = [template.prompt(question.text) for question in Countdown().questions("train", QUESTIONS, 0)]
    worked = Countdown().questions("train", 8 * QUESTIONS, 0, curated=True)
    rows = [
        (template.prompt(q.text), template.trace(q.curated_trace or "") + template.answer(q.reference)) for q in worked
    ]
    print(f"{torch.get_num_threads()} threads, {model.num_parameters():,} parameters")
    compare(
        "sampling",
        rounds,
        lambda: sum(map(len, drawn(model, template, prompts * GROUP))),
        lambda: generate_one_by_one(model, prompts[:PEER_QUESTIONS]),
    )
    compare(
        "scoring",
        rounds,
        lambda: sum(map(len, score(model, rows))),
        lambda: sum(len(score_naively(model, *row)) for row in rows[:QUESTIONS]),
    )


def drawn(model: Qwen3ForCausalLM, template: Template, prompts: list[Ids]) -> list[Ids]:
    never = (len(template.tokenizer),)  # a marker outside the vocabulary: nothing stops early
    requests = [Request(prompt, seed) for seed, prompt in enumerate(prompts)]
    samples = TransformersSampler(model, temperature=1.0, max_tokens=TOKENS, stop=never).sample(requests)
    return [sample.ids for sample in samples]


def generate_one_by_one(model: Qwen3ForCausalLM, prompts: list[Ids]) -> int:
    settings = GenerationConfig(
        do_sample=True, temperature=1.0, max_new_tokens=TOKENS, min_new_tokens=TOKENS, num_return_sequences=GROUP,
        top_k=0, pad_token_id=0,
    )  # fmt: skip
    count = 0
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        count += out[:, len(prompt) :].numel()
    return count


@torch.inference_mode()
def score_naively(model: Qwen3ForCausalLM, prompt: Ids, response: Ids) -> list[float]:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0].tolist()


def compare(name: str, rounds: int, ours: Callable[[], int], peer: Callable[[], int]) -> None:
    """Tokens per second of both, in turns, after one unmeasured call each."""
    ours(), peer()
    rates: dict[str, list[float]] = {"varcore": [], "peer": []}
    for _ in range(rounds):
        for side, work in (("varcore", ours), ("peer", peer)):
            began = time.perf_counter()
            tokens = work()
            rates[side].append(tokens / (time.perf_counter() - began))
    fast, slow = statistics.median(rates["varcore"]), statistics.median(rates["peer"])
    ratios = [a / b for a, b in zip(rates["varcore"], rates["peer"], strict=True)]
    spread = f"{min(ratios):.1f} to {max(ratios):.1f} over {rounds} rounds"
    print(f"{name:10}{fast:>10,.0f} tokens/s   peer{slow:>8,.0f} tokens/s   ratio {fast / slow:.1f} ({spread})")


if __name__ == "__main__":
    main()
