"""The anatomy of a lesson, rule by rule: each rule yields what breaks it, as "rule; what arrived. Repair: how"."""

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Cells = list[dict[str, Any]]
CARD = ("Needs", "Time", "Hardware", "You will be able to", "Equations")
HELPERS = {"show", "still", "live", "present", "grade"}  # of varcore.viz.lesson
MOST_WORDS, MOST_EQUATIONS, MOST_LINES, CODE_CELLS = 1_800, 3, 25, range(18, 31)
WIDGET, PICTURES = "application/vnd.jupyter.widget-view+json", ("image/svg+xml", "image/png")
EQUATION = re.compile(r"\$\$.+?\$\$", re.DOTALL)
FOLDED = re.compile(r"<details>\s*<summary>Answer</summary>.+?</details>", re.DOTALL)


def cells_of(path: Path) -> Cells:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code(cells: Cells) -> Cells:
    return [cell for cell in cells if cell["cell_type"] == "code" and text(cell).strip()]


def prose(cells: Cells) -> str:
    return "\n\n".join(text(cell) for cell in cells if cell["cell_type"] == "markdown")


def outputs(cell: dict[str, Any], kind: str) -> list[str]:
    """What the cell shows of one MIME type; "text" is what it printed."""
    if kind == "text":
        return ["".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"]
    return ["".join(output["data"][kind]) for output in cell["outputs"] if kind in output.get("data", {})]


def shows(cell: dict[str, Any], *kinds: str) -> bool:
    return any(kind in output.get("data", {}) for output in cell["outputs"] for kind in kinds)


def at(cells: Cells, piece: str) -> dict[str, Any]:
    """The first cell with this piece of text."""
    return next(cell for cell in cells if piece in text(cell))


def put(cells: Cells, old: str, new: str) -> None:
    """Replace a piece of text in the first cell that has it."""
    cell = at(cells, old)
    cell["source"] = text(cell).replace(old, new)


def headings(cell: dict[str, Any]) -> list[tuple[str, str]]:
    """("##", title) of every heading of a section, ("###", title) of a part of one."""
    return re.findall(r"^(##|###) (.+)$", text(cell), re.MULTILINE) if cell["cell_type"] == "markdown" else []


def section(cells: Cells, name: str) -> Cells:
    """From the first cell with a heading that contains `name` up to the next heading that is not below it."""
    for place, cell in enumerate(cells):
        for level, title in headings(cell):
            if name in title:
                below = lambda later, level=level: all(len(mark) > len(level) for mark, _ in headings(later))  # noqa: E731
                return [cell, *itertools.takewhile(below, cells[place + 1 :])]
    return []


def card_of(cells: Cells) -> dict[str, str]:
    return dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \|$", text(cells[0]), re.MULTILINE))


def title_of(cells: Cells) -> str:
    return text(cells[0]).partition("\n")[0].removeprefix("# ")


def title(cells: Cells) -> Iterator[str]:
    if not re.fullmatch(r"# .+\?", text(cells[0]).partition("\n")[0]):
        yield f"the title is a question; it is {title_of(cells)!r}. Repair: first line '# ...?' of the first cell"


def card(cells: Cells) -> Iterator[str]:
    if tuple(card_of(cells)) != CARD:
        has = tuple(card_of(cells))
        yield f"the card has the rows {CARD}; it has {has}. Repair: rows '| **Needs** | ... |', in this order"
    elif not re.search(r"\d+ minutes? to read; .*to run", card_of(cells)["Time"]):
        yield f"Time says minutes; it says {card_of(cells)['Time']!r}. Repair: '25 minutes to read; about 1 to run'"


def setup(cells: Cells) -> Iterator[str]:
    first, *later = code(cells)
    if first is not cells[1] or 'os.environ["HF_HUB_OFFLINE"] = "1"' not in text(first):
        yield "the setup cell follows the card and turns the network off; it does not. Repair: see another lesson's"
    if not re.search(r"varcore \d\S* with torch \d", "".join(outputs(first, "text"))):
        yield "the setup cell prints the versions; it does not. Repair: print('varcore', ..., 'with torch', ...)"
    for cell in later:
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(text(cell)))):
            yield f"only the setup cell imports; so does {named(cell)}. Repair: move its imports to the setup cell"


def helpers(cells: Cells) -> Iterator[str]:
    for name, cell in itertools.product(sorted(HELPERS), code(cells)):
        if f"def {name}(" in text(cell):
            yield f"{name}() is varcore.viz.lesson's; {named(cell)} defines it anew. Repair: import it"


def predict(cells: Cells) -> Iterator[str]:
    before = prose(cells).partition("$$")[0]
    if "### Predict\n" not in before:
        yield "the reader predicts before the first displayed equation; no '### Predict' is there. Repair: move it up"


def equations(cells: Cells) -> Iterator[str]:
    count = len(EQUATION.findall(prose(cells)))
    if not 1 <= count <= MOST_EQUATIONS:
        yield f"one to {MOST_EQUATIONS} displayed equations; there are {count}. Repair: say the others in words"


def code_cells(cells: Cells) -> Iterator[str]:
    if len(code(cells)) not in CODE_CELLS:
        yield f"18 to 30 code cells; there are {len(code(cells))}. Repair: merge or split where one thing is shown"


def words(cells: Cells) -> Iterator[str]:
    plain = EQUATION.sub(" ", prose(cells))
    count = sum(any(letter.isalnum() for letter in word) for word in plain.split())
    if count > MOST_WORDS:
        yield f"at most {MOST_WORDS:,} words of markdown; there are {count:,}. Repair: shorten"


