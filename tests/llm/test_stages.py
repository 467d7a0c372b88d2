"""Stages on a finished miniature run: what stands in the ledger is what the models on disk say, scored naively here."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections import Counter, defaultdict

import pytest
import torch
from transformers import AutoModelForCausalLM

from varcore.llm import algorithm, ledger, presets, stages, storage, training_sets, workbench
from varcore.llm.run import RunDirectory, load_config, stream_seed
from varcore.llm.weighing import WeightRule, weigh
from varcore.tasks import Countdown
from varcore.tasks.base import Practice

SOURCES = {"prior": 3, "posterior": 4, "extra": 4}


@pytest.fixture(scope="module")
def tables(finished):
    def read(source: str):
        paths = sorted((finished[0] / "ledger").glob(f"round1-{source}-*.parquet"))
        return [row for path in paths for row in ledger.check(storage.read_table(path)).to_pylist()]

    return {source: read(source) for source in SOURCES}


@pytest.fixture(scope="module")
def load(finished):
    return lambda role: AutoModelForCausalLM.from_pretrained(finished[0] / "models" / role).eval()


@pytest.fixture
def bench(finished, quiet, miniature_world):
    """The finished run's workbench; its files are read, not written."""
    path, _ = finished
    run = RunDirectory(path, load_config(path))
    yield workbench.open_workbench(run, quiet)
    run.close()


@pytest.fixture(scope="module")
def questions(finished):
    config = load_config(finished[0])
    return Countdown().questions("train", config.num_train, config.seed, curated=True)


def naive_scores(model, prompt, response, temperature):
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0] / temperature
    log_probs = logits.log_softmax(-1)
    return [log_probs[len(prompt) + t - 1, token].item() for t, token in enumerate(response)]


def groups(rows):
    return {id_: list(group) for id_, group in itertools.groupby(rows, key=lambda row: row["question_id"])}


# ---- sampling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_every_question_has_its_traces_in_order(tables, questions, source):
    rows = tables[source]
    assert [row["question_id"] for row in rows] == [q.id for q in questions for _ in range(SOURCES[source])]
    assert [row["trace_index"] for row in rows] == list(range(SOURCES[source])) * len(questions)
    assert {(row["round"], row["source"]) for row in rows} == {(1, source)}


@pytest.mark.parametrize("source", SOURCES)
def test_rows_hold_question_prompts_and_hint(tables, questions, template, source):
    by_id = {question.id: question for question in questions}
    for row in tables[source]:
        question = by_id[row["question_id"]]
        assert (row["question"], row["level"]) == (question.text, question.level)
        assert row["num_correct_answers"] == question.num_correct_answers
        assert tuple(row["prompt_ids"]) == template.prompt(question.text)
        assert tuple(row["reference_ids"]) == template.answer(question.reference)
        if source == "posterior":
            assert tuple(row["hint_ids"]) == template.text(question.reference)
            assert tuple(row["proposal_prompt_ids"]) == template.hinted_prompt(question.text, question.reference)
        else:
            assert row["hint_ids"] == []
            assert row["hint_copied"] == 0.0
            assert row["proposal_prompt_ids"] == row["prompt_ids"], "pi must not see the hint"


@pytest.mark.parametrize("source", SOURCES)
def test_a_closed_trace_ends_with_its_marker_and_no_other_does(tables, template, source):
    rows = tables[source]
    assert {row["closed"] for row in rows} == {True, False}
    for row in rows:
        ids = tuple(row["trace_ids"])
        assert (ids[-1:] == template.trace_close) == row["closed"]
        assert template.trace_close[0] not in ids[:-1]
        assert row["closed"] or len(ids) == 24


def test_the_traces_of_a_question_are_not_copies(tables):
    for source in SOURCES:
        distinct = [len({tuple(row["trace_ids"]) for row in rows}) for rows in groups(tables[source]).values()]
        assert sum(distinct) / len(distinct) > 0.7 * SOURCES[source]


def test_extra_traces_are_not_the_prior_ones_again(tables):
    """Rejection sampling pools both: drawn from the same streams, the first three would be counted twice."""
    prior = {(row["question_id"], tuple(row["trace_ids"])) for row in tables["prior"]}
    again = [row for row in tables["extra"] if (row["question_id"], tuple(row["trace_ids"])) in prior]
    assert len(again) < len(tables["extra"]) / 2


# ---- scores ------------------------------------------------------------------------------------------------------


