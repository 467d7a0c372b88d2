"""Do the tests notice a fault?  Plants one fault at a time in the mathematics and runs the tests that call it.

    pip install mutmut==3.8.1
    python benchmarks/mutation.py --out runs/mutants.jsonl [bounds exact ...]

The faults ("mutants") are those of mutmut's operators (a sign, a comparison, a number plus one, an argument dropped, a
`not` removed ...) and four of our own: a step of a chain of methods dropped, two arguments swapped, the condition of an
`if` turned round, a statement that is only a call dropped.  Not planted: what dies at once (a name or an argument set
to None), the words of an error (the whole `raise` is dropped instead), annotations and docstrings.

pytest collects the tests once.  Each fault then has a forked process of its own, in which the faulty function takes the
place of the sound one; the faulty file is on disk too, in a copy of the tree, for the tests that start an interpreter.
A fault outside every function has a fresh pytest.  It runs the tests that call the function, quick ones first, then
those that call none.  A fault is killed by a test that fails, or by a minute of computing.  Survivors are printed.

A fault that the file named by --out says is killed is not tried again, unless its function has changed: delete the file
after a change of the tests that may have made them weaker.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_assignment

ROOT = Path(__file__).parents[1]
MODULES = ["bounds", "estimators", "posteriors", "policies", "equivalence", "certificates", "exact", "evaluation"]
FILES = [*MODULES, "_binomial", "_shapes"]
TESTS = [f"tests/test_{file}.py" for file in [*MODULES, "every_function", "public_api"]]
CPU_SECONDS, MEMORY = 60, 12 << 30
UNTOUCHED = (cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator)
NAMES_OF_TYPES = {"__all__", "Rewards", "Logits"}


class Mutant(NamedTuple):
    file: str
    owner: cst.Module | cst.FunctionDef  # what the fault is in: a function, or the file outside every function
    line: int
    node: cst.CSTNode
    changed: cst.CSTNode

    @property
    def function(self) -> str:
        return self.owner.name.value if isinstance(self.owner, cst.FunctionDef) else ""

    def row(self) -> dict[str, str | int]:
        before, after = (" ".join(text(node).split()) for node in (self.node, self.changed))
        faulty = text(self.owner.deep_replace(self.node, self.changed))
        key = hashlib.sha256(f"{self.file} {faulty}".encode()).hexdigest()[:16]
        return dict(key=key, file=self.file, function=self.function, line=self.line, before=before, after=after)


def text(node: cst.CSTNode) -> str:
    return node.code if isinstance(node, cst.Module) else cst.Module([]).code_for_node(node)


def faults(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Every changed version of one node."""
    for kind, operator in mutation_operators:
        if isinstance(node, kind) and operator is not operator_assignment:
            for changed in operator(node):
                if operator is not operator_arg_removal or len(changed.args) < len(
                    node.args
                ):  # no None for an argument
                    yield changed
    if isinstance(node, cst.Call):
        if isinstance(node.func, cst.Attribute) and text(node.func.value) not in ("torch", "math"):
            yield node.func.value
        if len(node.args) == 2 and not any(argument.keyword or argument.star for argument in node.args):
            first, second = node.args
            yield node.with_changes(
                args=[first.with_changes(value=second.value), second.with_changes(value=first.value)]
            )
    if isinstance(node, cst.If):
        condition = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), condition))
    if isinstance(node, cst.Raise) or (isinstance(node, cst.Expr) and isinstance(node.value, cst.Call)):
        yield cst.Pass()


def is_left_alone(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Expr):
        return isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)  # a docstring
    if isinstance(node, cst.Assign):
        return isinstance(target := node.targets[0].target, cst.Name) and target.value in NAMES_OF_TYPES
    return isinstance(node, UNTOUCHED)


def list_mutants(file: str) -> tuple[cst.Module, list[Mutant]]:
    wrapper = MetadataWrapper(cst.parse_module((ROOT / f"varcore/{file}.py").read_text()), unsafe_skip_copy=True)
    lines, found = wrapper.resolve(PositionProvider), {}

    def visit(node: cst.CSTNode, owner: cst.Module | cst.FunctionDef) -> None:
        if is_left_alone(node):
            return
        if isinstance(node, cst.FunctionDef) and isinstance(owner, cst.Module):
            owner = node
        for changed in faults(node):
            found.setdefault((id(node), text(changed)), Mutant(file, owner, lines[node].start.line, node, changed))
        if not isinstance(node, cst.Raise):
            for child in node.children:
                visit(child, owner)

    visit(wrapper.module, wrapper.module)
    return wrapper.module, list(found.values())


def plant(module: ModuleType, source: str) -> None:
    """Give the functions of a loaded module the code of `source`; their importers and wrappers keep their objects."""
    changed: dict = {"__name__": module.__name__}
    exec(compile(source, str(module.__file__), "exec"), changed)
    for name, new in changed.items():
        if inspect.isfunction(new) and new.__module__ == module.__name__:
            old = inspect.unwrap(getattr(module, name))
            old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


