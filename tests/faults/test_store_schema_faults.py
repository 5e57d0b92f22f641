"""C6: the schema changes while the store runs, and rows of an older version are on their way.

See tests/faults/test_store_faults.py."""

# ruff: noqa: S608 - the names in these statements are our own
from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sinks.clickhouse import connect
from sinks.migrations import shipped_migrations
from sinks.schema import FINDINGS, TABLES, VERDICTS
from sinks.table import Column, Table
from streams.store_loop import Store
from tests.faults.store_scene import (
    AT_MS,
    QUICK,
    Broker,
    ListConsumer,
    Outcome,
    Scene,
    guarded,
    message,
    play,
)

if TYPE_CHECKING:
    pass

# --- C6: the schema changes while running --------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("ADD COLUMN `extra` String DEFAULT 'x'", ""),
        ("DROP COLUMN `bytes`", "ADD COLUMN `bytes` UInt64 AFTER `reason`"),
        ("RENAME COLUMN `reason` TO `why`", "RENAME COLUMN `why` TO `reason`"),
    ],
    ids=["C6-added", "C6-dropped", "C6-renamed"],
)
def test_a_schema_that_changes_while_running_loses_nothing(
    fresh_scene: Scene, change: str, back: str
) -> None:
    scene = fresh_scene
    table = f"{scene.database}.dead_letters"
    scene.client.command(f"ALTER TABLE {table} {change}")

    def repaired() -> None:
        if back and scene.client.query(f"EXISTS TABLE {table}").result_rows:
            scene.client.command(f"ALTER TABLE {table} {back}")

    outcome = play(scene, lives=1)
    assert outcome.clean
    assert bool(outcome.refusals) == bool(back)
    repaired()
    assert play(scene) == Outcome(0, 0, 0)


def _without(row: dict[str, Any], table: Table) -> dict[str, Any]:
    """The row as a version wrote it that did not know the columns added since."""
    return {name: value for name, value in row.items() if name not in table.defaults}


def _value(column: Column) -> Any:
    match column.type.partition("(")[0]:
        case "Nullable":
            return 0.5
        case "Array":
            return []
        case "String" | "LowCardinality":
            return "a"
        case "Bool":
            return True
        case "DateTime64":
            return AT_MS
        case _:
            return 7


@pytest.mark.parametrize("table", [FINDINGS, VERDICTS], ids=lambda t: f"C6-old-rows-{t.name}")
@pytest.mark.parametrize("together", [True, False], ids=["with-new", "alone"])
def test_rows_of_an_older_version_are_stored_with_defaults(
    scene: Scene, table: Table, together: bool
) -> None:
    new = {column.name: _value(column) for column in table.columns}
    old = _without({**new, "version": "old"}, table)
    assert len(old) < len(new)
    rows = [old, new] if together else [old]
    refused: list[str] = []

    class Counting(Store):
        def _refuse(self, place: Any, offset: int, why: str) -> None:
            refused.append(why)

    topic = "results"
    broker = Broker([message(topic, 0, rows)], lambda _: 10**9)
    client = connect(scene.settings())
    try:
        store = Counting(ListConsumer(broker), guarded(scene, client), QUICK, topics={topic: table})
        until = time.monotonic() + 10
        store.run(lambda: bool(broker.committed) or time.monotonic() > until)
    finally:
        client.close()
    assert refused == []
    assert scene.rows(table) == len(rows)
    names = ", ".join(table.defaults)
    sql = f"SELECT {names} FROM {scene.database}.{table.name} FINAL WHERE version = 'old'"
    found = dict(zip(table.defaults, scene.client.query(sql).result_rows[0], strict=True))
    for name, value in table.defaults.items():
        if name != "onset":
            assert found[name] == value
    assert scene.broker.early == []


def test_every_column_that_a_migration_added_has_a_default() -> None:
    added = {
        name
        for migration in shipped_migrations()
        for statement in migration.statements
        for line in statement.splitlines()
        if "ADD COLUMN" in line
        for name in [line.split("`")[1]]
    }
    assert added == {name for table in TABLES for name in table.defaults}


def test_c6_no_guard_without_the_default_an_older_row_is_refused(scene: Scene) -> None:
    """The guard removed: the same columns, none of them marked as added."""
    strict = replace(FINDINGS, columns=tuple(replace(c, added=False) for c in FINDINGS.columns))
    old = _without({column.name: _value(column) for column in FINDINGS.columns}, FINDINGS)
    broker = Broker([message("results", 0, [old])], lambda _: 10**9)
    client = connect(scene.settings())
    try:
        store = Store(
            ListConsumer(broker), guarded(scene, client), QUICK, topics={"results": strict}
        )
        until = time.monotonic() + 10
        store.run(lambda: bool(broker.committed) or time.monotonic() > until)
    finally:
        client.close()
    assert store.counts.refused == 1
    assert scene.rows(FINDINGS) == 0
