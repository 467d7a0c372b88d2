"""What a run will take before anything is spent: tokens and FLOPs of every stage, memory, disk and hours.

Tokens and FLOPs follow from the settings and the mean lengths and are exact up to these.  Memory counts what must be
there (weights, gradients, optimiser states, caches) and what is known to be kept (one activation a layer under gradient
checkpointing, one chunk of logits).  Hours rest on two assumptions, both arguments: the share of the peak that
large matrix products reach, and the share of the bandwidth that decoding reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

from varcore.llm.scoring import LOGITS_AT_ONCE
from varcore.llm.shapes import Shape

GIB = 2**30
BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Gpu:
    """Makers' figures: memory in GB, dense bfloat16 TFLOP/s, memory bandwidth in TB/s."""

    memory: float | int
    tflops: float | int
    bandwidth: float | int


GPUS = {  # from NVIDIA's data sheets, SXM modules where there are several; without sparsity
    "h200": Gpu(141, 989, 4.8),
    "h100": Gpu(80, 989, 3.35),
    "a100-80": Gpu(80, 312, 2.04),
    "a100-40": Gpu(40, 312, 1.56),
    "l40s": Gpu(48, 362, 0.86),
    "rtx4090": Gpu(24, 165, 1.01),
}


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt, a trace and an answer, and the longest sequence that is sampled or trained on."""

    prompt: float | int
    trace: float | int
    answer: float | int
    longest: int


@dataclass(frozen=True)
class Workload:
    """How often each thing is done in one round; `*_sequences` counts sequences times epochs."""

    questions: int
    prior_traces: int
    posterior_traces: int
    answers: int
    initial_sequences: int
    posterior_sequences: int
    reasoner_sequences: int


@dataclass(frozen=True)
class StageEstimate:
    """Tokens written one at a time, read in one pass, and trained on; FLOPs; hours on the GPUs asked about."""

    name: str
    sampled: float | int
    read: float | int
    trained: float | int
    flops: float | int
    hours: float | int


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU."""

    weights: float | int
    gradients: float | int
    optimizer: float | int
    activations: float | int

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def flops_per_token(shape: Shape, context: float | int) -> float:
    """Forward FLOPs of one token that sees `context` tokens: 2 per parameter, and 4 per attended position and width."""
    return 2.0 * shape.parameters + 4.0 * shape.layers * shape.attention_width * context


def stages(
    shape: Shape,
    work: Workload,
    lengths: Lengths,
    gpu: Gpu,
    *,
    gpus: int = 1,
    utilization: float | int = 0.4,
    decode_utilization: float | int = 0.5,
) -> list[StageEstimate]:
    """Every stage of one round of Algorithm 1, in order.

    Args:
        utilization: share of the peak that scoring and training reach.
        decode_utilization: share of the memory bandwidth that decoding reaches, at a batch that fills the memory.
    """
    whole = lengths.prompt + lengths.trace + lengths.answer
    prior, posterior = (work.questions * count for count in (work.prior_traces, work.posterior_traces))
    asked = lengths.prompt + lengths.trace
    table: list[tuple[str, float | int, float | int, float | int]] = [  # name, sampled, read, trained
        ("init-reasoner", 0, 0, work.initial_sequences * whole),
        ("sample-prior", prior * lengths.trace, work.questions * lengths.prompt, 0),
        ("verify-prior", prior * work.answers * lengths.answer, prior * asked, 0),
        ("train-posterior", 0, 0, work.posterior_sequences * (asked + lengths.answer)),
        ("sample-posterior", posterior * lengths.trace, work.questions * (lengths.prompt + lengths.answer), 0),
        ("score", 0, posterior * whole, 0),
        ("verify", posterior * work.answers * lengths.answer, posterior * asked, 0),
        ("train-reasoner", 0, 0, work.reasoner_sequences * whole),
    ]
    forward = flops_per_token(shape, whole / 2)  # the mean context of a causal model is half of the sequence
    rate = decode_rate(shape, lengths, gpu, decode_utilization)
    found = []
    for name, sampled, read, trained in table:
        flops = forward * (sampled + read + 3 * trained)  # backward costs two forward passes
        dense = forward * (read + 3 * trained) / (gpu.tflops * 1e12 * utilization)
        found.append(StageEstimate(name, sampled, read, trained, flops, (dense + sampled / rate) / gpus / 3600))
    return found


def decode_rate(shape: Shape, lengths: Lengths, gpu: Gpu, utilization: float | int) -> float:
    """Tokens per second of one GPU: as many sequences as fit beside the weights, each step reads weights and caches.

    ValueError if not even one sequence fits.
    """
    weights = BYTES["bfloat16"] * shape.parameters
    cache = BYTES["bfloat16"] * shape.kv_numbers_per_token * (lengths.prompt + lengths.trace / 2)
    batch = int((0.9 * gpu.memory * 1e9 - weights) / cache)
    if batch < 1:
        raise ValueError(
            f"One sequence of {lengths.prompt + lengths.trace:,.0f} tokens and weights of {weights / GIB:.1f} GiB do "
            f"not fit into {gpu.memory:.0f} GB. Take a GPU with more memory, a smaller preset, or shorter traces."
        )
    seconds = (weights + batch * cache) / (gpu.bandwidth * 1e12 * utilization)
    compute = batch * flops_per_token(shape, lengths.prompt + lengths.trace / 2) / (gpu.tflops * 1e12)
    return batch / max(seconds, compute)


def training_memory(
    shape: Shape, tokens: int, *, dtype: str = "bfloat16", trained: int | None = None, gpus: int = 1
) -> Memory:
    """Memory of one training step on `tokens` tokens at once, gradient checkpointing on.

    Args:
        dtype: of weights, gradients, AdamW's two states and activations.
        trained: parameters that learn; None: all of them.  LoRA: `lora_parameters`.
        gpus: FSDP shards weights, gradients and states over them; activations are each GPU's own.
    """
    size, learned = BYTES[dtype], shape.parameters if trained is None else trained
    frozen = shape.parameters if trained is None else shape.parameters + trained
    kept = tokens * shape.hidden * (shape.layers + 2)  # each layer's input, the final state and its gradient
    layer = tokens * (8 * shape.hidden + 4 * shape.attention_width + 3 * shape.mlp)  # the one recomputed now
    logits = 2 * 4 * min(LOGITS_AT_ONCE, tokens * shape.vocabulary)  # float32, and its gradient
    return Memory(
        weights=size * frozen / gpus / GIB,
        gradients=size * learned / gpus / GIB,
        optimizer=2 * size * learned / gpus / GIB,
        activations=(size * (kept + layer) + logits) / GIB,
    )


def lora_parameters(shape: Shape, rank: int) -> int:
    """Numbers of one adapter of this rank on every matrix of every layer."""
    width, kv, mlp = shape.attention_width, shape.kv_heads * shape.head_dim, shape.mlp
    pairs = [(shape.hidden, width), (shape.hidden, kv), (shape.hidden, kv), (width, shape.hidden)]
    pairs += [(shape.hidden, mlp), (shape.hidden, mlp), (mlp, shape.hidden)]
    return shape.layers * rank * sum(a + b for a, b in pairs)


def ledger_bytes(work: Workload, lengths: Lengths) -> float | int:
    """Size of the ledger before compression: ids and two log-probabilities a token, and the answers."""
    traces = work.questions * (work.prior_traces + work.posterior_traces)
    return traces * (12 * lengths.trace + 4 * lengths.prompt * 2 + 8 * lengths.answer * (1 + work.answers))