def function(cells: Cells) -> Iterator[str]:
    for cell in code(cells):
        tree = ast.parse(text(cell))
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
        sizes = [node.end_lineno - node.lineno for node in tree.body if isinstance(node, ast.FunctionDef)]
        if asserts and "varcore." in text(cell) and any(size < MOST_LINES for size in sizes):
            return
    yield (
        f"one cell shows a function of at most {MOST_LINES} lines and asserts it equal to varcore's; none does. "
        "Repair: put the assert below the function"
    )


def break_it(cells: Cells) -> Iterator[str]:
    lesson = [text(cell) for cell in code(section(cells, "Break it")) if "grade(" not in text(cell)]
    if not any("assert" in source for source in lesson):
        yield "a section 'Break it' plants a bug and asserts that a check catches it; nothing does. Repair: assert it"


def explore(cells: Cells) -> Iterator[str]:
    if not any(shows(cell, WIDGET) for cell in code(section(cells, "Explore"))):
        yield "a section 'Explore' has a live figure; there is none. Repair: live(...) or present(...), and run"
    for cell, following in itertools.pairwise([*code(cells), {"outputs": []}]):
        if shows(cell, WIDGET) and not shows(following, *PICTURES):
            yield f"a still picture follows a live one; none follows {named(cell)}. Repair: still(...)"
        if shows(cell, WIDGET) and not all(len(words) > 20 for words in outputs(cell, "text/plain")):
            yield f"a live figure has words where widgets do not run; {named(cell)} has none. Repair: present(...)"


def checkpoints(cells: Cells) -> Iterator[str]:
    for number in (1, 2):
        heading = f"### Checkpoint {number}\n"
        place = next((i for i, cell in enumerate(cells) if heading in text(cell) + "\n"), len(cells))
        after = cells[place + 1 : place + 3]
        if len(after) < 2 or "grade(" not in text(after[0]) or not FOLDED.match(text(after[1])):
            yield (
                f"checkpoint {number} is heading, code cell with grade(), folded answer; it is not. Repair: "
                f"'{heading.strip()}', grade(...), '<details><summary>Answer</summary>...</details>'"
            )
        elif "Not answered yet" not in "".join(outputs(after[0], "text")):
            yield f"a checkpoint is committed unanswered; checkpoint {number} is not. Repair: None, and run again"


def recap(cells: Cells) -> Iterator[str]:
    name = ["", *(title for cell in cells for mark, title in headings(cell) if mark == "##")][-1]
    last = section(cells, name)
    ending = prose(last)
    if not name.endswith("Recap"):
        yield f"the last section is 'Recap'; it is {name!r}. Repair: '## N. Recap'"
    for wanted in (r"Your guesses\.", r"In \w+ lines\.", r"References\."):
        if not re.search(rf"^\*\*{wanted}\*\*", ending, re.MULTILINE):
            yield f"a paragraph of the recap begins with '**{wanted}**'; none does. Repair: begin it so"
    if not re.search(r"arXiv 2509\.22637.*?Eq\. [A-Z]?\.?\d", ending.partition("**References.**")[2], re.DOTALL):
        yield "references give the paper's equations by number; they do not. Repair: 'arXiv 2509.22637: Eq. 2'"
    yield from claims([page for cell in code(last) for page in outputs(cell, "text/html")])


def claims(pages: list[str]) -> Iterator[str]:
    page = next((page for page in pages if re.search(r"<th[^>]*>claim</th><th[^>]*>number</th>", page)), "")
    header = re.findall(r"<th[^>]*>(.*?)</th>", page)
    if len(header) != 3 or "interval" not in header[2]:
        yield f"the recap has a table of claim, number, interval; it has {header}. Repair: add it"
        return
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)[1:]]
    for claim, number, interval in rows:
        if not re.search(r"\d", number) or not interval.strip():
            yield f"a claim has a number and an interval, or 'exact'; {claim!r} has {[number, interval]}. Repair: add"


def pictures(cells: Cells) -> Iterator[str]:
    for cell in code(cells):
        unnamed = [
            page for page in outputs(cell, "image/svg+xml") if not re.match(r'<svg [^>]*aria-label="[^"]{20,}', page)
        ]
        unnamed += [
            output
            for output in cell["outputs"]
            if "image/png" in output.get("data", {}) and not output["metadata"].get("image/png", {}).get("alt")
        ]
        unnamed += [page for page in outputs(cell, "text/html") if re.search(r"<img (?![^>]*\balt=\"[^\"])", page)]
        if unnamed:
            yield f"every picture has alt text; one of {named(cell)} has not. Repair: still(figure) writes it"
    if re.search(r"!\[\s*\]\(|<img (?![^>]*\balt=\"[^\"])", prose(cells)):
        yield "every picture has alt text; one in the prose has not. Repair: ![what it shows](...)"


def shown(cells: Cells) -> Iterator[str]:
    """Execution counts say that a cell ran; this says that what it showed is there."""
    blank = []
    for cell in code(cells):
        calls = [node.value for node in ast.parse(text(cell)).body if isinstance(node, ast.Expr)]
        names = {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}
        blank += [named(cell)] if names & (HELPERS | {"print"}) and not cell["outputs"] else []
    if blank:
        yield f"outputs are committed; {', '.join(blank)} has none. Repair: run the notebook"


def named(cell: dict[str, Any]) -> str:
    """A cell by its number of execution, as the reader sees it."""
    return f"cell [{cell['execution_count']}]"


Rule = Callable[[Cells], Iterator[str]]
EVERYWHERE: tuple[Rule, ...] = (title, card, setup, helpers, predict, equations, words, explore, recap, pictures, shown)
LESSON: tuple[Rule, ...] = (*EVERYWHERE, code_cells, function, break_it, checkpoints)


def faults(cells: Cells, rules: tuple[Rule, ...]) -> list[str]:
    return [fault for rule in rules for fault in rule(cells)]
