"""The trace ledger: one Parquet table a run, one row a trace.

A row is born when its trace is sampled; later stages fill its other columns.  Everything a weight rule, a training
set, a plot or a report needs is a function of the ledger, so the estimator, the exponent and the selection can change
after the sampling is paid for.  Rows of one question stand together, its K traces in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

VERSION = "1"
IDS, LOG_PROBS = pa.list_(pa.int32()), pa.list_(pa.float32())

SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("level", pa.int32()),
        ("round", pa.int32()),  # 1 .. T
        ("source", pa.string()),  # who drew the trace: "prior", "extra" (both pi) or "posterior" (q)
        ("trace_index", pa.int32()),  # 0 .. K - 1
        ("prompt_ids", IDS),  # the reasoner's prompt
        ("proposal_prompt_ids", IDS),  # what the trace was drawn from: the hinted prompt for a posterior
        ("hint_ids", IDS),  # y', empty for a prior
        ("trace_ids", IDS),  # z as drawn, closing marker included where there is one
        ("closed", pa.bool_()),  # False: cut by the length limit
        ("reference_ids", IDS),  # the reference answer y*
        ("num_correct_answers", pa.int32()),  # |Y_x|, null where unknown
        ("hint_copied", pa.float32()),  # longest run of hint tokens found in the trace / hint length
        # filled by the stage `score`, at the run's temperature
        ("log_pi", LOG_PROBS),  # log pi(z_t | x, z_<t)
        ("log_q", LOG_PROBS),  # log q(z_t | x, y', z_<t)
        ("log_pi_reference", LOG_PROBS),  # log pi(y*_t | x, z, y*_<t); empty for an unclosed trace
        # filled by the stage `verify`
        ("answer_ids", pa.list_(IDS)),  # N answers drawn from pi(y | x, z)
        ("verdicts", pa.list_(pa.string())),
        ("num_correct", pa.int32()),
        ("num_answers", pa.int32()),
        # filled by the stage `weigh`
        ("log_weight", pa.float64()),
        ("weight", pa.float64()),
        ("chosen", pa.bool_()),
        ("flags", pa.list_(pa.string())),
    ],
    metadata={"varcore_ledger_version": VERSION},
)
LATER = ("log_pi", "log_q", "log_pi_reference", "answer_ids", "verdicts", "num_correct", "num_answers")
LATER += ("log_weight", "weight", "chosen", "flags")


class LedgerError(ValueError):
    """A table that is not a ledger, or lacks what a function needs of it."""


def from_rows(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A ledger of freshly sampled traces; the columns of later stages are null."""
    return pa.Table.from_pylist([{**dict.fromkeys(LATER), **row} for row in rows], schema=SCHEMA)


def with_columns(table: pa.Table, **columns: Any) -> pa.Table:
    """The same rows with these columns replaced, cast to the schema's types."""
    for name, values in columns.items():
        field = SCHEMA.field(name)
        array = pa.array(values, type=field.type)
        table = table.set_column(table.column_names.index(name), field, array)
    return table


def check(table: pa.Table, *, needs: Sequence[str] = ()) -> pa.Table:
    """Return `table` if it is a ledger whose `needs` columns are filled; LedgerError says what is missing."""
    version = (table.schema.metadata or {}).get(b"varcore_ledger_version", VERSION.encode()).decode()
    if version != VERSION:
        raise LedgerError(
            f"This is a varcore ledger of version {version}, and this varcore reads version {VERSION}. Read it with "
            "the varcore that wrote it (environment.json of its run says which)."
        )
    if not table.schema.equals(SCHEMA):
        wrong = [field.name for field in SCHEMA if field not in list(table.schema)]
        raise LedgerError(
            f"Not a varcore ledger of version {VERSION}: columns missing or of another type: "
            f"{wrong or 'none; extra columns'}. Read tables that varcore wrote, or rename the columns with "
            "varcore.llm.ledger.SCHEMA as the pattern."
        )
    for name in needs:
        if table[name].null_count:
            raise LedgerError(
                f"The ledger's column {name!r} is empty in {table[name].null_count} of {len(table)} rows. "
                "Run the stage that fills it first (score, verify or weigh)."
            )
    return table


def is_filled(table: pa.Table, name: str) -> bool:
    return table[name].null_count == 0


def num_traces(table: pa.Table) -> int:
    """K.  LedgerError unless every question has the same number of traces, side by side and in order."""
    index = table["trace_index"].to_pylist()
    count = max(index, default=-1) + 1
    questions = table["question_id"].to_pylist()
    regular = count > 0 and index == list(range(count)) * (len(index) // count)
    side_by_side = regular and all(questions[i] == questions[i - i % count] for i in range(len(questions)))
    if not side_by_side or len(set(questions)) * count != len(questions):
        raise LedgerError(
            "The ledger's rows must be the traces 0..K-1 of each question, side by side, in order, no question twice."
        )
    return count


def matrix(table: pa.Table, values: Sequence[int | float] | Tensor) -> Tensor:
    """One value a row, as float64 [B, K]: questions by traces."""
    return torch.as_tensor(values, dtype=torch.float64).view(-1, num_traces(table))


def sums(table: pa.Table, name: str) -> Tensor:
    """Sum of a per-token column, [B, K], float64, in nats."""
    return matrix(table, _reduce(table, name, sum))


def lengths(table: pa.Table, name: str = "trace_ids") -> Tensor:
    """Length of a list column, [B, K]."""
    return matrix(table, [len(values) for values in table[name].to_pylist()])


def smallest_log_ratio(table: pa.Table) -> Tensor:
    """The worst token: min over t of log pi(z_t) - log q(z_t), [B, K]; +inf for an empty trace."""
    pairs = zip(table["log_pi"].to_pylist(), table["log_q"].to_pylist(), strict=True)
    return matrix(table, [min((p - q for p, q in zip(*pair, strict=True)), default=float("inf")) for pair in pairs])


def question_ids(table: pa.Table) -> list[str]:
    """One id per question, in the order of the matrices' rows."""
    return table["question_id"].to_pylist()[:: num_traces(table)]


def copied_share(hint: Sequence[int], trace: Sequence[int]) -> float:
    """Longest run of hint tokens that stands verbatim in the trace, over the hint's length; 0 for an empty hint.

    A leak statistic, not a verdict: a trace that reaches the hinted answer has to mention some of it.
    """
    return len(copied_run(hint, trace)) / len(hint) if hint else 0.0


def copied_run(hint: Sequence[int], trace: Sequence[int]) -> range:
    """Where in the trace the longest run of hint tokens stands, the first of several; an empty range if none does."""
    best = range(0)
    ends = [0] * (len(hint) + 1)  # ends[j]: longest common run ending at hint[j-1] and the current trace token
    for place, token in enumerate(trace, 1):
        ends = [0] + [ends[j] + 1 if hint[j] == token else 0 for j in range(len(hint))]
        if max(ends) > len(best):
            best = range(place - max(ends), place)
    return best


def leaked_nats(hint: Sequence[int], trace: Sequence[int], log_pi: Sequence[float], log_q: Sequence[float]) -> float:
    """How much likelier the hint made what was copied from it: sum over `copied_run` of log q - log pi, in nats.

    About 0 where the reasoner would have written these tokens anyway; large where they stand because q saw the hint.
    """
    return sum((log_q[t] - log_pi[t] for t in copied_run(hint, trace)), 0.0)


def _reduce(table: pa.Table, name: str, function: Callable[[list[float]], int | float]) -> list[int | float]:
    return [function(values) for values in table[name].to_pylist()]
