"""A JupyterLab on a copy of the lessons, with settings of its own, and a lesson in the browser as a learner has it."""

import ast
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import PATIENCE
from playwright.sync_api import Browser, Locator, Page, TimeoutError

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = Path(os.environ.get("VARCORE_SCREENSHOTS", ROOT / "test-artefacts"))
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}  # nothing is asked of a server elsewhere
OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
)
KERNEL = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
IDLE = f"() => window.jupyterapp && {KERNEL}?.status === 'idle'"
RUN_ALL = "() => { jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ranAll = true; }); }"
ERRORS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].flatMap(cell => cell.outputs?.toJSON() ?? [])
    .filter(output => output.output_type === 'error').map(output => output.ename + ': ' + output.evalue)"""
ASK = f"""async (expression) => {{
    const future = {KERNEL}.requestExecute({{code: '', silent: true, user_expressions: {{value: expression}}}});
    return (await future.done).content.user_expressions.value;
}}"""
DRAWN = "figure => figure.data.map(trace => ({name: trace.name, x: [...trace.x ?? []], y: [...trace.y ?? []]}))"
AGREES = """([figure, index, axis, wanted]) => {
    const drawn = [...figure.data[index]?.[axis] ?? []];
    return drawn.length === wanted.length && drawn.every((value, i) =>
        Math.abs(value - wanted[i]) <= 1e-9 + 1e-6 * Math.abs(wanted[i]));
}"""


class Explorer:
    """One live figure of a lesson, with the controls of its cell."""

    def __init__(self, lesson: "Lesson", box: Locator, number: int):
        self.lesson, self.box, self.page = lesson, box, lesson.page
        self.figure = box.locator(".js-plotly-plot").nth(number)

    def control(self, name: str) -> Locator:
        label = self.box.locator(".widget-label", has_text=re.compile(rf"^\s*{re.escape(name)}\s*$"))
        return label.locator("xpath=..")

    def value(self, name: str) -> str:
        """What the reader sees beside the slider."""
        return (self.control(name).locator(".widget-readout").text_content() or "").strip()

    def push(self, name: str, key: str = "ArrowRight") -> str:
        """Move a slider by one step, as with the keyboard; the value it then shows, which must be another."""
        before = self.value(name)
        self.control(name).locator(".noUi-handle").focus()
        self.page.keyboard.press(key)
        readout = self.control(name).locator(".widget-readout")
        self.page.wait_for_function(
            "([readout, before]) => readout.textContent.trim() !== before", arg=[readout.element_handle(), before]
        )
        return self.value(name)

    def choose(self, name: str, option: str) -> None:
        """Press one of a row of buttons."""
        self.control(name).get_by_role("button", name=option, exact=True).click()

    def click(self, place: int) -> None:
        """Click a bar of the figure, at its middle."""
        bar = self.figure.locator(".bars .point").nth(place).bounding_box()
        assert bar is not None
        middle = bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2
        self.page.mouse.move(*middle)
        self.page.wait_for_function("figure => figure._hoverdata?.length", arg=self.figure.element_handle())
        self.page.mouse.click(*middle)

    def keep(self, name: str) -> None:
        """A screenshot to look at."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.figure.scroll_into_view_if_needed()
        self.page.screenshot(path=ARTEFACTS / f"lesson-{self.lesson.name[:2]}-{name}.png")

    def drawn(self) -> list[dict[str, Any]]:
        """Name, x and y of every trace of the figure as plotly holds them."""
        return self.figure.evaluate(DRAWN)

    def expect(self, index: int, axis: str, wanted: Sequence[float]) -> None:
        """Trace number `index` comes to show these numbers on this axis."""
        handle = self.figure.element_handle()
        try:
            self.page.wait_for_function(AGREES, arg=[handle, index, axis, list(wanted)], timeout=PATIENCE)
        except TimeoutError:
            trace = self.drawn()[index]
            assert trace[axis] == pytest.approx(list(wanted), rel=1e-6, abs=1e-9), trace["name"]


class Lesson:
    """A lesson in JupyterLab."""

    def __init__(self, page: Page, name: str):
        self.page, self.name = page, name

    def run(self) -> None:
        """Run all cells and wait until the kernel has nothing left to do."""
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function("() => window.ranAll", timeout=4 * PATIENCE)
        self.page.wait_for_function(IDLE, timeout=PATIENCE)
        assert self.page.evaluate(ERRORS) == []

    def ask(self, expression: str) -> Any:
        """The value of an expression in the lesson's kernel; one that Python can write down."""
        reply = self.page.evaluate(ASK, expression)
        assert reply["status"] == "ok", reply
        return ast.literal_eval(reply["data"]["text/plain"])

    def explorer(self, call: str, number: int = 0) -> Explorer:
        """A live figure, the first unless another number is given, under the code cell that contains `call`."""
        place = self.page.evaluate(
            "call => [...jupyterapp.shell.currentWidget.content.model.cells].findIndex("
            "cell => cell.type === 'code' && cell.sharedModel.source.includes(call))",
            call,
        )
        assert place >= 0, f"{self.name} has no code cell with {call}"
        self.page.evaluate("place => jupyterapp.shell.currentWidget.content.scrollToItem(place, 'start')", place)
        box = self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{place}'] .jp-OutputArea")
        explorer = Explorer(self, box, number)
        explorer.figure.locator(".main-svg").first.wait_for(timeout=PATIENCE)
        return explorer

    def shut_down(self) -> None:
        """End the kernel: the next lesson needs the processor."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def port_of(server: subprocess.Popen) -> str:
    """The port on which the server says that it listens."""
    assert server.stderr is not None
    watchdog, said = threading.Timer(PATIENCE / 1000, server.kill), []
    watchdog.start()
    for line in server.stderr:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/lab", line):
            watchdog.cancel()
            return found[1]
    watchdog.cancel()
    pytest.fail(f"JupyterLab ended, or did not start in {PATIENCE / 1000:.0f} s. It said:\n{''.join(said)}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and token of a JupyterLab whose files and settings are all in a temporary folder."""
    home, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    shutil.copytree(ROOT / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT / "benchmarks/results", home / "benchmarks/results")  # logs that lessons read
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), encoding="utf-8")
    own = {name: str(home / name.lower()) for name in OWN_FOLDERS} | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"]
    command += [f"--ServerApp.root_dir={home}"]
    with subprocess.Popen(command, env=os.environ | own, stderr=subprocess.PIPE, text=True) as server:
        port = port_of(server)
        drain = threading.Thread(target=server.stderr.read)  # or the pipe fills, and the server waits
        drain.start()
        yield f"http://127.0.0.1:{port}/lab", token
        server.terminate()
        drain.join()


@pytest.fixture
def lesson(chromium: Browser, lab: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[Lesson]:
    """The lesson of this name, opened and run from top to bottom; nothing was asked of another machine."""
    address, token = lab
    context = chromium.new_context(viewport={"width": 1400, "height": 1500})
    context.set_default_timeout(PATIENCE)
    page, asked, failed = context.new_page(), [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{address}/tree/notebooks/{request.param}?token={token}&reset")
    page.wait_for_function(IDLE)
    opened = Lesson(page, request.param)
    opened.run()
    yield opened
    opened.shut_down()
    context.close()
    assert failed == []
    assert [url for url in asked if url.startswith("http") and not url.startswith("http://127.0.0.1:")] == []
