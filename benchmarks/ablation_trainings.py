"""Parts of benchmarks/ablations.py that train in other ways: another loss, GRPO, and a posterior by reverse KL."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ablation_parts import Found, accepted_lengths, curves, diverse, lie, solved, traces_of, weighted
from arms import arm, scores, train_and_evaluate
from transformers import PreTrainedModel

from varcore.llm import algorithm, grpo, ledger, stages, storage, training_sets
from varcore.llm.run import Cost, stream_seed
from varcore.llm.sampling import Request, Sample, TransformersSampler
from varcore.llm.scoring import score
from varcore.llm.training import Example, TrainLog, TrainSettings, batches, loss_constant, train
from varcore.llm.weighing import WeightRule
from varcore.llm.workbench import Metrics, Workbench
from varcore.policies import rloo_advantages
from varcore.tasks import Question

REVERSE = TrainSettings(150, batch_size=96, learning_rate=1e-3, muon_learning_rate=3e-3)
FLOOR = -30.0  # nats, under log pi(y'|x,z): a trace without an end has no answer, and reverse KL no finite gradient


def trainings(bench: Workbench) -> Found:
    """The same examples under another loss, and GRPO on as many rollouts as vr draws traces."""
    arm(bench, "token-mean", lambda: by_token_mean(bench))
    arm(bench, "grpo", lambda: grpo.train_policy(bench, "grpo", "pi0"))
    roles = ["pi0", "sft", "rft", "vr", "token-mean", "grpo"]
    return {
        "scores": {role: scores(bench, role) for role in roles},
        "curves": curves(bench, roles),
        "diversity": {"grpo": diverse(bench, "grpo")},
        "flops": {"grpo": storage.read_json(bench.run.path / "compute.json")["grpo"]["flops"]},
    }


def by_token_mean(bench: Workbench) -> tuple[Cost, Metrics]:
    """vr's examples, the loss of each batch divided by the tokens of that batch instead of a constant."""
    examples = [example for example in algorithm.training_set(bench, "vr", 1) if example.weight > 0]
    settings = bench.config.reasoner

    def teach(model: PreTrainedModel, seed: int, **options: Any) -> TrainLog:
        order = list(itertools.islice(batches(examples, settings.batch_size, seed), settings.steps))

        def draw(step: int) -> tuple[list[Example], dict[str, float]]:
            batch = [examples[index] for index in order[step]]
            tokens = sum(example.weight * len(example.response) for example in batch)
            return [dataclasses.replace(example, weight=example.weight / tokens) for example in batch], {}

        return train(model, draw, 1.0, settings, **options)

    return stages.train_role(bench, "token-mean", "pi0", settings.steps, teach)


def reverse(bench: Workbench) -> Found:
    """Posteriors by reverse KL, from pi_0 and from the forward-KL q; what their traces are, and what they teach."""
    tables = {"forward": bench.table(1, "posterior")}
    rows, alone = {}, accepted_lengths(bench)
    for round_, (name, start) in enumerate({"reverse": "pi0", "reverse-from-q": "q1"}.items(), 201):
        role = f"q-{name}"
        if not bench.run.done(role):
            began = time.perf_counter()
            cost, metrics = by_reverse_kl(bench, role, start)
            bench.run.finish(role, cost, time.perf_counter() - began, metrics)
        tables[name] = traces_of(bench, role, round_, "posterior")
        train_and_evaluate(bench, name, weighted(tables[name], WeightRule()))
        rows[name] = curves(bench, [role], names=NOTES)[role]
    return {
        "scores": {role: scores(bench, role) for role in ("pi0", "rft", "vr", *rows)},
        "curves": rows,
        "solved": {name: solved(table) for name, table in tables.items()},
        "lie": {name: lie(table, WeightRule(), alone) for name, table in tables.items()},
        "leaks": {name: leaks(table) for name, table in tables.items()},
    }


NOTES = ("mean_reward", "mean_tokens", "distinct", "hint_copied", "leaked_nats")


