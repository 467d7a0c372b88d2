"""A finished run directory made by hand: no model is trained, every number is chosen here."""

from pathlib import Path

import pytest

from varcore.llm import algorithm, ledger, presets, storage
from varcore.llm.presets import Config
from varcore.llm.run import FORMAT, stream_seed
from varcore.llm.templates import Markers, Template
from varcore.llm.tiny import tiny_tokenizer
from varcore.llm.weighing import weigh

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "<!-- <script>",
    "<img src=http://tracker.example/pixel.png>",
    "{{policy}} ]]> &lt;b&gt; \u2028 \\u003c",
)
CONFIG = Config(
    seed=3,
    methods=("rft", "accuracy", "vr"),
    num_curated=2,
    num_answer_only=4,
    num_validation=8,
    evaluation_split="validation",
    posterior_traces=4,
    prior_traces=4,
)
# per question: the traces of q as (text, closed, log pi/q a token, correct of 2 answers)
QUESTIONS = {
    "q-mixed": [
        ("1 + 1 2 OK", True, -0.1, 2),
        ("", True, 0.0, 1),
        ("2 - 1 1 x 2", False, -0.5, 0),
        ("2 x", True, -2, 0),
    ],
    "q-unsolved": [("1 x", True, -0.2, 0), ("2 x", True, -0.3, 0), ("3 x", True, -0.4, 0), ("4 x", True, -0.5, 0)],
    "q-unclosed": [("5 x 5", False, -0.1, 0)] * 4,
    "q-even": [("7 OK", True, -0.25, 2)] * 4,
    "q-hostile": [(text, True, -0.1 * i, 1) for i, text in enumerate(HOSTILE[:4])],
    "q-hostile-2": [(text, True, -0.1, 2) for text in (HOSTILE[4], HOSTILE[5], *HOSTILE[:2])],
}
HOSTILE_QUESTION = "</option></script><script>alert(4)</script> = 1"


@pytest.fixture(scope="session")
def template() -> Template:
    return Template(tiny_tokenizer(), Markers())


@pytest.fixture(scope="session")
def results() -> dict:
    """Scores that differ from cell to cell, so that a mix-up shows."""
    roles = ("pi0", "rft", "accuracy", "vr")
    return {
        "seed": 3,
        "split": "validation",
        "questions": 8,
        "levels": {"1": "easy, >= 4 answers", "2": "hard </script>"},
        "methods": {role: scores(0.1 + 0.1 * index) for index, role in enumerate(roles)},
        "differences": {f"vr - {role}": difference(0.1 * (3 - index)) for index, role in enumerate(roles[:3])},
        "spent": {role: cost(1e11 * index) for index, role in enumerate(roles)},
    }


def scores(mean: float) -> dict:
    cells = {
        group: {
            "avg": {"mean": mean * share, "low": mean * share - 0.03, "high": mean * share + 0.05},
            "pass": {"mean": mean * share + 0.2, "low": mean * share + 0.1, "high": mean * share + 0.3},
        }
        for group, share in (("all", 1.0), ("1", 1.5), ("2", 0.5))
    }
    return {"k": 8, **cells, "pass_curve": {str(k): mean + 0.05 * i for i, k in enumerate((1, 2, 4, 8))}}


def difference(mean: float) -> dict:
    cell = {"mean": mean, "low": mean - 0.15, "high": mean + 0.15}
    return {group: {"avg": cell, "pass": cell} for group in ("all", "1", "2")}


def cost(flops: float) -> dict:
    thousands = {"samples": 1, "decode_tokens": 10, "prefill_tokens": 20, "scored_tokens": 25, "trained_tokens": 30}
    thousands |= {"optimizer_steps": 2}
    return {**{name: int(count * flops / 1e8) for name, count in thousands.items()}, "flops": flops, "seconds": 1.5}


