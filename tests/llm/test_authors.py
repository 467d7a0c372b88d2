"""The authors' columns: in and out again, and their own score on what we write chooses the trace that we choose."""

from __future__ import annotations

import math
import random

import pyarrow as pa
import pytest

from varcore.llm import ledger
from varcore.llm.authors import (
    export_log_probs,
    export_rollouts,
    export_traces,
    export_training_set,
    import_traces,
)
from varcore.llm.templates import Template, load_template
from varcore.llm.tiny import tiny_tokenizer
from varcore.llm.weighing import WeightRule, weigh
from varcore.tasks import Question
from varcore.tasks.files import DataError

QUESTIONS = [
    Question("a", "Add 3 and 4.", 1, r"It is \boxed{7}."),
    "no boxed answer",
    Question("c", "Halve 5.", 1, r"It is \boxed{2.5}."),
]
TEXTS = [["3 and 4 make 7", "count on"], ["a program", "print"], ["half of 4 is 2", "5 over 2"]]  # question by set
K = 2


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template("thought-solution-pb", tiny_tokenizer())


def published(k: int, column: str = "posterior_responses", tail: str = "\n\n<|end_of_thought|>\n\nmore") -> list[dict]:
    return [{"prompt": "...", "prompt_idx": b, column: TEXTS[b][k] + tail} for b in range(3)]


@pytest.fixture
def table(template) -> pa.Table:
    return import_traces([published(0), published(1)], QUESTIONS, template)


@pytest.fixture
def filled(table, template) -> pa.Table:
    """As if scored and verified: log-probabilities drawn from a seed, three answers a trace."""
    draw = random.Random(0)
    lengths = [len(ids) for ids in table["trace_ids"].to_pylist()]
    right, wrong = template.answer(r"\boxed{7}"), template.answer(r"\boxed{8}")
    return ledger.with_columns(
        table,
        log_pi=[[-draw.random() for _ in range(n)] for n in lengths],
        log_q=[[-draw.random() for _ in range(n)] for n in lengths],
        log_pi_reference=[[-draw.random() for _ in ids] for ids in table["reference_ids"].to_pylist()],
        answer_ids=[[wrong, right, right], [wrong] * 3, [right] * 3, [wrong, wrong, right]],
        verdicts=[["wrong", "right", "right"], ["wrong"] * 3, ["right"] * 3, ["wrong", "wrong", "right"]],
        num_correct=[2, 0, 3, 1],
        num_answers=[3] * 4,
    )


@pytest.mark.parametrize("column", ["posterior_responses", "variational_posterior_responses"])
def test_both_spellings_are_read(template, column):
    table = import_traces([published(k, column) for k in range(K)], QUESTIONS, template)
    assert ledger.num_traces(table) == K
    assert table["question_id"].to_pylist() == ["a", "a", "c", "c"]  # the row that is left out has no traces
    assert [template.read_trace(ids) for ids in table["trace_ids"].to_pylist()] == [*TEXTS[0], *TEXTS[2]]
    assert table["closed"].to_pylist() == [True] * 4
    assert table["log_q"].null_count == table["verdicts"].null_count == 4


def test_rows_without_an_index_count_themselves(template):
    rows = [[{k: v for k, v in row.items() if k != "prompt_idx"} for row in published(k)] for k in range(K)]
    assert import_traces(rows, QUESTIONS, template)["question_id"].to_pylist() == ["a", "a", "c", "c"]


def test_rows_in_another_order_are_put_in_theirs(template, table):
    assert import_traces([published(0)[::-1], published(1)], QUESTIONS, template).equals(table)


@pytest.mark.parametrize("ending", ["<|end_of_explanation|>", "<|end_of", "<|end_of_thought|>\n\n<|end_of_thought|>"])
def test_a_response_is_cut_before_its_first_end(template, ending, table):
    rows = [published(k, tail="\n\n" + ending) for k in range(K)]
    assert import_traces(rows, QUESTIONS, template)["trace_ids"].equals(table["trace_ids"])


def test_a_response_that_was_cut_short_is_unclosed_and_no_marker_is_put_in(template):
    table = import_traces([published(0, tail=" and"), published(1)], QUESTIONS, template)
    assert table["closed"].to_pylist() == [False, True, False, True]
    ids = tuple(table["trace_ids"].to_pylist()[0])
    assert ids == template.text(TEXTS[0][0] + " and")
    assert template.split(ids) == (ids, ())


