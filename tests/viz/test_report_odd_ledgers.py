"""The report of an odd ledger: what can be drawn is drawn, and what is left out is said."""

import math
import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from pages import Opened, choose, column, shown_weights, slide, summary, tokens

from varcore.llm import ledger, storage
from varcore.viz.explore import weigh_question
from varcore.viz.report import write_report


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
    directions = page.locator(".tokens").evaluate_all("lines => lines.map(line => getComputedStyle(line).direction)")
    assert directions == ["rtl", "ltr", "ltr"]
    letters = page.locator(".heat").nth(1).locator(".word").all_text_contents()
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
