"""Every query of every board and rule, on the engine, on rows that the real line made.

Macros are expanded as the plugin does it and variables filled in as Grafana does it, so what runs
here is what ClickHouse would get. Each answer is held to what its panel needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dashboards.boards import board_json
from dashboards.every_query import Kind, Query, queries_of
from dashboards.macros import Range, UnknownMacro, expand, interpolate
from dashboards.panels import STATUS
from sinks.clickhouse import insert
from sinks.embedded_store import EmbeddedStore
from sinks.migrations import migrate
from sinks.schema import DATABASE, REFERENCES, VERDICTS, WINDOWS
from tests.dashboards.asking import (
    BY_NAME,
    LABEL,
    NUMBER,
    PRODUCTION,
    QUERIES,
    VALUES,
    Answer,
    ask,
    newest_verdicts,
    rows_of,
    stored_now,
)
from tests.dashboards.conftest import HOSTILE, RecordingLine

EMPTY_HERE = {
    "driftline-quality / panel / Folded cardinality",
    "driftline-quality / panel / Values of the wrong type",
    "driftline-drift / panel / Categories now",
    "driftline / rule / An action is not acknowledged",
}
"""Queries without rows on this recording; each of them has a test of its own below."""
MOST_SERIES = 60


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_query_gives_what_its_panel_needs(filled: EmbeddedStore, seen: Range, name: str) -> None:
    query = BY_NAME[name]
    if "stored_at" in query.sql:
        # What is asked by the time of storing happens now, and not when the events did.
        seen = Range(seen.from_ms, stored_now(filled).to_ms, seen.interval_ms)
    answer = ask(filled, query, seen, VALUES)
    if not answer.rows:
        answer = ask(filled, query, seen, PRODUCTION)
    assert bool(answer.rows) == (name not in EMPTY_HERE)
    CHECKS[query.kind](query, answer)


def check_panel(query: Query, answer: Answer) -> None:
    kind = query.shown["type"]
    match kind:
        case "timeseries" | "heatmap" | "state-timeline":
            check_series(query, answer)
        case "stat":
            assert len(answer.rows) == 1
            assert answer.numbers == list(answer.types)
        case "barchart":
            first, *others = answer.types
            assert answer.types[first] == LABEL
            assert others == answer.numbers
        case "table":
            shown = re.compile(
                r"String|Bool|DateTime64\(3, 'UTC'\)|DateTime(\('UTC'\))?|" + NUMBER.pattern
            )
            assert all(shown.fullmatch(each) for each in answer.types.values()), answer.types
            assert len(answer.rows) <= 1000
        case _:
            raise AssertionError(f"nobody says what a panel of type {kind} needs")
    for name in named_columns(query.shown):
        assert name in answer.types, f"{name} is shown in a special way but is not there"


def named_columns(panel: Mapping[str, Any]) -> set[str]:
    """Columns that overrides and links of a panel name."""
    found = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["id"] == "byName"
        found.add(override["matcher"]["options"])
    return found


def check_series(query: Query, answer: Answer) -> None:
    """As the plugin's long frames must be: time first and rising, text as labels, no series twice
    at one time."""
    assert query.format == 0
    first = next(iter(answer.types))
    assert first == "time"
    assert answer.types["time"].startswith("DateTime")
    assert "time" not in answer.nullable
    assert answer.numbers
    assert {"time", *answer.numbers, *answer.labels} == set(answer.types)
    times = [row["time"] for row in answer.rows]
    assert times == sorted(times)
    points = [(row["time"], *(row[label] for label in answer.labels)) for row in answer.rows]
    assert len(points) == len(set(points))
    assert len({point[1:] for point in points}) <= MOST_SERIES
    if query.shown["type"] == "heatmap":
        assert answer.labels == ["column"]
    if query.shown["type"] == "state-timeline":
        assert answer.labels == ["release"]
        assert {row["value"] for row in answer.rows} <= {number for number, _ in STATUS.values()}


def check_variable(query: Query, answer: Answer) -> None:
    assert 1 <= len(answer.types) <= 2
    assert answer.labels == list(answer.types)
    values = [next(iter(row.values())) for row in answer.rows]
    assert len(values) == len(set(values))


def check_mark(query: Query, answer: Answer) -> None:
    assert set(answer.types) == {"time", "text", "tags"}
    assert answer.types["time"].startswith("DateTime")


def check_rule(query: Query, answer: Answer) -> None:
    """One number, everything else labels, and no two rows with the same ones."""
    assert query.format == 1
    assert answer.numbers == ["value"]
    assert set(answer.labels) | {"value"} == set(answer.types)
    keys = [tuple(row[label] for label in answer.labels) for row in answer.rows]
    assert len(keys) == len(set(keys))


CHECKS = {
    Kind.PANEL: check_panel,
    Kind.VARIABLE: check_variable,
    Kind.MARK: check_mark,
    Kind.RULE: check_rule,
}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_names_from_outside_stay_names(filled: EmbeddedStore, seen: Range, name: str) -> None:
    """A model called like SQL gives its own rows and nobody else's, and no query breaks on it."""
    hostile = {**PRODUCTION, "model": HOSTILE, "filter": HOSTILE}
    found = ask(filled, BY_NAME[name], seen, hostile)
    plain = ask(filled, BY_NAME[name], seen, PRODUCTION)
    assert found.types == plain.types
    if "${model" in BY_NAME[name].sql or "${filter" in BY_NAME[name].sql:
        models = {row["model"] for row in found.rows if "model" in row}
        assert models <= {HOSTILE}


