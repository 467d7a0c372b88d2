"""Algorithm 1 and its baselines at matched compute, in one process and in memory: a part of gpu.py.

`varcore run` keeps a ledger on disk and can be killed at any moment; this is the same method without, on a larger model
and the two hardest levels of the built-in task.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import torch
from measuring import clock
from torch import Tensor
from transformers import PreTrainedModel

from varcore import log_accuracy_correctness, normalized_weights, tempered_log_weights
from varcore.evaluation import avg_at_k, bootstrap_interval, paired_bootstrap, pass_at_k
from varcore.llm.sampling import Request, Sample, TransformersSampler
from varcore.llm.scoring import score
from varcore.llm.templates import Ids, Markers, Template
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer
from varcore.llm.training import Example, TrainSettings, finetune
from varcore.tasks import Countdown, Question, Verdict

TEMPERATURE, TRACES, ANSWERS, SAMPLES = 0.7, 8, 2, 8  # M and K; N; samples of a test question
MOST_TRACE_TOKENS, MOST_ANSWER_TOKENS = 72, 16
TUNING = 0.3  # of the learning rates of a model that learns from nothing, or learns to read hints
HARD = (3, 4)  # four numbers, at most 15 right answers


@dataclass(frozen=True)
class Scale:
    """Width of the model, size of the data, efforts; `worked` of the `train` questions have a curated trace."""

    hidden: int
    layers: int
    heads: int
    texts: int
    worked: int
    train: int
    test: int
    base: tuple[int, int]  # batch size and steps, as in the following ones
    pi0: tuple[int, int]
    posterior: tuple[int, int]
    reasoner: tuple[int, int]
    learning_rates: tuple[float, float]  # of AdamW and Muon
    rows: int  # sampled side by side
    tokens: int  # scored side by side


FULL = Scale(
    hidden=512, layers=12, heads=16, texts=128_000, worked=1000, train=4000, test=1000, base=(256, 1500),
    pi0=(64, 150), posterior=(64, 400), reasoner=(64, 400), learning_rates=(5e-3, 2e-2), rows=4096, tokens=131_072,
)  # fmt: skip
TOY = Scale(
    hidden=96, layers=2, heads=3, texts=12_000, worked=150, train=200, test=100, base=(32, 300),
    pi0=(32, 40), posterior=(32, 40), reasoner=(32, 30), learning_rates=(1e-2, 3e-2), rows=1024, tokens=4096,
)  # fmt: skip


@dataclass
class Trace:
    """z as drawn after `asked`, its sums of log-probabilities, and how often each right answer followed it."""

    question: int
    asked: Ids
    ids: Ids
    closed: bool
    log_q: float
    log_pi: float
    right: Counter[Ids]


class Arm(NamedTuple):
    """Which samples of each test question are right, [questions, SAMPLES], and what the method took after pi_0."""

    right: Tensor
    flops: float


class Laboratory:
    """Questions, template and device of one run; adds up the FLOPs and seconds of every phase."""

    def __init__(self, scale: Scale, seed: int, device: torch.device):
        self.scale, self.seed, self.device = scale, seed, device
        self.task, self.template = Countdown(), Template(tiny_tokenizer(), Markers())
        self.train = self._hard("train", scale.train, curated=True)
        self.test = self._hard("test", scale.test, curated=False)
        self.flops: Counter[str] = Counter()
        self.parameters, self.difference = 0, math.nan
        self.seconds: dict[str, float] = {}

    def _hard(self, split: str, count: int, curated: bool) -> list[Question]:
        every = count * len(self.task.levels) // len(HARD)  # the levels come in turn
        questions = self.task.questions(split, every, self.seed, curated=curated)
        return [question for question in questions if question.level in HARD]

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = clock(self.device)
        yield
        self.seconds[name] = round(clock(self.device) - began, 2)
        print(f"  {name:24}{self.seconds[name]:8.1f} s   {self.flops[name]:12.2e} FLOPs", flush=True)

    def seeds(self, name: str, count: int) -> list[int]:
        rng = random.Random(f"{self.seed}/{name}")
        return [rng.getrandbits(63) for _ in range(count)]

    def pay(self, name: str, *, forward: int = 0, trained: int = 0) -> None:
        """2 FLOPs per parameter and token read or written, 6 per parameter and token trained on."""
        self.flops[name] += self.parameters * (2 * forward + 6 * trained)

    def learn(
        self, name: str, start: PreTrainedModel, data: list[Example], effort: tuple[int, int], pace: float = 1.0
    ) -> PreTrainedModel:
        """A copy of `start`, finetuned on batches and steps of this `effort`; `pace` scales both learning rates."""
        model, (batch, steps) = copy.deepcopy(start), effort
        adamw, muon = (pace * rate for rate in self.scale.learning_rates)
        settings = TrainSettings(steps, batch, learning_rate=adamw, muon_learning_rate=muon)
        with self.phase(name):
            log = finetune(model, data, settings, self.seeds(name, 1)[0])
            self.pay(name, trained=log.tokens)
        print(f"  {'':24}loss {fmean(log.losses[:10]):.3f} -> {fmean(log.losses[-10:]):.3f}", flush=True)
        return model

    def draw(self, model: PreTrainedModel, name: str, prompts: Sequence[Ids], stop: Ids, most: int) -> list[Sample]:
        settings: dict[str, Any] = {"temperature": TEMPERATURE, "max_tokens": most, "stop": stop}
        pairs = zip(prompts, self.seeds(f"{name}/{stop}", len(prompts)), strict=True)
        requests = [Request(*pair) for pair in pairs]
        samples = TransformersSampler(model, batch_size=self.scale.rows, **settings).sample(requests)
        read = sum(map(len, set(prompts)))  # a prompt is read once
        self.pay(name, forward=read + sum(len(sample.ids) for sample in samples))
        return samples

    def traces(self, name: str, model: PreTrainedModel, judge: PreTrainedModel, hinted: bool, each: int) -> list[Trace]:
        """`each` traces of `model` for every training question, with N answers of `judge` after each closed one."""
        template, owners = self.template, [i for i in range(len(self.train)) for _ in range(each)]
        plain = [template.prompt(q.text) for q in self.train]
        asked = [template.hinted_prompt(q.text, q.reference) for q in self.train] if hinted else plain
        with self.phase(name):
            drawn = self.draw(model, name, [asked[i] for i in owners], template.trace_close, MOST_TRACE_TOKENS)
            found = [
                Trace(i, plain[i], s.ids, s.stopped, sum(s.log_probs), sum(s.log_probs), Counter())
                for i, s in zip(owners, drawn, strict=True)
            ]
            self._answer(name, judge, found)
        return found

    def _answer(self, name: str, judge: PreTrainedModel, traces: list[Trace]) -> None:
        closed = [trace for trace in traces if trace.closed for _ in range(ANSWERS)]
        prompts = [trace.asked + trace.ids for trace in closed]
        samples = self.draw(judge, name, prompts, self.template.answer_close, MOST_ANSWER_TOKENS)
        for trace, sample in zip(closed, samples, strict=True):
            if sample.stopped and self._is_right(self.train[trace.question], sample.ids):
                trace.right[sample.ids] += 1

    def score(self, name: str, model: PreTrainedModel, traces: list[Trace]) -> None:
        """log pi of traces that another model drew, at the temperature of the draw."""
        with self.phase(name):
            pairs = [(trace.asked, trace.ids) for trace in traces]
            scores = score(model, pairs, temperature=TEMPERATURE, tokens_per_batch=self.scale.tokens)
            for trace, log_probs in zip(traces, scores, strict=True):
                trace.log_pi = sum(log_probs)
            self.pay(name, forward=sum(len(prompt) + len(ids) for prompt, ids in pairs))

    def _is_right(self, question: Question, ids: Ids) -> bool:
        return self.task.verify(question, self.template.read_answer(ids)) is Verdict.RIGHT

    def evaluate(self, name: str, model: PreTrainedModel) -> Tensor:
        """Which of SAMPLES samples of each test question are right: [questions, SAMPLES]."""
        prompts = [self.template.prompt(q.text) for q in self.test for _ in range(SAMPLES)]
        with self.phase(f"evaluate {name}"):
            most = MOST_TRACE_TOKENS + MOST_ANSWER_TOKENS
            samples = self.draw(model, f"evaluate {name}", prompts, self.template.answer_close, most)
            right = [
                sample.stopped and self._is_right(self.test[i // SAMPLES], self.template.split(sample.ids)[1])
                for i, sample in enumerate(samples)
            ]
        print(f"  {'':24}Avg@{SAMPLES} {sum(right) / len(right):.3f}", flush=True)
        return torch.tensor(right, dtype=torch.float64).view(-1, SAMPLES)

    def worked(self, hinted: bool = False) -> list[Example]:
        """The curated examples; hinted: for q, which writes no answer."""
        t, pairs = self.template, [(q, q.curated_trace or "") for q in self.train[: self.scale.worked]]
        if hinted:
            return [Example(t.hinted_prompt(q.text, q.reference), t.trace(trace)) for q, trace in pairs]
        return [Example(t.prompt(q.text), t.trace(trace) + t.answer(q.reference)) for q, trace in pairs]


def examples(traces: list[Trace], weights: Sequence[float]) -> list[Example]:
    """Each trace with its right answers, its weight shared out by how often each was drawn."""
    return [
        Example(trace.asked, trace.ids + answer, weight * count / trace.right.total())
        for trace, weight in zip(traces, weights, strict=True)
        for answer, count in trace.right.items()
    ]


def for_posterior(lab: Laboratory, prior: list[Trace]) -> list[Example]:
    """Eq. 9: the reasoner's own traces after the hint they led to, accuracy over its sum in the question."""
    totals: Counter[int] = Counter()
    for trace in prior:
        totals[trace.question] += trace.right.total()
    own = examples(prior, [trace.right.total() / (totals[trace.question] or 1) for trace in prior])
    text = {lab.template.prompt(q.text): q.text for q in lab.train}
    cut = ((e, *lab.template.split(e.response)) for e in own)
    hint = lab.template.read_answer
    return [Example(lab.template.hinted_prompt(text[e.prompt], hint(y)), z, e.weight) for e, z, y in cut]


