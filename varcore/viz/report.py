"""One self-contained page about a run: no server, no network, nothing from outside the file.

The page's own scripts are named in its content policy by their hashes, so a script that came in with a trace, a
question or an answer would not run even if it were not escaped; and the policy forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path

from plotly.offline import get_plotlyjs

from varcore.llm import storage
from varcore.viz import about, evidence, outcomes
from varcore.viz.markup import escape
from varcore.viz.runview import RunView, open_run

SCRIPTS = ("report.js", "explorer.js", "traces.js", "browser.js")


def write_report(run_path: Path) -> Path:
    """Write ``report.html`` into a run directory, whole or not at all, and return its path.

    A run that is not finished gives a report of the stages that are done.  Raises RunDirectoryError if `run_path` is
    not a run directory of this format, StorageError if the page cannot be written.
    """
    page = render(open_run(run_path))
    path = run_path / "report.html"
    with storage.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(view: RunView) -> str:
    """The page.  The same run gives the same text."""
    scripts = [_inline(script) for script in (get_plotlyjs(), *map(_asset, SCRIPTS))]
    body = (
        about.status(view),
        about.introduction(view),
        outcomes.scores(view),
        outcomes.training(view),
        evidence.weights(view),
        evidence.leaks(view),
        outcomes.compute(view),
        evidence.traces(view),
        about.settings(view),
    )
    return _fill(
        _asset("report.html"),
        title=escape(f"Run {view.path.resolve().name}"),
        policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        style=_asset("report.css"),
        body="\n".join(body),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _fill(template: str, **slots: str) -> str:
    """Replace every {{name}} once; what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: slots[match[1]], template)


def _asset(name: str) -> str:
    return files("varcore.viz").joinpath(name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """A script that may stand in a page: nothing in it may end its element or open a comment."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("A script of the report contains '</script' or '<!--' and cannot be inlined.")
    return script


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
