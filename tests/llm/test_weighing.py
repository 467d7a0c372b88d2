"""Weights against plain Python on lists, for every rule; selections, gates, and questions without weight."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random

import pyarrow as pa
import pytest
import torch

from varcore.llm import ledger
from varcore.llm.scoring import response_log_probs
from varcore.llm.weighing import WeightRule, compare, correct_answers, describe, training_examples, weigh

ESTIMATORS, GATES, SELECTIONS = ("accuracy", "gml", "likelihood"), ("none", "sum", "token"), ("soft", "argmax")


@pytest.fixture
def random_table(make_row):
    """Traces of every kind, drawn at random: unclosed, empty, never right, far from pi, likely and unlikely."""

    def make(questions: int = 12, traces: int = 5, seed: int = 0) -> pa.Table:
        rng = random.Random(seed)
        rows = []
        for b, k in itertools.product(range(questions), range(traces)):
            length, answers = rng.choice([1, 2, 3, 7]), rng.choice([1, 2, 4])
            closed = rng.random() < 0.8
            right = [rng.random() < (0.0 if b == 0 else 0.5) for _ in range(answers if closed else 0)]
            rows.append(
                make_row(
                    f"q{b}",
                    k,
                    trace_ids=list(range(length)),
                    closed=closed,
                    log_pi=[-rng.expovariate(0.7) for _ in range(length)],
                    log_q=[-rng.expovariate(1.0) for _ in range(length)],
                    log_pi_reference=[-rng.expovariate(0.5) for _ in range(2 if closed else 0)],
                    answer_ids=[[rng.randint(20, 22), 3] for _ in right],
                    verdicts=["right" if r else rng.choice(["wrong", "unparsed", "timeout"]) for r in right],
                    num_correct=sum(right),
                    num_answers=len(right),
                )
            )
        return ledger.from_rows(rows)

    return make


def groups(table: pa.Table) -> list[list[dict]]:
    rows = table.to_pylist()
    return [list(rows) for _, rows in itertools.groupby(rows, key=lambda row: row["question_id"])]


def rho(row: dict, rule: WeightRule) -> float:
    """One trace's weight, from its row alone."""
    ratios = [p - q for p, q in zip(row["log_pi"], row["log_q"], strict=True)]
    if not row["closed"] or not row["trace_ids"]:
        return 0.0
    if rule.gate == "sum" and sum(row["log_pi"]) - sum(row["log_q"]) < rule.threshold:
        return 0.0
    if rule.gate == "token" and min(ratios) < rule.threshold:
        return 0.0
    if rule.estimator == "accuracy":
        correctness = row["verdicts"].count("right") / len(row["verdicts"])
    else:
        total = sum(row["log_pi_reference"])
        correctness = math.exp(total / len(row["reference_ids"]) if rule.estimator == "gml" else total)
    alpha = 1 / len(row["trace_ids"]) if rule.exponent is None else rule.exponent
    return math.exp(alpha * sum(ratios)) * correctness


def weights_by_hand(rows: list[dict], rule: WeightRule) -> list[float]:
    rhos = [rho(row, rule) for row in rows]
    scale = sum(rhos) if rule.normalized else len(rhos)
    weights = [value / scale if scale else 0.0 for value in rhos]
    if rule.selection == "soft":
        return weights
    best = max(range(len(rhos)), key=rhos.__getitem__)
    return [sum(weights) if k == best else 0.0 for k in range(len(rhos))]