@pytest.fixture(scope="session")
def table(template: Template):
    """A weighed ledger of q's traces."""
    rows = [
        row(template, id_, level, k, "posterior", *QUESTIONS[id_][k])
        for level, id_ in zip((1, 2, 1, 2, 1, 2), QUESTIONS, strict=True)
        for k in range(4)
    ]
    return weigh(ledger.from_rows(rows), CONFIG.rule, stream_seed(CONFIG.seed, "weigh"))[0]


def row(
    template: Template, id_: str, level: int, k: int, source: str, text: str, closed: bool, ratio: float, correct: int
):
    ids = template.trace(text) if closed and text else template.trace_close if closed else template.text(text)
    hint = template.text("1 + 1") if source == "posterior" else ()
    answers = [template.answer(text or "1 + 1")] * correct + [template.answer("9 <b>")] * (2 - correct)
    asked = HOSTILE_QUESTION if id_ == "q-hostile" else f"{id_} = 1"
    return {
        "question_id": id_,
        "question": asked,
        "level": level,
        "round": 1,
        "source": source,
        "trace_index": k,
        "prompt_ids": template.prompt(asked),
        "proposal_prompt_ids": template.prompt(asked),
        "hint_ids": hint,
        "trace_ids": ids,
        "closed": closed,
        "reference_ids": template.answer("1 + 1 </script>"),
        "num_correct_answers": 2,
        "hint_copied": ledger.copied_share(hint, ids),
        "log_pi": [-1.0 + ratio] * len(ids),
        "log_q": [-1.0] * len(ids),
        "log_pi_reference": None if source == "prior" else [-0.5 - 0.1 * k] if closed else [],
        "answer_ids": answers if closed else [],
        "verdicts": (["right"] * correct + ["wrong"] * (2 - correct)) if closed else [],
        "num_correct": correct if closed else 0,
        "num_answers": 2 if closed else 0,
    }


@pytest.fixture(scope="session")
def prior(template: Template):
    """The reasoner's own traces; log pi is known from drawing them, the reference answer is not scored."""
    rows = [
        row(template, id_, level, k, "prior", "1 + 1 2 OK", True, 0.0, 1)
        for level, id_ in zip((1, 2, 1, 2, 1, 2), QUESTIONS, strict=True)
        for k in range(4)
    ]
    return ledger.from_rows(rows)


@pytest.fixture(scope="session")
def metrics() -> list[dict]:
    stages = ("base", "init-reasoner", "train-posterior-1", "train-reasoner-vr")
    curves = [
        {"stage": stage, "step": step, "loss": 2.0 / (1 + step) + index, "gradient_norm": 1.0 / (1 + step)}
        for index, stage in enumerate(stages)
        for step in range(40)
    ]
    return [*curves, {"stage": "sample-prior-1", "traces": 24, "closed": 1.0}]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, template, results, table, prior, metrics) -> Path:
    """The session's run; tests that change files work on a copy."""
    path = tmp_path_factory.mktemp("runs") / "a <run>"
    write_run(path, template, results, table, prior, metrics)
    return path


def write_run(path: Path, template: Template, results: dict | None, table, prior, metrics: list[dict]) -> None:
    template.tokenizer.save_pretrained(path / "models" / "base")
    stages = [stage.name for stage in algorithm.plan(CONFIG)]
    spent = {stage: cost(1e9) for stage in stages}
    storage.write_json(path / "config.json", {"format": FORMAT, **presets.to_dict(CONFIG)})
    packages = {"varcore": "0.1.0", "torch": "2 <img src=x onerror=alert(5)>"}
    storage.write_json(path / "environment.json", {"python": "3.11", "device": "cpu", "packages": packages})
    storage.write_json(path / "state.json", {"done": stages})
    storage.write_json(path / "compute.json", spent)
    storage.write_lines(path / "metrics.jsonl", metrics)
    storage.write_json(path / "results.json", results)
    storage.write_table(path / "ledger" / "round1-posterior-000.parquet", table)
    storage.write_table(path / "ledger" / "round1-prior-000.parquet", prior)
