"""Is every committed notebook the record of one clean run?  Quiet if so; otherwise one line a fault, and exit status 1.

    python tools/check_notebooks.py [notebook ...]      all of notebooks/ and tutorials/ when none is named

Standard library only, so that it runs before anything is installed.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 500_000
MAX_COLUMNS = 109  # of code: what stands further right is cut where the notebook is shown as a static page
RERUN = "Repair: make notebook NB={path}"
KEPT_METADATA = {"kernelspec", "language_info"}
# A path from the top of somebody's disk, not the tail of an address or of a relative path.
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(?:root|home|Users|work|tmp|var|opt|private|mnt|content|workspace)/[\w.@+-]+"
    r"|\b[A-Z]:\\+Users\\+\w+"
)


def faults(path: Path, text: str) -> Iterator[str]:
    """Every rule that the notebook breaks, as "rule; what arrived. Repair"."""
    rerun = RERUN.format(path=path)
    size = len(text.encode())
    if size >= MAX_BYTES:
        yield f"must stay under {MAX_BYTES:,} bytes; it has {size:,}. Repair: smaller or fewer figures in its outputs"
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        yield f"must be JSON; it is not: {error}. {rerun}, or take it out of git again"
        return
    wrong = list(format_faults(notebook))
    if wrong:
        yield from (f"must follow nbformat 4; {what}. Repair: open it in JupyterLab and save it" for what in wrong)
        return

    code = [
        (number, cell)
        for number, cell in enumerate(notebook["cells"], 1)
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    yield from count_faults(path, [cell["execution_count"] for _, cell in code], rerun)
    for number, cell in code:
        longest = max(map(len, "".join(cell["source"]).splitlines()))
        if longest > MAX_COLUMNS:
            rule = f"a line of code has at most {MAX_COLUMNS} characters; one of cell {number} has {longest}"
            yield f"{rule}. Repair: ruff format; break long texts by hand"
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"no output may be an error; cell {number} raised {output.get('ename')}. {rerun}"
            if output.get("name") == "stderr":
                said = "".join(output.get("text", "")).strip()[:80]
                yield f"no output may be on stderr; cell {number} wrote {said!r}. Repair: mend what it says, run again"
            if "tutorials" in path.parts:
                yield f"a tutorial is committed without outputs; cell {number} has one. Repair: clear all outputs"
                break
    yield from metadata_faults(notebook, rerun)
    for found in sorted(set(MACHINE_PATH.findall("\n".join(strings(notebook))))):
        yield f"no path of one machine; found {found!r}. Repair: a relative path, or a temporary folder not printed"


def format_faults(notebook: object) -> Iterator[str]:
    """What keeps this from being nbformat 4: of its schema, the part that the other rules and Jupyter rely on."""
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        yield "nbformat is not 4"
        return
    if not isinstance(notebook.get("nbformat_minor"), int) or not isinstance(notebook.get("metadata"), dict):
        yield "nbformat_minor or metadata is missing"
    if not isinstance(notebook.get("cells"), list):
        yield "there is no list of cells"
        return
    ids = []
    for number, cell in enumerate(notebook["cells"], 1):
        if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
            yield f"cell {number} is not a code, markdown or raw cell"
            continue
        ids.append(cell.get("id"))
        if not is_text(cell.get("source")) or not isinstance(cell.get("metadata"), dict):
            yield f"cell {number} has no source or no metadata"
        if cell["cell_type"] == "code":
            outputs = cell.get("outputs")
            if not isinstance(outputs, list) or "execution_count" not in cell:
                yield f"code cell {number} has no outputs or no execution_count"
            elif not all(isinstance(output, dict) and "output_type" in output for output in outputs):
                yield f"cell {number} has an output without output_type"
    if notebook.get("nbformat_minor", 0) >= 5 and (None in ids or len(set(ids)) < len(ids)):
        yield "a cell has no id, or the id of another"


def is_text(source: object) -> bool:
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))


def count_faults(path: Path, counts: list[int | None], rerun: str) -> Iterator[str]:
    if "tutorials" in path.parts:
        if any(count is not None for count in counts):
            yield f"a tutorial is committed unrun; execution counts are {counts}. Repair: clear all outputs"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"execution counts must be 1 to {len(counts)} in order; they are {counts}. {rerun}"


def metadata_faults(notebook: dict, rerun: str) -> Iterator[str]:
    metadata = notebook["metadata"]
    if "widgets" in metadata:
        yield f"no widget state; the metadata has some. {rerun}"
    more = sorted(set(metadata) - KEPT_METADATA - {"widgets"})
    if more:
        yield f"metadata holds kernelspec and language_info only; it also has {more}. Repair: delete them"
    kernel = metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"the kernel must be python3, which every set-up has; it is {kernel!r}. Repair: choose Python 3 and save"
    for number, cell in enumerate(notebook["cells"], 1):
        more = sorted(set(cell["metadata"]) - {"tags"})
        if more:
            yield f"a cell's metadata holds tags only; cell {number} has {more}. Repair: delete them"


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON value, a list of lines as one; pictures, which are base64, left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and is_text(value):
        yield "".join(value)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not key.startswith("image/"):
                yield from strings(item)


def main(arguments: list[str]) -> int:
    paths = [Path(argument) for argument in arguments]
    if not paths:
        found = [path for folder in ("notebooks", "tutorials") for path in sorted((ROOT / folder).rglob("*.ipynb"))]
        paths = [path.relative_to(ROOT) for path in found if ".ipynb_checkpoints" not in path.parts]
        if not paths:
            print("check_notebooks: found no notebook under notebooks/ or tutorials/", file=sys.stderr)
            return 1
    status = 0
    for path in paths:
        for fault in faults(path, (path if path.exists() else ROOT / path).read_text(encoding="utf-8")):
            print(f"{path}: {fault}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
