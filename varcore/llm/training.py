"""Dr. SFT: weighted supervised finetuning whose loss is a sum of token losses over a constant.

Traces and answers are sequence-level variables: the gradient of log pi(z, y|x) is a *sum* over tokens.  Dividing by
the batch's token count would weigh a sequence by the company it keeps, so the sum is divided by a constant instead,
computed once from the training set, and the gradient is the same however a batch is cut into micro-batches.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from transformers import PreTrainedModel

from varcore.llm import processes
from varcore.llm.checkpoints import Checkpoint
from varcore.llm.muon import Muon
from varcore.llm.scoring import head, response_log_probs
from varcore.llm.templates import Ids


@dataclass(frozen=True)
class Example:
    """Raise log p(response | prompt) with this weight; below 0, lower it.  Only response tokens are trained on."""

    prompt: Ids
    response: Ids
    weight: float = 1.0

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class TrainSettings:
    """Hyperparameters of one finetuning.

    `muon` orthogonalises the update of every matrix inside the blocks (varcore.llm.muon); embeddings, norms and, with
    ``muon=False``, everything else get AdamW.  The learning rate warms up linearly, then follows a cosine to zero.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 2e-3
    muon_learning_rate: float = 1e-2
    muon: bool = True
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup: float = 0.05
    clip: float = 1.0
    micro_batch_size: int | None = None  # of each process
    gradient_checkpointing: bool = False
    save_every: int = 200


@dataclass(frozen=True)
class TrainLog:
    """What a training run did: its loss at every step, gradient norms before clipping, and tokens processed.

    `notes`: what else was said of every step by what gave its examples, by name.
    """

    losses: list[float]
    gradient_norms: list[float]
    tokens: int
    notes: dict[str, list[float]] = field(default_factory=dict)


def dr_sft_loss(log_probs: Tensor, weights: Tensor, constant: float) -> Tensor:
    """Scalar loss of a batch: ``- sum_t w_t log p_t / constant``, in nats.

    Args:
        log_probs: [T] token log-probabilities of all responses of the batch, one after the other; differentiated.
        weights: [T] each token's sequence weight; not differentiated.
        constant: fixed for the whole training run (`loss_constant`).
    """
    return -(weights.detach() * log_probs).sum() / constant


def loss_constant(examples: Sequence[Example], batch_size: int) -> float:
    """Batch size times the training set's mean weighted response length: brings the loss near nats per token."""
    return batch_size * sum(example.weight * len(example.response) for example in examples) / len(examples)


