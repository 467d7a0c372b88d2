"""Weight rules on tasks whose hint can, and cannot, be rationalised: what each leaves on bad traces, what comes of it.

    python benchmarks/weight_rules.py                        5 seeds of both chain tasks; continues where it was stopped
    python benchmarks/weight_rules.py --seeds 101 --tasks chain --split validation --out /somewhere.json

One run per task and seed: pi_0, q, its traces, their scores and answers, and RFT's samples are made once, by the
stages of Algorithm 1 (varcore.llm.algorithm), in runs/weight_rules/.  Then every rule weighs the same traces, and a
reasoner is trained from pi_0 with the same number of steps and evaluated on the same fresh questions.  The log gets
every finished run at once and is written whole or not at all; repeating the command does what is missing.
The same rules on Countdown, whose hints say nearly all of a trace, are the part "rules" of benchmarks/ablations.py:
it has the runs already.

Rules, all on accuracies (exponent: of the trace ratio pi/q; "free": not normalised per question):
    accuracy, accuracy-free    exponent 0
    mean-ratio, -free          exponent 1/|z|, the paper's; "mean-ratio" is the preset's rule
    exact, exact-free          exponent 1
    gate-sum, gate-token       mean-ratio without traces whose log pi/q, summed or at the worst token, is below a
                               threshold: the 1% quantile of the same number over traces that pi_0 found alone, that are
                               accepted, and that q did not learn from, with the hint they lead to.  No step is checked.
    mixture                    pi_0's traces and q's together, as draws of (pi + q) / 2: the ratio is at most 2
    oracle                     accuracy, of traces without an invalid step alone (where the task can check steps)
and sft (pi_0's own training continued: has it reached its plateau?) and rft (as many samples as q's arms used).

Minutes of one core, from the processor time of pilots: 14 a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from ablation_parts import joined
from arms import Record, about, arguments, by_level, collect, finished, finished_run, scores, train_and_evaluate
from weight_rules_table import show

from varcore import log_accuracy_correctness, normalized_weights
from varcore.llm import ledger, presets, storage
from varcore.llm.presets import Config
from varcore.llm.scoring import score
from varcore.llm.weighing import WeightRule, correct_answers, training_examples, weigh
from varcore.llm.workbench import Workbench
from varcore.tasks import Chain
from varcore.tasks.chain import OPERATIONS

SHORT = {"max_trace_tokens": 24, "max_answer_tokens": 4}  # a chain's longest trace has 17 tokens
SETTINGS: dict[str, dict[str, Any]] = {  # beside "tiny"
    "chain": SHORT | {"initial": {"steps": 900}},
    "chain-obedient": SHORT | {"corpus_texts": 76_800, "base": {"steps": 2400}, "initial": {"steps": 600}},
}
RULES = {
    "accuracy": WeightRule(exponent=0.0),
    "accuracy-free": WeightRule(exponent=0.0, normalized=False),
    "mean-ratio-free": WeightRule(normalized=False),
    "exact": WeightRule(exponent=1.0),
    "exact-free": WeightRule(exponent=1.0, normalized=False),
}
QUANTILE = 0.01  # of pi_0's own accepted traces, below the gates' thresholds
OWN = ("pi0", "sft", "rft", "accuracy", "mean-ratio")  # arms that Algorithm 1's own stages train


def main() -> None:
    asked = arguments(__doc__, "weight_rules", "tasks", SETTINGS, "101,102,103,104,105")
    jobs = [(task, int(seed), asked.split) for seed in asked.seeds.split(",") for task in asked.tasks.split(",")]
    require_same_settings(asked.out)
    show(collect(jobs, one_run, asked.runs, asked.out, asked.workers))


def require_same_settings(out: Path) -> None:
    """ValueError if the log holds a run that was done with other settings: they must not be averaged."""
    other = {run["name"] for run in finished(out) if run["settings"] != SETTINGS[run["name"]]}
    if other:
        raise ValueError(f"{out} holds runs of {sorted(other)} with other settings. Choose another --out, or move it.")


def settings(task: str, seed: int, split: str) -> Config:
    own = {"task": task, "seed": seed, "evaluation_split": split, "methods": ["sft", "rft", "accuracy", "vr"]}
    return presets.override(presets.preset("tiny"), {**own, **SETTINGS[task]})


def one_run(task: str, seed: int, split: str, runs: Path) -> Record:
    """Everything about one task and seed; continues what its run directory holds."""
    config, path = settings(task, seed, split), runs / f"{task}-{split}-{seed}"
    with finished_run(path, config) as bench:
        found = measure(bench)
    return {
        **about(task, seed, split, path),
        "settings": SETTINGS[task],
        "seconds": sum(stage["seconds"] for stage in storage.read_json(path / "compute.json").values()),
        **found,
    }


def measure(bench: Workbench) -> Record:
    """Train and evaluate what is missing; then the figures of every arm and of the traces."""
    own = pa.concat_tables([bench.table(1, "prior"), bench.table(1, "extra")])
    posterior, both = bench.table(1, "posterior"), mixture(bench)
    steps = {"pi0": invalid_steps(bench, own), "q": invalid_steps(bench, posterior), "both": invalid_steps(bench, both)}
    invalid = {source: found and [bool(places) for places in found] for source, found in steps.items()}
    limits = thresholds(bench)
    weighed = weighings(posterior, invalid["q"], limits) | {"mixture": (both, RULES["accuracy"])}
    for name, (table, rule) in weighed.items():
        if name not in OWN:
            train_and_evaluate(bench, name, training_examples(table, rule))
    accuracies = [
        correct / max(count, 1) for correct, count in zip(*columns(own, "num_correct", "num_answers"), strict=True)
    ]
    return {
        "thresholds": limits,
        "traces": {"pi0": accepted(own, steps["pi0"]), "q": accepted(posterior, steps["q"])},
        "weights": {
            name: leftover(table, table["weight"].to_pylist(), invalid["both" if name == "mixture" else "q"])
            for name, (table, _) in weighed.items()
        }
        | {"rft": leftover(own, accuracies, invalid["pi0"])},
        "scores": {name: scores(bench, role(name)) for name in dict.fromkeys([*OWN, *weighed])},
    }


def role(name: str) -> str:
    """The arm's name in the run directory."""
    return "vr" if name == "mean-ratio" else name


