"""The report's sections that say what a run is: in words, its settings, its machine."""

from __future__ import annotations

from typing import Any

from varcore.llm import presets
from varcore.llm.presets import METHODS
from varcore.llm.weighing import describe
from varcore.viz.markup import Html, code, details, number, paragraph, section, strong, table
from varcore.viz.runview import RunView
from varcore.viz.style import in_order, look

START = "the model before any method: finetuned on the curated traces; every method starts from it"
TRAINING = {"base": "base model", "initial": "π₀", "posterior": "posterior q", "reasoner": "each method's reasoner"}
MEANING = {
    "seed": "decides every random draw",
    "task": "where questions and their verifier come from",
    "methods": "what is compared",
    "rounds": "T: how often q and the reasoner are trained in turn",
    "num_curated": "training questions with a worked trace",
    "num_answer_only": "training questions with only a reference answer",
    "num_validation": "questions in the validation split",
    "num_test": "questions in the test split",
    "evaluation_split": "which of the two the results are about",
    "evaluation_samples": "k: answers sampled per question in the evaluation",
    "evaluation_temperature": "sampling temperature of the evaluation",
    "prior_traces": "M: traces per question from the reasoner, without a hint",
    "posterior_traces": "K: traces per question from q, with the hint",
    "answers": "N: answers sampled after each trace",
    "temperature": "sampling temperature of traces and answers",
    "max_trace_tokens": "a longer trace is cut and counts as unclosed",
    "max_answer_tokens": "a longer answer is cut and counts as wrong",
    "posterior_data": "what q learns from",
    "mix_curated": "curated traces are added to every method's training data",
    "rule": "how traces become weights",
    "corpus_texts": "practice texts for the base model",
    "grpo_learning_rate_factor": "learning rates of GRPO, as a share of the other reasoners'",
    "shard_questions": "questions per ledger file",
    "batch_size": "sequences sampled at a time",
}


def introduction(view: RunView) -> str:
    """What happened here, for a reader who has never seen a run."""
    config = view.config
    return section(
        "about",
        "What this run is",
        paragraph(
            "A language model learns to think before it answers. It starts as π₀, which writes a thinking trace and "
            "then an answer. A second model, the posterior q, is shown a correct answer as a hint and proposes traces "
            "that could lead to it. A trace counts the more, the likelier the reasoner finds it compared with q, and "
            "the more often the reasoner then answers correctly: this is its weight. Finetuning on the weighted traces "
            "is variational reasoning (VR, arXiv 2509.22637). The other methods start from the same π₀ and take the "
            "same number of optimiser steps."
        ),
        paragraph(
            f"Task {config.task}, seed {config.seed}, {_rounds(config.rounds)}. {config.num_train:,} training "
            f"questions, {config.num_curated:,} of them with a worked trace; {config.posterior_traces} traces per "
            f"question from q and {config.answers} answers after each; {_evaluated(view)}."
        ),
        table(
            "The reasoners that are compared",
            ["reasoner", "name in files", "what it is"],
            [
                [look(role).label, code(role), METHODS.get(role, START).replace("pi_0", "π₀").replace("pi/q", "π/q")]
                for role in in_order(["pi0", *config.methods])
            ],
            words=(1, 2),
        ),
    )


def settings(view: RunView) -> str:
    """Every setting, what it means, and the software that ran it."""
    plain = {name: value for name, value in presets.to_dict(view.config).items() if name not in TRAINING}
    plain["rule"] = describe(view.config.rule)
    return section(
        "settings",
        "Settings and versions",
        paragraph(_against_preset(view)),
        details(
            "All settings",
            table(
                "Settings of this run",
                ["setting", "value", "meaning"],
                [[code(name), _value(value), MEANING.get(name, "")] for name, value in plain.items()],
                words=(1, 2),
            ),
            _training_table(view),
        ),
        _versions(view.environment),
    )


def status(view: RunView) -> str:
    """A banner for a run that is not finished; nothing for one that is."""
    missing = [(name, text) for name, text in view.stages if name not in view.done]
    if not missing:
        return "" if view.results else paragraph("All stages are done, but results.json is missing.", "notice")
    count = len(view.stages)
    name, text = missing[0]
    return (
        '<div class="notice">'
        + paragraph(
            Html(f"{strong('This run is not finished.').source} {count - len(missing)} of {count} stages are done.")
        )
        + paragraph(
            f"Next: {name} ({text}). What is not there yet is said in its place; write this report again later."
        )
        + "</div>"
    )


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"{count} rounds"


def _evaluated(view: RunView) -> str:
    config = view.config
    questions = config.num_test if config.evaluation_split == "test" else config.num_validation
    return f"results from {questions:,} {config.evaluation_split} questions, {config.evaluation_samples} answers each"


def _against_preset(view: RunView) -> str:
    """The preset this run is closest to, and what was changed."""
    own = _flat(presets.to_dict(view.config))
    changes = {
        name: {key: (own[key], value) for key, value in _flat(presets.to_dict(preset)).items() if own[key] != value}
        for name, preset in presets.PRESETS.items()
    }
    name = min(changes, key=lambda preset: len(changes[preset]))
    if not changes[name]:
        return f"The settings are exactly those of the preset {name}."
    said = "; ".join(f"{key} {_value(now)} (there {_value(then)})" for key, (now, then) in changes[name].items())
    return f"The settings are those of the preset {name}, except: {said}."


def _flat(settings_: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings_.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _training_table(view: RunView) -> str:
    trained = {name: value for name, value in presets.to_dict(view.config).items() if name in TRAINING}
    names = list(next(iter(trained.values())))
    return table(
        "Training settings",
        ["setting", *(TRAINING[name] for name in trained)],
        [[code(name), *(_value(values[name]) for values in trained.values())] for name in names],
    )


def _versions(environment: dict[str, Any]) -> str:
    packages = environment.get("packages", {})
    rows: list[list[str | Html]] = [[name, str(environment[name])] for name in environment if name != "packages"]
    return table(
        "Machine and versions", ["what", "which"], rows + [[name, str(packages[name])] for name in packages], words=(1,)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return number(value, 4) if isinstance(value, int | float) else str(value)