def finetune(
    model: PreTrainedModel,
    examples: Sequence[Example],
    settings: TrainSettings,
    seed: int,
    *,
    checkpoints: Path | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> TrainLog:
    """Train `model` in place on weighted examples; those of weight zero are left out.

    Args:
        seed: decides the order of the examples; the same seed gives the same weights on the same machine.
        checkpoints: folder for the state of an interrupted run.  If it holds one, training continues there and ends
            with the weights and log of a run that was never interrupted.

    Raises ValueError if no example has a positive weight, or one has a negative, infinite or NaN weight
    or an empty prompt.
    """
    _check_weights(examples)
    examples = [example for example in examples if example.weight > 0]
    order = list(itertools.islice(batches(examples, settings.batch_size, seed), settings.steps))
    return train(
        model,
        lambda step: ([examples[index] for index in order[step]], {}),
        loss_constant(examples, settings.batch_size),
        settings,
        checkpoints=checkpoints,
        advance=advance,
    )


def train(
    model: PreTrainedModel,
    draw: Callable[[int], tuple[Sequence[Example], dict[str, float]]],
    constant: float,
    settings: TrainSettings,
    *,
    temperature: float = 1.0,
    checkpoints: Path | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> TrainLog:
    """Train `model` in place by `dr_sft_loss` on the examples that `draw` gives at every step.

    Args:
        draw: called with the number of a step, in order and once each; the examples of that step, of any sign, and
            what is to be noted of it.  It may look at the model: its weights are those of that step.
        constant: of the loss.
        temperature: at which log-probabilities are taken.
        checkpoints, advance: as in `finetune`; a training that continues does not draw again what is done.
    """
    accelerator = processes.accelerator()  # one process, unless `accelerate launch` started several
    sharded = accelerator.distributed_type == DistributedType.FSDP
    check_batch(settings, accelerator.num_processes)
    _check_muon(settings, sharded)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizers: list[torch.optim.Optimizer]
    log_probs, *optimizers = accelerator.prepare(ResponseLogProbs(model, temperature), *_optimizers(model, settings))
    state = Checkpoint(model, optimizers, checkpoints)
    done, curves = state.load()
    advance(done)
    for step in range(done, settings.steps):
        examples, notes = draw(step)
        model.train()
        mine = examples[accelerator.process_index :: accelerator.num_processes]
        loss = _backward(accelerator, log_probs, mine, constant, settings)
        norm = accelerator.clip_grad_norm_(log_probs.parameters(), settings.clip)
        assert norm is not None  # it is for DeepSpeed alone
        tokens = sum(example.num_tokens for example in examples)
        for name, value in {"loss": loss, "norm": norm.item(), "tokens": tokens, **notes}.items():
            curves[name].append(float(value))
        _update(optimizers, learning_rate_factor(step, settings))
        advance(1)
        if (step + 1) % settings.save_every == 0 and step + 1 < settings.steps:
            state.save(step + 1, curves)
    model.eval()
    return TrainLog(curves.pop("loss"), curves.pop("norm"), int(sum(curves.pop("tokens"))), dict(curves))


class ResponseLogProbs(nn.Module):
    """`response_log_probs` as a module, so that what shards or replicates a model sees all of it in one forward."""

    def __init__(self, model: PreTrainedModel, temperature: float = 1.0):
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, rows: list[tuple[Ids, Ids]]) -> Tensor:
        return response_log_probs(self.model, rows, temperature=self.temperature)


def batches(examples: Sequence[Example], size: int, seed: int, *, window: int = 16) -> Iterator[list[int]]:
    """Endless batches of example indices: every epoch is a new permutation, each example once.

    Inside a window of `window` batches (fewer if that is more than an epoch) the examples are sorted by length before
    they are cut, which saves padding; the batches of a window then come in random order.  A last short batch of an
    epoch is filled from the next one.
    """
    rng = random.Random(f"batches/{seed}")
    window = max(1, min(window, len(examples) // size))  # copies of one example would end up in one batch
    stream = itertools.chain.from_iterable(_permutations(len(examples), rng))
    while True:
        block = sorted(itertools.islice(stream, size * window), key=lambda i: examples[i].num_tokens)
        cut = [block[start : start + size] for start in range(0, len(block), size)]
        rng.shuffle(cut)
        yield from cut


def _permutations(count: int, rng: random.Random) -> Iterator[list[int]]:
    while True:
        yield rng.sample(range(count), count)


def _backward(
    accelerator: Accelerator, log_probs: nn.Module, batch: Sequence[Example], constant: float, settings: TrainSettings
) -> float:
    """Add the gradient of this process's share of a batch, a micro-batch at a time; the loss of the whole batch.

    Of a batch without examples there is none, and the optimisers leave every parameter as it is.
    """
    size, total = settings.micro_batch_size or max(1, len(batch)), 0.0
    for start in range(0, len(batch), size):
        micro = batch[start : start + size]
        last = start + size >= len(batch)
        with contextlib.nullcontext() if last else accelerator.no_sync(log_probs):
            found = log_probs([(example.prompt, example.response) for example in micro])
            weights = found.new_tensor([example.weight for example in micro])
            lengths = torch.tensor([len(example.response) for example in micro], device=found.device)
            loss = dr_sft_loss(found, weights.repeat_interleave(lengths), constant)
            # processes average their gradients; the loss is a sum
            accelerator.backward(loss * accelerator.num_processes)
        total += loss.item()
    summed = accelerator.reduce(torch.tensor(total, dtype=torch.float64, device=accelerator.device))
    assert isinstance(summed, Tensor)
    return summed.item()


def _update(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        optimizer.zero_grad()


def check_batch(settings: TrainSettings, processes: int) -> None:
    """ValueError if the processes cannot take equal shares of a batch."""
    if settings.batch_size % processes:
        raise ValueError(
            f"finetune: every process takes the same share of a batch, but {settings.batch_size} examples do not "
            f"divide by {processes} processes. Choose another batch_size or number of processes."
        )


def _check_muon(settings: TrainSettings, sharded: bool) -> None:
    if settings.muon and sharded:
        raise ValueError("finetune: Muon needs whole matrices, and FSDP shards them. Set muon to false.")


def _check_weights(examples: Sequence[Example]) -> None:
    for example in examples:
        if not (math.isfinite(example.weight) and example.weight >= 0):
            raise ValueError(f"finetune: weights must be finite and >= 0, got {example.weight}. Check the weighing.")
        if not example.prompt:
            raise ValueError("finetune: every prompt needs at least one token, got an empty one. Add a marker.")
    if not any(example.weight > 0 and example.response for example in examples):
        raise ValueError(
            f"finetune: none of {len(examples)} examples has a positive weight and a response, so there is nothing to "
            "learn from. Sample more traces, or mix in curated data."
        )


def _optimizers(model: PreTrainedModel, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    outside = {id(p) for part in (model.get_input_embeddings(), head(model)) for p in part.parameters()}
    inside = (p for m in model.modules() if isinstance(m, nn.Linear) for p in m.parameters() if id(p) not in outside)
    matrices = [p for p in inside if p.ndim == 2 and p.requires_grad] if settings.muon else []
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        common = {"betas": settings.betas, "weight_decay": settings.weight_decay}
        optimizers.append(torch.optim.AdamW(rest, lr=settings.learning_rate, **common))
    if matrices:
        muon = Muon(matrices, lr=settings.muon_learning_rate, weight_decay=settings.weight_decay)
        optimizers.append(muon)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]  # where schedulers of torch keep it too
    return optimizers


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """Linear warmup over the first `warmup` share of the steps, then a cosine that would reach zero at the last."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))
