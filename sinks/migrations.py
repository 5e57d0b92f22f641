"""The store's schema, brought up to date by numbered SQL files that never change once applied.

Each file of deploy/sql is applied once, in order, and its checksum is kept in the table
``migrations``. Statements are separated by a semicolon at the end of a line and must be safe to
run twice (IF NOT EXISTS), because ClickHouse has no transactions around them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver import exceptions

from sinks.clickhouse import RetentionSettings, sorted_error
from sinks.errors import Permanent
from sinks.schema import DATABASE, STORED_AT, TABLES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

READER: Final = "grafana_reader"
"""The user that Grafana reads with."""

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TTL = re.compile(r"TTL (.+?)(?: SETTINGS |$)")


class MigrationChanged(Permanent):
    """An applied migration is not what it was, or is not there any more."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. ``statements`` still hold the placeholder ``{database}``."""

    number: int
    name: str
    sha256: str
    statements: tuple[str, ...]


def parse_migration(file_name: str, text: str) -> Migration:
    """Raises ValueError for a file that is not called ``0001_what_it_does.sql``."""
    match = _FILE.fullmatch(file_name)
    if match is None:
        raise ValueError(f"{file_name} is not called like 0001_what_it_does.sql")
    without_comments = re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE)
    statements = tuple(s.strip() for s in re.split(r";\s*$", without_comments, flags=re.MULTILINE))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Migration(int(match[1]), match[2], digest, tuple(s for s in statements if s))


def shipped_migrations() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    files = (f for f in resources.files("deploy.sql").iterdir() if f.name.endswith(".sql"))
    found = [parse_migration(f.name, f.read_text(encoding="utf-8")) for f in files]
    return tuple(sorted(found, key=lambda m: m.number))


def migrate(
    client: Client,
    *,
    database: str = DATABASE,
    dry_run: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[Migration]:
    """Apply what is missing; returns it, in order (with ``dry_run``: what would be applied).

    Raises MigrationChanged, before anything is touched, if an applied file was changed or if the
    store is newer than this version; Retryable or Permanent for the server's errors.
    """
    known = shipped_migrations() if migrations is None else tuple(migrations)
    try:
        applied = _applied(client, database)
        _refuse_changes(known, applied, database)
        missing = [m for m in known if m.number not in applied]
        if dry_run or not missing:
            return missing
        _create_ledger(client, database)
        for migration in missing:
            for statement in migration.statements:
                client.command(statement.replace("{database}", f"`{database}`"))
            client.insert(
                "migrations",
                [[migration.number, migration.name, migration.sha256]],
                column_names=["number", "name", "sha256"],
                database=database,
            )
    except exceptions.Error as error:
        raise sorted_error(error, f"the migration of {database}") from None
    return missing


def apply_retention(
    client: Client, retention: RetentionSettings, *, database: str = DATABASE
) -> list[str]:
    """Make the tables' TTL what ``retention`` says; returns the names of the tables changed."""
    changed = []
    try:
        engines = {
            str(name): str(engine)
            for name, engine in client.query(
                "SELECT name, engine_full FROM system.tables WHERE database = {db:String}",
                parameters={"db": database},
            ).result_rows
        }
        for table in TABLES:
            days = retention.days(table)
            wanted = f"{STORED_AT} + toIntervalDay({days})" if days else ""
            found = _TTL.search(engines.get(table.name, ""))
            if wanted == (found[1] if found else ""):
                continue
            change = f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"
            client.command(
                f"ALTER TABLE `{database}`.`{table.name}` {change}",
                # Old parts follow when they are merged; no rewrite of everything now.
                settings={"materialize_ttl_after_modify": 0},
            )
            changed.append(table.name)
    except exceptions.Error as error:
        raise sorted_error(error, f"the change of retention in {database}") from None
    return changed


def reader_statements(password: str, *, database: str = DATABASE) -> tuple[str, ...]:
    """SQL for the read-only user of Grafana on a server (the embedded store has it built in).

    ``max_execution_time`` must stay changeable: the Grafana plugin sets it with every query, and
    under a plain ``readonly = 1`` the connection test passes and then every query fails.
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    return (
        f"CREATE USER IF NOT EXISTS {READER} IDENTIFIED WITH sha256_hash BY '{digest}'",
        f"ALTER USER {READER} IDENTIFIED WITH sha256_hash BY '{digest}'"
        " SETTINGS readonly = 1, max_execution_time = 60 CHANGEABLE_IN_READONLY,"
        " max_result_bytes = 268435456",
        f"GRANT SELECT ON `{database}`.* TO {READER}",
    )


def create_reader(client: Client, password: str, *, database: str = DATABASE) -> None:
    """Create or update the read-only user on a server. Raises Permanent if we may not."""
    if not password:
        raise Permanent(f"The user {READER} needs a password: a server is open to its network.")
    try:
        for statement in reader_statements(password, database=database):
            client.command(statement)
    except exceptions.Error as error:
        raise sorted_error(error, f"the creation of user {READER}") from None


def _applied(client: Client, database: str) -> dict[int, str]:
    exists = client.query(
        "SELECT count() FROM system.tables WHERE database = {db:String} AND name = 'migrations'",
        parameters={"db": database},
    ).result_rows[0][0]
    if not exists:
        return {}
    rows = client.query(
        "SELECT number, sha256 FROM {db:Identifier}.migrations FINAL", parameters={"db": database}
    ).result_rows
    return {int(number): str(sha256) for number, sha256 in rows}


def _refuse_changes(known: Sequence[Migration], applied: dict[int, str], database: str) -> None:
    shipped = {m.number: m for m in known}
    for number, sha256 in sorted(applied.items()):
        migration = shipped.get(number)
        if migration is None:
            raise MigrationChanged(
                f"{database} has migration {number:04d}, which this version does not know."
                " Use the newer version of driftline that made it."
            )
        if migration.sha256 != sha256:
            raise MigrationChanged(
                f"Migration {number:04d}_{migration.name}.sql was changed after it was applied to"
                f" {database}. Put the old file back and write the change as a new migration."
            )


def _create_ledger(client: Client, database: str) -> None:
    client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
    client.command(
        f"CREATE TABLE IF NOT EXISTS `{database}`.migrations (number UInt32, name String,"
        " sha256 String, applied_at DateTime('UTC') DEFAULT now('UTC'))"
        " ENGINE = ReplacingMergeTree(applied_at) ORDER BY number"
    )
