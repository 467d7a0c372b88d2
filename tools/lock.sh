#!/bin/sh
# Write requirements-cpu.lock again, so that it suits pyproject.toml on Linux, macOS and Windows from Python 3.11.0 on.
# What the lock has is kept where it still fits.  UPGRADE='numpy torch==2.14.0' moves those, UPGRADE=all everything.
# What only torch's CUDA build needs is left out.
set -eu
lock=requirements-cpu.lock
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

flags=
for name in ${UPGRADE:-}; do
    if [ "$name" = all ]; then flags="$flags --upgrade"; else flags="$flags --upgrade-package $name"; fi
done

.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>"$work/log" || {
    cat "$work/log" >&2
    exit 1
}
cp $lock "$work/all" # uv keeps the versions that it finds in its output file
# shellcheck disable=SC2086 # flags are words
"$work/venv/bin/uv" pip compile pyproject.toml --extra llm --extra notebooks --extra dev --extra oracles --output-file "$work/all" $flags \
    --universal --fork-strategy fewest --python-version 3.11 --no-annotate --no-header --quiet

{
    echo "# Every package of the CPU set-up at one exact version; \`make lock\` writes this file again.  To use it:"
    echo "#   pip install -c requirements-cpu.lock -e '.[llm,notebooks,dev,oracles]'"
    grep -Ev "^(cuda|nvidia|triton)|sys_platform == 'emscripten'" "$work/all" | sed 's/ *;.*//'
} >"$work/lock"
cp "$work/lock" $lock