def weights(traces: list[Trace]) -> list[float]:
    """Eq. 8 with the exponent 1/|z|, normalised over a question's K traces; 0 for one that was cut."""
    columns = [[t.log_pi, t.log_q, t.right.total(), len(t.ids)] for t in traces]
    log_pi, log_q, right, length = torch.tensor(columns, dtype=torch.float64).view(-1, TRACES, 4).unbind(-1)
    log_correct = log_accuracy_correctness(right, ANSWERS)
    return normalized_weights(tempered_log_weights(log_pi, log_q, log_correct, length)).flatten().tolist()


def measure(toy: bool, seed: int, device: torch.device, save: Callable[[dict[str, Any]], None]) -> None:
    """base -> pi_0 -> VR, then RFT and SFT from the same pi_0 with as many FLOPs; `save` gets what is known so far."""
    scale = TOY if toy else FULL
    lab = Laboratory(scale, seed, device)
    pi0, prior = _begin(lab)
    arms = {"pi0": Arm(lab.evaluate("pi0", pi0), 0)}
    arms["vr"] = _variational(lab, pi0, prior)
    save(report(lab, arms))
    arms["rft"] = _rejection(lab, pi0, prior, arms["vr"].flops)
    save(report(lab, arms))
    # SFT twice: with the FLOPs of all of VR, and, because it then sees its few examples very often, with VR's steps
    steps = round(scale.reasoner[1] * arms["vr"].flops / lab.flops["train vr"])
    for name, count in (("sft", steps), ("sft, steps of vr", scale.reasoner[1])):
        model = lab.learn(f"train {name}", pi0, lab.worked(), (scale.reasoner[0], count), TUNING)
        arms[name] = Arm(lab.evaluate(name, model), lab.flops[f"train {name}"])
        save(report(lab, arms))


