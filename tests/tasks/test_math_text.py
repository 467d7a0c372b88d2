"""Text made ready for a parser: each rule with an example that it must and one that it must not touch."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varcore.tasks.math_text import (
    are_named,
    asks_percentage,
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


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("$5$", "5"),
        (r"\[5\]", "5"),
        (r"\$5", "5 dollars"),
        (r"\left( 1,\, 2 \right)", "( 1, 2 )"),
        (r"\leftarrow", r"\leftarrow"),
        (r"1 \\ 2", r"1 \\ 2"),  # rows of a matrix, not a backslash and a space
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"1{,}234", "1234"),
        ("−5", "-5"),
        ("٣", "3"),
        ("1.5e-3", r"1.5 \times 10^{-3}"),
        ("2e", "2e"),
        (r"x \in [1, 2]", "[1, 2]"),
        (r"x \infty", r"x \infty"),
        ("(x, y) = (1, 2)", "(1, 2)"),
        ("  a\n b. ", "a b"),
    ],
)
def test_tidy(text, tidied):
    assert tidy(text) == tidied


@given(st.integers(0, 99), st.from_regex(r"\d{0,3}", fullmatch=True), st.from_regex(r"\d{1,4}", fullmatch=True))
def test_a_repeating_decimal_becomes_the_fraction_that_it_is(whole, fixed, period):
    """Against the geometric series: fixed part plus period / (10^|fixed| (10^|period| - 1))."""
    if not (fixed + period).isascii():
        return
    text = tidy(rf"{whole}.{fixed}\overline{{{period}}}")
    numerator, denominator = text.removeprefix(r"\frac{").removesuffix("}").split("}{")
    scale = 10 ** len(fixed)
    expected = whole + Fraction(int(fixed or 0), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))
    assert Fraction(int(numerator), int(denominator)) == expected


@pytest.mark.parametrize(
    ("text", "kind", "items"),
    [
        ("7", "", ["7"]),
        ("1, 2", "", ["1", "2"]),
        ("1 and 2", "", ["1", "2"]),
        (r"1 \text{ or } 2", "", ["1", "2"]),
        ("1,234", "", ["1234"]),
        ("1,234, 5", "", ["1234", "5"]),
        ("(1,234)", "()", ["1", "234"]),
        ("(1, 2]", "(]", ["1", "2"]),
        (r"\{1, 2, 1\}", "{}", ["1", "2"]),
        (r"\{5\}", "{}", ["5"]),
        (r"\{\}", "{}", []),
        ("(1,2),(3,4)", "", ["(1,2)", "(3,4)"]),
        ("((1,2),3)", "()", ["(1,2)", "3"]),
        ("(x+1)(x-1)", "", ["(x+1)(x-1)"]),
        ("(7)", "", ["(7)"]),
        (r"(1,2)\cup(3,4)", "", [r"(1,2)\cup(3,4)"]),
        ("sand", "", ["sand"]),
    ],
)
def test_structure(text, kind, items):
    assert structure(text) == (kind, items)


def test_nesting_counts_brackets_of_all_kinds():
    assert [nesting(text) for text in ("", "1", "(1)", "[({1})]", "()()", ")(")] == [0, 0, 1, 3, 1, 0]


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5", "5", ()),
        ("5 cm", "5", ("cm",)),
        ("5cm", "5", ("cm",)),
        ("5m", "5m", ()),  # a letter that could be a variable
        ("5 m", "5", ("m",)),
        (r"5 \text{ cm}^2", "5", ("cm", "2")),
        (r"5\text{ km/h}", "5", ("km", "h")),
        (r"5\text{ km per hour}", "5", ("km", "h")),
        (r"5 \text{ apples}", "5", ("?",)),
        (r"5 \text{ or more}", r"5 \text{ or more}", ()),
        (r"90^\circ", "90", ("degree",)),
        ("5 dollars", "5", ("dollar",)),
        ("x y", "x y", ()),
        (r"\text{cm}", r"\text{cm}", ()),
    ],
)
def test_split_unit(text, value, unit):
    assert split_unit(text) == (value, unit)


def test_percent_signs():
    assert percent_as_fraction(r"50\%") == r"\frac{50}{100}"
    assert percent_as_fraction("50 percent") == r"\frac{50}{100}"
    assert percent_as_fraction("50") == "50"
    assert percent_as_fraction("%") == "%"
    assert without_percent(r"50\%, 20%") == "50 , 20"


def test_the_question_decides_whether_a_percentage_is_asked_for():
    assert asks_percentage("Ada has 3 of 4 keys. What percentage is that?")
    assert asks_percentage("Give the share as a percent.")
    assert not asks_percentage("A price falls by 20 percent. What is it now?")
    assert not asks_percentage("")


def test_numerals():
    assert numeral("1011_2") == ("1011", "2")
    assert numeral(r"2A_{16}") == ("2a", "16")
    assert numeral(r"\text{2A}_{16}") == ("2a", "16")
    assert numeral("1011") == ("1011", "")
    assert numeral("x_2") is None


def test_names_and_marks():
    assert are_named(["x=1", "y = 2"])
    assert not are_named(["x=1", "x=2"])
    assert not are_named(["1", "y=2"])
    assert differ_in_marks("f'(x)", "f(x)")
    assert differ_in_marks(r"1+\ldots+n", "1+n")
    assert differ_in_marks("2a", "2A")
    assert not differ_in_marks(r"\Alpha x", r"\alpha x")  # commands are not letters
    assert not differ_in_marks("2a", "a+a")


def test_words():
    assert words(r"\text{Infinitely many}") == words("infinitely  many") == "infinitely many"
    assert words(r"\text{no}") == "no"
    assert words("no") is None  # two variables
    assert words("x+1") is None