def test_sets_that_do_not_belong_together_are_refused(template):
    with pytest.raises(DataError, match=r"sets 0 and 1 hold different questions: prompt_idx \[2\]"):
        import_traces([published(0), published(1)[:2]], QUESTIONS, template)
    with pytest.raises(DataError, match=r"Trace set 1, row 0: needs a response in one of the columns"):
        import_traces([published(0), published(1, "responses")], QUESTIONS, template)
    with pytest.raises(DataError, match=r"Trace set 0, row 1: .*prompt_idx 0"):
        import_traces([[published(0)[0]] * 2], QUESTIONS, template)
    both = [row | {"variational_posterior_responses": "another"} for row in published(0)]
    with pytest.raises(DataError, match="Trace set 0, row 0"):
        import_traces([both], QUESTIONS, template)


def test_more_traces_than_questions_are_refused_and_a_repeated_question_counts_once(template, table):
    with pytest.raises(DataError, match="name question 2, and there are 2"):
        import_traces([published(0)], QUESTIONS[:2], template)
    twice = [QUESTIONS[0], "no boxed answer", QUESTIONS[0]]
    assert import_traces([published(0), published(1)], twice, template).equals(table.slice(0, 2))


def test_out_and_in_again_is_the_same_ledger(template, table):
    sets = [export_traces(table, template, k) for k in range(K)]
    assert [sorted(rows[0]) for rows in sets] == [["posterior_responses", "prompt", "prompt_idx"]] * K
    kept = [question for question in QUESTIONS if isinstance(question, Question)]
    assert import_traces(sets, kept, template).equals(table)


def test_the_prompt_is_the_posteriors(template, table):
    prompt = export_traces(table, template, 0)[0]["prompt"]
    assert prompt.endswith(
        "<|begin_of_solution|>\n\nIt is \\boxed{7}.\n\n<|end_of_solution|>\n\n<|begin_of_thought|>\n\n"
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def their_difference(row: dict) -> float:
    """Mean over the first n positions of both of log pi - log q, n the shorter length."""
    n = min(len(row["response_logps"]), len(row["think_logps"]))
    return mean(row["think_logps"][:n]) - mean(row["response_logps"][:n])


def test_their_score_on_our_columns_is_our_weight(template, filled):
    """GML: mean of answer_logps plus the difference.  Acc: accuracy times its exponential."""
    gml, _ = weigh(filled, WeightRule(estimator="gml"), 0)
    acc, _ = weigh(filled, WeightRule(estimator="accuracy"), 0)
    for k in range(K):
        scores = export_log_probs(filled, k)
        rollouts = export_rollouts(filled, template, k)
        for b, row in enumerate(scores):
            correct = [r["correctness"] for r in rollouts if r["prompt_idx"] == b]
            theirs = mean(correct) * math.exp(their_difference(row))
            ours = [table["log_weight"].to_pylist()[b * K + k] for table in (gml, acc)]
            # float32 log-probabilities, some thirty of them
            assert math.isclose(ours[0], mean(row["answer_logps"]) + their_difference(row), abs_tol=1e-5)
            assert math.isclose(math.exp(ours[1]), theirs, abs_tol=1e-5)


def test_the_training_set_holds_the_trace_that_their_score_chooses(template, filled):
    chosen, _ = weigh(filled, WeightRule(estimator="accuracy", selection="argmax"), 0)
    rows = export_training_set(chosen, template)
    assert len(rows) == 2
    for b, row in enumerate(rows):
        scores = []
        for k in range(K):
            correct = [r["correctness"] for r in export_rollouts(filled, template, k) if r["prompt_idx"] == b]
            scores.append(mean(correct) * math.exp(their_difference(export_log_probs(filled, k)[b])))
        assert row["source"] == scores.index(max(scores))
        index = b * K + row["source"]
        assert row["average_correctness"] == [2 / 3, 0, 1, 1 / 3][index]
        text = [*TEXTS[0], *TEXTS[2]][index]
        assert (
            row["response"]
            == f"{text}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n\\boxed{{7}}<|end_of_solution|>"
        )


def test_weights_that_their_format_cannot_hold_are_refused(template, filled):
    soft, _ = weigh(filled, WeightRule(estimator="gml"), 0)
    with pytest.raises(ledger.LedgerError, match="selection argmax"):
        export_training_set(soft, template)


def test_what_is_not_filled_yet_is_not_exported(template, table):
    with pytest.raises(ledger.LedgerError, match="'log_pi' is empty"):
        export_log_probs(table, 0)
    with pytest.raises(ledger.LedgerError, match="'answer_ids' is empty"):
        export_rollouts(table, template, 0)
