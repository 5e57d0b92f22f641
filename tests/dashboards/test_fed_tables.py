"""Boards that read tables which inserts feed show what stands in the tables themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from dashboards.macros import Range
from sinks.clickhouse import insert
from sinks.embedded_store import EmbeddedStore
from sinks.schema import DATABASE, FINDINGS, INTAKE, WINDOWS
from tests.dashboards.asking import rows_of
from tests.dashboards.conftest import RecordingLine


@pytest.mark.parametrize("interval_s", [30, 60, 300, 1800])
def test_the_heat_map_shows_the_most_that_was_told_of_a_column(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range, interval_s: int
) -> None:
    """At any width of a point: of the findings themselves, or of the peaks of five minutes."""
    name = "driftline-drift / panel / Columns over time"
    cell_s = interval_s if interval_s < 60 else max(interval_s, 300)
    wanted: dict[tuple[int, str], float] = {}
    for row in recorded.rows[FINDINGS]:
        place = row["model"], row["version"], row["role"], row["segment"], row["window_ms"]
        if place != ("fraud", "1", "production", "all", 60_000) or not row["decides"]:
            continue
        if row["threshold"] and row["statistic"] is not None:
            at = row["window_start"] // 1000 // cell_s * cell_s, row["column"]
            share = min(max(row["statistic"] / row["threshold"], 0), 4000)
            wanted[at] = max(wanted.get(at, 0), share)
    assert len(wanted) > 20
    looked = Range(seen.from_ms, seen.to_ms, interval_s * 1000)
    shown = {
        (_epoch_s(row["time"]), row["column"]): row["value"]
        for row in rows_of(filled, looked, name)
    }
    assert set(shown) == set(wanted)
    for cell, value in wanted.items():
        assert shown[cell] == pytest.approx(value, abs=2e-6)


def test_the_ledger_is_counted_once_however_often_it_is_stored(
    filled: EmbeddedStore, recorded: RecordingLine
) -> None:
    insert(filled.client, INTAKE, recorded.rows[INTAKE], database=DATABASE)
    times = [row["seen_at"] for row in recorded.rows[INTAKE]]
    seen = Range(min(times) - 60_000, max(times) + 60_000)
    (rows,) = rows_of(filled, seen, "driftline-quality / panel / Input partitions")
    for shown, column in (("counted", "events"), ("dead_letters", "dead"), ("read", "messages")):
        assert int(rows[shown]) == sum(row[column] for row in recorded.rows[INTAKE])


def test_traffic_is_that_of_the_newest_windows(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    """Also of windows that are corrected: the older row counts no more."""
    newest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in sorted(recorded.rows[WINDOWS], key=lambda row: row["revision"]):
        place = row["model"], row["segment"], row["column"], row["window_ms"]
        if place == ("fraud", "all", "error", 60_000):
            newest[tuple(row[key] for key in WINDOWS.key)] = row
    first = next(iter(newest.values()))
    corrected = {**first, "n": first["n"] + 7, "revision": 9}
    insert(filled.client, WINDOWS, [corrected], database=DATABASE)
    wanted = sum(row["n"] for row in newest.values()) + 7
    minute = rows_of(filled, seen, "driftline-fleet / panel / Traffic by model")
    shown = sum(row["value"] * 60 for row in minute if row["model"] == "fraud")
    assert shown == pytest.approx(wanted)


def test_a_model_has_one_row_with_the_worst_of_its_releases(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    models = rows_of(filled, seen, "driftline-fleet / panel / Models")
    releases = rows_of(filled, seen, "driftline-fleet / panel / Releases")
    assert {row["model"] for row in models} == {row["model"] for row in releases}
    assert len(models) == 2
    grave = ["fail", "hold", "blind", "insufficient", "pass"]
    for model in models:
        own = [row for row in releases if row["model"] == model["model"]]
        assert int(model["releases"]) == len(own) == 3
        assert model["status"] == min((row["status"] for row in own), key=grave.index)
        worst = max(own, key=lambda row: row["worst"] or 0)
        assert (model["worst"], model["worst_column"]) == (worst["worst"], worst["worst_column"])
        assert (model["version"], model["role"]) == (worst["version"], worst["role"])
        assert model["budget"] == max(row["budget"] or 0 for row in own)
        assert model["p99"] == max(row["p99"] for row in own)
    lengths = {row["window_ms"] for row in recorded.rows[WINDOWS]}
    counted: dict[tuple[Any, ...], int] = {
        tuple(row[key] for key in WINDOWS.key): row["n"]
        for row in sorted(recorded.rows[WINDOWS], key=lambda row: row["revision"])
        if (row["segment"], row["column"], row["window_ms"]) == ("all", "error", min(lengths))
    }
    wanted = sum(n for key, n in counted.items() if key[0] != "fraud")
    hostile = next(row for row in models if row["model"] != "fraud")
    seconds = (seen.to_ms - seen.from_ms) / 1000
    assert hostile["traffic"] * seconds == pytest.approx(wanted)


def _epoch_s(time: str) -> int:
    return int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp())