def weighings(
    table: pa.Table, invalid: Sequence[bool] | None, limits: dict[str, float]
) -> dict[str, tuple[pa.Table, WeightRule]]:
    """The ledger as every rule weighs it."""
    rules = {"mean-ratio": WeightRule(), **RULES}
    rules |= {f"gate-{gate}": WeightRule(gate=gate, threshold=limit) for gate, limit in limits.items()}
    found = {name: (weigh(table, rule, seed=0)[0], rule) for name, rule in rules.items()}
    if invalid is not None:
        counts = [0 if bad else count for bad, count in zip(invalid, *columns(table, "num_correct"), strict=True)]
        rule = RULES["accuracy"]
        found["oracle"] = weigh(ledger.with_columns(table, num_correct=counts), rule, seed=0)[0], rule
    return found


def mixture(bench: Workbench) -> pa.Table:
    """pi_0's first traces and q's of every question, weighed as draws of m = (M pi + K q) / (M + K).

    rho = (pi / m) times the accuracy, normalised per question: multiple importance sampling by the balance heuristic
    (Veach and Guibas, 1995).  No more than VR draws, and pi / m <= (M + K) / M however far q strays.
    """
    prior, posterior = bench.table(1, "prior"), bench.table(1, "posterior")
    shares = [ledger.num_traces(table) for table in (prior, posterior)]
    both = joined(prior, posterior)
    log_pi = ledger.sums(both, "log_pi")
    log_q = log_q_of_accepted(bench, both)
    log_shares = torch.tensor(shares, dtype=torch.float64).div(sum(shares)).log()
    log_m = torch.logaddexp(log_shares[0] + log_pi, log_shares[1] + log_q)
    correct, answers = (ledger.matrix(both, column) for column in columns(both, "num_correct", "num_answers"))
    weights = normalized_weights(log_pi - log_m + log_accuracy_correctness(correct, answers)).flatten()
    return ledger.with_columns(both, weight=weights.tolist(), chosen=(weights > 0).tolist())


