"""Summaries and comparisons in a notebook, without Kafka.

>>> import pyarrow as pa
>>> before = pa.table({"age": [20.0, 30.0, 40.0, 50.0] * 50, "plan": ["free", "pro"] * 100})
>>> after = pa.table({"age": [40.0, 50.0, 50.0, 50.0] * 50, "plan": ["free", "free"] * 100})
>>> normal = reference_of(before)
>>> for column in compare(normal, summarize_table(after, normal)):
...     print(column.column, round(column.psi, 2), column.direction)
age 2.83 up
plan 2.98 free up

Summaries merge: of the parts of a stream, of hours into days, of machines into a fleet.

>>> parts = [summarize_table(before.slice(at, 50), normal) for at in (0, 50, 100, 150)]
>>> whole = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
>>> whole.numeric("age").mean
35.0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.arrow_rows import TableColumns, read_columns
from detectors.comparison import ColumnStatistics, compare_columns
from detectors.kernels import Workshop, summarize
from detectors.layout import ERRORS, Kind, Layout
from detectors.reference import Reference, layout_for, reference_from_table
from detectors.summary import Summaries

_ROWS_AT_ONCE = 1 << 15
"""So that what is made of a column stays in the processor's cache; merging changes no bit."""
_ROWS_AT_ONCE_COMPILED = 1 << 17
"""Compiled kernels make nothing of a column that is as long as it."""


def arrow_table(table: Any) -> Any:
    """A pyarrow, pandas or polars table, or anything that can hand out an Arrow stream, as a
    pyarrow table. Raises ``TypeError`` for anything else."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    # pandas hands out Arrow streams too, but keeps its index in them as a column.
    if hasattr(table, "iloc"):
        return pa.Table.from_pandas(table, preserve_index=False)
    if hasattr(table, "__arrow_c_stream__"):
        return pa.table(table)
    raise TypeError(f"{type(table).__name__} is not a table; pass a pyarrow, pandas or polars one")


def reference_of(
    table: Any, model: str = "notebook", origin: str = "a table in memory"
) -> Reference:
    """A reference from a table. Raises ``reference.EmptyReference`` if there is nothing in it."""
    return reference_from_table(model, arrow_table(table), origin)


def summarize_table(
    table: Any,
    reference: Reference | Layout | None = None,
    columns: Sequence[str] | None = None,
    workshop: Workshop | None = None,
) -> Summaries:
    """Summaries of all rows; each row counts as one prediction event.

    With a reference its columns have its bins; with a layout exactly its columns are summarised.
    Without ``columns`` those that are neither numbers nor text (timestamps, lists) are passed
    over; with it they raise ``arrow_rows.UnusableColumn``. With a ``workshop`` (made once, with
    ``compiled.compile_all``, where numba is installed) the same is counted faster.
    """
    rows = arrow_table(table)
    if columns is None and isinstance(reference, Layout):
        wanted = {spec.name for spec in reference.columns}
        columns = [name for name in rows.schema.names if name in wanted]
    found = read_columns(rows, columns)
    if isinstance(reference, Layout):
        layout = reference
    else:
        keys = [(name, Kind.NUMERIC) for name in found.numeric]
        layout = layout_for(reference, [*keys, *((name, Kind.CATEGORICAL) for name in found.texts)])
    summaries = Summaries.empty(layout)
    at_once = _ROWS_AT_ONCE if workshop is None else _ROWS_AT_ONCE_COMPILED
    for low in range(0, found.rows, at_once):
        high = min(low + at_once, found.rows)
        part = found.rows_of(np.array([0, high - low]), slice(low, high), infinite=False)
        summaries = summaries.merge(summarize(part, layout, workshop)[0])
    _count_infinities(found, summaries)
    return summaries


def _count_infinities(found: TableColumns, summaries: Summaries) -> None:
    """Enter infinities as errors, as ``rows_of`` does, but look at those columns only in which
    some row has no finite value: most tables have none."""
    for name, values in found.numeric.items():
        column = summaries.numeric(name)
        if column is not None and column.n < found.rows:
            at = summaries.layout.starts[name, Kind.NUMERIC] + ERRORS
            summaries.vector[at] += np.count_nonzero(np.isinf(values))


def compare(reference: Reference | Summaries, summaries: Summaries) -> list[ColumnStatistics]:
    """Every classical statistic of each column that both have, in the order of their names."""
    normal = reference.summaries if isinstance(reference, Reference) else reference
    return compare_columns(normal, summaries)
