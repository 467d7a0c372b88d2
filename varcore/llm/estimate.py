"""What a run will take before anything is spent: tokens and FLOPs of every stage, memory, disk and hours.

Tokens and FLOPs follow from the settings and the mean lengths (`varcore.llm.planned`).  Memory counts what must be
there (weights, gradients, optimiser states) and what a step holds beside it: one activation a layer under gradient
checkpointing, the layer that is computed again, the logits of a chunk.  Hours rest on two assumptions, both arguments:
the share of the peak that large matrix products reach, and the share of the bandwidth that decoding reaches.

`benchmarks/estimates.py` sets all of it beside what tiny runs really take.
"""

from __future__ import annotations

from dataclasses import dataclass

from varcore.llm.algorithm import trainings
from varcore.llm.planned import Lengths, StageTokens, stage_tokens
from varcore.llm.presets import Config
from varcore.llm.scoring import LOGITS_AT_ONCE
from varcore.llm.shapes import Shape, flops_per_token, training_flops_per_token

GIB = 2**30
BYTES = {"bfloat16": 2, "float32": 4}
TEXT, ROW = 4, 200  # bytes of a prompt token's text; of names, flags, numbers and the ends of lists in a row


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
class StageEstimate(StageTokens):
    """A stage's tokens, and what they cost: FLOPs, and hours on the GPUs asked about."""

    flops: float | int = 0
    hours: float | int = 0


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU; `working`: the larger of what a backward pass and what a step of AdamW hold for a moment."""

    weights: float | int
    gradients: float | int
    optimizer: float | int
    working: float | int

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.working


def stages(
    shape: Shape,
    config: Config,
    lengths: Lengths,
    gpu: Gpu,
    *,
    gpus: int = 1,
    utilization: float | int = 0.4,
    decode_utilization: float | int = 0.5,
) -> list[StageEstimate]:
    """Every stage of a run of `config`, in order.

    Args:
        utilization: share of the peak that scoring and training reach.
        decode_utilization: share of the memory bandwidth that decoding reaches, at a batch that fills the memory.

    Raises ValueError as `decode_rate` does.
    """
    context = (lengths.prompt + lengths.trace + lengths.answer) / 2  # of a causal model's token on average
    adapter = adapter_numbers(config, shape)
    forward, training = (f(shape, context, adapter) for f in (flops_per_token, training_flops_per_token))
    rate = decode_rate(shape, lengths, gpu, decode_utilization)
    found = []
    for tokens in stage_tokens(config, lengths):
        dense = forward * tokens.read + training * tokens.trained
        hours = (dense / (gpu.tflops * 1e12 * utilization) + tokens.sampled / rate) / gpus / 3600
        found.append(StageEstimate(**vars(tokens), flops=dense + forward * tokens.sampled, hours=hours))
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
    shape: Shape, tokens: int, *, dtype: str = "bfloat16", adapter: int = 0, adapters: int = 1, gpus: int = 1
) -> Memory:
    """Memory of one training step on `tokens` tokens at once, gradient checkpointing on.

    Args:
        dtype: of weights, gradients, AdamW's two states and activations.
        adapter: numbers of the LoRA adapter that learns over a frozen base; 0: all weights of the model learn.
        adapters: how many of them are held, one of which learns.  Of whole models one alone is held (`Models`).
        gpus: FSDP shards weights, gradients and states over them, and keeps all of these in float32 where it computes
            in bfloat16; activations are each GPU's own.
    """
    learned = adapter or shape.parameters
    held = shape.parameters + adapters * adapter
    size = state_bytes(dtype, gpus) / gpus / GIB
    step = size * learned * GIB  # AdamW on a GPU takes all parameters together, and roots of all of them
    return Memory(
        weights=size * held,
        gradients=size * learned,
        optimizer=2 * size * learned,
        working=max(step, activation_bytes(shape, tokens, dtype=dtype, head_learns=not adapter)) / GIB,
    )


def activation_bytes(shape: Shape, tokens: int, *, dtype: str, head_learns: bool) -> int:
    """What a backward pass over `tokens` tokens holds beside weights and gradients, at most.

    The states that checkpointing keeps, and the larger of the layer that is computed again and the logits; where the
    head learns, its gradient, which is added up in float32.
    """
    size, half = BYTES[dtype], BYTES[dtype] < 4
    kept = tokens * shape.hidden * (shape.layers + 3)  # each layer's input; final states, the chosen, their gradient
    key = shape.kv_heads * shape.head_dim
    layer = size * tokens * (7 * shape.hidden + 5 * (shape.attention_width + key) + 4 * shape.mlp)
    if half:  # what the four norms of a layer hold in float32
        layer += 4 * tokens * (2 * shape.hidden + shape.attention_width + key)
    numbers = tokens * shape.vocabulary
    logits = 4 * (3 * numbers if numbers <= LOGITS_AT_ONCE else 2 * LOGITS_AT_ONCE)  # chunks: this one and the last
    head = (4 + (size if half else 0)) * shape.vocabulary * shape.hidden if head_learns else 0
    return size * kept + head + max(layer, logits)


def state_bytes(dtype: str, gpus: int) -> int:
    """Bytes a parameter, a gradient and a state take: sharded ones are kept in float32, whatever is computed in."""
    return BYTES["float32" if gpus > 1 else dtype]


def adapter_numbers(config: Config, shape: Shape) -> int:
    """Numbers of the adapter that each role is; 0 where every role is a whole model."""
    return lora_parameters(shape, config.lora_rank) if config.lora_rank else 0


def lora_parameters(shape: Shape, rank: int) -> int:
    """Numbers of one adapter of this rank on every matrix of every layer."""
    width, kv, mlp = shape.attention_width, shape.kv_heads * shape.head_dim, shape.mlp
    pairs = [(shape.hidden, width), (shape.hidden, kv), (shape.hidden, kv), (width, shape.hidden)]
    pairs += [(shape.hidden, mlp), (shape.hidden, mlp), (mlp, shape.hidden)]
    return shape.layers * rank * sum(a + b for a, b in pairs)


@dataclass(frozen=True)
class Disk:
    """Bytes in the run directory: the models of all roles, checkpoints of a training under way, ledger and samples."""

    models: float | int
    checkpoints: float | int
    tables: float | int

    @property
    def total(self) -> float:
        return self.models + self.checkpoints + self.tables


def disk(config: Config, shape: Shape, lengths: Lengths, gpus: int = 1) -> Disk:
    """At most, and before the tables are compressed.  A base that is there already is not copied."""
    adapter = adapter_numbers(config, shape)
    model = state_bytes(config.dtype, 1 if adapter else gpus) * (adapter or shape.parameters)
    saves = max((part.steps - 1) // part.save_every for part in trainings(config).values())
    return Disk(
        models=model * len(trainings(config)),
        checkpoints=3 * model * min(2, saves),  # weights and two states; the next is written beside the last
        tables=table_bytes(config, lengths),
    )


def table_bytes(config: Config, lengths: Lengths) -> float:
    """Ledger and evaluation before compression: ids, two log-probabilities a trace token, prompts, hint and answers.

    And ROW bytes a row for all that does not grow with the lengths.
    """
    prompt, trace, answer = lengths.prompt, lengths.trace, lengths.answer
    drawn = {"sample": 0.0, "evaluate": 0.0}
    for stage in stage_tokens(config, lengths):
        kind = stage.name.split("-")[0]
        if kind in drawn:
            drawn[kind] += stage.sampled / (trace if kind == "sample" else trace + answer)
    row = (
        12 * trace
        + 4 * (2 * prompt + answer)
        + 4 * answer * (3 + config.answers * lengths.closed)
        + TEXT * prompt
        + ROW
    )
    return drawn["sample"] * row + drawn["evaluate"] * (8 * (trace + answer) + TEXT * prompt + ROW)