@pytest.mark.parametrize("exponent", [None, 0.0, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_weights_equal_a_computation_by_hand(random_table, estimator, exponent):
    table = random_table()
    for normalized, gate, selection in itertools.product((True, False), GATES, SELECTIONS):
        rule = WeightRule(estimator, exponent, normalized, gate, -1.5, selection)
        weighed, summary = weigh(table, rule, seed=0)
        ledger.check(weighed, needs=["log_weight", "weight", "chosen", "flags"])
        unusable = []
        for rows in groups(weighed):
            expected = weights_by_hand(rows, rule)
            assert [row["weight"] for row in rows] == pytest.approx(expected, rel=1e-9, abs=0)
            assert [math.exp(row["log_weight"]) for row in rows] == pytest.approx(
                [rho(r, rule) for r in rows], rel=1e-9
            )
            assert [row["chosen"] for row in rows] == [value > 0 for value in expected]
            if not any(expected):
                unusable.append(rows[0]["question_id"])
            elif rule.normalized:
                assert sum(row["weight"] for row in rows) == pytest.approx(1.0)
        assert [id_ for id_, _ in summary.unusable] == unusable
        assert summary.traces_with_weight == sum(row["chosen"] for row in weighed.to_pylist())


def test_the_random_ledger_holds_every_case(random_table):
    """Or the test above would prove less than it says."""
    rows = random_table().to_pylist()
    assert {row["closed"] for row in rows} == {True, False}
    assert any(not row["num_correct"] for row in rows if row["closed"])
    assert weigh(random_table(), WeightRule(), 0)[1].unusable[0][0] == "q0"
    gated = [
        sum(map(len, weigh(random_table(), WeightRule(gate=gate, threshold=-1.5), 0)[0]["flags"].to_pylist()))
        for gate in GATES
    ]
    assert len(set(gated)) == 3


def test_summary_by_hand(make_table):
    """rho = 1, 1/2 (accuracy 1 and 1/2 at pi = q), then one trace alone, then none."""
    even = {"log_pi": [-1.0, -1.0, -1.0], "log_q": [-1.0, -1.0, -1.0]}
    right, half = {**even, "num_correct": 2}, {**even, "num_correct": 1}
    none = {**even, "num_correct": 0, "verdicts": ["wrong", "unparsed"]}
    _, summary = weigh(make_table([right, half], [right, none], [none, none]), WeightRule(), 0)
    assert summary.questions == 3
    assert summary.mean_effective_sample_size == pytest.approx((1.5**2 / 1.25 + 1) / 2)
    assert summary.mean_max_weight == pytest.approx((2 / 3 + 1) / 2)
    assert summary.mean_bound == pytest.approx((math.log(0.75) + math.log(0.5)) / 2)
    assert summary.traces_with_weight == 3
    assert summary.unusable == [("q2", "2 no correct answer")]


def test_questions_without_weight_are_listed_with_their_reasons(make_table):
    unclosed = {"closed": False, "num_correct": 0, "num_answers": 0, "answer_ids": [], "verdicts": []}
    wrong = {"num_correct": 0, "verdicts": ["wrong", "wrong"]}
    far = {"log_pi": [-9.0, -9.0, -9.0]}
    table = make_table([wrong, wrong, unclosed], [{}, {}, {}], [far, far, wrong])
    weighed, summary = weigh(table, WeightRule(gate="sum", threshold=-10.0), 0)
    assert summary.unusable == [("q0", "2 no correct answer, 1 unclosed"), ("q2", "2 gated, 1 no correct answer")]
    lost = [row for row in weighed.to_pylist() if row["question_id"] != "q1"]
    assert {row["weight"] for row in lost} == {0.0}
    assert {row["log_weight"] for row in lost} == {-math.inf}
    assert not any(row["chosen"] for row in lost)
    assert {example.prompt for example in training_examples(weighed, WeightRule())} == {(5, 6)}
    assert sum(example.weight for example in training_examples(weighed, WeightRule())) == pytest.approx(1.0)


def test_nothing_usable_at_all_is_counted_not_nan(make_table):
    wrong = {"num_correct": 0, "verdicts": ["wrong", "wrong"]}
    weighed, summary = weigh(make_table([wrong, wrong], [wrong, wrong]), WeightRule(), 0)
    assert len(summary.unusable) == summary.questions == 2
    assert summary.traces_with_weight == 0
    assert weighed["weight"].to_pylist() == [0.0] * 4
    assert training_examples(weighed, WeightRule()) == []


def test_a_weight_that_underflows_is_zero_and_said_to_be(make_table):
    far = {"log_pi": [-1e4, -1e4, -1e4], "log_q": [-1.0, -1.0, -1.0]}
    weighed, _ = weigh(make_table([far, far]), WeightRule(exponent=1.0, normalized=False), 0)
    assert weighed["weight"].to_pylist() == [0.0, 0.0]
    assert not any(weighed["chosen"].to_pylist())
    normalized, _ = weigh(make_table([far, far]), WeightRule(exponent=1.0), 0)
    assert normalized["weight"].to_pylist() == [0.5, 0.5], "normalising rescues it: only the ratio of weights counts"


def test_flags(make_table):
    table = make_table(
        [
            {"closed": False, "num_correct": 0, "num_answers": 0, "answer_ids": [], "verdicts": []},
            {"trace_ids": [2], "log_pi": [-1.0], "log_q": [-1.0]},
            {"num_correct": 0, "verdicts": ["wrong", "wrong"]},
            {"log_pi": [-9.0, -9.0, -9.0]},
            {},
        ]
    )
    weighed, _ = weigh(table, WeightRule(gate="token", threshold=-5.0), 0)
    assert weighed["flags"].to_pylist() == [["unclosed"], ["empty"], ["no correct answer"], ["gated"], []]


def test_one_trace_carries_all_of_its_question(make_table):
    weighed, summary = weigh(make_table([{}], [{"num_correct": 0, "verdicts": ["wrong", "wrong"]}]), WeightRule(), 0)
    assert weighed["weight"].to_pylist() == [1.0, 0.0]
    assert summary.mean_effective_sample_size == pytest.approx(1.0)


def test_a_gate_keeps_a_trace_exactly_at_its_threshold(make_table):
    table = make_table([{"log_pi": [-1.0, -2.0, -0.5], "log_q": [-0.5, -1.0, -0.25]}])
    for gate, value in (("sum", -1.75), ("token", -1.0)):
        assert weigh(table, WeightRule(gate=gate, threshold=value), 0)[0]["weight"].to_pylist() == [1.0]
        assert weigh(table, WeightRule(gate=gate, threshold=value + 0.01), 0)[0]["weight"].to_pylist() == [0.0]


@pytest.mark.parametrize("normalized", [True, False])
def test_resampling_draws_traces_by_their_weights(make_table, normalized):
    """3000 questions with accuracies 0, 1/4, 3/4 at pi = q.  Binomial counts, z = 5: false alarm 6e-7 each."""
    even = {"log_pi": [-1.0, -1.0, -1.0], "log_q": [-1.0, -1.0, -1.0], "num_answers": 4}
    counts = [0, 1, 3]
    table = make_table(*([{**even, "num_correct": c} for c in counts] for _ in range(3000)))
    rule = WeightRule(normalized=normalized, selection="resample")
    weighed, _ = weigh(table, rule, seed=1)
    weights = torch.tensor(weighed["weight"].to_pylist()).view(-1, 3)
    assert ((weights > 0).sum(-1) == 1).all()
    total = 1.0 if normalized else 1 / 3
    assert torch.allclose(weights.sum(-1), torch.tensor(total))
    drawn = (weights > 0).sum(0).tolist()
    assert drawn[0] == 0
    assert abs(drawn[1] - 750) < 5 * math.sqrt(3000 * 0.25 * 0.75)
    assert weigh(table, rule, seed=1)[0].equals(weighed)
    assert not weigh(table, rule, seed=2)[0].equals(weighed)


def test_the_seed_matters_to_resampling_alone(random_table):
    for selection in SELECTIONS:
        rule = WeightRule(selection=selection)
        assert weigh(random_table(), rule, 1)[0].equals(weigh(random_table(), rule, 2)[0])


def test_weighing_twice_and_back_changes_nothing(random_table):
    table, mild = random_table(), WeightRule()
    strict = WeightRule("gml", 1.0, False, "sum", -2.0, "argmax")
    first, summary = weigh(table, mild, 0)
    other, _ = weigh(first, strict, 0)
    back, again = weigh(other, mild, 0)
    assert not other.equals(first)
    assert back.equals(first)
    assert repr(again) == repr(summary)
    assert table["weight"].null_count == len(table), "the table handed in is left as it was"


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (WeightRule(), "log_pi"),
        (WeightRule(), "log_q"),
        (WeightRule(), "num_correct"),
        (WeightRule("gml"), "log_pi_reference"),
        (WeightRule("likelihood"), "log_pi_reference"),
    ],
)
def test_an_unfilled_column_is_named(make_table, rule, missing):
    table = make_table([{missing: None}, {}])
    with pytest.raises(ledger.LedgerError, match=f"'{missing}' is empty in 1 of 2"):
        weigh(table, rule, 0)


