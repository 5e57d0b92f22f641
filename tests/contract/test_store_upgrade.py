"""A store that an older version made, with its rows, becomes the store of this version."""

# ruff: noqa: S608 - the names in these statements are our own
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from sinks.embedded_store import EmbeddedStore
from sinks.fed_tables import FED
from sinks.migrations import migrate, shipped_migrations
from sinks.schema import AUDIT, FINDINGS, INTAKE, VERDICTS, WINDOWS
from sinks.table import Table

SHIPPED = shipped_migrations()
ROWS: Mapping[Table, Mapping[str, Any]] = {
    WINDOWS: {"model": "m", "segment": "all", "column": "error", "window_ms": 60_000, "n": 9},
    FINDINGS: {
        "model": "m",
        "segment": "all",
        "column": "f",
        "window_ms": 60_000,
        "decides": True,
        "statistic": 0.25,
        "threshold": 0.5,
        "outcome": "pass",
        "against": "reference:0",
    },
    VERDICTS: {"model": "m", "version": "2", "sequence": 4, "status": "pass"},
    INTAKE: {"topic": "t", "partition": 1, "first_offset": 5, "last_offset": 8, "events": 4},
    AUDIT: {
        "chain": "m",
        "sequence": 1,
        "model": "m",
        "subject": "page_1",
        "kind": "incident.opened",
        "body": '{"incident": "i", "pages": 2}',
    },
}
"""What an older version may have stored of each table that others are fed from."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.mark.parametrize("version", [m.number for m in SHIPPED[:-1]])
def test_what_an_older_version_stored_is_on_the_boards_after_the_upgrade(
    store: EmbeddedStore, version: int
) -> None:
    old, new = f"old{version}", f"new{version}"
    migrate(store.client, database=old, migrations=SHIPPED[:version])
    known = _tables(store, old)
    migrate(store.client, database=new)
    for table, row in ROWS.items():
        if table.name in known:
            for database in (old, new):
                store.client.insert(
                    table.name,
                    [list(row.values())],
                    column_names=list(row),
                    database=database,
                )
    assert [m.number for m in migrate(store.client, database=old)] == [
        m.number for m in SHIPPED[version:]
    ]
    assert _tables(store, old) == _tables(store, new)
    for fed in FED:
        assert _rows(store, old, fed) == _rows(store, new, fed), fed.name
    assert _rows(store, old, FED[0]), "the newest verdict is there"


@pytest.mark.parametrize("fed", FED[-3:], ids=lambda table: table.name)
def test_what_boards_read_by_time_is_there_after_the_upgrade(
    store: EmbeddedStore, fed: Table
) -> None:
    """So that the test above does not hold one empty table to another."""
    before = next(m.number for m in SHIPPED if m.name == "by_time") - 1
    database = f"by_time_{fed.name}"
    migrate(store.client, database=database, migrations=SHIPPED[:before])
    for table, row in ROWS.items():
        store.client.insert(
            table.name, [list(row.values())], column_names=list(row), database=database
        )
    migrate(store.client, database=database)
    assert len(_rows(store, database, fed)) == 1


def _tables(store: EmbeddedStore, database: str) -> set[str]:
    found = store.client.query(f"SELECT name FROM system.tables WHERE database = '{database}'")
    return {str(name) for (name,) in found.result_rows}


def _rows(store: EmbeddedStore, database: str, table: Table) -> list[Any]:
    columns = ", ".join(f"`{name}`" for name in table.column_names)
    sql = f"SELECT {columns} FROM {database}.`{table.name}` FINAL ORDER BY ALL"
    return list(store.client.query(sql).result_rows)
