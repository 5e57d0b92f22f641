"""One suite over both ways into a store: chDB in process, and ClickHouse's HTTP protocol."""

# ruff: noqa: S608 - the names in these statements are our own
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest

from sinks.clickhouse import RetentionSettings, insert
from sinks.embedded_store import EmbeddedStore, StoreLocked, StoreUnavailable
from sinks.errors import Permanent
from sinks.fed_tables import FED
from sinks.http_face import HttpFace
from sinks.migrations import (
    Migration,
    MigrationChanged,
    apply_retention,
    migrate,
    parse_migration,
    reader_statements,
    shipped_migrations,
)
from sinks.rows import RowsRefused
from sinks.schema import EVENTS, FINDINGS, STORED_AT, TABLES, VERDICTS, WINDOWS
from sinks.table import Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MONTH_MS = 31 * 24 * 3600 * 1000


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def face(embedded: EmbeddedStore) -> Iterator[HttpFace]:
    face = HttpFace(embedded, 0)
    face.start()
    try:
        yield face
    finally:
        face.stop()


@pytest.fixture(params=["chdb", "http"])
def client(
    request: pytest.FixtureRequest, embedded: EmbeddedStore, face: HttpFace
) -> Iterator[Client]:
    if request.param == "chdb":
        yield embedded.client
        return
    client = clickhouse_connect.get_client(host="127.0.0.1", port=face.port)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def database(client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"d{abs(hash(request.node.nodeid))}"
    migrate(client, database=name)
    try:
        yield name
    finally:
        client.command(f"DROP DATABASE {name}")


def example(table: Table, **values: Any) -> dict[str, Any]:
    """A row of ``table`` with something in every column."""
    row: dict[str, Any] = {}
    for column in table.columns:
        match column.type:
            case "Array(String)":
                row[column.name] = ["a", "ü"]
            case "Array(UInt64)":
                row[column.name] = [0, 2**63]
            case "Map(String, Float64)":
                row[column.name] = {"a.b": 1.5}
            case "Map(String, UInt64)":
                row[column.name] = {"": 3, "x": 2**53}
            case "Map(String, String)":
                row[column.name] = {"t": "l1\nl2"}
            case "Bool":
                row[column.name] = True
            case "DateTime64(3, 'UTC')":
                row[column.name] = 1_700_000_000_123
            case "Nullable(Float64)":
                row[column.name] = 0.1
            case kind if "String" in kind:
                row[column.name] = "tab\t'quote' \\ ü"
            case _:
                row[column.name] = 7
    return {**row, **values}


def count(client: Client, database: str, table: Table) -> int:
    sql = f"SELECT count() FROM {database}.`{table.name}` FINAL"
    return int(client.query(sql).result_rows[0][0])


def test_the_tables_are_what_the_schema_says(client: Client, database: str) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    for table, name, kind, default in client.query(
        "SELECT table, name, type, default_kind FROM system.columns"
        f" WHERE database = '{database}' AND table != 'migrations'"
        " AND NOT endsWith(table, '_feed') ORDER BY table, position"
    ).result_rows:
        if name == STORED_AT:
            assert default == "MATERIALIZED"
        else:
            found.setdefault(table, []).append((name, kind))
    assert found == {t.name: [(c.name, c.type) for c in t.columns] for t in (*TABLES, *FED)}


def test_keys_and_versions_are_what_the_schema_says(client: Client, database: str) -> None:
    rows = client.query(
        f"SELECT name, sorting_key, engine_full, partition_key FROM system.tables"
        f" WHERE database = '{database}' AND name != 'migrations'"
    ).result_rows
    found = {name: (key, engine, partition) for name, key, engine, partition in rows}
    for table in (*TABLES, *FED):
        key, engine, partition = found[table.name]
        assert tuple(part.strip(" `") for part in key.split(",")) == table.key
        version = engine.split("(")[1].split(")")[0].strip("`")
        assert version == table.version
        # Rows of one key must share a partition, or they would never be merged.
        time = partition.removeprefix("toYYYYMM(").strip(")`")
        assert partition == "" or time in table.key


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_rows_come_back_as_they_were(client: Client, database: str, table: Table) -> None:
    row = example(table)
    assert insert(client, table, [row], database=database) == 1
    selected = ", ".join(
        f"toUnixTimestamp64Milli(`{c.name}`)" if c.type.startswith("Date") else f"`{c.name}`"
        for c in table.columns
    )
    back = client.query(f"SELECT {selected} FROM {database}.`{table.name}`").result_rows
    assert back == [tuple(row.values())]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_replay_changes_nothing(client: Client, database: str, table: Table) -> None:
    rows = [example(table), example(table, **{table.key[-1]: example(table)[table.key[-1]]})]
    for _ in range(3):
        insert(client, table, rows, database=database)
    assert count(client, database, table) == 1


@pytest.mark.parametrize("table", [FINDINGS, WINDOWS], ids=lambda t: t.name)
def test_a_higher_revision_wins_in_whatever_order_it_comes(
    client: Client, database: str, table: Table
) -> None:
    for revision in (1, 3, 2, 3):
        insert(client, table, [example(table, revision=revision, n=revision)], database=database)
    back = client.query(f"SELECT revision, n FROM {database}.{table.name} FINAL").result_rows
    assert back == [(3, 3)]


def test_a_row_of_another_key_is_another_row(client: Client, database: str) -> None:
    rows = [example(FINDINGS, detector="psi"), example(FINDINGS, detector="js")]
    rows += [example(FINDINGS, against="x"), example(FINDINGS, window_ms=1)]
    insert(client, FINDINGS, rows, database=database)
    assert count(client, database, FINDINGS) == 4


def test_one_insert_may_touch_more_than_100_months(client: Client, database: str) -> None:
    rows = [example(EVENTS, ts=i * MONTH_MS) for i in range(150)]
    insert(client, EVENTS, rows, database=database)
    assert count(client, database, EVENTS) == 150


def test_missing_numbers_are_null(client: Client, database: str) -> None:
    row = example(VERDICTS, p95_latency_ms=None, p99_latency_ms=float("nan"))
    insert(client, VERDICTS, [row], database=database)
    sql = f"SELECT p95_latency_ms, p99_latency_ms FROM {database}.verdicts"
    assert client.query(sql).result_rows == [(None, None)]


def test_rows_that_do_not_fit_store_nothing(client: Client, database: str) -> None:
    with pytest.raises(RowsRefused):
        insert(
            client, VERDICTS, [example(VERDICTS), example(VERDICTS, events=-1)], database=database
        )
    assert count(client, database, VERDICTS) == 0


def test_a_missing_table_is_permanent_and_says_what_to_do(client: Client) -> None:
    with pytest.raises(Permanent, match="driftline migrate"):
        insert(client, VERDICTS, [example(VERDICTS)], database="nowhere")


def test_migrations_are_applied_once(client: Client, database: str) -> None:
    assert migrate(client, database=database) == []
    shipped = shipped_migrations()
    assert [m.number for m in shipped] == list(range(1, len(shipped) + 1))
    kept = client.query(
        f"SELECT number, sha256 FROM {database}.migrations ORDER BY number"
    ).result_rows
    assert kept == [(m.number, m.sha256) for m in shipped]


def test_a_dry_run_applies_nothing(client: Client) -> None:
    missing = migrate(client, database="dry", dry_run=True)
    assert missing == list(shipped_migrations())
    assert client.query("SELECT count() FROM system.databases WHERE name = 'dry'").result_rows == [
        (0,)
    ]


def test_a_later_migration_is_added_to_what_is_there(client: Client, database: str) -> None:
    later = parse_migration(
        "0900_more.sql", "CREATE TABLE IF NOT EXISTS {database}.more (a Int8) ENGINE = Memory;"
    )
    known = (*shipped_migrations(), later)
    assert migrate(client, database=database, migrations=known) == [later]
    assert migrate(client, database=database, migrations=known) == []


def test_a_changed_migration_is_refused_before_anything_is_touched(
    client: Client, database: str
) -> None:
    first = shipped_migrations()[0]
    changed = Migration(first.number, first.name, "0" * 64, first.statements)
    other = Migration(901, "other", "1" * 64, ("DROP DATABASE {database}",))
    with pytest.raises(MigrationChanged, match="0001_tables"):
        migrate(client, database=database, migrations=(changed, other))
    assert count(client, database, VERDICTS) == 0


def test_a_store_of_a_newer_version_is_refused(client: Client, database: str) -> None:
    with pytest.raises(MigrationChanged, match="newer version"):
        migrate(client, database=database, migrations=())


def test_retention_is_what_the_settings_say(client: Client, database: str) -> None:
    default = RetentionSettings()
    changed = apply_retention(client, default, database=database)
    assert set(changed) == {t.name for t in TABLES if default.days(t)}
    assert apply_retention(client, default, database=database) == []
    assert apply_retention(client, RetentionSettings(events_days=0), database=database) == [
        "events"
    ]
    # Events of 2023 replayed today must stay: the time they are stored is what counts.
    insert(client, WINDOWS, [example(WINDOWS, window_start=1_500_000_000_000)], database=database)
    client.command(f"OPTIMIZE TABLE {database}.windows FINAL")
    assert count(client, database, WINDOWS) == 1


def test_the_sql_of_the_reader_user_is_sql(embedded: EmbeddedStore) -> None:
    for statement in reader_statements("geheim"):
        assert embedded.client.command(f"EXPLAIN AST {statement}")


@pytest.mark.embedded
def test_a_second_owner_is_told_that_the_store_is_locked(embedded: EmbeddedStore) -> None:
    script = (
        "import sys\n"
        "from sinks.embedded_store import EmbeddedStore, StoreLocked\n"
        "try:\n    EmbeddedStore(sys.argv[1])\n"
        "except StoreLocked as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, embedded.path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert embedded.path in done.stdout
    assert "in use by another process" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    with pytest.raises(StoreLocked):
        EmbeddedStore(embedded.path)


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        EmbeddedStore(tmp_path / "file")
