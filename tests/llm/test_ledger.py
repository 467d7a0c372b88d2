"""The ledger: a file gives back what was written, and a table that is none is refused with the reason."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varcore.llm import ledger, storage


def test_parquet_round_trip_keeps_rows_nulls_and_schema(tmp_path, make_table):
    table = make_table(
        [{"closed": False, "log_pi": None, "log_pi_reference": []}, {"trace_ids": [], "log_pi": [], "log_q": []}],
        [{"num_correct_answers": None, "answer_ids": [], "verdicts": []}, {"question": "⟨∑⟩ 4 = 4\n"}],
    )
    storage.write_table(tmp_path / "shard.parquet", table)
    again = ledger.check(storage.read_table(tmp_path / "shard.parquet"))
    assert again.equals(table)
    assert again.schema.equals(ledger.SCHEMA)
    assert again.schema.metadata == ledger.SCHEMA.metadata == {b"varcore_ledger_version": b"1"}


def test_fresh_rows_lack_what_later_stages_fill(make_row):
    born = {name: value for name, value in make_row().items() if name not in ledger.LATER}
    table = ledger.from_rows([born])
    assert all(table[name].null_count == (name in ledger.LATER) for name in table.column_names)
    assert not ledger.is_filled(table, "verdicts")
    with pytest.raises(ledger.LedgerError, match=r"'num_correct' is empty in 1 of 1 rows"):
        ledger.check(table, needs=["trace_ids", "num_correct"])


def test_with_columns_replaces_in_place_and_casts(make_table):
    table = make_table([{}, {}])
    changed = ledger.with_columns(table, weight=[1, 0], chosen=[True, False])
    ledger.check(changed, needs=["weight", "chosen"])
    assert changed["weight"].to_pylist() == [1.0, 0.0]
    assert table["weight"].null_count == 2, "the table handed in is left as it was"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop_columns(["closed"]), "closed"),
        (lambda t: t.append_column("extra", pa.array([1] * len(t))), "extra columns"),
        (lambda t: t.set_column(0, "question_id", pa.array(range(len(t)))), "question_id"),
        (lambda t: pa.table({"a": [1]}), "trace_ids"),
    ],
)
def test_what_is_not_a_ledger_is_refused_with_the_columns_at_fault(make_table, spoil, message):
    with pytest.raises(ledger.LedgerError, match=message):
        ledger.check(spoil(make_table([{}, {}])))


def test_matrices_are_questions_by_traces(make_table):
    table = make_table([{"num_correct": 0}, {"num_correct": 1}], [{"num_correct": 2}, {"num_correct": 3}])
    assert ledger.num_traces(table) == 2
    assert torch.equal(
        ledger.matrix(table, table["num_correct"].to_pylist()),
        torch.tensor([[0, 1], [2, 3]], dtype=torch.float64),
    )
    assert ledger.question_ids(table) == ["q0", "q1"]


def test_sums_lengths_and_worst_token(make_table):
    table = make_table(
        [
            {"log_pi": [-1.0, -2.0], "log_q": [-0.5, -2.5], "trace_ids": [1, 2]},
            {"log_pi": [], "log_q": [], "trace_ids": []},
        ]
    )
    assert ledger.sums(table, "log_pi").tolist() == [[-3.0, 0.0]]
    assert ledger.lengths(table).tolist() == [[2.0, 0.0]]
    assert ledger.smallest_log_ratio(table).tolist() == [[-0.5, math.inf]]


def test_one_trace_a_question(make_table):
    table = make_table([{}], [{}], [{}])
    assert ledger.num_traces(table) == 1
    assert ledger.question_ids(table) == ["q0", "q1", "q2"]


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 0), ("a", 1), ("b", 0)],  # a question with fewer traces
        [("a", 0), ("b", 0), ("b", 1)],
        [("a", 0), ("b", 1)],  # two questions where one is claimed
        [("a", 1), ("a", 0)],  # out of order
        [("a", 0), ("a", 2)],
        [("a", 0), ("a", 0)],
        [("a", 0), ("a", 1), ("b", 0), ("c", 1)],
        [],
    ],
)
def test_irregular_rows_are_refused(make_row, rows):
    """Two rows of one index, ("a", 0), ("a", 0), read as K = 1 would be one question twice: also wrong."""
    table = ledger.from_rows([make_row(question, index) for question, index in rows])
    with pytest.raises(ledger.LedgerError, match="side by side"):
        ledger.num_traces(table)


def longest_run(hint: list[int], trace: list[int]) -> int:
    """By trying every slice of the hint, the longest first."""
    for size in range(len(hint), 0, -1):
        for start in range(len(hint) - size + 1):
            piece = hint[start : start + size]
            if any(trace[at : at + size] == piece for at in range(len(trace) - size + 1)):
                return size
    return 0


@given(st.lists(st.integers(0, 3), max_size=7), st.lists(st.integers(0, 3), max_size=14))
def test_copied_share_is_the_longest_common_run(hint, trace):
    expected = longest_run(hint, trace) / len(hint) if hint else 0.0
    assert ledger.copied_share(hint, trace) == expected


def test_copied_share_by_hand():
    assert ledger.copied_share([1, 2, 3, 4], [9, 2, 3, 9, 3, 4]) == 0.5
    assert ledger.copied_share([1, 2, 3, 4], [0, 1, 2, 3, 4]) == 1.0
    assert ledger.copied_share([1, 2, 3, 4], [4, 3, 2, 1]) == 0.25
    assert ledger.copied_share([], [1]) == ledger.copied_share([1], []) == 0.0


def test_copied_run_and_leaked_nats_by_hand():
    hint, trace = [1, 2, 3, 4], [9, 2, 3, 9, 3, 4]
    assert list(ledger.copied_run(hint, trace)) == [1, 2], "the first of two runs of two"
    log_pi, log_q = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], [-1.0, -0.5, -0.25, -4.0, -5.0, -6.0]
    assert ledger.leaked_nats(hint, trace, log_pi, log_q) == 1.5 + 2.75
    assert list(ledger.copied_run([7], trace)) == []
    assert ledger.leaked_nats([7], trace, log_pi, log_q) == 0


def test_a_ledger_of_another_version_is_refused_whatever_its_columns(make_table):
    table = make_table([{}])
    other = table.replace_schema_metadata({b"varcore_ledger_version": b"2"})
    with pytest.raises(ledger.LedgerError, match=r"version 2, and this varcore reads version 1.*that wrote it"):
        ledger.check(other)
    assert ledger.check(table.replace_schema_metadata(None)) is not None, "the columns decide where no version stands"
