#!/bin/sh
# Write requirements-cpu.lock again: the newest versions that suit pyproject.toml on Linux, macOS and Windows from
# Python 3.11.0 on.  torch stays where it is unless TORCH=x.y.z names another; what only its CUDA build needs is left out.
set -eu
lock=requirements-cpu.lock
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

torch=${TORCH:-$(sed -n 's/^torch==//p' $lock)}
echo "torch==$torch" >"$work/torch"

.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
"$work/venv/bin/uv" pip compile pyproject.toml --extra llm --extra notebooks --extra dev --constraint "$work/torch" \
    --universal --fork-strategy fewest --python-version 3.11 --no-annotate --no-header --quiet --output-file "$work/all"

{
    echo "# Every package of the CPU set-up at one exact version; \`make lock\` writes this file again.  To use it:"
    echo "#   pip install -c requirements-cpu.lock -e '.[llm,notebooks,dev]'"
    grep -Ev "^(cuda|nvidia|triton)|sys_platform == 'emscripten'" "$work/all" | sed 's/ *;.*//'
} >"$work/lock"
cp "$work/lock" $lock
