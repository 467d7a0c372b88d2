"""Is an answer the same mathematics as the reference?

Math-Verify compares single values in processes that can be killed (`math_pool`).  Around it stands what it gets wrong:
it takes 50% for 50 as well as for 0.5, cm for m, the set {1, 2} for the pair (1, 2), 1e-7 for 2e-7, ``5 = 6`` for 6,
10 in base 2 for 10 in base 3, and seat for east.
"""

from __future__ import annotations

from varcore.tasks.answers import final_answer
from varcore.tasks.base import Verdict
from varcore.tasks.math_pool import MathPool
from varcore.tasks.math_text import (
    are_named,
    differ_in_marks,
    nesting,
    numeral,
    percent_as_fraction,
    split_unit,
    structure,
    tidy,
    without_percent,
    words,
)

LONGEST = 1000  # characters of a final answer; nothing longer is parsed
DEEPEST = 25  # nested brackets
MOST_ITEMS = 20  # of a list


def judge_mathematics(pool: MathPool, gold: str, answer: str, *, asks_percentage: bool = False) -> Verdict:
    """Whether the final answer of the text `answer` equals that of the text `gold`.

    A percent sign is a factor of 1/100, except that in a question that asks for a percentage a missing sign is
    supplied on either side: so 50% is 0.5, or it is 50, and never both.  A decimal may be rounded: it counts if every
    digit that is written is right, and the relative difference is below 2e-6.  UNPARSED without a final answer, or if
    it or the gold one cannot be read; TIMEOUT if one comparison reached the pool's limit.
    """
    gold_text, text = final_answer(gold), final_answer(answer)
    if gold_text is None or text is None or len(text) > LONGEST:
        return Verdict.UNPARSED
    gold_text, text = tidy(gold_text), tidy(text)
    if asks_percentage:
        gold_text, text = without_percent(gold_text), without_percent(text)
    if not gold_text or not text or nesting(text) > DEEPEST:
        return Verdict.UNPARSED
    try:
        return _same(pool, gold_text, text)
    except _GivenUp:
        return Verdict.TIMEOUT


class _GivenUp(Exception):
    """One comparison reached its limit, so the others of its list are not made."""


def _same(pool: MathPool, gold: str, answer: str) -> Verdict:
    """Lists are compared item by item, in order where brackets or the names of unknowns say so."""
    if gold == answer:
        return Verdict.RIGHT
    (gold_kind, golds), (kind, answers) = structure(gold), structure(answer)
    if len(golds) == len(answers) == 1 and (golds, answers) != ([gold], [answer]):
        return _same(pool, golds[0], answers[0])
    if len(golds) < 2 or len(answers) < 2:
        return _same_value(pool, gold, answer)
    if len(golds) != len(answers) or not _comparable(gold_kind, kind):
        return Verdict.WRONG
    if len(golds) > MOST_ITEMS:
        return Verdict.UNPARSED
    names_lost = are_named(golds) and not are_named(answers)
    if names_lost and kind == "{}":
        return Verdict.WRONG
    if names_lost and kind == "()":
        golds = sorted(golds)  # a point (x, y), however its coordinates were listed
    elif gold_kind in ("", "{}") and kind in ("", "{}") and not names_lost:
        answers = _matched(pool, golds, answers)
    return _worst([_same(pool, ours, theirs) for ours, theirs in zip(golds, answers, strict=True)])


def _comparable(gold_kind: str, kind: str) -> bool:
    """Lists without brackets may stand for sets and for pairs, but not for intervals."""
    return gold_kind == kind or ("" in (gold_kind, kind) and {gold_kind, kind} <= {"", "{}", "()"})


def _matched(pool: MathPool, golds: list[str], answers: list[str]) -> list[str]:
    """The answers, each moved to the place of a gold item that it equals; the rest in the places left over."""
    left, found = list(answers), {}
    for place, gold in enumerate(golds):
        match = next((answer for answer in left if _same(pool, gold, answer) is Verdict.RIGHT), None)
        if match is not None:
            left.remove(match)
            found[place] = match
    return [found[place] if place in found else left.pop(0) for place in range(len(golds))]


def _worst(verdicts: list[Verdict]) -> Verdict:
    return next((verdict for verdict in (Verdict.WRONG, Verdict.UNPARSED) if verdict in verdicts), Verdict.RIGHT)


def _same_value(pool: MathPool, gold: str, answer: str) -> Verdict:
    """One value: words, numerals in a base, numbers with units, then whatever Math-Verify can parse."""
    gold_words, answer_words = words(gold), words(answer)
    if gold_words and answer_words:
        return Verdict.RIGHT if gold_words == answer_words else Verdict.WRONG
    gold_numeral, answer_numeral = numeral(gold), numeral(answer)
    if gold_numeral and answer_numeral and (gold_numeral[1] or answer_numeral[1]):
        same_base = gold_numeral[1] == answer_numeral[1] or not answer_numeral[1]
        return Verdict.RIGHT if gold_numeral[0] == answer_numeral[0] and same_base else Verdict.WRONG
    if differ_in_marks(gold, answer):
        return Verdict.WRONG
    gold, answer = percent_as_fraction(gold), percent_as_fraction(answer)
    (gold, gold_unit), (answer, unit) = split_unit(gold), split_unit(answer)
    if gold_unit and unit and "?" not in gold_unit + unit and gold_unit != unit:
        return Verdict.WRONG
    verdict = pool.compare(gold, answer)
    if verdict is Verdict.TIMEOUT:
        raise _GivenUp
    return verdict
