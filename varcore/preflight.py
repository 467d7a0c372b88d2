"""What a preset needs on named GPUs, and whether model, data and template fit: before anything is spent."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import AutoTokenizer

from varcore.doctor import Finding
from varcore.llm import estimate
from varcore.llm.estimate import GIB, GPUS, Gpu, Lengths, Memory, Workload
from varcore.llm.inputs import check_inputs
from varcore.llm.presets import Config
from varcore.llm.shapes import QWEN3, Shape, local_config, qwen3_config, shape_of
from varcore.llm.templates import Template, load_template
from varcore.llm.workbench import open_task

# Mean tokens of a prompt, a trace and an answer: an assumption, to be replaced by --lengths once some traces are there.
MEANS = (300, 4_000, 600)


def examine(config: Config, gpu: str, gpus: int, means: tuple[int, int, int] = MEANS) -> list[Finding]:
    """Every finding about a run of `config` on `gpus` GPUs of the kind `gpu`; ValueError for a kind not in GPUS."""
    if gpu not in GPUS:
        raise ValueError(f"There is no GPU {gpu!r} in the table; choose one of {list(GPUS)}.")
    if gpus < 1 or min(means) < 1:
        raise ValueError(f"Needs at least one GPU and one token of each kind, got {gpus} and {means}.")
    shape, lengths = _shape(config), Lengths(*means, longest=config.max_trace_tokens + config.max_answer_tokens)
    found = [_model(config, shape), *_memory(config, shape, lengths, GPUS[gpu], gpus)]
    found += [_disk(config, shape, lengths), *_stages(config, shape, lengths, GPUS[gpu], gpus)]
    if Path(config.model).is_dir():
        found += _template(config)
    found += _data(config)
    if Path(config.model).is_dir() and config.data and all(finding.fine for finding in found[-2:]):
        found.append(_inputs(config))
    return found


def workload(config: Config) -> Workload:
    """How often each thing is done, as the settings say."""
    return Workload(
        questions=config.num_train,
        prior_traces=config.prior_traces,
        posterior_traces=config.posterior_traces,
        answers=config.answers,
        initial_sequences=config.initial.steps * config.initial.batch_size,
        posterior_sequences=config.posterior.steps * config.posterior.batch_size,
        reasoner_sequences=config.reasoner.steps * config.reasoner.batch_size,
    )


def _shape(config: Config) -> Shape:
    if not config.model:
        raise ValueError("This preset trains a tiny model from nothing. Look at it with varcore doctor alone.")
    names = {hub: name for name, (hub, *_) in QWEN3.items()}
    if config.model in names:
        return shape_of(qwen3_config(names[config.model]))
    return shape_of(local_config(Path(config.model)))


def _model(config: Config, shape: Shape) -> Finding:
    there = (
        "a folder" if Path(config.model).is_dir() else "not here: a run fetches it with --online, or name its folder"
    )
    return Finding("model", f"{config.model} ({there}), {shape.parameters / 1e9:.2f} billion parameters")


def _memory(config: Config, shape: Shape, lengths: Lengths, gpu: Gpu, gpus: int) -> list[Finding]:
    """Full finetuning sharded over the GPUs, and two adapters over one base, both for one longest sequence a GPU."""
    rank = config.lora_rank or 32
    layouts = {
        "all weights": estimate.training_memory(shape, lengths.longest, dtype=config.dtype, gpus=gpus),
        f"LoRA, rank {rank}": estimate.training_memory(
            shape, lengths.longest, dtype=config.dtype, trained=2 * estimate.lora_parameters(shape, rank)
        ),
    }
    chosen = f"LoRA, rank {rank}" if config.lora_rank else "all weights"
    return [_layout(name, memory, gpu, gpus, name == chosen) for name, memory in layouts.items()]


def _layout(name: str, memory: Memory, gpu: Gpu, gpus: int, chosen: bool) -> Finding:
    fits = memory.total * GIB < 0.9 * gpu.memory * 1e9
    parts = {"weights": memory.weights, "gradients": memory.gradients, "optimiser": memory.optimizer}
    parts["activations"] = memory.activations
    said = ", ".join(f"{part} {size:.1f}" for part, size in parts.items())
    text = f"{name}: {memory.total:.1f} GiB on each of {gpus}, of {gpu.memory * 1e9 / GIB:.0f} ({said})"
    if not fits:
        text += "; does not fit: more GPUs, lora_rank 32, or shorter max_trace_tokens"
    return Finding("memory", text + (" <- this preset" if chosen else ""), fits or not chosen)


def _disk(config: Config, shape: Shape, lengths: Lengths) -> Finding:
    roles = 2 + config.rounds + len(config.methods)  # base, pi0, q of every round, the reasoners
    size = estimate.lora_parameters(shape, config.lora_rank) if config.lora_rank else shape.parameters
    needed = roles * size * estimate.BYTES[config.dtype] + config.rounds * estimate.ledger_bytes(
        workload(config), lengths
    )
    free = shutil.disk_usage(Path.cwd()).free
    text = f"models and ledger take up to {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free here"
    return Finding("disk", text + ("" if free > needed else "; free some, or run elsewhere with --out"), free > needed)


def _stages(config: Config, shape: Shape, lengths: Lengths, gpu: Gpu, gpus: int) -> list[Finding]:
    found = estimate.stages(shape, workload(config), lengths, gpu, gpus=gpus)
    lines = []
    for stage in found:
        tokens = (
            f"{stage.sampled / 1e6:.1f} M sampled, {stage.read / 1e6:.1f} M read, {stage.trained / 1e6:.1f} M trained"
        )
        lines.append(Finding(stage.name, f"{tokens}: {stage.flops:.1e} FLOPs, {stage.hours:.1f} h"))
    flops, hours = sum(stage.flops for stage in found), sum(stage.hours for stage in found)
    whole = f"{flops:.1e} FLOPs and about {hours:.0f} hours for one round of VR, evaluation and other methods apart"
    return [
        *lines,
        Finding("in all", f"{whole}; mean tokens {lengths.prompt}, {lengths.trace}, {lengths.answer} assumed"),
    ]


def _template(config: Config) -> list[Finding]:
    """A question, a trace and an answer go through the template and come back."""
    tokenizer = AutoTokenizer.from_pretrained(config.model)
    try:
        template = load_template(config.template, tokenizer)
        back = _round_trip(template)
    except ValueError as error:
        return [Finding("template", str(error), False)]
    text = f"{config.template} fits the tokenizer" if back else f"{config.template} does not come back as it was"
    return [Finding("template", text, back)]


def _round_trip(template: Template) -> bool:
    trace, answer = template.trace("first this, then that"), template.answer("it is 7")
    cut, rest = template.split(trace + answer)
    return template.read_trace(cut) == "first this, then that" and template.read_answer(rest) == "it is 7"


def _data(config: Config) -> list[Finding]:
    if not config.data:
        return [Finding("data", f"{config.task} is read from the hub when the run starts (--online)")]
    try:
        task = open_task(config)
        train = task.questions("train", config.num_train, config.seed, curated=True)
        task.questions(config.evaluation_split, config.num_held_out, config.seed)
    except ValueError as error:
        return [Finding("data", str(error), False)]
    worked = sum(question.curated_trace is not None for question in train)
    enough = worked >= config.num_curated
    text = f"{config.task} in {config.data}: {len(train)} training questions, {worked} of them with a worked trace"
    return [Finding("data", text if enough else f"{text}; num_curated asks for {config.num_curated}: lower it", enough)]


def _inputs(config: Config) -> Finding:
    """What a run looks at itself before it begins, so that doctor refuses what a run would."""
    try:
        check_inputs(config)
    except ValueError as error:
        return Finding("inputs", str(error), False)
    return Finding("inputs", "model, tokenizer and template belong together, and every question fits the context")