@pytest.mark.parametrize("variable", sorted(VALUES))
def test_no_value_of_a_variable_breaks_out(
    filled: EmbeddedStore, seen: Range, variable: str
) -> None:
    for query in QUERIES:
        if f"${{{variable}:" in query.sql:
            for value in ("'", "\\", "\\'", "') OR 1=1 --", "%27", "", "\x00", "ü" * 1000):
                ask(filled, query, seen, {**VALUES, variable: value})


@pytest.mark.parametrize("guard", [True, False], ids=["H7-guard", "H7-no-guard"])
def test_a_value_that_is_half_a_condition_finds_nothing(
    filled: EmbeddedStore, seen: Range, guard: bool
) -> None:
    """Without the guard (the value stands in the statement as it is) it finds all models."""
    value = "nobody' OR 'a' = 'a"
    place = "decodeURLComponent('${model:percentencode}')"
    tables = [q for q in QUERIES if place in q.sql and q.shown.get("type") == "table"]
    found = 0
    for query in tables:
        naive = replace(query, sql=query.sql.replace(place, f"'{value}'"))
        found += len(ask(filled, query if guard else naive, seen, {**VALUES, "model": value}).rows)
    assert tables
    assert (found == 0) is guard


def test_every_query_is_bounded() -> None:
    """By a limit, or because it gives one row or a point for each pixel."""
    for query in QUERIES:
        one_row = query.shown.get("type") == "stat" or "HAVING count() > 0" in query.sql
        per_pixel = re.search(r"GROUP BY time\s+ORDER BY time$", query.sql) is not None
        roles = query.kind is Kind.VARIABLE and query.title in ("role", "window")
        limited = re.search(r"\bLIMIT \d+$", query.sql) is not None
        assert one_row or per_pixel or roles or limited, query.name


def test_a_query_with_an_unknown_macro_or_variable_is_refused() -> None:
    with pytest.raises(UnknownMacro):
        expand("SELECT $__conditionalAll(x)", Range(0, 1))
    with pytest.raises(UnknownMacro):
        interpolate("SELECT ${nobody:percentencode}", VALUES)
    with pytest.raises(UnknownMacro):
        interpolate("SELECT ${model:raw}", VALUES)


# --- what they say -------------------------------------------------------------------------------


