"""A run directory as the report reads it: only what its finished stages left there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from varcore.llm import algorithm, ledger, storage
from varcore.llm.presets import Config
from varcore.llm.run import load_config


@dataclass(frozen=True)
class RunView:
    """`costs` by stage, `metrics` rows and `results` (None until the run is finished)."""

    path: Path
    config: Config
    environment: dict[str, Any]
    done: tuple[str, ...]
    costs: dict[str, dict[str, Any]]
    metrics: list[dict[str, Any]]
    results: dict[str, Any] | None

    def table(self, round_: int, source: str) -> pa.Table | None:
        """A ledger whose sampling is finished; the columns of stages that are not done may be empty.

        LedgerError if a column that sampling fills is missing; one of a later stage is taken to be empty.
        """
        stage = "sample-extra" if source == "extra" else f"sample-{source}-{round_}"
        if stage not in self.done:
            return None
        paths = sorted((self.path / "ledger").glob(f"round{round_}-{source}-*.parquet"))
        found = (
            pa.concat_tables([ledger.check(_completed(storage.read_table(path))) for path in paths]) if paths else ()
        )
        return found if len(found) else None

    def tables(self) -> Iterator[tuple[int, str, pa.Table]]:
        """(round, source, ledger) of all that were sampled; q's traces first, the latest round first."""
        for source in ("posterior", "prior", "extra"):
            for round_ in range(self.config.rounds, 0, -1):
                table = self.table(round_, source)
                if table is not None:
                    yield round_, source, table

    def weighed(self) -> Iterator[tuple[int, pa.Table]]:
        """(round, ledger of q's traces) of the rounds whose weights are there."""
        for round_ in range(1, self.config.rounds + 1):
            table = self.table(round_, "posterior")
            if table is not None and f"weigh-{round_}" in self.done:
                yield round_, table

    @property
    def stages(self) -> list[tuple[str, str]]:
        """(name, explanation) of all the run's stages, in order."""
        return [(stage.name, stage.explanation) for stage in algorithm.plan(self.config)]


def open_run(path: Path) -> RunView:
    """RunDirectoryError if `path` is not a run directory of this format."""
    config = load_config(path)
    return RunView(
        path,
        config,
        _read(path / "environment.json", {}),
        tuple(_read(path / "state.json", {"done": []})["done"]),
        _read(path / "compute.json", {}),
        storage.read_lines(path / "metrics.jsonl"),
        _read(path / "results.json", None),
    )


def _completed(table: pa.Table) -> pa.Table:
    for name in ledger.LATER:
        if name not in table.column_names:
            place = min(ledger.SCHEMA.get_field_index(name), table.num_columns)
            table = table.add_column(
                place, ledger.SCHEMA.field(name), pa.nulls(len(table), ledger.SCHEMA.field(name).type)
            )
    return table


def _read(path: Path, otherwise: Any) -> Any:
    return storage.read_json(path) if path.exists() else otherwise
