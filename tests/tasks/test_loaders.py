"""From a folder or the hub to a task; which data it was is written down and compared."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import SAMPLES

from varcore.tasks import Chain
from varcore.tasks.files import DataError
from varcore.tasks.loaders import (
    check_manifest,
    find_schema,
    import_task,
    load_task,
    load_task_from_hub,
    write_manifest,
)
from varcore.tasks.schemas import SCHEMAS, Schema, own_schema


def part(name: str) -> Schema:
    """The published schema for a part of the set, which is what the samples are."""
    return dataclasses.replace(SCHEMAS[name], rows=None)


def jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def repository(folder: Path, name: str) -> None:
    """As `hf download` leaves it: data files, and a README.md that names config and split."""
    schema = SCHEMAS[name]
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(SAMPLES[name]), folder / "data" / "part-0.parquet")
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {schema.config or 'default'}\n  data_files:\n"
        f"  - split: {schema.split}\n    path: data/part-0.parquet\n---\n"
    )


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_set_from_every_place_is_the_same_task(tmp_path, name, pool):
    rows, schema = SAMPLES[name], part(name)
    places = [tmp_path / place for place in ("lines", "table", "saved", "repository")]
    for place in places:
        place.mkdir()
    jsonl(places[0] / f"{name}.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), places[1] / f"{name}.parquet")
    saved = datasets.DatasetDict({schema.split: datasets.Dataset.from_list(rows)})
    saved.save_to_disk(str(places[2] / name))
    repository(places[3] / name, name)
    tasks = [load_task(schema, place, pool=pool) for place in places]
    assert len({task.record.sha256 for task in tasks}) == 1
    assert [task.record.source for task in tasks] == [f"{name}.jsonl", f"{name}.parquet", name, name]
    for split in schema.splits:
        questions = [task.questions(split, task.size(split), 0, curated=True) for task in tasks]
        assert questions[1:] == questions[:1] * 3


def test_gpqa_as_the_csv_file_that_is_published(tmp_path):
    rows = SAMPLES["gpqa-diamond"]
    with (tmp_path / "gpqa-diamond.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert load_task(part("gpqa-diamond"), tmp_path).size("test") == 2


@pytest.mark.parametrize("name", ["math500", "gpqa-diamond"])
def test_the_hub_is_asked_for_config_split_and_revision(tmp_path, name, monkeypatch):
    """The real datasets.load_dataset, on a repository that lies on disk instead of on the hub."""
    repository(tmp_path / "set", name)
    schema = dataclasses.replace(part(name), hub=str(tmp_path / "set"))
    asked = []
    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((a, k)) or real(*a, **k))
    task = load_task_from_hub(schema, revision="v1")
    assert task.size("test") == len(SAMPLES[name])
    assert asked == [((schema.hub, schema.config), {"split": schema.split, "revision": "v1"})]
    assert (task.record.source, task.record.revision) == (schema.hub, "v1")


def test_without_the_hub_the_error_says_which_file_to_put_where(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as error:
        load_task_from_hub("math500", revision="abc")
    text = str(error.value)
    for words in (
        "'HuggingFaceH4/MATH-500'",
        "revision 'abc'",
        "math500.jsonl, math500.parquet, math500.csv into data/",
        "['problem', 'answer', 'level']",
        "hf download HuggingFaceH4/MATH-500 --repo-type dataset --local-dir data/math500",
        "load_task('math500', Path('data'))",
    ):
        assert words in text


def test_a_missing_file_is_asked_for(tmp_path):
    with pytest.raises(
        DataError, match=r"aime24 is not in .*put one of aime24\.jsonl.*hf download HuggingFaceH4/aime_2024"
    ):
        load_task("aime24", tmp_path)
    with pytest.raises(DataError, match=r"mine is not in .*put one of mine\.jsonl.*\['question', 'answer'\]\.$"):
        load_task(own_schema("mine", "exact"), tmp_path)


def test_a_set_that_is_published_nowhere_is_not_looked_for():
    with pytest.raises(DataError, match="mine is not published anywhere"):
        load_task_from_hub(own_schema("mine", "exact"))


def test_two_files_of_one_name_are_not_chosen_from(tmp_path):
    for suffix in ("jsonl", "csv"):
        (tmp_path / f"mine.{suffix}").write_text("question,answer\n1,2\n")
    with pytest.raises(DataError, match=r"\['mine.jsonl', 'mine.csv'\] are all in"):
        load_task(own_schema("mine", "exact"), tmp_path)


def test_the_published_number_of_rows_is_checked(tmp_path):
    jsonl(tmp_path / "aime24.jsonl", SAMPLES["aime24"])
    with pytest.raises(DataError, match=r"published with 30 rows; aime24.jsonl has 2.*rows=None"):
        load_task("aime24", tmp_path)
    assert load_task(part("aime24"), tmp_path).size("test") == 2


def test_an_unknown_name_lists_those_that_are_known():
    with pytest.raises(DataError, match=r"no data set 'math501'.*'math500'"):
        find_schema("math501")
    assert find_schema("math500") is SCHEMAS["math500"]


def test_the_manifest_recognises_data_and_refuses_other_data(tmp_path):
    manifest, rows = tmp_path / "manifest.json", SAMPLES["math500"]
    jsonl(tmp_path / "math500.jsonl", rows)
    first = load_task(part("math500"), tmp_path, manifest=manifest)  # not known yet
    assert not manifest.exists()
    write_manifest(manifest, first.record)
    assert load_task(part("math500"), tmp_path, manifest=manifest).record == first.record
    jsonl(tmp_path / "math500.jsonl", [*rows[:-1], rows[-1] | {"answer": "76\\%"}])
    with pytest.raises(
        DataError, match=r"math500 is not the data that .*manifest\.json recorded. Then: 4 rows.*Now: 4"
    ):
        load_task(part("math500"), tmp_path, manifest=manifest)
    jsonl(tmp_path / "math500.jsonl", [row | {"solution": "rewritten"} for row in rows])  # a column that is not read
    assert load_task(part("math500"), tmp_path, manifest=manifest).record == first.record


def test_the_manifest_keeps_other_sets(tmp_path):
    manifest = tmp_path / "manifest.json"
    for name in ("math500", "amc23"):
        jsonl(tmp_path / f"{name}.jsonl", SAMPLES[name])
        write_manifest(manifest, load_task(part(name), tmp_path).record)
    known = json.loads(manifest.read_text())
    assert {name: entry["rows"] for name, entry in known.items()} == {"math500": 4, "amc23": 2}
    assert set(known["amc23"]) == {"name", "source", "revision", "rows", "sha256"}
    assert str(tmp_path) not in manifest.read_text()  # nothing of this machine
    check_manifest(manifest, load_task(part("amc23"), tmp_path).record)


def test_a_task_of_ones_own_is_named_by_module_and_class():
    assert isinstance(import_task("varcore.tasks.chain:Chain"), Chain)


@pytest.mark.parametrize("name", ["no_such_module:Chain", "varcore.tasks.chain:NoSuchClass", ":Chain", "json:"])
def test_a_task_that_cannot_be_imported_is_named(name):
    with pytest.raises(ValueError, match=rf"The task '{name}' could not be imported .*MODULE:CLASS.*PYTHONPATH"):
        import_task(name)


def test_a_task_that_is_none_is_told_what_it_lacks(tmp_path, monkeypatch):
    (tmp_path / "halftask.py").write_text("class Half:\n    name = 'half'\n    levels = {}\n    verify = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"lacks \['questions', 'direct_trace', 'corpus'\]"):
        import_task("halftask:Half")
