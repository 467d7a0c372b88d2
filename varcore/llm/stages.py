"""The stages of Algorithm 1, each a function of the workbench; algorithm.py puts them in order.

Every stage reads what earlier ones left in the run directory, writes its own files whole, and returns what it cost.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel

from varcore.llm import ledger, processes, storage, training_sets
from varcore.llm.run import Cost, forward_cost, stream_seed, training_cost
from varcore.llm.sampling import Request, Sample
from varcore.llm.scoring import score
from varcore.llm.templates import Ids, Template
from varcore.llm.tiny import tiny_qwen3
from varcore.llm.training import Example, TrainLog, TrainSettings, finetune
from varcore.llm.verifiers import verify
from varcore.llm.weighing import weigh
from varcore.llm.workbench import Metrics, Workbench
from varcore.tasks import Question, Verdict


def train_base(bench: Workbench) -> tuple[Cost, Metrics]:
    """A tiny Qwen3 that has read the task's practice texts: it knows the form and some arithmetic, not the skill."""
    config = bench.config
    if config.model:  # a base that is there already
        bench.model("base")
        return Cost(), []
    model = tiny_qwen3(len(bench.template.tokenizer), stream_seed(config.seed, "weights"))
    return _train(bench, "base", model, training_sets.practice_examples(bench), config.base)


def train_initial_reasoner(bench: Workbench) -> tuple[Cost, Metrics]:
    """pi_0: supervised finetuning of the base on the curated traces."""
    return _train(bench, "pi0", "base", training_sets.curated_examples(bench), bench.config.initial)


def sample_traces(bench: Workbench, round_: int, source: str, role: str, count: int) -> tuple[Cost, Metrics]:
    """`count` traces for every training question, from the model `role`; a "posterior" source is shown the hint."""
    for path, questions in bench.my_shards(round_, source):
        if not path.exists():
            _sample_shard(bench, path, questions, round_, source, role, count)
    processes.state().wait_for_everyone()
    table = bench.table(round_, source)
    sampled = sum(len(ids) for ids in table["trace_ids"].to_pylist())
    read = sum(len(ids) for ids in table["proposal_prompt_ids"].to_pylist()[::count])
    closed = sum(table["closed"].to_pylist()) / len(table)
    metrics = [{"traces": len(table), "closed": closed, "mean_trace_tokens": sampled / len(table)}]
    if source == "posterior":
        metrics[0]["mean_hint_copied"] = sum(table["hint_copied"].to_pylist()) / len(table)
    return _forward_cost(bench, decode=sampled, prefill=read, samples=len(table)), metrics


def _sample_shard(
    bench: Workbench,
    path: Path,
    questions: Sequence[Question],
    round_: int,
    source: str,
    role: str,
    count: int,
) -> None:
    template, config = bench.template, bench.config
    hinted = source == "posterior"
    pairs = [(question, k) for question in questions for k in range(count)]
    requests = [
        Request(
            template.hinted_prompt(q.text, q.reference) if hinted else template.prompt(q.text),
            stream_seed(config.seed, "trace", round_, source, q.id, k),
        )
        for q, k in pairs
    ]
    close, limit = template.trace_close, config.max_trace_tokens
    samples = bench.sampler(role, close, limit, len(requests), config.temperature).sample(requests)
    rows = [
        _row(template, question, k, round_, source, request, sample)
        for (question, k), request, sample in zip(pairs, requests, samples, strict=True)
    ]
    storage.write_table(path, ledger.from_rows(rows))


def _row(
    template: Template, question: Question, k: int, round_: int, source: str, request: Request, sample: Sample
) -> dict[str, Any]:
    """A ledger row as it is born.  The sampler's own log-probabilities are log q; for a prior they are log pi too."""
    hint = template.text(question.reference) if source == "posterior" else ()
    return {
        "question_id": question.id,
        "question": question.text,
        "level": question.level,
        "round": round_,
        "source": source,
        "trace_index": k,
        "prompt_ids": template.prompt(question.text),
        "proposal_prompt_ids": request.prompt,
        "hint_ids": hint,
        "trace_ids": sample.ids,
        "closed": sample.stopped,
        "reference_ids": template.answer(question.reference),
        "num_correct_answers": question.num_correct_answers,
        "hint_copied": ledger.copied_share(hint, sample.ids),
        "log_q": sample.log_probs,
        "log_pi": None if source == "posterior" else sample.log_probs,
    }


