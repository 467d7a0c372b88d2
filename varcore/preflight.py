"""What a preset needs on named GPUs, and whether model, data and template fit: before anything is spent."""

from __future__ import annotations

import shutil
from dataclasses import astuple
from pathlib import Path
from statistics import mean

from varcore.doctor import Finding
from varcore.llm import estimate
from varcore.llm.algorithm import trainings
from varcore.llm.estimate import GIB, GPUS, Gpu, Memory
from varcore.llm.inputs import check_inputs
from varcore.llm.planned import Lengths
from varcore.llm.presets import Config
from varcore.llm.shapes import QWEN3, Shape, local_config, qwen3_config, shape_of
from varcore.llm.templates import Template
from varcore.llm.training import check_batch
from varcore.llm.workbench import TASKS, open_task, read_template, read_tokenizer, worked_questions

MEANS = (300, 4_000, 600)  # tokens of a prompt, a trace and an answer where no data is at hand: an assumption
LOOKED_AT = 200  # worked traces from which the means are taken where data is at hand


def examine(
    config: Config, gpu: str, gpus: int, means: tuple[int, ...] | None = None, out: Path | None = None
) -> list[Finding]:
    """Every finding about a run of `config` on `gpus` GPUs of the kind `gpu`, in the directory `out`.

    `means`: tokens of a prompt, a trace and an answer; None takes those of the data's worked traces, or assumes MEANS.
    Nothing is written.  ValueError for a kind not in GPUS, and for numbers that are none.
    """
    if gpu not in GPUS:
        raise ValueError(f"There is no GPU {gpu!r} in the table; choose one of {list(GPUS)}.")
    if gpus < 1 or (means is not None and (len(means) != 3 or min(means) < 1)):
        raise ValueError(
            f"Needs at least one GPU, and three mean lengths of at least one token, PROMPT,TRACE,ANSWER; got {gpus} "
            f"and {means}. Leave --lengths out to have them measured or assumed."
        )
    shape = _shape(config)
    checks, lengths, source = _look(config, means)
    found = [_model(config, shape), *_memory(config, shape, lengths, GPUS[gpu], gpus)]
    found += [_disk(config, shape, lengths, gpus, out or Path.cwd())]
    found += _stages(config, shape, lengths, GPUS[gpu], gpus, source)
    return [*found, _processes(config, gpus), *checks]


def _look(config: Config, means: tuple[int, ...] | None) -> tuple[list[Finding], Lengths, str]:
    """What model and data say, where they are here: findings, mean lengths, and where these are from."""
    here = Path(config.model).is_dir()
    found = [*(_template(config) if here else []), *_data(config)]
    together = here and _data_is_here(config) and all(finding.fine for finding in found)
    if together:
        found.append(_inputs(config))
    if means is None and together and found[-1].fine:
        return found, worked_lengths(config), f"of the first worked traces (at most {LOOKED_AT})"
    prompt, trace, answer = means or MEANS
    longest = prompt + config.max_trace_tokens + config.max_answer_tokens
    return found, Lengths(prompt, trace, answer, longest), "assumed" if means is None else "as given"


def worked_lengths(config: Config) -> Lengths:
    """Mean tokens of the data's first worked traces, their questions and answers; model and data must be here."""
    template = read_template(config, read_tokenizer(config))
    train = open_task(config).questions("train", config.num_train, config.seed, curated=True)
    worked = worked_questions(train, config)[:LOOKED_AT]
    pieces = [(template.prompt(q.text), template.trace(trace), template.answer(q.reference)) for q, trace in worked]
    prompts, traces, answers = ([len(ids) for ids in kind] for kind in zip(*pieces, strict=True))
    drawn = max(prompts) + config.max_trace_tokens + config.max_answer_tokens
    longest = max(drawn, *map(sum, zip(prompts, traces, answers, strict=True)))
    return Lengths(round(mean(prompts)), round(mean(traces)), round(mean(answers)), longest)


def _data_is_here(config: Config) -> bool:
    return bool(config.data) or config.task in TASKS or ":" in config.task


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
    return Finding("model", f"{config.model} ({there}), {shape.parameters:,} parameters")


def _memory(config: Config, shape: Shape, lengths: Lengths, gpu: Gpu, gpus: int) -> list[Finding]:
    """Both layouts, each for one longest sequence a GPU; the one that is not this preset's may be too large."""
    rank = config.lora_rank or 32
    adapters = len(trainings(config))
    numbers = estimate.lora_parameters(shape, rank)
    whole = estimate.training_memory(shape, lengths.longest, dtype=config.dtype, gpus=gpus)
    shared = estimate.training_memory(shape, lengths.longest, dtype=config.dtype, adapter=numbers, adapters=adapters)
    return [
        _layout("whole models, one at a time", whole, gpu, gpus, not config.lora_rank),
        _layout(f"one base, {adapters} adapters of rank {rank}", shared, gpu, gpus, bool(config.lora_rank)),
    ]


