"""Messages of rows, straight from JSON to columns.

A message is an object with a list ``rows``; its other keys are for other readers. Rows are decoded
into typed records, so that types, ranges, missing and unknown names are checked while the text is
read and not again (measured: 0.6 µs a finding instead of 1.1 as dictionaries), and a record's
fields become Arrow columns without a look at each value. Whatever the typed reading refuses is read
once more as plain rows: :mod:`sinks.rows` then says what is wrong, and decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from sinks.rows import ARROW_TYPES, MAX_TIME_MS, RowsRefused, to_columns
from sinks.table import Column, Table

Record = Any
"""One row, as an object with a field for each column."""

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_TYPES: Mapping[str, Any] = {
    "Array(String)": list[str],
    "Array(UInt64)": list[_Natural],
    "Bool": bool,
    "DateTime64(3, 'UTC')": Annotated[int, msgspec.Meta(ge=0, lt=MAX_TIME_MS)],
    "Float64": float,
    "Int32": Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)],
    "Int64": int,
    "LowCardinality(String)": str,
    "Map(String, Float64)": dict[str, float],
    "Map(String, String)": dict[str, str],
    "Map(String, UInt64)": dict[str, _Natural],
    "Nullable(Float64)": float | None,
    "String": str,
    "UInt32": Annotated[int, msgspec.Meta(ge=0, lt=2**32)],
    # Arrow refuses what is larger than its type: msgspec's bounds end at 2**63.
    "UInt64": _Natural,
}


class _Plain(msgspec.Struct):
    rows: list[dict[str, Any]]


class RowMessages:
    """The messages of one table."""

    def __init__(self, table: Table) -> None:
        record: Any = msgspec.defstruct(
            f"Row of {table.name}",
            [_field(column) for column in table.columns],
            forbid_unknown_fields=True,
            kw_only=True,  # so that a column with a default may stand before one without
            gc=False,
        )
        envelope: Any = msgspec.defstruct("Rows", [("rows", list[record])])
        self._typed = msgspec.json.Decoder(envelope)
        self._plain = msgspec.json.Decoder(_Plain)
        self._table = table
        self._kinds = [ARROW_TYPES[column.type] for column in table.columns]

    def records(self, message: bytes) -> list[Record] | pa.Table:
        """The rows of a message: as records, or as columns where only :mod:`sinks.rows` could read
        them. Raises RowsRefused for what neither can; its text never quotes the message."""
        try:
            found: list[Record] = self._typed.decode(message).rows
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._said_why(message)
        return found

    def columns(self, records: Sequence[Record]) -> pa.Table:
        """Records as an Arrow table in the order and the types of the table. Raises RowsRefused
        for a number beyond its type."""
        # As tuples first: their fields are copied without a look at any name.
        columns: Sequence[Sequence[Any]] = list(zip(*map(astuple, records), strict=True))
        if not records:
            columns = [()] * len(self._kinds)
        try:
            arrays = list(map(_array, columns, self._kinds))
        except (pa.ArrowException, ValueError, OverflowError):
            raise RowsRefused(
                f"Table {self._table.name}: a number does not fit its column"
            ) from None
        return pa.table(arrays, names=list(self._table.column_names))

    def _said_why(self, message: bytes) -> pa.Table:
        try:
            rows = self._plain.decode(message).rows
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RowsRefused("not JSON with a list of rows") from None
        return to_columns(self._table, rows)


def _field(column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    if column.added:
        return column.name, _TYPES[column.type], column.default
    return column.name, _TYPES[column.type]


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_map(kind):
        return pa.array([list(value.items()) for value in values], kind)
    if values and _alike(values):
        if values[0] is None:
            return pa.nulls(len(values), kind)
        return pa.repeat(pa.scalar(values[0], kind), len(values))
    return pa.array(values, kind)


def _alike(values: Sequence[Any]) -> bool:
    """Whether all are the same. Rows that come together share most of what names them: half of a
    finding's columns are one value over many rows, and are made without a look at each."""
    first = values[0]
    if first != values[-1] or first != values[len(values) // 2]:
        return False
    # 0.0 and -0.0 are equal, but not the same.
    return not isinstance(first, float) and values.count(first) == len(values)