def log_q_of_accepted(bench: Workbench, table: pa.Table) -> torch.Tensor:
    """log q(z|x,y') with the reference as hint, [B, K]; 0 for a trace without a correct answer: it has no weight."""
    hints = {question.id: question.reference for question in bench.train}
    rows = table.select(["question", "question_id", "trace_ids", "num_correct"]).to_pylist()
    places = [place for place, row in enumerate(rows) if row["num_correct"]]
    accepted_rows = [rows[place] for place in places]
    scored = scored_by_q(bench, accepted_rows, [hints[row["question_id"]] for row in accepted_rows])
    found = torch.zeros(len(rows), dtype=torch.float64)
    found[places] = torch.tensor([sum(tokens) for tokens in scored], dtype=torch.float64)
    return ledger.matrix(table, found)


def scored_by_q(bench: Workbench, rows: Sequence[dict[str, Any]], hints: Sequence[str]) -> Sequence[Sequence[float]]:
    """log q of every token of the rows' traces, each under its own hint."""
    prompts = [bench.template.hinted_prompt(row["question"], hint) for row, hint in zip(rows, hints, strict=True)]
    pairs = [(prompt, tuple(row["trace_ids"])) for prompt, row in zip(prompts, rows, strict=True)]
    return score(bench.model("q1"), pairs, temperature=bench.config.temperature)


def thresholds(bench: Workbench) -> dict[str, float]:
    """Where the two gates cut, in nats, from traces that pi_0 found without a hint."""
    table = bench.table(1, "extra")
    rows = [row for row in table.to_pylist() if row["num_correct"]]
    if not rows:
        raise ValueError(
            "weight_rules: no trace of pi_0 was accepted, so nothing says where a gate cuts. Train it longer."
        )
    hints = [bench.template.read_answer(correct_answers(row)[0][0]) for row in rows]
    log_q = scored_by_q(bench, rows, hints)
    ratios = [torch.tensor(row["log_pi"]) - torch.tensor(q) for row, q in zip(rows, log_q, strict=True)]
    numbers = {"sum": [ratio.sum() for ratio in ratios], "token": [ratio.min() for ratio in ratios]}
    return {name: torch.stack(found).double().quantile(QUANTILE).item() for name, found in numbers.items()}


def columns(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table[name].to_pylist() for name in names]


def invalid_steps(bench: Workbench, table: pa.Table) -> list[list[int]] | None:
    """Each trace's invalid steps, counted from the last one, which is 0; None where the task cannot check steps."""
    if not isinstance(bench.task, Chain):
        return None
    by_id = {question.id: question for question in bench.train}
    found = []
    for id_, ids in zip(*columns(table, "question_id", "trace_ids"), strict=True):
        question, text = by_id[id_], bench.template.read_trace(ids)
        last = OPERATIONS[question.level]
        found.append([last - place for place in bench.task.invalid_steps(question, text)])
    return found


def accepted(table: pa.Table, steps: Sequence[Sequence[int]] | None) -> dict[str, dict[str, float]]:
    """Per level: share of traces with a correct answer, of questions with such a trace, and where steps can be checked
    the share of these traces with an invalid step, with an invalid last step (it leaps to the answer), and of these
    questions that have no trace without an invalid one."""
    ids, levels, correct = columns(table, "question_id", "level", "num_correct")
    found = {}
    for level, rows in by_level(levels).items():
        good = [i for i in rows if correct[i]]
        solved = {ids[i] for i in good}
        found[level] = {"traces": len(good) / len(rows), "questions": len(solved) / len({ids[i] for i in rows})}
        if steps is not None and good:
            honest = {ids[i] for i in good if not steps[i]}
            found[level] |= {
                "invalid": sum(bool(steps[i]) for i in good) / len(good),
                "last_invalid": sum(0 in steps[i] for i in good) / len(good),
                "questions_only_invalid": 1 - len(honest) / len(solved),
            }
    return found


def leftover(table: pa.Table, weights: Sequence[float], invalid: Sequence[bool] | None) -> dict[str, dict[str, float]]:
    """Per level: traces and questions that keep weight, and the share of the weight that lies on invalid traces."""
    ids, levels = columns(table, "question_id", "level")
    found = {}
    for level, rows in by_level(levels).items():
        kept = [i for i in rows if weights[i] > 0]
        total = sum(weights[i] for i in kept)
        found[level] = {"traces": len(kept), "questions": len({ids[i] for i in kept}), "weight": total}
        if invalid is not None and kept:
            found[level]["invalid"] = sum(weights[i] for i in kept if invalid[i]) / total
    return found


if __name__ == "__main__":
    main()