def test_log_q_is_the_posteriors_at_the_runs_temperature_with_the_hint(tables, load):
    model = load("q1")
    for row in tables["posterior"][::5]:
        expected = naive_scores(model, row["proposal_prompt_ids"], row["trace_ids"], 0.7)
        assert row["log_q"] == pytest.approx(expected, abs=1e-3)
    without = naive_scores(model, row["prompt_ids"], row["trace_ids"], 0.7)
    assert row["log_q"] != pytest.approx(without, abs=1e-2)


def test_log_pi_is_the_reasoners_without_the_hint(tables, load):
    model = load("pi0")
    for row in tables["posterior"][::5]:
        response = row["trace_ids"] + (row["reference_ids"] if row["closed"] else [])
        expected = naive_scores(model, row["prompt_ids"], response, 0.7)
        assert row["log_pi"] == pytest.approx(expected[: len(row["trace_ids"])], abs=1e-3)
        assert row["log_pi_reference"] == pytest.approx(expected[len(row["trace_ids"]) :], abs=1e-3)


@pytest.mark.parametrize("source", ["prior", "extra"])
def test_on_its_own_traces_pi_is_q(tables, load, source):
    model = load("pi0")
    for row in tables[source]:
        assert row["log_pi"] == pytest.approx(row["log_q"], abs=1e-3)
    for row in tables[source][::7]:
        assert row["log_q"] == pytest.approx(naive_scores(model, row["prompt_ids"], row["trace_ids"], 0.7), abs=1e-3)


# ---- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_answers_are_judged_as_they_were_written(tables, template, source):
    verdicts = Counter()
    for row in tables[source]:
        assert len(row["answer_ids"]) == len(row["verdicts"]) == row["num_answers"] == (2 if row["closed"] else 0)
        assert row["num_correct"] == row["verdicts"].count("right")
        for ids, verdict in zip(row["answer_ids"], row["verdicts"], strict=True):
            if tuple(ids[-1:]) != template.answer_close:
                assert verdict == "unparsed", "an answer without an end is none"
                assert len(ids) == 8
            else:
                assert verdict == ("right" if "+" in template.read_answer(ids) else "wrong")
        verdicts.update(row["verdicts"])
    assert set(verdicts) == {"right", "wrong", "unparsed"}


