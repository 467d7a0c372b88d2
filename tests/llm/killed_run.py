"""A run that is killed with SIGKILL inside one stage: ``python killed_run.py OUT CONFIG.json STAGE``.

Training stages die right after their first checkpoint, stages that write the ledger right after their first shard, the
others when all their files are written but the stage is not yet recorded: the moments at which most can go wrong.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from rich.console import Console

from varcore.llm import algorithm, presets, storage
from varcore.llm.progress import Reporter
from varcore.llm.run import RunDirectory

torch.set_num_threads(1)


def die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(function):
    def call(path: Path, *args: object) -> None:
        function(path, *args)
        if "models" in path.parts or "ledger" in path.parts:
            die()

    return call


def main(out: str, config: str, victim: str) -> None:
    class Killer(Reporter):
        def stage(self, name: str, explanation: str):
            if name == victim:
                storage.write_tensors = die_after(storage.write_tensors)
                storage.write_table = die_after(storage.write_table)
                RunDirectory.finish = die
            return super().stage(name, explanation)

    settings = presets.override(presets.preset("tiny"), json.loads(Path(config).read_text()))
    algorithm.run(Path(out), settings, Killer(Console(), quiet=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
