"""The report says what the run holds, in a real browser, and runs and fetches nothing that came in with the run."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from varcore.llm import storage
from varcore.llm.run import RunDirectoryError
from varcore.viz import browser as trace_browser
from varcore.viz import markup
from varcore.viz.report import write_report

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 180_000  # milliseconds: the page is five megabytes of script, and the machine may be busy


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail(
            "These tests open the report in Chromium, which is missing. Install it: apt-get install -y chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


class Opened:
    """A report in the browser, and all that the page did which it should not."""

    def __init__(self, browser: Browser, path: Path, width: int = 1200, scheme: str = "light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.misdeeds: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.misdeeds.append(f"error: {error}"))
        self.page.on("console", lambda message: self.misdeeds.append(f"console: {message.text}"))
        self.page.goto(path.resolve().as_uri(), wait_until="load", timeout=PATIENCE)
        self.page.wait_for_selector("#browser, .missing")

    def _dialog(self, dialog):
        self.misdeeds.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="module")
def report(finished_run) -> Path:
    return write_report(finished_run)


@pytest.fixture(scope="module")
def opened(chromium, report) -> Iterator[Opened]:
    opened = Opened(chromium, report)
    yield opened
    opened.context.close()


def choose(page: Page, id_: str) -> None:
    """Choose a question of the traces of q by its id."""
    data = json.loads(page.locator("#browser-data").text_content() or "")
    index = [question["id"] for question in data["questions"]].index(id_)
    page.get_by_label("Question", exact=True).select_option(str(index))


def column(page: Page, name: str) -> list[str]:
    headers = [text.strip(" ↑↓") for text in page.locator("#browser thead th").all_text_contents()]
    place = headers.index(name) + 1
    return page.locator(f"#browser tbody tr > :nth-child({place})").all_text_contents()


# ------------------------------------------------------------------------------------------------- what came in


def test_text_of_a_run_never_becomes_markup_and_nothing_is_fetched(opened, report):
    page = opened.page
    for id_ in ("q-hostile", "q-hostile-2"):
        choose(page, id_)
        page.wait_for_timeout(200)
    assert opened.misdeeds == []
    assert opened.requests == [report.resolve().as_uri()]
    assert page.locator("img").count() == 0
    assert page.evaluate("typeof Plotly") == "object"


def test_hostile_traces_questions_and_answers_are_shown_literally(opened, table):
    page = opened.page
    for id_ in ("q-hostile", "q-hostile-2"):
        choose(page, id_)
        from_ledger = next(row["question"] for row in table.to_pylist() if row["question_id"] == id_)
        assert page.locator(".question .asked").text_content() == from_ledger
    assert "1 + 1 </script>" in (page.locator(".question").text_content() or "")
    hostile = ["<img src=http://tracker.example/pixel.png>", "{{policy}} ]]> &lt;b&gt; \u2028 \\u003c"]
    assert column(page, "trace")[:2] == hostile
    assert column(page, "trace")[2:] == ["<script>alert(1)</script>", "</script><script>alert(2)</script>"]
    assert "torch2 <img src=x onerror=alert(5)>" in page.locator("#settings").inner_text().replace("\t", "")


def test_hostile_text_stands_nowhere_in_the_file_as_it_came(report):
    page = report.read_text(encoding="utf-8")
    for piece in ("<script>alert", "<img src", "<!-- <script", "tracker.example/pixel.png>"):
        assert piece not in page
    assert page.count("</script>") == page.count("<script")


def test_a_script_that_slipped_in_would_not_run(chromium, report, tmp_path):
    """The content policy knows the page's own scripts by hash: the second line of defence, tested without the first."""
    injected = '<script>document.title="taken"</script><img src="x" onerror="document.title=\'taken\'">'
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text(encoding="utf-8").replace("<main>", f"<main>{injected}", 1), encoding="utf-8")
    opened = Opened(chromium, broken)
    opened.page.wait_for_timeout(200)
    assert opened.page.title() != "taken"
    assert opened.page.locator("#browser table").count() == 1
    opened.context.close()


def test_json_in_a_script_element_cannot_leave_it_and_comes_back_whole():
    value = {"a": ["</script>", "<!--", "&amp;", "\u2028", "\x00"], "b": [float("nan"), float("-inf"), 0.5]}
    text = markup.safe_json(value)
    assert not re.search(r"[<>&\u2028\x00]", text)
    assert json.loads(text) == {"a": value["a"], "b": [None, None, 0.5]}


# --------------------------------------------------------------------------------------------- what the page says


def test_the_trace_browser_shows_the_ledger(opened, table):
    page = opened.page
    choose(page, "q-mixed")
    rows = table.to_pylist()[:4]
    assert column(page, "tokens") == [str(len(row["trace_ids"])) for row in rows]
    ratios = [sum(row["log_pi"]) - sum(row["log_q"]) for row in rows]
    assert [float(text.replace("−", "-")) for text in column(page, "log π − log q")] == pytest.approx(ratios, abs=0.006)
    weights = [float(text) for text in column(page, "weight")]
    assert weights == pytest.approx([row["weight"] for row in rows], abs=6e-4)
    assert column(page, "correct") == ["2/2", "1/2", "no answer", "0/2"]
    assert column(page, "answers")[3] == "9 <b> wrong × 2"