def test_answers_are_drawn_by_the_reasoner_after_the_trace(tables, load):
    """The likeliest answers must be likelier after their own trace than after another question's."""
    model, own, other = load("pi0"), 0.0, 0.0
    rows = [row for row in tables["posterior"] if row["closed"]]
    for row, wrong in zip(rows, rows[len(rows) // 2 :] + rows[: len(rows) // 2], strict=True):
        for ids in row["answer_ids"]:
            own += sum(naive_scores(model, row["prompt_ids"] + row["trace_ids"], ids, 0.7))
            other += sum(naive_scores(model, wrong["prompt_ids"] + wrong["trace_ids"], ids, 0.7))
    assert own > other


def test_an_unfinished_answer_is_no_answer(bench, monkeypatch):
    """Even if its text would be right."""
    table = bench.table(1, "prior")
    rows = table.slice(0, 3)
    config = dataclasses.replace(bench.config, max_answer_tokens=1)
    monkeypatch.setattr(bench.run, "config", config)
    judged = stages._verify_shard(bench, rows, bench.train, "pi0")
    for ids, verdicts in zip(judged["answer_ids"].to_pylist(), judged["verdicts"].to_pylist(), strict=True):
        for one, verdict in zip(ids, verdicts, strict=True):
            assert len(one) == 1
            assert verdict == "unparsed" or tuple(one) == bench.template.answer_close


# ---- weights and training sets -----------------------------------------------------------------------------------


def test_the_ledgers_weights_are_the_rules(bench):
    for path in bench.shard_paths(1, "posterior"):
        table = storage.read_table(path)
        again, _ = weigh(table, bench.config.rule, stream_seed(bench.config.seed, "weigh", path.name))
        assert again.equals(table)
        assert sum(table["weight"].to_pylist()) > 0


def test_curated_training_uses_the_curated_questions_only(bench, template):
    examples = training_sets.curated_examples(bench)
    assert len(examples) == 16
    for example, question in zip(examples, bench.train, strict=False):
        assert example.prompt == template.prompt(question.text)
        assert example.response == template.trace(question.curated_trace) + template.answer(question.reference)
        assert example.weight == 1.0


def test_direct_training_rewrites_every_question(bench, template):
    examples = training_sets.direct_examples(bench)
    assert len(examples) == 24
    for example, question in zip(examples, bench.train, strict=True):
        trace, answer = template.split(example.response)
        assert template.read_answer(answer) == question.reference
        assert template.read_trace(trace).endswith("OK")
        assert "x" not in template.read_trace(trace)


def test_rejection_sampling_takes_correct_traces_of_both_tables(bench, tables):
    """Weight of a trace: its accuracy.  Of a question: the number of its correct traces, hence not normalised."""
    config = dataclasses.replace(bench.config, mix_curated=False)
    bench.run.config = config
    found = defaultdict(float)
    for example in algorithm.training_set(bench, "rft", 1):
        found[example.prompt] += example.weight
    expected = defaultdict(float)
    for row in tables["prior"] + tables["extra"]:
        if row["num_correct"]:
            expected[tuple(row["prompt_ids"])] += row["num_correct"] / row["num_answers"]
    assert found == pytest.approx(expected)
    assert max(found.values()) > 1.0


@pytest.mark.parametrize(("method", "source"), [("vr", "posterior"), ("accuracy", "posterior"), ("nohint", "extra")])
def test_weighted_methods_give_each_solved_question_one_unit(bench, tables, method, source):
    bench.run.config = dataclasses.replace(bench.config, mix_curated=False)
    found = defaultdict(float)
    for example in algorithm.training_set(bench, method, 1):
        found[example.prompt] += example.weight
    solved = {tuple(row["prompt_ids"]) for row in tables[source] if row["num_correct"]}
    assert set(found) == solved
    assert 0 < len(solved) < 24
    assert list(found.values()) == pytest.approx([1.0] * len(solved))


def test_vr_and_accuracy_differ_by_the_ratio_alone(bench):
    """The same pairs of prompt and response; other weights."""
    bench.run.config = dataclasses.replace(bench.config, mix_curated=False)
    ours, plain = (algorithm.training_set(bench, method, 1) for method in ("vr", "accuracy"))
    assert [(e.prompt, e.response) for e in ours] == [(e.prompt, e.response) for e in plain]
    assert [e.weight for e in ours] != pytest.approx([e.weight for e in plain], rel=1e-3)


@pytest.mark.parametrize("selection", ["soft", "argmax", "resample"])
def test_the_weights_vr_trains_on_are_the_ledgers(finished, miniature_world, quiet, tmp_path, selection):
    """Under "resample" too: the column `chosen` must name the traces that were trained on, not others drawn anew."""
    path = shutil.copytree(finished[0], tmp_path / "run")
    rule = WeightRule(selection=selection)
    run = RunDirectory(path, load_config(path))
    run.config = dataclasses.replace(run.config, rule=rule, mix_curated=False)
    bench = workbench.open_workbench(run, quiet)
    stages.weigh_traces(bench, 1, "posterior")
    expected = defaultdict(float)
    for row in bench.table(1, "posterior").to_pylist():
        if row["chosen"]:
            expected[tuple(row["prompt_ids"]), tuple(row["trace_ids"])] += row["weight"]
    found = defaultdict(float)
    for example in algorithm.training_set(bench, "vr", 1):
        found[example.prompt, bench.template.split(example.response)[0]] += example.weight
    run.close()
    assert found == pytest.approx(expected)
    assert len(found) == len({prompt for prompt, _ in found}) or selection == "soft"


def test_curated_data_is_mixed_in_once(bench):
    mixed = {method: algorithm.training_set(bench, method, 1) for method in algorithm.TRAINING_SETS}
    curated = training_sets.curated_examples(bench)
    assert mixed["sft"] == curated
    bench.run.config = dataclasses.replace(bench.config, mix_curated=False)
    for method in set(algorithm.TRAINING_SETS) - {"sft"}:
        assert mixed[method] == curated + algorithm.training_set(bench, method, 1), method


def test_the_posterior_learns_from_traces_under_the_answers_they_led_to(bench, tables, template):
    """Eq. 9: per question the weights a / sum(a), shared among a trace's correct answers; unsolved ones give none."""
    examples = training_sets.posterior_examples(bench, bench.table(1, "prior"))
    totals = defaultdict(float)
    for example in examples:
        question = example.prompt[: example.prompt.index(template._marker("<hint>")[0])]
        totals[question] += example.weight
        assert example.response[-1:] == template.trace_close
    solved = {tuple(row["prompt_ids"])[:-1] for row in tables["prior"] if row["num_correct"]}
    assert set(totals) == solved
    assert list(totals.values()) == pytest.approx([1.0] * len(solved))
    for id_, rows in groups(tables["prior"]).items():
        accuracies = [row["num_correct"] / row["num_answers"] if row["num_correct"] else 0.0 for row in rows]
        for row, accuracy in zip(rows, accuracies, strict=True):
            right = [tuple(a) for a, v in zip(row["answer_ids"], row["verdicts"], strict=True) if v == "right"]
            for answer, count in Counter(right).items():
                hint = template.read_answer(answer)
                expected = accuracy / sum(accuracies) * count / len(right)
                prompt = template.hinted_prompt(row["question"], hint)
                matching = [e for e in examples if (e.prompt, e.response) == (prompt, tuple(row["trace_ids"]))]
                assert any(e.weight == pytest.approx(expected) for e in matching), id_


# ---- models and costs --------------------------------------------------------------------------------------------


def test_every_role_has_a_model_of_its_own(finished, load):
    models = [load(role) for role in ("base", "pi0", "q1", *presets.METHODS)]
    embeddings = [model.get_input_embeddings().weight for model in models]
    for a, b in itertools.combinations(embeddings, 2):
        assert not torch.equal(a, b)
    for folder in (finished[0] / "models").iterdir():
        assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".txt"}


DRAWS, TRAINS = {"prefill", "decode"}, {"trained"}
KINDS = {"base": TRAINS, "init": TRAINS, "train": TRAINS, "sample": DRAWS, "verify": DRAWS, "evaluate": DRAWS}
KINDS |= {"score": {"scored"}, "weigh": set()}


def test_costs_count_the_tokens_in_the_ledger(finished, tables):
    costs = storage.read_json(finished[0] / "compute.json")

    def tokens(rows, *columns):
        return sum(len(row[column]) for row in rows for column in columns)

    prior, posterior = tables["prior"], tables["posterior"]
    closed = [row for row in posterior if row["closed"]]
    assert costs["sample-prior-1"]["samples"] == len(prior) == 72
    assert costs["sample-prior-1"]["decode_tokens"] == tokens(prior, "trace_ids")
    assert costs["sample-prior-1"]["prefill_tokens"] == tokens(prior[::3], "prompt_ids"), "a prompt is read once"
    assert costs["sample-posterior-1"]["prefill_tokens"] == tokens(posterior[::4], "proposal_prompt_ids")
    scored = tokens(posterior, "prompt_ids", "trace_ids") + tokens(closed, "reference_ids")
    assert costs["score-1"]["scored_tokens"] == scored
    assert costs["verify-1"]["prefill_tokens"] == tokens(closed, "prompt_ids", "trace_ids")
    assert costs["verify-1"]["samples"] == 2 * len(closed)
    assert costs["verify-1"]["decode_tokens"] == sum(len(ids) for row in closed for ids in row["answer_ids"])
    for name, cost in costs.items():
        kinds = {kind for kind in ("prefill", "decode", "scored", "trained") if cost[f"{kind}_tokens"]}
        assert kinds == (DRAWS | TRAINS if name == "train-reasoner-grpo" else KINDS[name.partition("-")[0]]), name
        assert cost["flops"] == sum(cost[f"{kind}_flops"] for kind in kinds)
        assert all(cost[f"{kind}_flops"] > 0 for kind in kinds)
        if name.startswith(("train", "base", "init")):
            assert cost["optimizer_steps"] == (50 if name == "base" else 10)
            assert cost["trained_tokens"] > 0


def test_rejection_sampling_draws_as_many_traces_as_vr(tables):
    """Traces; answers follow closed traces only, so their numbers differ by as much as the closing rates do."""
    assert len(tables["prior"]) + len(tables["extra"]) == len(tables["prior"]) + len(tables["posterior"])


def test_an_unknown_task_is_named(miniature, quiet, tmp_path):
    run = RunDirectory(tmp_path / "run", miniature(task="chess"))
    with pytest.raises(ValueError, match=r"no task 'chess'.*countdown"):
        workbench.open_workbench(run, quiet)
    run.close()


def test_practice_texts_show_their_hint_where_they_have_one(bench, template):
    class Two(Countdown):
        def corpus(self, count, seed):
            return [Practice("1 2 = 3", "1 + 2 3 OK", "1 + 2", "7"), Practice("1 2 = 9", "1 + 2 3 x", None)]

    bench.task = Two()
    hinted, plain = training_sets.practice_examples(bench)
    assert hinted.prompt == template.hinted_prompt("1 2 = 3", "7")
    assert hinted.response == template.trace("1 + 2 3 OK") + template.answer("1 + 2")
    assert plain.prompt == template.prompt("1 2 = 9")
    assert plain.response == template.text("1 + 2 3 x"), "a text without an answer breaks off"
