"""The schema of a replicated ClickHouse cluster, made from the migrations of a single server.

For each table of deploy/sql there are two: ``NAME_local`` on every node, replicated within its
shard, and ``NAME`` over all shards, which driftline and Grafana use as they use the table of a
single server. Each migration becomes one file, to be run once with ``clickhouse-client``; its last
statement enters it, with the checksum of the original, in the table ``migrations``, so that the
role store finds nothing missing and makes no tables of its own.

Rows go to shards by model. All rows that replace one another have the same model (or the same
partition of a topic, or the same action), so FINAL, which works within a shard, sees them together,
and what the views feed stays on the shard it came from.

Retention is part of the table here, with a move to cheaper disks before: `store.retention` must be
0 for every table, because a table over shards has no TTL that could be changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

DATABASE: Final = "driftline"
CLUSTER: Final = "driftline"
"""The name of the cluster in the servers' `remote_servers`."""
POLICY: Final = "driftline_tiers"
"""A storage policy with the volumes `hot` and `cold`: deploy/clickhouse/storage.xml."""
_ON: Final = f"ON CLUSTER '{CLUSTER}'"

SHARD_BY: Final[Mapping[str, str]] = {
    "actions": "cityHash64(action_key)",
    "audit": "cityHash64(chain)",
    "configurations": "cityHash64(configuration)",
    "dead_letters": "cityHash64(topic, partition)",
    "intake": "cityHash64(topic, partition)",
    "intake_by_time": "cityHash64(topic, partition)",
}
"""What decides the shard of a row; the model where nothing is said."""
_BY_MODEL: Final = "cityHash64(model)"


@dataclass(frozen=True, slots=True)
class Tiers:
    """Days until rows move to the cold volume (0: never), and until they go (0: never)."""

    cold: int = 0
    gone: int = 0


TIERS: Final[Mapping[str, Tiers]] = {
    "windows": Tiers(cold=30, gone=400),
    "findings": Tiers(cold=30, gone=400),
    "verdicts": Tiers(cold=90, gone=400),
    "actions": Tiers(),
    "audit": Tiers(),
    "dead_letters": Tiers(gone=90),
    "intake": Tiers(cold=14, gone=90),
    "references": Tiers(),
    "configurations": Tiers(),
    "events": Tiers(cold=3, gone=30),
}
"""Days to the end as in sinks.clickhouse.RetentionSettings; other tables keep what they have."""

_NAME: Final = r"\{database\}\.`(\w+)`"
_TTL: Final = re.compile(r"\nTTL [^\n]+$")


class NotUnderstood(Exception):
    """A statement of a migration of a form that this cannot carry over to a cluster."""


def cluster_files(migrations: Mapping[str, str]) -> dict[str, str]:
    """Names and texts of the cluster's files, for names and texts of the migrations. Raises
    `NotUnderstood` rather than leave a statement out."""
    files = {"0000_database.sql": _first()}
    for name, text in sorted(migrations.items()):
        made = "".join(f"{each};\n\n" for each in _carried(name, text))
        files[name] = f"{_head(name)}\n{made}{_ledger(name, text)}"
    return files


def _head(name: str) -> str:
    return (
        f"-- Made by `python -m deploy.generate` from deploy/sql/{name}; do not change by hand.\n"
        f"-- For a cluster '{CLUSTER}' with the macros {{shard}} and {{replica}} and the storage"
        f" policy '{POLICY}'.\n"
    )


