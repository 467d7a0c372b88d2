"""The explorer of the report page, in a real browser: it shows what the notebooks' explorer computes."""

import os
import re
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from pages import Opened, bound, choose, column, shown_weights, slide, summary, tokens
from playwright.sync_api import Page

from varcore.viz.explore import EXPONENTS, weigh_question
from varcore.viz.report import write_report


@pytest.fixture(scope="module")
def opened(chromium, finished_run) -> Iterator[Opened]:
    opened = Opened(chromium, write_report(finished_run))
    yield opened
    assert opened.misdeeds == []
    opened.context.close()


@pytest.fixture
def page(opened) -> Page:
    """The page as it is when it opens, at q-mixed."""
    opened.page.get_by_label("Traces drawn by").select_option(index=0)
    choose(opened.page, "q-mixed")
    opened.page.get_by_role("button", name="Start again").click()
    opened.page.locator("#browser thead button").first.click()
    if column(opened.page, "#") != sorted(column(opened.page, "#")):
        opened.page.locator("#browser thead button").first.click()
    return opened.page


# ----------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize("estimator", ["accuracy", "gml", "likelihood"])
@pytest.mark.parametrize("selection", ["soft", "resample", "argmax"])
def test_the_shown_weights_are_pythons_under_every_rule(page, table, estimator, selection):
    page.get_by_label("Estimator of").select_option(estimator)
    page.get_by_label("Selection").select_option(selection)
    page.get_by_label("Exponent of π/q").press("Home")
    for exponent in EXPONENTS:
        rule = {"exponent": exponent, "estimator": estimator}
        found = weigh_question(table, "q-mixed", **rule, selection=selection)
        assert shown_weights(page) == pytest.approx(found.weights, rel=6e-3)  # three digits are shown
        assert summary(page)["effective traces"] == f"{found.effective:.2f} of 4"
        assert bound(page) == pytest.approx(found.bound, abs=6e-4)
        assert ("a bound on log p(x), from" in summary(page)["log mean weight"]) == (exponent == "1")
        page.keyboard.press("ArrowRight")
    assert page.get_by_label("Exponent of π/q").get_attribute("aria-valuetext") == "1: the exact weight"


@pytest.mark.parametrize("selection", ["soft", "resample", "argmax"])
@pytest.mark.parametrize("dropped", [(0,), (1,), (0, 1)])
def test_a_dropped_trace_leaves_its_weight_to_the_others(page, table, selection, dropped):
    rule = {"exponent": "0.2", "estimator": "gml", "selection": selection}
    slide(page, "0.2")
    page.get_by_label("Estimator of").select_option("gml")
    page.get_by_label("Selection").select_option(selection)
    for trace in dropped:
        box = page.get_by_label(f"Keep trace {trace}")
        box.uncheck()
        assert box.evaluate("box => box === document.activeElement")  # the table is new, the focus is kept
    found = weigh_question(table, "q-mixed", **rule, dropped=dropped)
    assert shown_weights(page) == pytest.approx(found.weights, rel=6e-3)
    assert bound(page) == pytest.approx(found.bound, abs=6e-4)
    assert summary(page)["effective traces"] == f"{found.effective:.2f} of {4 - len(dropped)}"
    assert all("dropped" in column(page, "weight")[trace] for trace in dropped)
    page.get_by_label(f"Keep trace {dropped[0]}").check()
    less = weigh_question(table, "q-mixed", **rule, dropped=dropped[1:])
    assert shown_weights(page) == pytest.approx(less.weights, rel=6e-3)


def test_no_weight_at_all_is_said(page):
    for trace in (0, 1):
        page.get_by_label(f"Keep trace {trace}").uncheck()
    page.get_by_label("Selection").select_option("argmax")
    assert shown_weights(page) == [0, 0, 0, 0]
    assert "no trace has weight" in summary(page)["log mean weight"]
    assert summary(page)["effective traces"] == "0.00 of 2"


def test_bars_follow_and_the_runs_own_weight_stands_beside(page, table):
    own = [row["weight"] for row in table.to_pylist()[:4]]
    assert not any("in the run" in cell for cell in column(page, "weight"))
    slide(page, "1")
    found = weigh_question(table, "q-mixed", exponent="1", estimator="accuracy", selection="soft")
    widths = page.locator("#browser .bar").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    assert widths == pytest.approx([100 * weight for weight in found.weights if weight], rel=1e-3)
    said = [re.search(r"in the run ([\d.]+)", cell) for cell in column(page, "weight")]
    assert [float(match[1]) if match else 0.0 for match in said] == pytest.approx(own, rel=6e-3)
    page.get_by_role("button", name="Start again").click()
    assert shown_weights(page) == pytest.approx(own, rel=6e-3)


