"""The explorer of the report page, in a real browser: it shows what the notebooks' explorer computes."""

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from pages import Opened, choose, column
from playwright.sync_api import Page

from varcore.llm import ledger, storage
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


def slide(page: Page, exponent: str) -> None:
    """Move the slider with the keyboard, from its left end."""
    page.get_by_label("Exponent of π/q").press("Home")
    for _ in range(EXPONENTS.index(exponent)):
        page.keyboard.press("ArrowRight")


def shown_weights(page: Page) -> list[float]:
    cells = column(page, "weight")
    return [float(re.match(r"[\d.e-]+", cell)[0].rstrip("-")) for cell in cells]  # pyright: ignore[reportOptionalSubscript]


def summary(page: Page) -> dict[str, str]:
    facts = page.locator("#browser .summary div")
    return dict(zip(facts.locator("dt").all_text_contents(), facts.locator("dd").all_text_contents(), strict=True))


def bound(page: Page) -> float:
    return float(summary(page)["log mean weight"].split(" nats")[0].replace("−", "-"))


def changed(finished_run: Path, path: Path, **tables) -> Path:
    """The report of a copy of the run with other ledgers."""
    shutil.copytree(finished_run, path)
    for source, table in tables.items():
        storage.write_table(path / "ledger" / f"round1-{source}-000.parquet", table)
    return write_report(path)


def about(template, row: dict, **changes) -> dict:
    """A ledger row with another text: its ids, and log-probabilities that differ from token to token."""
    ids = changes.pop("ids", None)
    ids = template.trace(changes.pop("text")) if ids is None else ids
    spread = [-1.0 - 0.25 * (t % 4) for t in range(len(ids))]
    return {**row, "trace_ids": list(ids), "log_pi": spread, "log_q": [-1.25] * len(ids), **changes}


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


def test_k_hat_is_shown_from_25_traces_on(chromium, finished_run, table, tmp_path):
    rows = table.to_pylist()
    many = [
        {**rows[k % 2], "trace_index": k, "log_pi": [-1 - k * k % 19 / 7] * len(rows[k % 2]["log_pi"])}
        for k in range(30)
    ]
    posterior = ledger.from_rows(many)
    opened = Opened(chromium, changed(finished_run, tmp_path / "run", posterior=posterior))
    slide(opened.page, "1")
    found = weigh_question(posterior, "q-mixed", exponent="1", estimator="accuracy", selection="soft")
    assert summary(opened.page)["Pareto k-hat"].startswith(f"{found.pareto_k:.2f}")
    assert ("not to be trusted" in summary(opened.page)["Pareto k-hat"]) == (found.pareto_k > 0.7)
    opened.page.get_by_label("Keep trace 7").uncheck()
    assert summary(opened.page)["Pareto k-hat"] == "not fitted again while traces are dropped"
    for trace in (0, 1, 2, 3, 4):
        opened.page.get_by_label(f"Keep trace {trace}", exact=True).uncheck()
    assert summary(opened.page)["Pareto k-hat"] == "needs 25 traces"
    opened.context.close()


# ---------------------------------------------------------------------------------------------------- the tokens


def tokens(page: Page) -> list[str]:
    return page.locator(".token").all_text_contents()


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


# -------------------------------------------------------------------------------------------------- odd ledgers


def test_nan_traces_are_left_out_and_said_so(chromium, finished_run, table, tmp_path):
    log_pi = table["log_pi"].to_pylist()
    log_pi[1] = [math.nan] * len(log_pi[1])
    posterior = ledger.with_columns(
        table, log_pi=log_pi, log_weight=[math.nan] * 4 + table["log_weight"].to_pylist()[4:]
    )
    opened = Opened(chromium, changed(finished_run, tmp_path / "run", posterior=posterior))
    page = opened.page
    choose(page, "q-mixed")
    found = weigh_question(posterior, "q-mixed", exponent="1/|z|", estimator="accuracy", selection="soft")
    assert shown_weights(page) == pytest.approx(found.weights, rel=6e-3)
    assert found.weights[1] == 0
    assert "left out: NaN" in column(page, "weight")[1]
    assert page.get_by_label("Keep trace 1").is_disabled()
    assert summary(page)["left out"] == "1 of the traces, for NaN among their log-probabilities"
    page.get_by_label("Tokens of trace 1").click()
    assert tokens(page) == ["</think> NaN"]
    assert "Left out, for NaN among their log-probabilities: 1 of 6 questions" in page.locator("#weights").inner_text()
    assert opened.misdeeds == []
    opened.context.close()