def test_each_estimator_asks_for_its_own_columns_only(make_table):
    unverified = make_table([{"num_correct": None, "num_answers": None, "verdicts": None, "answer_ids": None}])
    assert weigh(unverified, WeightRule("gml"), 0)[0]["weight"].to_pylist() == [1.0]
    unscored_reference = make_table([{"log_pi_reference": None}])
    assert weigh(unscored_reference, WeightRule(), 0)[0]["weight"].to_pylist() == [1.0]


# ---- training examples -------------------------------------------------------------------------------------------


def test_answers_share_a_traces_weight_by_how_often_they_were_drawn(make_table):
    answers = {"answer_ids": [[20, 3], [21, 3], [20, 3], [22, 3]], "verdicts": ["right", "right", "right", "wrong"]}
    table = make_table([{**answers, "num_correct": 3, "num_answers": 4}, {}])
    weighed, _ = weigh(table, WeightRule(), 0)
    first, second = weighed["weight"].to_pylist()
    examples = training_examples(weighed, WeightRule())
    assert [example.response for example in examples] == [(10, 11, 2, 20, 3), (10, 11, 2, 21, 3), (10, 11, 2, 20, 3)]
    assert [example.prompt for example in examples] == [(5, 6)] * 3, "the reasoner's prompt, without the hint"
    assert [example.weight for example in examples] == pytest.approx([first * 2 / 3, first / 3, second])
    assert correct_answers(weighed.to_pylist()[0]) == [((20, 3), pytest.approx(2 / 3)), ((21, 3), pytest.approx(1 / 3))]