def score_traces(bench: Workbench, round_: int, source: str, role: str) -> tuple[Cost, Metrics]:
    """log pi of every trace and, after a closed one, of the reference answer, in one pass over the tokens."""
    for path, _ in bench.my_shards(round_, source):
        table = storage.read_table(path)
        if not ledger.is_filled(table, "log_pi_reference"):
            storage.write_table(path, _score_shard(bench, table, role))
    processes.state().wait_for_everyone()
    pairs = _scored_pairs(bench.table(round_, source))
    return _forward_cost(bench, scored=sum(len(prompt) + len(response) for prompt, response in pairs)), []


def _score_shard(bench: Workbench, table: pa.Table, role: str) -> pa.Table:
    pairs, lengths = _scored_pairs(table), [len(ids) for ids in table["trace_ids"].to_pylist()]
    advance = bench.reporter.begin(len(pairs), "traces")
    scores = score(bench.model(role), pairs, temperature=bench.config.temperature, advance=advance)
    return ledger.with_columns(
        table,
        log_pi=[s[:n] for s, n in zip(scores, lengths, strict=True)],
        log_pi_reference=[s[n:] for s, n in zip(scores, lengths, strict=True)],
    )


def _scored_pairs(table: pa.Table) -> list[tuple[Ids, Ids]]:
    """Prompt and what follows it: the trace, and after a closed one the reference answer."""
    rows = table.select(["prompt_ids", "trace_ids", "closed", "reference_ids"]).to_pylist()
    return [(tuple(r["prompt_ids"]), tuple(r["trace_ids"] + (r["reference_ids"] if r["closed"] else []))) for r in rows]


def verify_traces(bench: Workbench, round_: int, source: str, role: str) -> tuple[Cost, Metrics]:
    """N answers of the model `role` after every closed trace, judged by the task's verifier."""
    for path, questions in bench.my_shards(round_, source):
        table = storage.read_table(path)
        if not ledger.is_filled(table, "verdicts"):
            storage.write_table(path, _verify_shard(bench, table, questions, role))
    processes.state().wait_for_everyone()
    table = bench.table(round_, source)
    answers = [ids for row in table["answer_ids"].to_pylist() for ids in row]
    prompts = table.filter(table["closed"]).select(["prompt_ids", "trace_ids"]).to_pylist()
    cost = _forward_cost(
        bench,
        decode=sum(len(ids) for ids in answers),
        prefill=sum(len(row["prompt_ids"]) + len(row["trace_ids"]) for row in prompts),
        samples=len(answers),
    )
    return cost, [_coverage(table)]


def _verify_shard(bench: Workbench, table: pa.Table, questions: Sequence[Question], role: str) -> pa.Table:
    config, template = bench.config, bench.template
    rows = table.select(["question_id", "round", "source", "trace_index", "prompt_ids", "trace_ids", "closed"])
    requests, owners = [], []
    for place, row in enumerate(rows.to_pylist()):
        key = (row["round"], row["source"], row["question_id"], row["trace_index"])
        for n in range(config.answers if row["closed"] else 0):
            prompt = tuple(row["prompt_ids"] + row["trace_ids"])
            requests.append(Request(prompt, stream_seed(config.seed, "answer", *key, n)))
            owners.append(place)
    close, limit = template.answer_close, config.max_answer_tokens
    sampler = bench.sampler(role, close, limit, len(requests), config.temperature)
    samples = sampler.sample(requests)
    by_id = {question.id: question for question in questions}
    asked = [by_id[id_] for id_ in rows["question_id"].to_pylist()]
    verdicts = verify(
        bench.task,
        ((asked[p], template.read_answer(s.ids)) for p, s in zip(owners, samples, strict=True)),
    )
    answers: list[list[Ids]] = [[] for _ in asked]
    judged: list[list[Verdict]] = [[] for _ in asked]
    for place, sample, verdict in zip(owners, samples, verdicts, strict=True):
        answers[place].append(sample.ids)
        # an answer that the length limit cut has no end: it is not an answer, whatever its text evaluates to
        judged[place].append(verdict if sample.stopped else Verdict.UNPARSED)
    return ledger.with_columns(
        table,
        answer_ids=answers,
        verdicts=judged,
        num_correct=[sum(v is Verdict.RIGHT for v in row) for row in judged],
        num_answers=[len(row) for row in judged],
    )