@pytest.mark.parametrize("how", ["empty", "missing"])
def test_without_a_scored_reference_answer_only_accuracy_is_left(chromium, finished_run, table, tmp_path, how):
    without = ledger.with_columns(table, log_pi_reference=[None] * len(table))
    without = without.drop_columns(["log_pi_reference"]) if how == "missing" else without
    opened = Opened(chromium, changed(finished_run, tmp_path / "run", posterior=without))
    choose(opened.page, "q-mixed")
    assert opened.page.get_by_label("Estimator of").locator("option").all_text_contents() == ["accuracy"]
    assert "gml, likelihood, for log_pi_reference is not filled" in opened.page.locator("#browser").inner_text()
    found = weigh_question(table, "q-mixed", exponent="1/|z|", estimator="accuracy", selection="soft")
    assert shown_weights(opened.page) == pytest.approx(found.weights, rel=6e-3)
    opened.context.close()


def test_a_ledger_that_is_not_scored_has_the_browser_without_controls(chromium, finished_run, table, tmp_path):
    later = {name: [None] * len(table) for name in ledger.LATER}
    opened = Opened(chromium, changed(finished_run, tmp_path / "run", posterior=ledger.with_columns(table, **later)))
    page = opened.page
    choose(page, "q-mixed")
    assert not page.get_by_label("Exponent of π/q").is_visible()
    assert (
        "cannot be explored. The ledger's column 'log_pi' is empty in 24 of 24 rows"
        in page.locator("#browser").inner_text()
    )
    assert column(page, "weight") == ["–"] * 4
    assert page.locator("#browser thead th", has_text="keep").count() == 0
    assert page.locator("#browser .open").count() == 0
    assert "Left out. The ledger's column 'log_weight' is empty" in page.locator("#weights").inner_text()
    assert opened.misdeeds == []
    opened.context.close()


def test_other_writing_empty_traces_and_absent_questions(chromium, finished_run, table, prior, template, tmp_path):
    row = table.to_pylist()[0]
    texts = ["שלום 12 + 3", "𝐱 ∈ ℝ² ⇒ ∑ 1", "", "ab"]
    odd = [
        about(template, row, text=text, question="מה 1 + 2?", question_id="q-odd", trace_index=k)
        for k, text in enumerate(texts)
    ]
    odd[3] |= about(template, odd[3], ids=[], closed=False, log_pi_reference=[])
    posterior = ledger.from_rows(table.to_pylist() + odd)
    only_prior = [{**row, "question_id": "q-only-prior"} for row in prior.to_pylist()[:4]]
    opened = Opened(
        chromium,
        changed(
            finished_run, tmp_path / "run", posterior=posterior, prior=ledger.from_rows(prior.to_pylist() + only_prior)
        ),
    )
    page = opened.page
    choose(page, "q-odd")
    assert page.locator(".asked").evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert page.locator("td.text .literal").evaluate_all("all => all.map(n => getComputedStyle(n).direction)") == [
        "rtl",
        "ltr",
    ]
    assert column(page, "trace")[:2] == texts[:2]
    assert column(page, "trace")[2:] == ["(empty trace)", "(empty trace) cut off, not closed"]
    for trace in range(4):
        page.get_by_label(f"Tokens of trace {trace}").click()
    letters = page.locator(".heat").nth(1).locator(".token > bdi:first-child").all_text_contents()
    assert [letter for letter in letters if letter not in "…␣"][:2] == ["𝐱", "∈"]
    assert "no tokens" in page.locator(".heat").nth(3).inner_text()
    found = weigh_question(posterior, "q-odd", exponent="1/|z|", estimator="accuracy", selection="soft")
    assert shown_weights(page) == pytest.approx(found.weights, rel=6e-3)
    choose(page, "q-only-prior")
    assert "no traces from this source" in page.locator(".question").inner_text()
    assert not page.get_by_label("Exponent of π/q").is_visible()
    page.get_by_label("Traces drawn by").select_option(index=1)
    assert shown_weights(page) == [0.25] * 4
    assert opened.misdeeds == []
    opened.context.close()


def test_ten_thousand_traces_of_one_question(chromium, finished_run, table, tmp_path):
    rows = table.to_pylist()[:4]
    many = [{**rows[k % 4], "trace_index": k} for k in range(10_000)]
    posterior = ledger.from_rows(many)
    path = changed(finished_run, tmp_path / "run", posterior=posterior)
    opened = Opened(chromium, path)
    page = opened.page
    choose(page, "q-mixed")
    found = weigh_question(posterior, "q-mixed", exponent="1/|z|", estimator="accuracy", selection="soft")
    size, _, count = summary(page)["effective traces"].partition(" of ")
    assert (float(size), count) == (pytest.approx(found.effective, rel=1e-4), "10,000")  # log weights have 4 decimals
    assert len(column(page, "#")) == 400
    assert "9,600 more traces are not listed" in page.locator("#browser").inner_text()
    slide(page, "1")
    found = weigh_question(posterior, "q-mixed", exponent="1", estimator="accuracy", selection="soft")
    assert shown_weights(page) == pytest.approx(found.weights[:400], rel=6e-3)
    assert opened.misdeeds == []
    opened.context.close()


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
    opened = Opened(chromium, finished_run / "report.html", width=360, scheme=scheme)
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