@pytest.mark.parametrize("estimator", ["gml", "likelihood"])
def test_without_a_verifier_traces_are_paired_with_the_reference(make_table, estimator):
    weighed, _ = weigh(make_table([{}, {"closed": False}]), WeightRule(estimator), 0)
    (example,) = training_examples(weighed, WeightRule(estimator))
    assert example.response == (10, 11, 2, 20, 3)
    assert example.weight == 1.0


def test_examples_of_a_trace_sum_to_its_weight(random_table):
    for rule in (WeightRule(), WeightRule(exponent=1.0, normalized=False), WeightRule(selection="argmax")):
        weighed, _ = weigh(random_table(), rule, 0)
        total = sum(example.weight for example in training_examples(weighed, rule))
        assert total == pytest.approx(sum(weighed["weight"].to_pylist()))


def test_the_examples_have_the_gradient_that_the_docstring_promises(make_table, make_model):
    """w (grad log pi(z|x) + mean over correct draws of grad log pi(y|x,z)), by one backward pass per draw."""
    answers = {"answer_ids": [[20, 3], [21, 3], [20, 3], [22, 3]], "verdicts": ["right", "right", "right", "wrong"]}
    table = make_table(
        [{**answers, "num_correct": 3, "num_answers": 4}, {"trace_ids": [12, 2], "log_pi": [-1, -1], "log_q": [-2, -1]}]
    )
    weighed, _ = weigh(table, WeightRule(), 0)
    model = make_model()

    def log_prob(prompt: list[int], response: list[int]) -> torch.Tensor:
        logits = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        return sum(logits[len(prompt) + t - 1, token] for t, token in enumerate(response))

    objective = torch.tensor(0.0)
    for row in weighed.to_pylist():
        right = [ids for ids, verdict in zip(row["answer_ids"], row["verdicts"], strict=True) if verdict == "right"]
        given = row["prompt_ids"] + row["trace_ids"]
        mean = sum(log_prob(given, ids) for ids in right) / len(right)
        objective = objective + row["weight"] * (log_prob(row["prompt_ids"], row["trace_ids"]) + mean)
    objective.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for example in training_examples(weighed, WeightRule()):
        (example.weight * response_log_probs(model, [(example.prompt, example.response)]).sum()).backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_unweighed_ledgers_give_no_examples_but_an_error(make_table):
    with pytest.raises(ledger.LedgerError, match="weigh"):
        training_examples(make_table([{}, {}]), WeightRule())


# ---- rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"estimator": "acc"},
        {"gate": "worst"},
        {"selection": "best"},
        {"exponent": -0.5},
        {"exponent": math.inf},
        {"exponent": math.nan},
        {"threshold": math.nan},
    ],
)
def test_impossible_rules_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        WeightRule(**bad)


def test_every_rule_has_a_description_of_its_own():
    options = itertools.product(ESTIMATORS, (None, 0.0, 0.5), (True, False), GATES, (*SELECTIONS, "resample"))
    rules = [WeightRule(e, x, n, g, -2.0, s) for e, x, n, g, s in options]
    lines = {describe(dataclasses.replace(rule, threshold=-2.0)) for rule in rules}
    assert len(lines) == len(rules)
    assert describe(WeightRule()) == "accuracy, exponent 1/|z|, normalized, no gate, soft"


def test_comparison_of_two_weighings_by_hand(make_table):
    table = make_table([{}, {}], [{}, {}], [{}, {}])

    def with_weights(*weights: float) -> pa.Table:
        return ledger.with_columns(table, weight=list(weights))

    moved = compare(with_weights(0.8, 0.2, 1.0, 0.0, 0.0, 0.0), with_weights(0.1, 0.3, 2.0, 0.0, 1.0, 0.0))
    # first question: (0.8, 0.2) against (0.25, 0.75); second: the same; third: unusable under the first rule
    assert moved.total_variation == pytest.approx(0.55 / 2)
    assert moved.heaviest_changed == 0.5
