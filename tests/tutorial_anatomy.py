"""The anatomy of a tutorial, rule by rule: each rule yields what breaks it, as "rule; what arrived. Repair: how"."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import anatomy
from anatomy import Cells, code, prose, section, text

from varcore.exercises.task import Task

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
CARD = (*anatomy.CARD, "Tasks")
TIERS = {"warm-up": "Warm-up", "core": "Core", "stretch": "Stretch"}
FOLDED = re.compile(r"<details><summary>Model answer</summary>.+?</details>", re.DOTALL)
Tasks = tuple[Task, ...]


def heading(task: Task) -> str:
    return f"{task.name} {task.title} ({', '.join(filter(None, [task.tier, task.kind]))})"


def stub_of(cells: Cells, task: Task) -> int | None:
    """Where the cell is in which the reader writes: the one before the task's check."""
    call = f'check("{task.name}", {task.solution.__name__})'
    return next((place - 1 for place, cell in enumerate(cells) if text(cell) == call), None)


def title(cells: Cells, tasks: Tasks) -> Iterator[str]:
    yield from anatomy.title(cells)


def card(cells: Cells, tasks: Tasks) -> Iterator[str]:
    rows = anatomy.card_of(cells)
    if tuple(rows) != CARD:
        yield f"the card has the rows {CARD}; it has {tuple(rows)}. Repair: rows '| **Needs** | ... |', in this order"
    elif not re.search(r"\d+ minutes to work through; .*to run", rows["Time"]):
        yield f"Time says minutes; it says {rows['Time']!r}. Repair: '75 minutes to work through; a few seconds to run'"


def setup(cells: Cells, tasks: Tasks) -> Iterator[str]:
    first, *later = code(cells)
    if first is not cells[1] or "varcore.__version__" not in text(first):
        yield "a setup cell that prints the versions follows the card; it does not. Repair: see tutorial 01's"
    for cell in later:
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(text(cell)))):
            yield f"only the setup cell imports; so does {text(cell)[:40]!r}. Repair: move them to the setup cell"


def headings(cells: Cells, tasks: Tasks) -> Iterator[str]:
    for tier, name in TIERS.items():
        wanted = [heading(task) for task in tasks if task.tier == tier]
        found = [title for cell in section(cells, name) for mark, title in anatomy.headings(cell) if mark == "###"]
        numbered = [title for title in found if re.match(r"\d", title)]
        if numbered != wanted:
            yield f"section '## {name}' holds the tasks {wanted}; it has {numbered}. Repair: headings and TASKS alike"


def parts(cells: Cells, tasks: Tasks) -> Iterator[str]:
    for task in tasks:
        words = prose(section(cells, heading(task)))
        if not re.search(r"\*\*Why\.\*\* .+\*\*Spec\.\*\* ", words, re.DOTALL):
            yield f"a task says why, then what exactly; {task.name} does not. Repair: '**Why.** ...', '**Spec.** ...'"
        if task.kind == "experiment" and not re.search(r"\*\*[^*]*\d[^*]*\*\*", words.partition("**Spec.**")[2]):
            yield f"an experiment has a numeric target in bold; {task.name} has none. Repair: '**at most 0.06 nats**'"


def calls(cells: Cells, tasks: Tasks) -> Iterator[str]:
    for task in tasks:
        place, name = stub_of(cells, task), task.solution.__name__
        wanted = [f'check("{task.name}", {name})', f'hint("{task.name}")', f'solution("{task.name}")']
        after = [] if place is None else [text(cell) for cell in cells[place + 1 : place + 4]]
        if after != wanted:
            yield f"after the stub of {task.name} come the cells {wanted}; there are {after}. Repair: one cell each"


def stubs(cells: Cells, tasks: Tasks) -> Iterator[str]:
    for task in tasks:
        place, name = stub_of(cells, task), task.solution.__name__
        tree = ast.parse(text(cells[place])).body if place is not None else []
        if task.wants == "value":
            if not tree or ast.unparse(tree[-1]) != f"{name} = None":
                yield f"the stub of {task.name} is '{name} = None'; it is not. Repair: write it so"
            continue
        parameters = list(inspect.signature(inspect.unwrap(task.solution)).parameters)
        blank = [node for node in tree if isinstance(node, ast.FunctionDef) and node.name == name]
        if not blank or [arg.arg for arg in blank[0].args.args] != parameters:
            yield f"the stub of {task.name} is a function {name} of {parameters}; it is not. Repair: its def line"
        elif not isinstance(blank[0].body[-1], ast.Raise):
            yield f"the stub of {task.name} raises NotImplementedError; it does not. Repair: raise NotImplementedError"


def debugging(cells: Cells, tasks: Tasks) -> Iterator[str]:
    for task in tasks:
        if task.kind == "debugging" and "def suspect(" not in "".join(map(text, code(section(cells, heading(task))))):
            yield f"a debugging task shows the faulty function; {task.name} does not. Repair: 'def suspect(...)'"


def written(cells: Cells, tasks: Tasks) -> Iterator[str]:
    if not FOLDED.search(prose(section(cells, "In your own words"))):
        yield (
            "a question is answered in writing, with a folded model answer; none is. Repair: '### In your own words', "
            "'<details><summary>Model answer</summary> ... </details>'"
        )


def ending(cells: Cells, tasks: Tasks) -> Iterator[str]:
    number = tasks[0].name.partition(".")[0]
    if text(cells[-1]) != f"progress({number})":
        yield f"the last cell is the progress line; it is {text(cells[-1])[:40]!r}. Repair: progress({number})"
    last = text(cells[-2])
    for wanted in ("If you got stuck.", "An open question.", "References."):
        if not re.search(rf"^\*\*{re.escape(wanted)}\*\*", last, re.MULTILINE):
            yield f"a paragraph before it begins with '**{wanted}**'; none does. Repair: begin it so"
    if "## Now import it" not in prose(cells):
        yield "the reader's functions are held against the library's; they are not. Repair: '## Now import it'"


def links(cells: Cells, tasks: Tasks) -> Iterator[str]:
    named = re.findall(r"\]\((?!\w+://)([^)#]+)", prose(cells))
    gone = sorted({path for path in named if not (TUTORIALS / path).is_file()})
    if gone or not named:
        yield f"a tutorial links to lessons that are there; {gone or 'it has no link'} is not. Repair: the path"


Rule = Callable[[Cells, Tasks], Iterator[str]]
RULES: tuple[Rule, ...] = (
    title,
    card,
    setup,
    headings,
    parts,
    calls,
    stubs,
    debugging,
    written,
    ending,
    links,
)


def faults(cells: Cells, tasks: Tasks) -> list[str]:
    return [fault for rule in RULES for fault in rule(cells, tasks)]
