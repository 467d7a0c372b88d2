"""What doctor estimates beside what tiny runs really take: whole models, and adapters over one base.

    python benchmarks/estimates.py

One run of each layout on a tiny base, estimated from the lengths of worked traces, as doctor takes them; what grows
with drawn traces is estimated once more from the lengths that they turned out to have.  Measured are: tokens and FLOPs
of every stage, from compute.json; FLOPs of one training pass, by torch's counter; weights, gradients and optimiser
states, over all parameters that are alive in the process while the last reasoner is trained; what a training step holds
at most, by the events of torch's allocator; models and tables, and the most that the run directory held.  Seconds are
estimated from this machine's matrix product and copy.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pyarrow as pa
import torch
from measuring import middle, peak_bytes, seconds
from rich.console import Console
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from varcore.llm import algorithm, estimate, presets, shapes, storage
from varcore.llm.adapters import LoraSettings, SharedBase
from varcore.llm.algorithm import trainings
from varcore.llm.estimate import GIB, Gpu
from varcore.llm.planned import Lengths
from varcore.llm.presets import Config
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectory
from varcore.llm.scoring import response_log_probs
from varcore.llm.shapes import local_config, shape_of
from varcore.llm.stages import train_base
from varcore.llm.training import Example, TrainSettings, finetune
from varcore.llm.workbench import open_workbench
from varcore.preflight import worked_lengths

LAYOUTS = {"whole models": 0, "one base, adapters of rank 4": 4}
STEPS = 120  # of the base
TRAINING = {
    "steps": 12, "batch_size": 8, "micro_batch_size": 2, "muon": False, "gradient_checkpointing": True, "save_every": 4,
}  # fmt: skip
RUN: dict[str, Any] = {
    "methods": ["sft", "vr"], "num_curated": 40, "num_answer_only": 0, "num_test": 12, "evaluation_samples": 2,
    "prior_traces": 3, "posterior_traces": 4, "answers": 2, "initial": TRAINING, "posterior": TRAINING,
    "reasoner": TRAINING,
}  # fmt: skip
DRAWN = {"prior": ("sample-prior", "verify-prior"), "posterior": ("sample-posterior", "score", "verify-1")}
TOKENS = 400  # of the sequence whose training step is looked at


@dataclass(frozen=True)
class Row:
    """One quantity, estimated and measured; `held`: by the tests, for it depends on no clock, nor on what is drawn."""

    name: str
    estimated: float
    measured: float
    held: bool = True

    @property
    def ratio(self) -> float:
        return self.estimated / self.measured


def main() -> None:
    machine = this_machine()
    print(f"{torch.get_num_threads()} threads: {1e3 * machine.tflops:.0f} GFLOP/s, {1e3 * machine.bandwidth:.0f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        base = tiny_base(Path(folder) / "base")
        for name, rank in LAYOUTS.items():
            print(f"\n{name}\n{'':48}{'estimate':>12}{'measured':>12}{'ratio':>8}")
            for row in rows(base, rank, Path(folder) / f"run-{rank}", machine):
                print(f"{row.name:48}{row.estimated:>12.4g}{row.measured:>12.4g}{row.ratio:>8.2f}", flush=True)


def tiny_base(folder: Path) -> Path:
    """A tiny Qwen3 that has read some practice texts, as the first stage of a run trains it; its folder."""
    config = presets.override(presets.preset("tiny"), {"corpus_texts": 32 * STEPS, "base": {"steps": STEPS}})
    with contextlib.closing(open_workbench(RunDirectory(folder, config), silent())) as bench:
        train_base(bench)
    return folder / "models" / "base"


def silent() -> Reporter:
    return Reporter(Console(file=io.StringIO()), quiet=True)


def rows(base: Path, rank: int, out: Path, machine: Gpu) -> Iterator[Row]:
    """Every quantity of one layout's run in the new directory `out`."""
    config = presets.override(presets.preset("tiny"), {**RUN, "model": str(base), "lora_rank": rank})
    lengths = worked_lengths(config)
    with watching(out) as seen:
        algorithm.run(out, config, silent())
    yield from of_stages(config, lengths, out, machine)
    for source, stages in DRAWN.items():
        for row in of_stages(config, drawn_lengths(out, source), out, machine):
            if row.name.startswith(stages) and not row.name.endswith("seconds"):
                yield Row(f"{row.name}, own lengths", row.estimated, row.measured)
    yield from of_states(config, seen)
    yield from of_one_step(config)
    yield from of_disk(config, lengths, out, seen)


def of_stages(config: Config, lengths: Lengths, out: Path, machine: Gpu) -> Iterator[Row]:
    """Tokens, FLOPs and seconds of every stage that takes some."""
    costs = storage.read_json(out / "compute.json")
    for stage in estimate.stages(shape_of(local_config(Path(config.model))), config, lengths, machine):
        cost, held = costs[stage.name], bool(stage.trained)
        read = cost["prefill_tokens"] + cost["scored_tokens"]
        found = {"sampled": cost["decode_tokens"], "read": read, "trained": cost["trained_tokens"]}
        for kind, tokens in found.items():
            if tokens:
                yield Row(f"{stage.name}: tokens {kind}", getattr(stage, kind), tokens, held)
        if cost["flops"]:
            yield Row(f"{stage.name}: FLOPs", stage.flops, cost["flops"], held)
            yield Row(f"{stage.name}: seconds", 3600 * stage.hours, cost["seconds"], held=False)