def train_posterior(bench: Workbench, round_: int, role: str) -> tuple[Cost, Metrics]:
    """q, from a copy of the model `role`, by forward KL under the hint prompt.

    "own": the reasoner's own traces with weights accuracy / sum of accuracies per question (Eq. 9); the hint is a
    correct answer that the trace led to.  "curated": the curated traces with their reference answers as hints.
    """
    config = bench.config
    examples = []
    if config.posterior_data in ("curated", "both"):
        examples += training_sets.hinted_curated_examples(bench)
    if config.posterior_data in ("own", "both"):
        examples += training_sets.posterior_examples(bench, bench.table(round_, "prior"))
    return _train(bench, f"q{round_}", role, examples, config.posterior)


def weigh_traces(bench: Workbench, round_: int, source: str) -> tuple[Cost, Metrics]:
    """Weights of every shard by the run's rule."""
    rule = bench.config.rule
    for path, _ in bench.my_shards(round_, source):
        table, _ = weigh(storage.read_table(path), rule, stream_seed(bench.config.seed, "weigh", path.name))
        storage.write_table(path, table)
    processes.state().wait_for_everyone()
    # the same weights again, for the summary of the whole table; "resample" may draw other traces here
    _, summary = weigh(bench.table(round_, source), rule, stream_seed(bench.config.seed, "weigh"))
    row = {name: value for name, value in vars(summary).items() if name != "unusable"}
    return Cost(), [{**row, "unusable_questions": len(summary.unusable)}]


def train_reasoner(
    bench: Workbench, role: str, start: str, examples: list[Example], settings: TrainSettings
) -> tuple[Cost, Metrics]:
    """A method's reasoner: weighted finetuning of a copy of the model `start`."""
    return _train(bench, role, start, examples, settings)


def _train(
    bench: Workbench, role: str, start: str | PreTrainedModel, examples: list[Example], settings: TrainSettings
) -> tuple[Cost, Metrics]:
    """Finetune `role` from another role's model, or from a model that is none's."""

    def teach(model: PreTrainedModel, seed: int, **options: Any) -> TrainLog:
        return finetune(model, examples, settings, seed, **options)

    return train_role(bench, role, start, settings.steps, teach)


def train_role(
    bench: Workbench, role: str, start: str | PreTrainedModel, steps: int, teach: Callable[..., TrainLog]
) -> tuple[Cost, Metrics]:
    """Train `role` by `teach`, called with the model, a seed and the `checkpoints` and `advance` of `finetune`."""
    seed = stream_seed(bench.config.seed, "train", role)
    model = bench.begin(start, role, seed)
    checkpoints = bench.run.path / "models" / f"{role}-unfinished"
    advance = bench.reporter.begin(steps, "steps")
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log = teach(model, seed, checkpoints=checkpoints, advance=advance)
    bench.models.save(role, model)
    if processes.state().is_main_process:
        shutil.rmtree(checkpoints, ignore_errors=True)
    curves = {"loss": log.losses, "gradient_norm": log.gradient_norms, **log.notes}
    metrics = [{"step": step, **{name: values[step] for name, values in curves.items()}} for step in range(steps)]
    return training_cost(bench.models.num_parameters(role), learned, log.tokens, steps), metrics


def _forward_cost(bench: Workbench, **tokens: int) -> Cost:
    return forward_cost(bench.models.num_parameters("pi0"), **tokens)


def _coverage(table: pa.Table) -> dict[str, Any]:
    """Share of questions, per level, that at least one trace solves."""
    solved = (ledger.matrix(table, table["num_correct"].to_pylist()) > 0).any(-1).tolist()
    levels = table["level"].to_pylist()[:: ledger.num_traces(table)]
    found: dict[str, Any] = {}
    for level in sorted(set(levels)):
        hits = [s for s, own in zip(solved, levels, strict=True) if own == level]
        found[f"solved_level_{level}"] = sum(hits) / len(hits)
    return found