def _begin(lab: Laboratory) -> tuple[PreTrainedModel, list[Trace]]:
    """pi_0, from a base that has read blind searches, and its traces."""
    scale, t, texts = lab.scale, lab.template, lab.task.corpus(lab.scale.texts, lab.seed)
    read = [(p, t.trace(p.trace) + t.answer(p.answer) if p.answer else t.text(p.trace)) for p in texts]
    fresh = tiny_qwen3(len(t.tokenizer), lab.seed, hidden=scale.hidden, layers=scale.layers, heads=scale.heads)
    lab.parameters = fresh.num_parameters()
    base = lab.learn("train base", fresh.to(lab.device), [Example(t.prompt(p.prompt), r) for p, r in read], scale.base)
    pi0 = lab.learn("train pi0", base, lab.worked(), scale.pi0, TUNING)
    return pi0, lab.traces("sample prior", pi0, pi0, False, TRACES)


def _variational(lab: Laboratory, pi0: PreTrainedModel, prior: list[Trace]) -> Arm:
    scale, before = lab.scale, lab.flops["sample prior"]
    own = prior[: scale.rows]  # scored too, though the sampler has said: how far apart are the two?
    lab.score("check scores", pi0, own)
    lab.difference = max(abs(trace.log_q - trace.log_pi) / len(trace.ids) for trace in own)
    q = lab.learn("train posterior", pi0, lab.worked(hinted=True) + for_posterior(lab, prior), scale.posterior)
    drawn = lab.traces("sample posterior", q, pi0, True, TRACES)
    lab.score("score", pi0, drawn)
    data = lab.worked() + examples(drawn, weights(drawn))
    vr = lab.learn("train vr", pi0, data, scale.reasoner, TUNING)
    spent = before + sum(lab.flops[name] for name in ("train posterior", "sample posterior", "score", "train vr"))
    return Arm(lab.evaluate("vr", vr), spent)


