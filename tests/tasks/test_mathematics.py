"""What surrounds Math-Verify.  The pairs in tests/data/verifier_audit.jsonl say what is right; here is how."""

from __future__ import annotations

import pytest

from varcore.tasks import Verdict
from varcore.tasks.math_pool import MathPool
from varcore.tasks.mathematics import judge_mathematics

RIGHT, WRONG, UNPARSED, TIMEOUT = Verdict


class Recorder(MathPool):
    """In place of a pool: equal texts are right, and it remembers what it was asked."""

    def __init__(self, special: dict[str, Verdict] | None = None):
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.special = special or {}

    def compare(self, gold: str, answer: str) -> Verdict:
        self.asked.append((gold, answer))
        return self.special.get(answer, RIGHT if gold == answer else WRONG)


def test_gold_and_answer_may_both_be_whole_solutions(pool):
    gold = "We halve one.\nHence \\boxed{\\frac{1}{2}}."
    assert judge_mathematics(pool, gold, "It is one of two parts,\nso \\boxed{0.5}") is RIGHT
    assert judge_mathematics(pool, gold, "\\boxed{0.25}") is WRONG
    assert judge_mathematics(pool, "We halve one.\nHence 1/2.", "0.5") is UNPARSED  # a gold text without an answer


@pytest.mark.parametrize("percent", ["50%", r"50\%", "50 percent", r"50\text{ percent}"])
def test_a_percent_sign_never_stands_for_two_values(pool, percent):
    asked = {"0.5": RIGHT, "50": WRONG}, {"0.5": WRONG, "50": RIGHT}
    for asks, verdicts in zip((False, True), asked, strict=True):
        for gold, verdict in verdicts.items():
            assert judge_mathematics(pool, gold, percent, asks_percentage=asks) is verdict
            assert judge_mathematics(pool, percent, gold, asks_percentage=asks) is verdict


@pytest.mark.parametrize("power", range(-6, 7, 2))
def test_no_factor_of_a_hundred_is_forgiven(pool, power):
    value = f"{7 * 10.0**power:.6f}"
    assert judge_mathematics(pool, "7", value) is (RIGHT if power == 0 else WRONG)


def test_nothing_is_never_right(pool):
    for nothing in ("", " ", "\n", "$$", r"\boxed{}", "Answer:"):
        assert judge_mathematics(pool, "5", nothing) is UNPARSED
        assert judge_mathematics(pool, nothing, nothing) is UNPARSED


def test_long_and_deep_answers_are_not_parsed(pool):
    assert judge_mathematics(pool, "5", r"\boxed{" + "1+" * 600 + "1}") is UNPARSED
    assert judge_mathematics(pool, "5", "(" * 26 + "5" + ")" * 26) is UNPARSED


def test_a_list_stops_at_the_first_comparison_that_reaches_its_limit():
    """Twenty against twenty would otherwise wait four hundred times."""
    recorder = Recorder({"tower": TIMEOUT})
    gold, answer = ", ".join(map(str, range(20))), ", ".join(["tower"] * 20)
    assert judge_mathematics(recorder, gold, answer) is TIMEOUT
    assert len(recorder.asked) == 1


def test_lists_that_are_too_long_are_not_compared():
    recorder = Recorder()
    gold, answer = ", ".join(map(str, range(21))), ", ".join(map(str, range(1, 22)))
    assert judge_mathematics(recorder, gold, answer) is UNPARSED
    assert recorder.asked == []


def test_an_item_that_cannot_be_read_leaves_a_list_unparsed_but_a_wrong_one_decides():
    recorder = Recorder({"?": UNPARSED})
    assert judge_mathematics(recorder, "(1, 2)", "(1, ?)") is UNPARSED
    assert judge_mathematics(recorder, "(1, 2)", "(3, ?)") is WRONG
