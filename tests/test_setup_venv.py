"""tools/setup_venv.sh picks an interpreter that is new enough, is quiet when all is well and shows its log when not.

The interpreters here are small shell scripts, so nothing is installed.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools/setup_venv.sh"
OLD = """#!/bin/sh
case "$*" in
*version_info*) exit 1 ;;
*platform*) echo Python 3.9.6 ;;
esac
"""
# `-m venv FOLDER` copies the script itself, as a venv has a python of its own; `-m pip` says which one it came from.
NEW = """#!/bin/sh
case "$*" in
*version_info*) exit 0 ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip install "*) echo "NAME installs: $*"; exit STATUS ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project whose PATH holds only what the script calls, and no Python."""
    tools = tmp_path / "path"
    tools.mkdir()
    for name in ("sh", "mkdir", "cp", "cat"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    return tmp_path


def interpreter(folder: Path, name: str, script: str, status: int = 0) -> None:
    path = folder / "path" / name
    path.write_text(script.replace("NAME", name).replace("STATUS", str(status)))
    path.chmod(0o755)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment["PATH"] = str(folder / "path")
    return subprocess.run(["sh", SCRIPT, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def log(folder: Path) -> str:
    return (folder / ".venv/install.log").read_text()


def test_it_says_one_line_when_all_is_well(folder: Path):
    interpreter(folder, "python3", NEW)
    done = run(folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("setup: installing into .venv")
    assert done.stderr.count("\n") == 1
    assert "-c requirements-cpu.lock -e .[llm,notebooks,dev,oracles]" in log(folder)


def test_another_environment_has_its_own_folder_lock_and_extras(folder: Path):
    interpreter(folder, "python3", NEW)
    done = run(folder, ".venv-other", "other.lock", "llm,dev")
    assert done.returncode == 0
    assert done.stderr.startswith("setup: installing into .venv-other")
    assert "-c other.lock -e .[llm,dev]" in (folder / ".venv-other/install.log").read_text()
    assert not (folder / ".venv").exists()


def test_the_newest_known_python_goes_first(folder: Path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        interpreter(folder, name, NEW)
    assert run(folder).returncode == 0
    assert "python3.13 installs" in log(folder)


def test_one_that_does_not_run_is_passed_over(folder: Path):
    interpreter(folder, "python3.13", "#!/bin/sh\nexit 127\n")
    interpreter(folder, "python3.11", NEW)
    assert run(folder).returncode == 0
    assert "python3.11 installs" in log(folder)


def test_PYTHON_is_the_one_used(folder: Path):
    for name in ("python3.13", "mine"):
        interpreter(folder, name, NEW)
    assert run(folder, PYTHON="mine").returncode == 0
    assert "mine installs" in log(folder)


def test_an_old_PYTHON_is_named(folder: Path):
    interpreter(folder, "python3.9", OLD)
    interpreter(folder, "python3", NEW)
    done = run(folder, PYTHON="python3.9")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "PYTHON=python3.9 is Python 3.9.6" in done.stderr
    assert "Name a newer one" in done.stderr
    assert not (folder / ".venv").exists()


def test_no_python_that_is_new_enough_is_named(folder: Path):
    interpreter(folder, "python3", OLD)
    done = run(folder)
    assert done.returncode == 1
    assert "python3 is Python 3.9.6" in done.stderr
    assert "Install a newer one" in done.stderr


def test_no_python_at_all_is_named(folder: Path):
    done = run(folder)
    assert done.returncode == 1
    assert "python3 is not a Python that runs here" in done.stderr


def test_an_old_venv_is_named(folder: Path):
    interpreter(folder, "python3", NEW)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "path/old").write_text(OLD)
    (folder / "path/old").chmod(0o755)
    (folder / "path/old").rename(folder / ".venv/bin/python")
    done = run(folder)
    assert done.returncode == 1
    assert "Python 3.9.6" in done.stderr
    assert "make clean" in done.stderr


def test_a_failed_install_shows_its_log(folder: Path):
    interpreter(folder, "python3", NEW, status=3)
    done = run(folder)
    assert done.returncode == 1
    assert "python3 installs: -m pip install" in done.stderr
    assert "this failed: .venv/bin/python -m pip install" in done.stderr