def drawn_lengths(out: Path, source: str) -> Lengths:
    """What the traces of a finished run and their answers are long."""
    tables = [storage.read_table(path) for path in (out / "ledger").glob(f"round1-{source}-*.parquet")]
    table = pa.concat_tables(tables)
    prompts, traces = ([len(ids) for ids in table[name].to_pylist()] for name in ("prompt_ids", "trace_ids"))
    answers = [len(ids) for row in table["answer_ids"].to_pylist() for ids in row]
    return Lengths(mean(prompts), mean(traces), mean(answers), max(traces), mean(map(int, table["closed"].to_pylist())))


def of_states(config: Config, seen: dict[str, int]) -> Iterator[Row]:
    shape = shape_of(local_config(Path(config.model)))
    adapter, adapters = estimate.adapter_numbers(config, shape), len(trainings(config))
    memory = estimate.training_memory(shape, TOKENS, dtype=config.dtype, adapter=adapter, adapters=adapters)
    for name in ("weights", "gradients", "optimizer"):
        yield Row(f"memory: {name}, bytes", getattr(memory, name) * GIB, seen[name])


def of_one_step(config: Config) -> Iterator[Row]:
    """A training step on one sequence, alone in a process: what it holds at most beside the weights, and its FLOPs."""
    shape = shape_of(local_config(Path(config.model)))
    adapter = estimate.adapter_numbers(config, shape)
    memory = estimate.training_memory(shape, TOKENS, dtype=config.dtype, adapter=adapter)
    example = Example((0,), tuple(torch.randint(shape.vocabulary, (TOKENS - 1,)).tolist()))
    once = TrainSettings(2, 1, muon=False, gradient_checkpointing=True)
    model = trainable(config)
    finetune(model, [example], once, seed=0)  # what libraries take once and keep
    peak = peak_bytes(lambda: finetune(model, [example], once, seed=0))
    yield Row("memory: beside the weights, bytes", (memory.total - memory.weights) * GIB, peak)
    model = trainable(config)
    model.set_attn_implementation("eager")  # its products are counted, all pairs of positions; fused attention is not
    with FlopCounterMode(display=False) as counter:
        response_log_probs(model, [(example.prompt, example.response)]).sum().backward()
    flops = TOKENS * shapes.training_flops_per_token(shape, TOKENS, adapter)
    yield Row("one training pass: FLOPs, counted", flops, counter.get_total_flops())


def of_disk(config: Config, lengths: Lengths, out: Path, seen: dict[str, int]) -> Iterator[Row]:
    needed = estimate.disk(config, shape_of(local_config(Path(config.model))), lengths)
    models = sum(path.stat().st_size for path in (out / "models").glob("*/*.safetensors"))
    files = [*(out / "ledger").glob("*.parquet"), *(out / "evaluation").glob("*.parquet")]
    yield Row("disk: models, bytes", needed.models, models)
    loaded, own = sum(storage.read_table(path).nbytes for path in files), drawn_lengths(out, "*")
    yield Row("disk: tables, bytes in memory", needed.tables, loaded, held=False)
    yield Row("disk: tables, bytes in memory, own lengths", estimate.table_bytes(config, own), loaded)
    yield Row("disk: tables, bytes in files", needed.tables, sum(path.stat().st_size for path in files), held=False)
    yield Row("disk: the most at any time, bytes", needed.total, seen["disk"])


@contextlib.contextmanager
def watching(out: Path) -> Iterator[dict[str, int]]:
    """States at the last training's second step, and the most bytes in `out`, counted before a file is replaced."""
    seen: dict[str, int] = {"disk": 0}
    flush, before = storage._flush, parameters()  # those of others, held on to so that no new one takes an old one's id

    def flushed(temporary: Path) -> None:
        flush(temporary)
        files = (path for path in out.rglob("*") if path.is_file())
        seen["disk"] = max(seen["disk"], sum(path.stat().st_size for path in files))

    def stepped(optimizer: Optimizer, *_: object) -> None:
        if {int(state["step"]) for state in optimizer.state.values()} == {2}:
            seen.update(states(optimizer, before))

    handle = register_optimizer_step_post_hook(stepped)
    try:
        with mock.patch.object(storage, "_flush", flushed):
            yield seen
    finally:
        handle.remove()


def parameters() -> list[torch.nn.Parameter]:
    """All that are alive in this process."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is torch.nn.Parameter]


def states(optimizer: Optimizer, before: Sequence[torch.nn.Parameter] = ()) -> dict[str, int]:
    """Bytes of the parameters that came to life since `before`, of their gradients, and of this optimiser's states."""
    old = {id(p) for p in before}
    alive = [p for p in parameters() if id(p) not in old]
    weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in alive}
    gradients = {id(p.grad): p.grad.nbytes for p in alive if p.grad is not None}
    kept = [value.nbytes for state in optimizer.state.values() for value in state.values() if value.ndim]
    return {"weights": sum(weights.values()), "gradients": sum(gradients.values()), "optimizer": sum(kept)}


def trainable(config: Config) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(config.model, dtype=getattr(torch, config.dtype))
    if not config.lora_rank:
        return model
    return SharedBase(model, LoraSettings(config.lora_rank, 2 * config.lora_rank)).begin("pi0", None, seed=0)


def this_machine() -> Gpu:
    """This CPU as a GPU: its rates at a large product and a large copy in float32."""
    cpu, a = torch.device("cpu"), torch.randn(1024, 1024)
    b = torch.randn(2**24)

    def rate(work: Callable[[], object], amount: float) -> float:
        return amount / middle(seconds(work, cpu, 5))["median"] / 1e12

    return Gpu(memory=1, tflops=rate(lambda: a @ a, 2 * 1024**3), bandwidth=rate(b.clone, 2 * b.nbytes))


if __name__ == "__main__":
    main()