def test_the_fleet_shows_the_newest_verdict_of_every_release(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    shown = {
        (row["model"], row["version"], row["role"]): (row["status"], int(row["events"]))
        for row in rows_of(filled, seen, "driftline-fleet / panel / Releases")
    }
    wanted = newest_verdicts(recorded)
    assert shown == {key: (row["status"], row["events"]) for key, row in wanted.items()}
    assert len(shown) == 6
    counts = rows_of(filled, seen, "driftline-fleet / panel / Releases by verdict")[0]
    assert sum(map(int, counts.values())) == len(shown)


def test_the_error_rate_is_that_of_the_rows(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    wanted: dict[str, list[int]] = {}
    for row in recorded.rows[WINDOWS]:
        place = row["model"], row["segment"], row["column"], row["window_ms"]
        if place == ("fraud", "all", "error", 60_000):
            sums = wanted.setdefault(f"{row['role']} {row['version']}", [0, 0])
            sums[0] += row["errors"]
            sums[1] += row["n"]
    whole = Range(seen.from_ms, seen.to_ms, 86_400_000)
    shown: dict[str, float] = {}
    for point in rows_of(filled, whole, "driftline-release / panel / Error rate"):
        shown[point["release"]] = point["value"]
    assert set(shown) == set(wanted)
    for release, (errors, n) in wanted.items():
        assert shown[release] == pytest.approx(errors / n)


def test_the_histogram_shows_the_drift_beside_the_reference(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    name = "driftline-drift / panel / Histogram now and in the reference"
    rows = rows_of(filled, seen, name)
    assert sum(row["now"] for row in rows) == pytest.approx(1)
    assert sum(row["reference"] for row in rows) == pytest.approx(1)
    content: dict[str, Any] = json.loads(
        next(r for r in recorded.rows[REFERENCES] if r["model"] == "fraud")["content"]
    )
    column = next(c for c in content["all"]["columns"] if c["name"] == "features.amount")
    assert [row["reference"] * column["n"] for row in rows] == pytest.approx(column["bins"])
    # Amounts became three times as large: more of them lie in the highest bin.
    assert rows[-1]["now"] > 2 * rows[-1]["reference"]
    topics = rows_of(filled, seen, name, {**PRODUCTION, "column": "features.topic"})
    assert [row["bin"] for row in topics][-1] == "other"
    assert topics[-1]["now"] > 0.1
    assert topics[-1]["reference"] == 0


def test_categories_are_counted_by_name(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    wanted: dict[str, int] = {}
    for row in recorded.rows[WINDOWS]:
        place = row["model"], row["role"], row["segment"], row["column"], row["window_ms"]
        if place == ("fraud", "production", "all", "features.topic", 60_000):
            for name, n in row["categories"].items():
                wanted[name] = wanted.get(name, 0) + n
    topics = {**PRODUCTION, "column": "features.topic"}
    rows = rows_of(filled, seen, "driftline-drift / panel / Categories now", topics)
    assert {row["category"]: int(row["total"]) for row in rows} == wanted


def test_what_was_folded_is_shown(filled: EmbeddedStore, seen: Range) -> None:
    database = "folded"
    migrate(filled.client, database=database)
    place = {"model": "m", "role": "production", "segment": "all", "window_ms": 60_000}
    verdict = dict.fromkeys(VERDICTS.column_names, 0) | {
        **place, "version": "1", "status": "pass", "reason": "", "baseline_version": "",
        "columns": [], "upstream": [], "configuration": "", "reference": "", "as_of": seen.from_ms,
    }  # fmt: skip
    window = dict.fromkeys(WINDOWS.column_names, 0) | {
        **place, "version": "__other__", "column": "error", "kind": "rate", "reference": "",
        "window_start": seen.from_ms + 60_000, "window_end": seen.from_ms + 120_000, "n": 40,
        "histogram": [], "categories": {},
    }  # fmt: skip
    del verdict["segment"]
    insert(filled.client, VERDICTS, [verdict], database=database)
    wrong = {**window, "version": "1", "column": "age", "n": 3, "errors": 1}
    insert(filled.client, WINDOWS, [window, wrong], database=database)
    board = board_json("quality", database)
    queries = {query.title: query for query in queries_of(board)}
    (row,) = ask(filled, queries["Folded cardinality"], seen, PRODUCTION).rows
    assert (row["model"], row["folded"]) == ("m", 40)
    of_one = {**PRODUCTION, "model": "m"}
    (row,) = ask(filled, queries["Values of the wrong type"], seen, of_one).rows
    assert (row["column"], row["value"]) == ("age", 0.25)


def test_new_categories_and_nulls_are_seen(filled: EmbeddedStore, seen: Range) -> None:
    new = rows_of(filled, seen, "driftline-quality / panel / New categories")
    assert {row["column"] for row in new} == {"features.topic"}
    nulls = rows_of(filled, seen, "driftline-quality / panel / Nulls")
    assert "features.age" in {row["column"] for row in nulls}


def test_rows_stored_twice_change_nothing(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    of_now = {"driftline-fleet / panel / Oldest verdict", *EMPTY_HERE}
    names = [
        query.name
        for query in QUERIES
        if query.kind is not Kind.RULE
        and query.name not in of_now
        and "now64" not in query.sql
        and "now(" not in query.sql
        and "stored_at" not in query.sql
    ]
    before = [rows_of(filled, seen, name) for name in names]
    for table, rows in recorded.rows.items():
        insert(filled.client, table, rows[: len(rows) // 2], database=DATABASE)
    assert [rows_of(filled, seen, name) for name in names] == before
