"""Sampling, scoring and training rates of the tiny model, as ratios to other people's code in the same process.

    python benchmarks/rates.py [--rounds 5]

Peers: ``model.generate``, one question at a time; scoring one sequence at a time, without padding; the method of TRL's
GRPOTrainer that scores completions, at several batch sizes; TRL's utility for what comes after the last layer; TRL's
SFTTrainer.  Both sides do the same work (model, prompts, temperature, tokens, batch size, AdamW).  Sampling runs every
sequence to the limit, for the weights are random; scoring and training read the built-in task's own curated traces and
answers, of mixed lengths.  The sides take turns.  A rate counts the tokens that are there, padding left out; the ratio
is of medians, and its spread is over rounds.

On a machine with other work, `chrt -f 20` before the command keeps that away.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from datasets import Dataset, disable_progress_bars
from transformers import GenerationConfig, PrinterCallback, Qwen3ForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import selective_log_softmax

from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.scoring import score, token_log_probs
from varcore.llm.templates import Ids, Markers, Template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.llm.training import Example, TrainSettings, finetune
from varcore.tasks import Countdown

TOKENS, GROUP, QUESTIONS, PEER_QUESTIONS = 64, 8, 128, 4
BATCH, STEPS, UNMEASURED = 32, 30, 5  # of the two trainers; their first steps are slower
TRL_BATCHES = (8, 32, 128)  # sequences side by side
HEADS = ((2048, 370), (1024, 8192), (512, 151_936))  # tokens and words: of the tiny model, between, and of Qwen3
Rows = list[tuple[Ids, Ids]]
Side = Callable[[], tuple[int, float]]  # tokens, and the seconds they took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    transformers.utils.logging.set_verbosity_error()
    disable_progress_bars()
    template = Template(tiny_tokenizer(), Markers())
    model = tiny_qwen3(len(template.tokenizer), seed=0).eval()
    prompts = [template.prompt(question.text) for question in Countdown().questions("train", QUESTIONS, 0)]
    rows = worked_rows(template, 8 * QUESTIONS)
    print(f"{torch.get_num_threads()} threads, {model.num_parameters():,} parameters")
    ours = timed(lambda: sum(map(len, drawn(model, template, prompts * GROUP))))
    compare("sampling", "generate", 3, rounds, ours, timed(lambda: one_by_one(model, prompts[:PEER_QUESTIONS])))
    scoring(model, template, rows, rounds)
    heads(rounds)
    sides = [lambda: train(template, rows)[:2], lambda: sft(template, rows)[:2]]
    compare("training", "TRL's SFTTrainer", 1, rounds, *sides)


def scoring(model: Qwen3ForCausalLM, template: Template, rows: Rows, rounds: int) -> None:
    ours = timed(lambda: sum(map(len, score(model, rows))))
    alone = timed(lambda: sum(len(score_alone(model, *row)) for row in rows[:QUESTIONS]))
    compare("scoring", "one at a time", 3, rounds, ours, alone)
    trainer = trl_scorer(template)
    for size in TRL_BATCHES:
        peer = timed(lambda size=size: sum(map(len, score_with_trl(trainer, rows, size))))
        compare("scoring", f"TRL, {size} at a time", 1, rounds, ours, peer)


def heads(rounds: int) -> None:
    for tokens, vocabulary in HEADS:
        for what, with_gradient in (("log-probs", False), ("and gradient", True)):
            sides = [timed(side) for side in head_sides(tokens, vocabulary, with_gradient)]
            compare(what, f"TRL, {vocabulary:,} words", 1, rounds, *sides)


def worked_rows(template: Template, count: int) -> Rows:
    """Prompts, and after each its curated trace and answer."""
    questions = Countdown().questions("train", count, 0, curated=True)
    return [
        (template.prompt(q.text), template.trace(q.curated_trace or "") + template.answer(q.reference))
        for q in questions
    ]


def timed(work: Callable[[], int]) -> Side:
    def side() -> tuple[int, float]:
        began = time.perf_counter()
        return work(), time.perf_counter() - began

    return side


def compare(name: str, against: str, goal: int, rounds: int, ours: Side, peer: Side) -> None:
    """Prints tokens a second of both, in turns, after one unmeasured call each, and their ratio."""
    ours(), peer()
    rates: dict[Side, list[float]] = {ours: [], peer: []}
    for _ in range(rounds):
        for side, found in rates.items():
            tokens, seconds = side()
            found.append(tokens / seconds)
    fast, slow = (statistics.median(found) for found in rates.values())
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f}; goal {goal})"
    print(
        f"{name:10}{fast:>9,.0f} tokens/s   {against:22}{slow:>9,.0f}   ratio {fast / slow:6.2f} {spread}", flush=True
    )


def drawn(model: Qwen3ForCausalLM, template: Template, prompts: list[Ids]) -> list[Ids]:
    never = (len(template.tokenizer),)  # a marker outside the vocabulary: nothing stops early
    requests = [Request(prompt, seed) for seed, prompt in enumerate(prompts)]
    samples = TransformersSampler(model, temperature=1.0, max_tokens=TOKENS, stop=never).sample(requests)
    return [sample.ids for sample in samples]


def one_by_one(model: Qwen3ForCausalLM, prompts: list[Ids]) -> int:
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
def score_alone(model: Qwen3ForCausalLM, prompt: Ids, response: Ids) -> list[float]:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0].tolist()


def trl_scorer(template: Template) -> GRPOTrainer:
    """A trainer around the tiny model, for the sake of its scoring method."""
    settings = {"output_dir": tempfile.gettempdir(), "use_cpu": True, "bf16": False, "report_to": "none"}
    config = GRPOConfig(**settings, per_device_train_batch_size=GROUP, num_generations=GROUP)
    model, questions = tiny_qwen3(len(template.tokenizer), seed=0), Dataset.from_dict({"prompt": ["1 + 1"]})
    reward: Any = lambda completions, **_: [0.0] * len(completions)  # noqa: E731 - never asked
    return GRPOTrainer(model.eval(), reward, config, questions, processing_class=template.tokenizer)


@torch.no_grad()
def score_with_trl(trainer: GRPOTrainer, rows: Rows, size: int) -> list[list[float]]:
    """As the trainer does it: prompts padded on the left, completions on the right, the longest of all decides."""
    before, after = (max(map(len, part)) for part in zip(*rows, strict=True))
    ids = torch.zeros(len(rows), before + after, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(rows):
        span = slice(before - len(prompt), before + len(response))
        ids[row, span], mask[row, span] = torch.tensor(prompt + response), 1
    found, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, after, batch_size=size)
    return [values[: len(response)].tolist() for values, (_, response) in zip(found, rows, strict=True)]


def head_sides(tokens: int, vocabulary: int, with_gradient: bool) -> tuple[Callable[[], int], Callable[[], int]]:
    """From final states of width 128 to log-probabilities, and back to the gradients of states and head."""
    torch.manual_seed(0)
    hidden, head = torch.randn(tokens, 128), torch.randn(vocabulary, 128) / 128**0.5
    targets = torch.randint(vocabulary, (tokens,))
    inputs = (hidden.requires_grad_(with_gradient), head.requires_grad_(with_gradient))

    def side(log_probs: Callable[[], torch.Tensor]) -> Callable[[], int]:
        def work() -> int:
            with torch.set_grad_enabled(with_gradient):
                found = log_probs()
            if with_gradient:
                torch.autograd.grad(found.sum(), inputs)
            return tokens

        return work

    return side(lambda: token_log_probs(hidden, head, targets)), side(
        lambda: selective_log_softmax((hidden @ head.T)[None], targets[None])[0]
    )


def train(template: Template, rows: Rows) -> tuple[int, float, float]:
    """Tokens and seconds of the last steps of `finetune`, and the mean loss of all."""
    model, clock = tiny_qwen3(len(template.tokenizer), seed=0), Clock()
    examples, settings = [Example(*row) for row in rows], TrainSettings(STEPS, BATCH, muon=False)
    log = finetune(model, examples, settings, seed=0, advance=lambda steps: clock.times.append(time.perf_counter()))
    return log.tokens * (STEPS - UNMEASURED) // STEPS, clock.seconds, statistics.mean(log.losses)


def sft(template: Template, rows: Rows) -> tuple[int, float, float]:
    """The same of TRL's trainer, its defaults but for what would make it do more (checkpoints, logs, bfloat16)."""
    columns = {
        "input_ids": [list(prompt + response) for prompt, response in rows],
        "completion_mask": [[0] * len(prompt) + [1] * len(response) for prompt, response in rows],
    }
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=2e-3, max_length=None,
            gradient_checkpointing=False, use_cpu=True, bf16=False, save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        model, tokenizer = tiny_qwen3(len(template.tokenizer), seed=0), template.tokenizer
        trainer = SFTTrainer(
            model, config, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer, callbacks=[clock]
        )
        trainer.remove_callback(PrinterCallback)
        loss = trainer.train().training_loss
    return int(trainer._total_train_tokens) * (STEPS - UNMEASURED) // STEPS, clock.seconds, loss


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Of the last steps, the first UNMEASURED ones left out."""
        return self.times[-1] - self.times[-1 - (STEPS - UNMEASURED)]


if __name__ == "__main__":
    main()