class Worker:
    """A pytest plugin: runs the collected tests once as they are, then once for each mutant of its share."""

    def __init__(self, tree: Path, sources: dict[str, cst.Module], mutants: list[Mutant], out: Path):
        self.tree, self.sources, self.mutants, self.out = tree, sources, mutants, out
        self.calls: dict[tuple[str, str], list[pytest.Item]] = {}  # (file, function) -> the tests that call it
        self.calling_none: list[pytest.Item] = []
        self.seconds: dict[pytest.Item, float] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.run_unchanged(session)
        for mutant in self.mutants:
            began = time.time()
            row = mutant.row() | {"outcome": self.try_out(mutant, session)}
            with self.out.open("a") as log:
                log.write(json.dumps(row | {"seconds": round(time.time() - began, 1)}) + "\n")
        return True

    def run_unchanged(self, session: pytest.Session) -> None:
        owners = {code: key for file in FILES for key, code in functions_of(file)}
        for item in session.items:
            called: set[CodeType] = set()
            sys.setprofile(lambda frame, event, _, called=called: called.add(frame.f_code) if event == "call" else None)
            began = time.time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            sys.setprofile(None)
            self.seconds[item] = time.time() - began
            for code in called & owners.keys():
                self.calls.setdefault(owners[code], []).append(item)
            if not called & owners.keys():
                self.calling_none.append(item)
        if session.testsfailed:
            raise RuntimeError(f"{session.testsfailed} tests fail without a fault: mend them first.")

    def try_out(self, mutant: Mutant, session: pytest.Session) -> str:
        if (child := os.fork()) == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os._exit(self.run_with(mutant, session))
        _, status = os.waitpid(child, 0)
        shutil.copy(ROOT / f"varcore/{mutant.file}.py", self.tree / f"varcore/{mutant.file}.py")
        return {0: "survived", 1: "killed", 2: "not Python"}.get(status >> 8, "?") if not status & 127 else "stopped"

    def run_with(self, mutant: Mutant, session: pytest.Session) -> int:
        source = self.sources[mutant.file].deep_replace(mutant.node, mutant.changed).code
        (self.tree / f"varcore/{mutant.file}.py").write_text(source)
        if not mutant.function:
            fresh = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS]
            return int(subprocess.run(fresh, stdout=subprocess.DEVNULL, check=False).returncode != 0)
        try:
            plant(importlib.import_module(f"varcore.{mutant.file}"), source)
        except SyntaxError:
            return 2
        except Exception:
            return 1  # it cannot be imported
        calling = self.calls.get((mutant.file, mutant.function), session.items)
        for item in [*sorted(calling, key=self.seconds.__getitem__), *self.calling_none]:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if session.testsfailed:
                return 1
        return 0


def functions_of(file: str) -> Iterator[tuple[tuple[str, str], CodeType]]:
    for name, value in vars(importlib.import_module(f"varcore.{file}")).items():
        if inspect.isfunction(value) and value.__module__ == f"varcore.{file}":
            yield (file, name), inspect.unwrap(value).__code__


def carry_over(out: Path) -> set[str]:
    """The keys of the faults that an earlier run has seen killed; only they stay in its file."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    killed = {row["key"]: row for row in rows if row["outcome"] == "killed"}
    out.write_text("".join(json.dumps(row) + "\n" for row in killed.values()))
    return set(killed)


def work(share: int, shares: int, files: list[str], killed: set[str], out: Path) -> int:
    """One process: its own copy of the tree, its own pytest, every `shares`-th mutant."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        for name in ("varcore", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [*ROOT.glob("*.md"), ROOT / "pyproject.toml"]:
            shutil.copy(path, tree)
        listed = {file: list_mutants(file) for file in files}
        mutants = [mutant for file in files for mutant in listed[file][1] if mutant.row()["key"] not in killed]
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        os.environ |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        worker = Worker(tree, {file: module for file, (module, _) in listed.items()}, mutants[share::shares], out)
        return pytest.main(["-q", "-p", "no:cacheprovider", *TESTS], plugins=[worker])


def report(out: Path) -> None:
    rows = [row for row in map(json.loads, out.read_text().splitlines()) if row["outcome"] != "not Python"]
    for row in rows:
        if row["outcome"] == "survived":
            print(f"{row['file']}.py:{row['line']}  {row['function']}")
            print(f"    {row['before'][:200]}\n  > {row['after'][:200]}")
    print(f"{'file':16}{'mutants':>8}{'killed':>8}{'stopped':>8}{'survived':>9}")
    for file in [*dict.fromkeys(row["file"] for row in rows), ""]:
        counts = Counter(row["outcome"] for row in rows if file in ("", row["file"]))
        print(f"{file or 'all':16}{counts.total():8}{counts['killed']:8}{counts['stopped']:8}{counts['survived']:9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(FILES)}; all if none is named")
    parser.add_argument("--out", type=Path, required=True, help="one line of JSON for each mutant")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    out, children = options.out.resolve(), []
    killed = carry_over(out)
    for share in range(options.processes):
        if (child := os.fork()) == 0:
            os.dup2(os.open(f"{out}.{share}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os._exit(work(share, options.processes, options.files or FILES, killed, out))
        children.append(child)
    if any([os.waitpid(child, 0)[1] for child in children]):
        sys.exit(f"pytest did not end well: read {out}.*.log")
    report(out)


if __name__ == "__main__":
    main()