def _rejection(lab: Laboratory, pi0: PreTrainedModel, prior: list[Trace], budget: float) -> Arm:
    """What VR put into q buys more draws here; the last training is as long as VR's."""
    left = budget - lab.flops["sample prior"] - lab.flops["train vr"]
    more = max(1, round(left / (lab.flops["sample prior"] / TRACES)))
    accepted = prior + lab.traces("sample more", pi0, pi0, False, more)
    data = lab.worked() + examples(accepted, [trace.right.total() / ANSWERS for trace in accepted])
    model = lab.learn("train rft", pi0, data, lab.scale.reasoner, TUNING)
    spent = sum(lab.flops[name] for name in ("sample prior", "sample more", "train rft"))
    return Arm(lab.evaluate("rft", model), spent)


def report(lab: Laboratory, arms: dict[str, Arm]) -> dict[str, Any]:
    """Avg@8 and Pass@8 with 95% intervals over questions, paired differences to VR, FLOPs and seconds."""
    scores = {
        "avg": {name: avg_at_k(arm.right) for name, arm in arms.items()},
        "pass": {name: pass_at_k(SAMPLES, arm.right.sum(-1), SAMPLES) for name, arm in arms.items()},
    }
    found: dict[str, Any] = {name: {"flops": arm.flops} for name, arm in arms.items()}
    for kind, own in scores.items():
        for name, values in own.items():
            found[name][kind] = bootstrap_interval(values, seed=0)._asdict()
            found[name][f"vr minus this, {kind}"] = paired_bootstrap(own["vr"], values, seed=0)._asdict()
    return {
        "scale": vars(lab.scale),
        "parameters": lab.parameters,
        "sampler minus scorer, nats a token": lab.difference,
        "arms": found,
        "flops": dict(lab.flops),
        "seconds": lab.seconds,
    }
