"""One question's traces under any rule: the mathematics of the ledger's rule, and text that stays text."""

import math

import pytest
import torch

import varcore
from varcore.llm import ledger
from varcore.llm.tiny import tiny_tokenizer
from varcore.llm.weighing import WeightRule, weigh
from varcore.viz import explore
from varcore.viz.widgets import toy_decode, toy_ledger, trace_weight_explorer

SOFT = {"exponent": "1", "estimator": "accuracy", "selection": "soft"}


@pytest.fixture(scope="module")
def toy():
    return toy_ledger()


def broken_ledger(toy):
    log_pi = toy["log_pi"].to_pylist()
    log_pi[0] = [math.nan] * len(log_pi[0])
    return ledger.with_columns(toy, log_pi=log_pi)


@pytest.mark.parametrize("exponent", ["0", "1/|z|", "1"])
@pytest.mark.parametrize("estimator", ["accuracy", "gml", "likelihood"])
@pytest.mark.parametrize("selection", ["soft", "argmax"])
def test_weights_are_those_of_the_ledgers_rule(toy, exponent, estimator, selection):
    rule = WeightRule(estimator, None if exponent == "1/|z|" else float(exponent), selection=selection)
    weighed = weigh(toy, rule, seed=0)[0].to_pylist()
    for first, question in enumerate(("2 + 3", "3 + 2")):
        found = explore.weigh_question(toy, question, exponent=exponent, estimator=estimator, selection=selection)
        rows = weighed[5 * first : 5 * first + 5]
        logs = torch.tensor([row["log_weight"] for row in rows], dtype=torch.float64)
        assert found.weights == pytest.approx([row["weight"] for row in rows])
        assert found.bound == pytest.approx(varcore.iwae_bound(logs).item())
        assert found.effective == pytest.approx(varcore.effective_sample_size(logs).item())
        assert list(explore.weighing_picture(found).data[0].x) == found.weights


def test_a_dropped_trace_leaves_its_weight_to_the_others(toy):
    whole = explore.weigh_question(toy, "2 + 3", **SOFT)
    less = explore.weigh_question(toy, "2 + 3", **SOFT, dropped=(0,))
    rest = 1 - whole.weights[0]
    assert less.weights == pytest.approx([0.0, *(w / rest for w in whole.weights[1:])])
    assert less.notes[0] == "dropped"
    assert less.bound == pytest.approx(whole.bound + math.log(rest * 5 / 4))
    nothing = explore.weigh_question(toy, "2 + 3", **SOFT, dropped=range(5))
    assert nothing.weights == [0.0] * 5
    assert "0.00 effective traces of 0" in explore.weighing_picture(nothing).layout.meta["caption"]


def test_a_trace_with_nan_is_left_out_and_said_so(toy):
    found = explore.weigh_question(broken_ledger(toy), "2 + 3", **SOFT)
    assert found.weights == explore.weigh_question(toy, "2 + 3", **SOFT, dropped=(0,)).weights
    assert "1 of the traces have NaN" in explore.weighing_picture(found).layout.meta["caption"]
    assert "NaN" in explore.rows_html(found, toy_decode)


def test_bad_ledgers_say_what_is_missing(toy):
    with pytest.raises(ledger.LedgerError, match="log_q"):
        trace_weight_explorer(toy.drop_columns(["log_q"]))
    empty = {name: [None] * len(toy) for name in ("num_correct", "log_pi_reference")}
    with pytest.raises(ledger.LedgerError, match="No estimator"):
        explore.estimators_of(ledger.with_columns(toy, **empty))
    without = ledger.with_columns(toy, log_pi_reference=empty["log_pi_reference"])
    assert explore.estimators_of(without) == ["accuracy"]
    assert sum(explore.weigh_question(without, "2 + 3", **SOFT).weights) == pytest.approx(1)
    with pytest.raises(KeyError, match="no question 'nobody'"):
        explore.weigh_question(toy, "nobody", **SOFT)


def test_rows_escape_text_and_let_it_run_from_right_to_left(toy):
    page = explore.rows_html(explore.weigh_question(toy, "2 + 3", **SOFT), toy_decode)
    assert "<b>" not in page
    assert "&lt;b&gt;wait" in page
    hebrew = explore.rows_html(explore.weigh_question(toy, "2 + 3", **SOFT), lambda ids: "שלום <script>")
    assert "<td dir='auto'>שלום &lt;script&gt;</td>" in hebrew


def test_a_trace_that_q_cannot_have_drawn_is_left_out_too(toy):
    log_q = toy["log_q"].to_pylist()
    log_q[0] = [-math.inf] * len(log_q[0])
    found = explore.weigh_question(ledger.with_columns(toy, log_q=log_q), "2 + 3", **SOFT)
    assert found.weights == explore.weigh_question(toy, "2 + 3", **SOFT, dropped=(0,)).weights
    assert found.notes[0] == "not a number"


def test_ten_thousand_traces_are_weighed_and_the_table_says_how_many_it_does_not_list(toy):
    rows = toy.to_pylist()[:5] * 2000
    many = ledger.from_rows([{**row, "trace_index": k} for k, row in enumerate(rows)])
    found = explore.weigh_question(many, "2 + 3", **SOFT)
    one = explore.weigh_question(toy, "2 + 3", **SOFT)
    assert found.weights[:5] == pytest.approx([weight / 2000 for weight in one.weights])
    assert found.bound == pytest.approx(one.bound)
    page = explore.rows_html(found, toy_decode)
    assert page.count("<tr>") == 1 + explore.MOST_ROWS
    assert "9,936 more traces are not listed" in page


def test_an_empty_trace_is_shown_as_empty(toy):
    row = toy.to_pylist()[0] | {"trace_ids": [], "log_pi": [], "log_q": [], "closed": False, "log_pi_reference": []}
    empty = ledger.from_rows([row])
    found = explore.weigh_question(empty, "2 + 3", **SOFT)
    assert (found.weights, found.effective, found.bound) == ([0.0], 0.0, -math.inf)
    assert "∅ (empty)" in explore.rows_html(found, toy_decode)
    assert "empty" in explore.token_picture(empty, "2 + 3", 0, toy_decode).layout.meta["caption"]


@pytest.mark.parametrize("text", ["שלום 2", "𝐱 ∈ ℝ²", "\xe9 \U0001f9ee", "plain"])
def test_a_character_that_several_tokens_spell_stands_once(text):
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    texts = explore.token_texts(ids, tokenizer.decode)
    assert len(texts) == len(ids)
    assert "".join(texts).replace("…", "") == text


def test_half_a_character_stays_unreadable():
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("ש2", add_special_tokens=False)
    assert explore.token_texts(ids[1:], tokenizer.decode) == ["\ufffd", *explore.token_texts(ids[2:], tokenizer.decode)]