def by_reverse_kl(bench: Workbench, role: str, start: str) -> tuple[Cost, Metrics]:
    """Score-function ascent of the ELBO in phi (A.9), a leave-one-out baseline; G = `prior_traces` a question.

    The reward of a trace is log pi(y'|x,z) + log pi(z|x) - log q(z|x,y') with the reference answer y'.
    """
    groups = REVERSE.batch_size // bench.config.prior_traces
    constant = loss_constant(training_sets.hinted_curated_examples(bench), REVERSE.batch_size)

    def teach(model: PreTrainedModel, seed: int, **options: Any) -> TrainLog:
        pi = bench.model("pi0")  # read again: the model that is trained may have begun as the one that was held
        asked = [Example(bench.template.prompt(question.text), ()) for question in bench.train]
        order = list(itertools.islice(batches(asked, groups, seed, window=1), REVERSE.steps))

        def draw(step: int) -> tuple[list[Example], dict[str, float]]:
            return hinted_rollouts(bench, model, pi, [bench.train[i] for i in order[step]], step)

        return train(model, draw, constant, REVERSE, temperature=bench.config.temperature, **options)

    cost, metrics = stages.train_role(bench, role, start, REVERSE.steps, teach)
    drawn = int(sum(row["mean_tokens"] for row in metrics) * REVERSE.batch_size)
    forward = stages.forward_cost(bench.models.num_parameters(role), decode=drawn, scored=drawn)
    return cost + forward, metrics


def hinted_rollouts(
    bench: Workbench, q: PreTrainedModel, pi: PreTrainedModel, questions: Sequence[Question], step: int
) -> tuple[list[Example], dict[str, float]]:
    """A step's traces of q, each weighted with its advantage, and what is noted of them."""
    template, config, size = bench.template, bench.config, bench.config.prior_traces
    asked = [question for question in questions for _ in range(size)]
    prompts = [template.hinted_prompt(question.text, question.reference) for question in asked]
    seeds = [stream_seed(config.seed, "reverse", step, index) for index in range(len(asked))]
    sampler = TransformersSampler(
        q,
        batch_size=config.batch_size,
        temperature=config.temperature,
        max_tokens=config.max_trace_tokens,
        stop=template.trace_close,
    )
    samples = sampler.sample([Request(*pair) for pair in zip(prompts, seeds, strict=True)])
    answers = [template.answer(question.reference) for question in asked]
    pairs = [(template.prompt(a.text), s.ids + answer) for a, s, answer in zip(asked, samples, answers, strict=True)]
    scored = score(pi, pairs, temperature=config.temperature)
    log_pi = [tokens[: len(sample.ids)] for tokens, sample in zip(scored, samples, strict=True)]
    rewards = torch.tensor(
        [
            (max(sum(tokens[len(sample.ids) :]), FLOOR) if sample.stopped else FLOOR)
            + sum(tokens[: len(sample.ids)])
            - sum(sample.log_probs)
            for tokens, sample in zip(scored, samples, strict=True)
        ],
        dtype=torch.float64,
    ).view(-1, size)
    advantages = rloo_advantages(rewards).flatten().tolist()
    examples = [Example(p, s.ids, a) for p, s, a in zip(prompts, samples, advantages, strict=True)]
    hints = [template.text(question.reference) for question in asked]
    return examples, {"mean_reward": rewards.mean().item(), **noted(hints, samples, log_pi, size)}


def noted(
    hints: Sequence[Sequence[int]], samples: Sequence[Sample], log_pi: Sequence[Sequence[float]], size: int
) -> dict[str, float]:
    """Means over a step's traces; "distinct" is the share of different ones in a group."""
    groups = [{samples[start + i].ids for i in range(size)} for start in range(0, len(samples), size)]
    rows = list(zip(hints, samples, log_pi, strict=True))
    return {
        "mean_tokens": statistics.mean(len(sample.ids) for sample in samples),
        "distinct": statistics.mean(len(group) / size for group in groups),
        "hint_copied": statistics.mean(ledger.copied_share(hint, sample.ids) for hint, sample, _ in rows),
        "leaked_nats": statistics.mean(ledger.leaked_nats(h, s.ids, pi, s.log_probs) for h, s, pi in rows),
    }


def leaks(table: Any) -> dict[str, float]:
    """Of a ledger's traces: the hint's share that was copied, nats that leaked there, mean tokens, distinct share."""
    rows = table.select(["question_id", "hint_ids", "trace_ids", "log_pi", "log_q", "hint_copied"]).to_pylist()
    nats = [ledger.leaked_nats(r["hint_ids"], r["trace_ids"], r["log_pi"], r["log_q"]) for r in rows]
    return {
        "hint_copied": statistics.mean(row["hint_copied"] for row in rows),
        "leaked_nats": statistics.mean(nats),
        "mean_tokens": statistics.mean(len(row["trace_ids"]) for row in rows),
        "distinct": len({(row["question_id"], tuple(row["trace_ids"])) for row in rows}) / len(rows),
        "log_ratio": statistics.mean(sum(row["log_pi"]) - sum(row["log_q"]) for row in rows),
    }


PARTS: dict[str, Callable[[Workbench], Found]] = {"trainings": trainings, "reverse": reverse}