def test_flags_follow_the_estimator(page):
    assert column(page, "flags")[2:] == ["unclosed", "no correct answer"]
    page.get_by_label("Estimator of").select_option("likelihood")
    assert column(page, "flags")[2:] == ["unclosed", ""]


def test_a_table_sorted_by_weight_stays_sorted_when_the_rule_moves(page):
    page.get_by_label("Estimator of").select_option("gml")
    page.locator("#browser thead button", has_text="weight").click()
    orders = []
    for exponent in ("0", "1"):
        slide(page, exponent)
        assert shown_weights(page) == sorted(shown_weights(page), reverse=True)
        orders.append(column(page, "#"))
    assert orders[0] != orders[1]


# ---------------------------------------------------------------------------------------------------- the tokens


def test_a_click_or_a_key_opens_the_tokens_of_a_trace(page, table, template):
    row = table.to_pylist()[0]
    column_ = page.locator("#browser tbody td.text")
    column_.nth(0).click()
    words = [template.tokenizer.decode([id_]) for id_ in row["trace_ids"]]
    assert tokens(page) == [f"{word} ▼\xa0−0.10" for word in words]
    assert f"Sum: ▼\xa0−{0.1 * len(words):.2f}." in page.locator(".heat").inner_text()
    assert page.get_by_label("Tokens of trace 0").get_attribute("aria-expanded") == "true"
    column_.nth(0).click()
    assert tokens(page) == []
    page.get_by_label("Tokens of trace 0").press("Enter")
    assert len(tokens(page)) == len(words)
    page.keyboard.press("Enter")  # the button keeps the focus
    assert tokens(page) == []
    page.get_by_label("Keep trace 0").click()  # a control in the row does not open it
    assert tokens(page) == []


def test_hostile_tokens_are_text(opened):
    choose(opened.page, "q-hostile")
    opened.page.get_by_label("Tokens of trace 1").click()
    assert "<" in "".join(tokens(opened.page))
    assert opened.page.locator(".heat script, .heat img").count() == 0


def test_the_reasoners_own_traces_have_no_ratio(page):
    page.get_by_label("Traces drawn by").select_option(label="π₀, without a hint")
    assert page.get_by_label("Estimator of").locator("option").all_text_contents() == ["accuracy"]
    assert "gml, likelihood, for log_pi_reference is not filled" in page.locator("#browser").inner_text()
    for exponent in ("0", "1"):
        slide(page, exponent)
        assert shown_weights(page) == [0.25] * 4
    page.get_by_label("Tokens of trace 2").click()
    assert "zero on every token" in page.locator(".heat").inner_text()


# ------------------------------------------------------------------------------------------------------- the look


def luminance(colour: list[float]) -> float:
    parts = [part / 255 for part in colour[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page: Page, selector: str) -> list[float]:
    """WCAG contrast of each element's text with what is painted behind it."""
    pairs = page.locator(selector).evaluate_all(
        """nodes => nodes.map(node => {
            const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const layers = [];
            for (let at = node; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
            const paint = (colour) => { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); };
            layers.forEach(paint);
            const ground = [...pixel.getImageData(0, 0, 1, 1).data];
            paint(getComputedStyle(node).color);
            return [ground, [...pixel.getImageData(0, 0, 1, 1).data]];
        })"""
    )
    lights = [sorted(map(luminance, pair)) for pair in pairs]
    return [(light + 0.05) / (dark + 0.05) for dark, light in lights]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_fits_a_narrow_window_and_reads_in_both_schemes(chromium, finished_run, scheme):
    opened = Opened(chromium, write_report(finished_run), width=360, scheme=scheme)
    page = opened.page
    choose(page, "q-mixed")
    for trace in (0, 2, 3):
        page.get_by_label(f"Tokens of trace {trace}").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".heat").first.bounding_box()["width"] <= 360  # pyright: ignore[reportOptionalSubscript]
    for selector in (
        ".token",
        ".token .ratio",
        ".heat .note",
        ".aside, .summary dt, .summary dd, .explorer .note",
        ".open",
    ):
        assert min(contrast(page, selector)) >= 4.5, selector
    opened.context.close()