def _first() -> str:
    columns = (
        "(number UInt32, name String, sha256 String, applied_at DateTime('UTC') DEFAULT now('UTC'))"
    )
    return (
        "-- Made by `python -m deploy.generate`; do not change by hand. To be run first.\n\n"
        f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` {_ON};\n\n"
        "-- Which migrations there are. Not sharded: every node of the cluster is a replica.\n"
        f"CREATE TABLE IF NOT EXISTS `{DATABASE}`.`migrations` {_ON}\n{columns}\n"
        f"ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{DATABASE}/migrations',"
        " '{shard}-{replica}', applied_at)\nORDER BY number;\n"
    )


def _ledger(name: str, text: str) -> str:
    number, title = int(name[:4]), name[5:].removesuffix(".sql")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (
        f"INSERT INTO `{DATABASE}`.`migrations` (number, name, sha256)"  # noqa: S608 - our own
        f" VALUES ({number}, '{title}', '{digest}');\n"
    )


def _carried(name: str, text: str) -> Iterator[str]:
    without_comments = re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE)
    for part in re.split(r";\s*$", without_comments, flags=re.MULTILINE):
        statement = part.strip()
        if statement:
            yield from _statement(name, statement)


def _statement(name: str, statement: str) -> Iterator[str]:
    if found := re.match(rf"CREATE TABLE IF NOT EXISTS {_NAME}\n", statement):
        yield from _table(found[1], statement)
    elif re.match(rf"CREATE MATERIALIZED VIEW IF NOT EXISTS {_NAME}\n", statement):
        yield _view(statement)
    elif found := re.match(rf"ALTER TABLE {_NAME}\s+(.*)", statement, flags=re.DOTALL):
        yield from _change(name, found[1], found[2])
    elif re.match(rf"INSERT INTO {_NAME}\nSELECT ", statement):
        # Read from all shards and sent to the shard of each row: each has its model's.
        yield statement.replace("{database}", f"`{DATABASE}`")
    else:
        raise NotUnderstood(f"{name}: {statement[:60]!r} has no form for a cluster")


def _table(table: str, statement: str) -> Iterator[str]:
    if "ENGINE = ReplacingMergeTree(" not in statement:
        raise NotUnderstood(f"table {table} is no ReplacingMergeTree")
    local = statement.replace(
        f"{{database}}.`{table}`\n", f"`{DATABASE}`.`{table}_local` {_ON}\n", 1
    ).replace(
        "ENGINE = ReplacingMergeTree(",
        f"ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{DATABASE}/{{shard}}/{table}',"
        " '{replica}', ",
        1,
    )
    yield f"{_tiered(table, local)}\nSETTINGS storage_policy = '{POLICY}'"
    yield (
        f"CREATE TABLE IF NOT EXISTS `{DATABASE}`.`{table}` {_ON}\n"
        f"AS `{DATABASE}`.`{table}_local`\n"
        f"ENGINE = Distributed('{CLUSTER}', '{DATABASE}', '{table}_local',"
        f" {SHARD_BY.get(table, _BY_MODEL)})"
    )


def _tiered(table: str, statement: str) -> str:
    tiers = TIERS.get(table)
    if tiers is None:
        return statement
    steps = []
    if tiers.cold:
        steps.append(f"`stored_at` + toIntervalDay({tiers.cold}) TO VOLUME 'cold'")
    if tiers.gone:
        steps.append(f"`stored_at` + toIntervalDay({tiers.gone}) DELETE")
    if _TTL.search(statement):
        raise NotUnderstood(f"table {table} has a TTL of its own and one in TIERS")
    return statement + (f"\nTTL {', '.join(steps)}" if steps else "")


def _view(statement: str) -> str:
    """It is fed by the local table and writes to the local table of the same shard."""
    local = re.sub(rf"(?<=TO ){_NAME}", rf"`{DATABASE}`.`\1_local`", statement)
    local = re.sub(rf"(?<=FROM ){_NAME}", rf"`{DATABASE}`.`\1_local`", local)
    return re.sub(rf"(?<=EXISTS ){_NAME}\n", rf"`{DATABASE}`.`\1` {_ON}\n", local)


def _change(name: str, table: str, what: str) -> Iterator[str]:
    if not re.match(r"ADD (COLUMN|INDEX) IF NOT EXISTS ", what):
        raise NotUnderstood(f"{name}: ALTER TABLE {table} {what[:40]!r} has no form for a cluster")
    yield f"ALTER TABLE `{DATABASE}`.`{table}_local` {_ON} {what}"
    if what.startswith("ADD COLUMN"):
        yield f"ALTER TABLE `{DATABASE}`.`{table}` {_ON} {what}"