def test_empty_unclosed_unsolved_and_weightless_are_said(opened):
    page = opened.page
    choose(page, "q-mixed")
    traces = column(page, "trace")
    assert traces[1] == "(empty trace)"
    assert "not closed" in traces[2]
    assert column(page, "flags")[2:] == ["unclosed", "no correct answer"]
    choose(page, "q-unsolved")
    said = page.locator(".question").inner_text()
    assert "Unsolved" in said
    assert "all 4 weights are zero" in said
    choose(page, "q-unclosed")
    assert "4 of 4 traces were cut off" in page.locator(".question").inner_text()


def test_columns_sort_both_ways_and_say_so(opened):
    page = opened.page
    choose(page, "q-mixed")
    header = page.locator("#browser thead th", has_text="tokens")
    unsorted = [int(text) for text in column(page, "tokens")]
    header.locator("button").click()
    assert [int(text) for text in column(page, "tokens")] == sorted(unsorted, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the header keeps the focus
    assert [int(text) for text in column(page, "tokens")] == sorted(unsorted)
    assert header.get_attribute("aria-sort") == "ascending"
    page.locator("#browser thead th button").first.click()


def test_questions_can_be_filtered_and_walked_through(opened):
    page = opened.page
    page.get_by_label("Outcome").select_option("weightless")
    question = page.get_by_label("Question", exact=True)
    assert question.locator("option").count() == 2
    asked = page.locator(".question .asked")
    assert asked.text_content() == "q-unsolved = 1"
    page.get_by_label("Next question").click()
    assert asked.text_content() == "q-unclosed = 1"
    assert page.get_by_label("Next question").is_disabled()
    page.get_by_label("Level", exact=True).select_option("2")
    assert question.locator("option").count() == 1
    page.get_by_label("Level", exact=True).select_option("")
    page.get_by_label("Outcome").select_option("all")
    page.get_by_label("Traces drawn by").select_option(label="π₀, without a hint")
    assert column(page, "weight") == ["–"] * 4
    page.get_by_label("Traces drawn by").select_option(index=0)


def test_tables_hold_the_results(opened, results):
    page = opened.page
    text = page.locator("#results").inner_text()
    for method in results["methods"].values():
        assert markup.percent(method["all"]["avg"]) in text
        assert markup.percent(method["2"]["avg"]) in text
    assert markup.percent(results["differences"]["vr - pi0"]["all"]["avg"], signed=True) in text
    bold = page.locator("#results table strong").all_text_contents()
    assert len(bold) == 2 * 2 * 3  # vr - pi0 and vr - rft leave out zero; three groups; Avg@k and Pass@k
    weights = page.locator("#weights").inner_text()
    assert "4 of 6 questions have a usable trace" in weights
    assert re.search(r"4 no correct answer\s+1\b", weights)
    assert re.search(r"4 unclosed\s+1\b", weights)
    assert page.locator("table").count() == page.locator("table caption").count()


def test_every_figure_is_drawn_and_described(opened):
    page = opened.page
    plots = page.locator("figure .plot")
    assert plots.count() == 6
    for index in range(plots.count()):
        assert plots.nth(index).locator("svg.main-svg").count() > 0
        assert len(plots.nth(index).get_attribute("aria-label") or "") > 20
        assert page.locator("figure figcaption").nth(index).inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_does_not_scroll_sideways(chromium, report, scheme):
    opened = Opened(chromium, report, width=360, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert opened.misdeeds == []
    opened.context.close()


# ------------------------------------------------------------------------------------------------- the file itself


def test_the_report_is_one_file_of_bounded_size_and_the_same_every_time(finished_run, report):
    first = report.read_bytes()
    assert len(first) < 8_000_000
    assert write_report(finished_run).read_bytes() == first
    assert not list(finished_run.glob(".*tmp"))


def test_questions_are_chosen_within_bounds_and_in_order():
    ids = [f"q{index}" for index in range(1000)]
    chosen = trace_browser.choose(ids, 8)
    assert len(chosen) == 200
    assert chosen == [id_ for id_ in ids if id_ in set(chosen)] == trace_browser.choose(ids, 8)
    assert set(trace_browser.choose(list(reversed(ids)), 8)) == set(chosen)
    assert len(trace_browser.choose(ids, 60)) == 100  # at most 6,000 traces
    assert trace_browser.choose(["one"], 10_000) == ["one"]


def test_a_very_long_trace_keeps_its_beginning_and_its_end(template, table):
    row = table.to_pylist()[0]
    text = "a" * 5000 + "b" * 100_000 + "c" * 3000
    shown = trace_browser.trace({**row, "trace_ids": template.trace(text), "log_pi": None}, template)["text"]
    assert len(shown) < 6100
    assert shown.startswith("a" * 4000)
    assert shown.endswith("c" * 2000)
    assert "102,000 characters left out" in shown


@pytest.mark.parametrize("done", [0, 1, 3, 5, 6, 8, 9])
def test_an_unfinished_run_gives_a_report_of_what_is_done(finished_run, tmp_path, done):
    path = tmp_path / "unfinished"
    shutil.copytree(finished_run, path)
    (path / "results.json").unlink()
    stages = storage.read_json(path / "state.json")["done"]
    storage.write_json(path / "state.json", {"done": stages[:done]})
    if done == 0:
        for name in ("state.json", "compute.json", "metrics.jsonl", "environment.json"):
            (path / name).unlink()
        shutil.rmtree(path / "models")
    page = write_report(path).read_text(encoding="utf-8")
    assert f"{done} of {len(stages)} stages are done" in page
    assert f"Next: {stages[done]} " in page
    assert ('id="browser-data"' in page) == ("sample-prior-1" in stages[:done])
    assert ("questions have a usable trace" in page) == ("weigh-1" in stages[:done])


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="not a run of varcore"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