def _layout(name: str, memory: Memory, gpu: Gpu, gpus: int, chosen: bool) -> Finding:
    fits = memory.total * GIB < 0.9 * gpu.memory * 1e9
    names = ("weights", "gradients", "optimiser", "for a moment")
    said = ", ".join(f"{part} {size:.3g}" for part, size in zip(names, astuple(memory), strict=True))
    text = f"{name}: {memory.total:.3g} GiB on each of {gpus}, of {gpu.memory * 1e9 / GIB:.0f} ({said})"
    if not fits:
        text += "; does not fit: more GPUs, lora_rank 32, or shorter max_trace_tokens"
    return Finding("memory", text + (" <- this preset" if chosen else ""), fits or not chosen)


def _processes(config: Config, gpus: int) -> Finding:
    """One process a GPU; all take equal shares of every batch."""
    settings = trainings(config).values()
    try:
        for each in settings:
            check_batch(each, gpus)
    except ValueError as error:
        return Finding("processes", str(error), False)
    sizes = ", ".join(map(str, sorted({each.batch_size for each in settings})))
    return Finding("processes", f"{gpus}, one a GPU: every batch (of {sizes} examples) divides by it")


def _disk(config: Config, shape: Shape, lengths: Lengths, gpus: int, out: Path) -> Finding:
    needed = estimate.disk(config, shape, lengths, gpus)
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    names = ("models", "checkpoints", "ledger and samples")
    said = ", ".join(f"{part} {size / 1e9:.3g}" for part, size in zip(names, astuple(needed), strict=True))
    text = f"up to {needed.total / 1e9:.3g} GB ({said}), {free / 1e9:.3g} GB are free in {out}"
    fits = free > needed.total
    return Finding("disk", text if fits else f"{text}; free some, or name a larger disk with --out", fits)


def _stages(config: Config, shape: Shape, lengths: Lengths, gpu: Gpu, gpus: int, source: str) -> list[Finding]:
    try:
        found = estimate.stages(shape, config, lengths, gpu, gpus=gpus)
    except ValueError as error:
        return [Finding("sampling", str(error), False)]
    lines = []
    for stage in found:
        tokens = (
            f"{stage.sampled / 1e6:.3g} M sampled, {stage.read / 1e6:.3g} M read, {stage.trained / 1e6:.3g} M trained"
        )
        if stage.flops:
            lines.append(Finding(stage.name, f"{tokens}: {stage.flops:.1e} FLOPs, {stage.hours:.2g} h"))
    flops, hours = sum(stage.flops for stage in found), sum(stage.hours for stage in found)
    whole = f"{flops:.1e} FLOPs and about {hours:.2g} hours for the run"
    return [
        *lines,
        Finding("in all", f"{whole}; mean tokens {lengths.prompt}, {lengths.trace}, {lengths.answer} {source}"),
    ]


def _template(config: Config) -> list[Finding]:
    """A question, a trace and an answer go through the template and come back."""
    name = config.template or "the template of the tiny models"
    try:
        back = _round_trip(read_template(config, read_tokenizer(config)))
    except ValueError as error:
        return [Finding("template", str(error), False)]
    text = f"{name} fits the tokenizer" if back else f"{name} does not come back as it was"
    return [Finding("template", text, back)]


def _round_trip(template: Template) -> bool:
    trace, answer = template.trace("first this, then that"), template.answer("it is 7")
    cut, rest = template.split(trace + answer)
    return template.read_trace(cut) == "first this, then that" and template.read_answer(rest) == "it is 7"


def _data(config: Config) -> list[Finding]:
    if not _data_is_here(config):
        return [Finding("data", f"{config.task} is read from the hub when the run starts (--online)")]
    try:
        task = open_task(config)
        train = task.questions("train", config.num_train, config.seed, curated=True)
        task.questions(config.evaluation_split, config.num_held_out, config.seed)
    except ValueError as error:
        return [Finding("data", str(error), False)]
    worked = sum(question.curated_trace is not None for question in train)
    enough = worked >= config.num_curated
    where = f" in {config.data}" if config.data else ""
    text = f"{config.task}{where}: {len(train)} training questions, {worked} of them with a worked trace"
    return [Finding("data", text if enough else f"{text}; num_curated asks for {config.num_curated}: lower it", enough)]


def _inputs(config: Config) -> Finding:
    """What a run looks at itself before it begins, so that doctor refuses what a run would."""
    try:
        check_inputs(config)
    except ValueError as error:
        return Finding("inputs", str(error), False)
    return Finding("inputs", "model, tokenizer and template belong together, and every question fits the context")
