import math
from typing import Any

import pytest

from sinks.rows import ARROW_TYPES, MAX_TIME_MS, RowsRefused, to_columns
from sinks.schema import EVENTS, REFERENCES, TABLES, VERDICTS, WINDOWS

REFERENCE: dict[str, Any] = {
    "model": "m",
    "reference": "r",
    "origin": "file",
    "rows": 3,
    "columns": 2,
    "effective_from": 1_700_000_000_123,
    "content": "{}",
}


def test_every_type_of_the_schema_is_known() -> None:
    assert {c.type for table in TABLES for c in table.columns} <= set(ARROW_TYPES)


def test_rows_become_columns_in_the_order_of_the_table() -> None:
    shuffled = dict(reversed(REFERENCE.items()))
    columns = to_columns(REFERENCES, [REFERENCE, shuffled])
    assert tuple(columns.column_names) == REFERENCES.column_names
    assert columns.column("rows").to_pylist() == [3, 3]
    assert columns.column("effective_from").cast("int64").to_pylist() == [1_700_000_000_123] * 2


def test_no_rows_make_an_empty_table() -> None:
    for table in TABLES:
        assert to_columns(table, []).num_rows == 0


def test_many_rows_keep_their_order_across_chunks() -> None:
    rows = [{**REFERENCE, "rows": i} for i in range(10_000)]
    assert to_columns(REFERENCES, rows).column("rows").to_pylist() == list(range(10_000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": -1}, "column rows"),
        ({"rows": 2**64}, "column rows"),
        ({"columns": 2**32}, "column columns"),
        ({"rows": 1.5}, "column rows"),
        ({"rows": None}, "column rows"),
        ({"model": 7}, "column model"),
        ({"model": None}, "column model"),
        ({"content": ["secret"]}, "column content"),
        ({"effective_from": -1}, "between 1970 and 2100"),
        ({"effective_from": MAX_TIME_MS}, "between 1970 and 2100"),
        ({"effective_from": 2**63}, "column effective_from"),
        ({"surplus": 1}, "has a column that the table has not"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RowsRefused, match=said):
        to_columns(REFERENCES, [REFERENCE, {**REFERENCE, **change}])


def test_a_missing_column_is_named() -> None:
    row = {k: v for k, v in REFERENCE.items() if k != "origin"}
    with pytest.raises(RowsRefused, match="origin"):
        to_columns(REFERENCES, [row])


def test_a_surplus_column_does_not_make_up_for_a_missing_one() -> None:
    row = {k: v for k, v in REFERENCE.items() if k != "origin"} | {"surplus": "x"}
    with pytest.raises(RowsRefused, match="origin"):
        to_columns(REFERENCES, [row])


def test_refusals_never_quote_a_value() -> None:
    with pytest.raises(RowsRefused) as refused:
        to_columns(REFERENCES, [{**REFERENCE, "rows": "secret-text"}])
    assert "secret-text" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_nan_is_stored_as_null_and_infinity_is_refused() -> None:
    zero: dict[str, Any] = {
        c.name: [] if c.type.startswith("Array") else "" if "String" in c.type else 0
        for c in VERDICTS.columns
    }
    columns = to_columns(VERDICTS, [{**zero, "p95_latency_ms": math.nan}])
    assert columns.column("p95_latency_ms").to_pylist() == [None]
    with pytest.raises(RowsRefused, match="infinite"):
        to_columns(VERDICTS, [{**zero, "p95_latency_ms": math.inf}])


def test_maps_come_from_objects_only() -> None:
    row: dict[str, Any] = {c.name: "" if "String" in c.type else 0 for c in EVENTS.columns}
    row |= {"numbers": {"a": 1.5}, "texts": {}}
    assert to_columns(EVENTS, [row]).column("numbers").to_pylist() == [[("a", 1.5)]]
    for wrong in ([1], {"a": None}, {"a": math.inf}, {"a": "text"}, None):
        with pytest.raises(RowsRefused, match="numbers"):
            to_columns(EVENTS, [{**row, "numbers": wrong}])


def test_lists_hold_no_fractions_and_no_gaps() -> None:
    row: dict[str, Any] = {
        c.name: {} if "Map" in c.type else "" if "String" in c.type else 0 for c in WINDOWS.columns
    }
    assert to_columns(WINDOWS, [{**row, "histogram": [1, 2]}]).num_rows == 1
    for wrong in ([1.5], [None], [-1], ["x"], None):
        with pytest.raises(RowsRefused, match="histogram"):
            to_columns(WINDOWS, [{**row, "histogram": wrong}])
    with pytest.raises(RowsRefused, match="categories"):
        to_columns(WINDOWS, [{**row, "histogram": [], "categories": {"a": 1.5}}])


def test_keys_and_versions_are_columns_of_their_tables() -> None:
    for table in TABLES:
        assert {*table.key, table.version} <= set(table.column_names)
