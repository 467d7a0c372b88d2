#!/bin/sh
# Make .venv, or bring it up to date.  Quiet when it works; when it does not, the whole log and what to do.
# `tools/setup_venv.sh FOLDER LOCK EXTRAS` makes another environment.
# PYTHON names the interpreter; without it, the first of the list below that is new enough.
set -eu
venv=${1:-.venv}
lock=${2:-requirements-cpu.lock}
extras=${3:-llm,notebooks,dev,oracles}
log=$venv/install.log

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

what_it_is() { # one line about interpreter $1
    "$1" -c 'import platform; print("Python", platform.python_version())' 2>/dev/null || echo "not a Python that runs here"
}

fail() {
    echo "setup: varcore needs Python 3.11 or newer." >&2
    echo "setup: $1" >&2
    echo "setup: $2" >&2
    exit 1
}

logged() { # run "$@" into the log; print the log if it fails
    "$@" >>"$log" 2>&1 && return
    cat "$log" >&2
    echo "setup: this failed: $*" >&2
    echo "setup: its output is above and in $log; once mended, run the same make command again." >&2
    exit 1
}

if [ -x $venv/bin/python ]; then
    new_enough $venv/bin/python ||
        fail "$venv was made by another: $(what_it_is $venv/bin/python)." "Remove it with 'make clean' and start again."
    : >"$log"
else
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" ||
            fail "PYTHON=$PYTHON is $(what_it_is "$PYTHON")." "Name a newer one, such as PYTHON=python3.12, or leave PYTHON out."
    else
        for PYTHON in python3.13 python3.12 python3.11 python3 none; do
            new_enough "$PYTHON" && break
        done
        [ "$PYTHON" != none ] ||
            fail "Tried python3.13, python3.12 and python3.11; python3 is $(what_it_is python3)." \
                "Install a newer one, or name it: PYTHON=/where/it/is/python3 after the make command."
    fi
    mkdir -p $venv
    : >"$log"
    logged "$PYTHON" -m venv $venv
fi

echo "setup: installing into $venv (the first time takes minutes; the log is $log)" >&2
$venv/bin/python -m pip --version >/dev/null 2>&1 || logged $venv/bin/python -m ensurepip
logged $venv/bin/python -m pip install --disable-pip-version-check -c "$lock" -e ".[$extras]"
