"""Rows of results as columns, strictly by schema, before anything reaches a database.

ClickHouse itself is lenient with JSON: a number too large wraps around without a word, a missing
field becomes zero. So types, ranges, missing and unknown names are checked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sinks.errors import Permanent
from sinks.table import Column, Table

Row = Mapping[str, Any]

_CHUNK_ROWS = 4096

MAX_TIME_MS = 4_102_444_800_000
"""2100-01-01 UTC. Times are between 1970 and here; beyond it DateTime columns overflow."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "Array(String)": pa.list_(pa.string()),
    "Array(UInt64)": pa.list_(pa.uint64()),
    "Bool": pa.bool_(),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", "UTC"),
    "Float64": pa.float64(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "LowCardinality(String)": pa.string(),
    "Map(String, Float64)": pa.map_(pa.string(), pa.float64()),
    "Map(String, String)": pa.map_(pa.string(), pa.string()),
    "Map(String, UInt64)": pa.map_(pa.string(), pa.uint64()),
    "Nullable(Float64)": pa.float64(),
    "String": pa.string(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
}


class RowsRefused(Permanent):
    """Rows that do not fit their table. The text names the table and the column, never a value."""


def to_columns(table: Table, rows: Sequence[Row]) -> pa.Table:
    """``rows`` as an Arrow table in the order and the types of ``table``.

    Times are integers, milliseconds since 1970. NaN is stored as NULL. A row of an older version
    may lack the columns that were added since. Raises RowsRefused if a row has another column too
    many or too few, or a value that the column cannot hold exactly.
    """
    if len(rows) <= _CHUNK_ROWS:
        return _chunk(table, rows)
    # Chunks that fit the processor's cache: a fifth faster than all rows at once.
    starts = range(0, len(rows), _CHUNK_ROWS)
    chunks = [_chunk(table, rows[at : at + _CHUNK_ROWS]) for at in starts]
    return pa.concat_tables(chunks).combine_chunks()


def _chunk(table: Table, rows: Sequence[Row]) -> pa.Table:
    names = table.column_names
    read = itemgetter(*names)
    if table.defaults:
        rows = _completed(rows, table.defaults, len(names))
    try:
        columns = list(zip(*map(read, rows), strict=True)) if rows else [()] * len(names)
    except KeyError as error:
        raise RowsRefused(f"Table {table.name}: a row has no column {error.args[0]!r}") from None
    except TypeError:
        raise RowsRefused(f"Table {table.name}: a row is not an object") from None
    if any(len(row) != len(names) for row in rows):
        raise RowsRefused(f"Table {table.name}: a row has a column that the table has not")
    arrays = [
        _to_array(table, column, values)
        for column, values in zip(table.columns, columns, strict=True)
    ]
    return pa.table(arrays, names=list(names))


def _completed(rows: Sequence[Any], defaults: Row, columns: int) -> Sequence[Row]:
    """Rows of an older version with the columns that it did not know."""
    if not any(isinstance(row, Mapping) and len(row) < columns for row in rows):
        return rows
    return [{**defaults, **row} if isinstance(row, Mapping) else row for row in rows]


def _to_array(table: Table, column: Column, values: Sequence[Any]) -> pa.Array:
    where = f"Table {table.name}, column {column.name}"
    kind = ARROW_TYPES[column.type]
    if pa.types.is_map(kind):
        values = [_items(value, where) for value in values]
    try:
        # from_pandas: NaN becomes null.
        array = pa.array(values, kind, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise RowsRefused(f"{where}: a value does not fit {column.type}") from None
    if array.null_count and not column.type.startswith("Nullable"):
        raise RowsRefused(f"{where}: a value is missing")
    members: Iterable[Any] = values
    if pa.types.is_map(kind):
        array_of_members, members = array.items, (v for pairs in values for _, v in pairs)
    elif pa.types.is_list(kind):
        array_of_members, members = array.values, chain.from_iterable(values)
    else:
        array_of_members = array
    _check_members(where, column, array_of_members, members)
    return array


def _check_members(where: str, column: Column, array: pa.Array, values: Iterable[Any]) -> None:
    kind = array.type
    if array.null_count and not column.type.startswith("Nullable"):
        raise RowsRefused(f"{where}: a value is missing")
    if pa.types.is_floating(kind):
        if pc.any(pc.is_inf(array)).as_py():
            raise RowsRefused(f"{where}: a value is infinite")
    elif (pa.types.is_integer(kind) or pa.types.is_timestamp(kind)) and float in map(type, values):
        # Arrow would cut the fraction off without a word.
        raise RowsRefused(f"{where}: a value does not fit {column.type}")
    if pa.types.is_timestamp(kind) and len(array):
        bounds = pc.min_max(array.cast(pa.int64())).as_py()
        if bounds["min"] < 0 or bounds["max"] >= MAX_TIME_MS:
            raise RowsRefused(f"{where}: a time is not between 1970 and 2100")


def _items(value: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise RowsRefused(f"{where}: a value is not an object")
    return list(value.items())
