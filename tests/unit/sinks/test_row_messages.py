"""Messages become the same columns as plain rows would, and refuse what those refuse."""

import json
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.row_messages import RowMessages
from sinks.rows import MAX_TIME_MS, RowsRefused, to_columns
from sinks.schema import EVENTS, FINDINGS, TABLES, WINDOWS
from sinks.table import Table

_TEXT = st.text(max_size=8)
_NATURAL = st.integers(0, 2**64 - 1)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Array(String)": st.lists(_TEXT, max_size=3),
    "Array(UInt64)": st.lists(_NATURAL, max_size=3),
    "Bool": st.booleans(),
    "DateTime64(3, 'UTC')": st.integers(0, MAX_TIME_MS - 1),
    "Float64": _FLOAT,
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "LowCardinality(String)": _TEXT,
    "Map(String, Float64)": st.dictionaries(_TEXT, _FLOAT, max_size=3),
    "Map(String, String)": st.dictionaries(_TEXT, _TEXT, max_size=3),
    "Map(String, UInt64)": st.dictionaries(_TEXT, _NATURAL, max_size=3),
    "Nullable(Float64)": st.none() | _FLOAT | st.just(-0.0),
    "String": _TEXT,
    "UInt32": st.integers(0, 2**32 - 1),
    "UInt64": _NATURAL,
}


def rows_of(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A few rows, of which some repeat, as the rows of one message mostly do."""
    row = st.fixed_dictionaries({c.name: _VALUES[c.type] for c in table.columns})
    return st.lists(st.tuples(row, st.integers(1, 3)), max_size=4).map(
        lambda found: [row for row, times in found for _ in range(times)]
    )


def message(rows: list[dict[str, Any]]) -> bytes:
    return msgspec.json.encode({"rows": rows, "other": {"for": "somebody else"}})


def columns_of(table: Table, raw: bytes) -> pa.Table:
    reader = RowMessages(table)
    found = reader.records(raw)
    return found if isinstance(found, pa.Table) else reader.columns(found)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(data=st.data())
def test_a_message_becomes_the_columns_of_its_rows(table: Table, data: st.DataObject) -> None:
    rows = data.draw(rows_of(table))
    found, expected = columns_of(table, message(rows)), to_columns(table, rows)
    assert found.schema == expected.schema
    # As text, because 0.0 and -0.0 are equal otherwise.
    assert str(found.to_pylist()) == str(expected.to_pylist())


def row_of(table: Table) -> dict[str, Any]:
    simple = {"Bool": True, "Nullable(Float64)": 0.5, "Float64": 0.5}
    kinds: dict[str, Any] = {"Array": [], "Map": {}}
    return {
        c.name: simple.get(
            c.type, kinds.get(c.type.partition("(")[0], "x" if "String" in c.type else 7)
        )
        for c in table.columns
    }


@pytest.mark.parametrize(
    ("table", "change"),
    [
        (FINDINGS, {"n": -1}),
        (FINDINGS, {"n": 2**64}),
        (FINDINGS, {"n": 1.5}),
        (FINDINGS, {"n": None}),
        (FINDINGS, {"revision": 2**32}),
        (FINDINGS, {"decides": "yes"}),
        (FINDINGS, {"model": 7}),
        (FINDINGS, {"statistic": "0.5"}),
        (FINDINGS, {"window_start": -1}),
        (FINDINGS, {"window_start": MAX_TIME_MS}),
        (FINDINGS, {"surplus": 1}),
        (WINDOWS, {"histogram": [1, -1]}),
        (WINDOWS, {"histogram": [2**64]}),
        (WINDOWS, {"histogram": [None]}),
        (WINDOWS, {"categories": {"a": None}}),
        (WINDOWS, {"categories": [["a", 1]]}),
        (EVENTS, {"partition": 2**31}),
        (EVENTS, {"offset": 2**63}),
        (EVENTS, {"numbers": {"a": "1"}}),
    ],
    ids=str,
)
def test_what_plain_rows_refuse_is_refused(table: Table, change: dict[str, Any]) -> None:
    good = row_of(table)
    assert columns_of(table, message([good])).num_rows == 1
    rows = [good, {**good, **change}]
    with pytest.raises(RowsRefused):
        to_columns(table, rows)
    with pytest.raises(RowsRefused):
        columns_of(table, json.dumps({"rows": rows}).encode())


def test_a_missing_column_is_named() -> None:
    row = row_of(FINDINGS)
    del row["outcome"]
    with pytest.raises(RowsRefused, match="outcome"):
        columns_of(FINDINGS, message([row]))


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"null", b'{"rows": 1}', b'{"rows": [1]}', b"\xff", b"[" * 5_000],
    ids=repr,
)
def test_what_holds_no_rows_is_refused(raw: bytes) -> None:
    with pytest.raises(RowsRefused, match="not JSON with a list of rows"):
        columns_of(FINDINGS, raw)


def test_a_number_that_is_infinite_as_a_double_is_refused() -> None:
    raw = message([row_of(FINDINGS)]).replace(b'"statistic":0.5', b'"statistic":1e999')
    with pytest.raises(RowsRefused):
        columns_of(FINDINGS, raw)


def test_refusals_never_quote_a_message() -> None:
    row = {**row_of(FINDINGS), "n": "secret-text"}
    with pytest.raises(RowsRefused) as refused:
        columns_of(FINDINGS, message([row]))
    assert "secret-text" not in str(refused.value)
    with pytest.raises(RowsRefused) as beyond:
        columns_of(FINDINGS, message([{**row_of(FINDINGS), "n": 2**64}]))
    assert "findings" in str(beyond.value)
    assert str(2**64) not in str(beyond.value)
