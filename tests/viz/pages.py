"""The report page in a real browser, for the tests that look at it."""

import json
import re
from pathlib import Path

from helpers import PATIENCE
from playwright.sync_api import Browser, Page

from varcore.viz.explore import EXPONENTS


class Opened:
    """A report in the browser, without a network, and all that the page did which it should not."""

    def __init__(self, browser: Browser, path: Path, width: int = 1200, scheme: str = "light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
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


def choose(page: Page, id_: str) -> None:
    """Choose a question of the traces of q by its id."""
    data = json.loads(page.locator("#browser-data").text_content() or "")
    index = [question["id"] for question in data["questions"]].index(id_)
    page.get_by_label("Question", exact=True).select_option(str(index))


def column(page: Page, name: str) -> list[str]:
    headers = [text.strip(" ↑↓") for text in page.locator("#browser thead th").all_text_contents()]
    place = headers.index(name) + 1
    return page.locator(f"#browser tbody tr:not(.opened) > :nth-child({place})").all_text_contents()


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


def tokens(page: Page) -> list[str]:
    return page.locator(".token").all_text_contents()
