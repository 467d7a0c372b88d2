"""The command line: ``varcore run | eval | weigh | view | export | merge | doctor``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Entry point.  Exit status: 0 done, 1 an error that a message explains, 2 a call that cannot be read."""
    arguments = _parser().parse_args(argv)
    if not arguments.online:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is asked of a hub unless the reader says so
    try:
        if arguments.threads:
            import torch

            torch.set_num_threads(arguments.threads)
        return arguments.command(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        if arguments.traceback:
            raise
        print(f"varcore: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("varcore: stopped. The same command continues where this one was.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="varcore", description="Variational reasoning for language models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    common.add_argument("--threads", type=int, help="CPU threads of torch; results are exact per thread count")
    common.add_argument("--online", action="store_true", help="models and data may be fetched from the hub by name")
    common.add_argument("--traceback", action="store_true", help="show where an error came from")

    served = argparse.ArgumentParser(add_help=False)
    served.add_argument(
        "--servers",
        type=lambda text: text.split(","),
        default=(),
        help="for the engine server: addresses of vllm serve, such as http://127.0.0.1:8000, comma-separated",
    )

    run = commands.add_parser("run", parents=[common, served], help="train and compare the methods, or continue a run")
    run.add_argument("--preset", default="tiny", help="named settings (default: tiny)")
    run.add_argument("--config", type=Path, help="JSON file of settings that replace the preset's")
    run.add_argument("--out", type=Path, help="run directory (default: runs/PRESET-SEED)")
    run.add_argument("--seed", type=int)
    run.add_argument("--model", help="folder or hub name of a base model, instead of the preset's")
    run.add_argument("--data", help="folder that holds the preset's data set")
    run.add_argument("--methods", help="comma-separated: sft, rft, grpo, nohint, accuracy, direct, vr")
    run.add_argument("--rounds", type=int, help="T of Algorithm 1")
    run.add_argument("--engine", help="transformers, vllm or server (docs/engines.md)")
    run.set_defaults(command=_run)

    evaluate = commands.add_parser("eval", parents=[common, served], help="evaluate a run's models on other questions")
    evaluate.add_argument("run", type=Path)
    evaluate.add_argument("--split", choices=["validation", "test"], default="test")
    evaluate.add_argument("--questions", type=int, default=400)
    evaluate.add_argument("--samples", type=int, default=8, help="samples a question")
    evaluate.add_argument("--seed", type=int, default=1, help="of the questions and the samples")
    evaluate.set_defaults(command=_eval)

    weigh = commands.add_parser("weigh", parents=[common], help="what another weight rule would change in a run")
    weigh.add_argument("run", type=Path)
    weigh.add_argument("--estimator", default="accuracy", help="accuracy, gml or likelihood")
    weigh.add_argument("--exponent", type=float, help="on pi/q (default: 1/|z|; 1 exact, 0 accuracy alone)")
    weigh.add_argument("--not-normalized", action="store_true", help="do not normalize the weights of a question")
    weigh.add_argument("--gate", default="none", help="none, sum or token: drop traces with log pi/q < --threshold")
    weigh.add_argument("--threshold", type=float, default=float("-inf"), help="of the gate, in nats")
    weigh.add_argument("--selection", default="soft", help="soft, resample or argmax")
    weigh.set_defaults(command=_weigh)

    view = commands.add_parser("view", parents=[common], help="write RUN/report.html, one self-contained page")
    view.add_argument("run", type=Path)
    view.set_defaults(command=_view)

    taken = argparse.ArgumentParser(add_help=False)
    taken.add_argument("run", type=Path)
    taken.add_argument("--role", required=True, help="pi0, q1, or a method's name")
    taken.add_argument("--out", type=Path, required=True, help="new folder for the model")
    export = commands.add_parser("export", parents=[common, taken], help="copy a model, or an adapter, out of a run")
    export.set_defaults(command=_export)
    merge = commands.add_parser("merge", parents=[common, taken], help="write an adapter and its base as one model")
    merge.set_defaults(command=_merge)

    doctor = commands.add_parser("doctor", parents=[common], help="is this machine ready, and how long will it take?")
    doctor.add_argument("--preset", help="instead: what a run of this preset on Qwen3 needs, and whether all fits")
    doctor.add_argument("--config", type=Path, help="JSON file of settings that replace the preset's")
    doctor.add_argument("--out", type=Path, help="where the run directory will be (default: here)")
    doctor.add_argument("--model", help="folder of the base model, instead of the preset's")
    doctor.add_argument("--data", help="folder that holds the preset's data set")
    doctor.add_argument("--gpu", default="h100", help="h200, h100, a100-80, a100-40, l40s or rtx4090")
    doctor.add_argument("--gpus", type=int, default=1, help="how many of them")
    doctor.add_argument(
        "--lengths", type=lambda text: tuple(map(int, text.split(","))), help="mean tokens: PROMPT,TRACE,ANSWER"
    )
    doctor.set_defaults(command=_doctor)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from varcore.llm import algorithm
    from varcore.llm.progress import Reporter

    config = _settings(arguments)
    out = arguments.out or Path("runs") / f"{arguments.preset}-{config.seed}"
    console = Console(highlight=False)
    if not arguments.json:
        console.print(f"[bold]varcore run[/bold]  preset {arguments.preset}, seed {config.seed}, in {out}\n")
    results = algorithm.run(out, config, Reporter(console, quiet=arguments.json), arguments.servers)
    return _show_results(results, out, arguments.json)


def _settings(arguments: argparse.Namespace) -> Any:
    """The preset's, with what a file and the flags of the command replace."""
    from varcore.llm import presets, storage

    changes = storage.read_json(arguments.config) if arguments.config else {}
    names = ("seed", "rounds", "engine", "model", "data")
    flags = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    if getattr(arguments, "methods", None):
        flags["methods"] = arguments.methods.split(",")
    # in one go: what a file asks for may go together only with a flag
    return presets.override(presets.preset(arguments.preset), changes | flags if isinstance(changes, dict) else changes)


def _eval(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from varcore.llm import algorithm
    from varcore.llm.progress import Reporter

    reporter = Reporter(Console(highlight=False), quiet=arguments.json)
    results = algorithm.evaluate_again(
        arguments.run,
        reporter,
        split=arguments.split,
        questions=arguments.questions,
        samples=arguments.samples,
        seed=arguments.seed,
        servers=arguments.servers,
    )
    return _show_results(results, arguments.run, arguments.json)


def _show_results(results: dict[str, Any], path: Path, as_json: bool) -> int:
    from rich.console import Console

    from varcore.llm import tables

    if as_json:
        print(json.dumps(results, indent=2, sort_keys=True))
    else:
        tables.show_results(Console(highlight=False), results, path)
    return 0


def _weigh(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from varcore.llm import algorithm, tables
    from varcore.llm.run import load_config
    from varcore.llm.weighing import WeightRule

    rule = WeightRule(
        estimator=arguments.estimator,
        exponent=arguments.exponent,
        normalized=not arguments.not_normalized,
        gate=arguments.gate,
        threshold=arguments.threshold,
        selection=arguments.selection,
    )
    own = load_config(arguments.run).rule
    change = algorithm.compare_rules(arguments.run, own, rule)
    if arguments.json:
        print(json.dumps({name: dataclasses.asdict(part) for name, part in change.items()}, indent=2, sort_keys=True))
    else:
        tables.show_rules(Console(highlight=False), own, rule, change)
    return 0


def _view(arguments: argparse.Namespace) -> int:
    from varcore.viz.report import write_report

    path = write_report(arguments.run)
    size = path.stat().st_size
    if arguments.json:
        print(json.dumps({"report": str(path), "bytes": size}))
    else:
        print(f"Wrote {path} ({size / 1e6:.1f} MB). Open it in a browser; it needs no network.")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from varcore.llm.export import export

    return _show_written(export(arguments.run, arguments.role, arguments.out), arguments.json)


def _merge(arguments: argparse.Namespace) -> int:
    from varcore.llm.export import merge

    return _show_written(merge(arguments.run, arguments.role, arguments.out), arguments.json)


def _show_written(written: dict[str, Any], as_json: bool) -> int:
    over = f" over {written['base']}" if written["kind"] == "adapter" else ""
    print(
        json.dumps(written)
        if as_json
        else f"Wrote {written['folder']}: the {written['kind']} of {written['role']}{over}."
    )
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from varcore import doctor

    alone = [name for name in ("config", "out", "model", "data", "lengths") if getattr(arguments, name) is not None]
    if alone and not arguments.preset:
        raise ValueError(f"--{alone[0]} is about the run of a preset. Add --preset NAME, or leave it out.")
    findings = _planned(arguments) if arguments.preset else doctor.examine()
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding.fine else 'NO '} {finding.what:<24} {finding.text}")
    return 0 if all(finding.fine for finding in findings) else 1


def _planned(arguments: argparse.Namespace) -> list[Any]:
    from varcore import preflight

    config = _settings(arguments)
    return preflight.examine(config, arguments.gpu, arguments.gpus, arguments.lengths, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
