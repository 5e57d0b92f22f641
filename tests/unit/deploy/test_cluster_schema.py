"""The schema of a cluster says the same as the migrations of one server."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import chdb
import pytest

from deploy.cluster_schema import CLUSTER, POLICY, SHARD_BY, TIERS, NotUnderstood, cluster_files
from deploy.generate import generated
from sinks.clickhouse import RetentionSettings
from sinks.migrations import parse_migration, shipped_migrations
from sinks.schema import TABLES


def _sql(repository: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((repository / "deploy" / "clickhouse").glob("*.sql"))
    }


def _statements(files: dict[str, str]) -> list[str]:
    return [
        statement
        for name, text in files.items()
        for statement in parse_migration(name, text).statements
    ]


def test_the_generated_files_are_what_the_code_makes() -> None:
    """Else run `python -m deploy.generate`."""
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_every_migration_is_entered_with_the_checksum_that_the_store_looks_for(
    repository: Path,
) -> None:
    text = "".join(_sql(repository).values())
    found = set(re.findall(r"VALUES \((\d+), '(\w+)', '([0-9a-f]{64})'\)", text))
    assert found == {(str(m.number), m.name, m.sha256) for m in shipped_migrations()}


def test_the_engine_parses_every_statement(repository: Path) -> None:
    with chdb.session.Session() as session:
        for statement in _statements(_sql(repository)):
            quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
            query = f"SELECT formatQuerySingleLine('{quoted}')"
            assert session.query(query, "TSVRaw").bytes(), statement
        with pytest.raises(RuntimeError):
            session.query("SELECT formatQuerySingleLine('CREATE TABLE ON CLUSTER')", "TSVRaw")


def test_a_node_of_the_cluster_has_the_columns_and_keys_of_a_single_server(
    repository: Path,
) -> None:
    """Applied without what needs a cluster: replication, the policy, and the tables over shards."""
    single = [s.replace("{database}", "single") for m in shipped_migrations() for s in m.statements]
    node = [
        re.sub(
            r"ReplicatedReplacingMergeTree\('[^']+', '[^']+', ", "ReplacingMergeTree(", statement
        )
        .replace(f" ON CLUSTER '{CLUSTER}'", "")
        .replace(f"SETTINGS storage_policy = '{POLICY}'", "")
        .replace("`driftline`", "node")
        for statement in _statements(_sql(repository))
        if "Distributed(" not in statement and not statement.startswith("INSERT")
    ]
    local = [
        re.sub(r"`stored_at` \+ toIntervalDay\(\d+\) TO VOLUME 'cold',? ?", "", s) for s in node
    ]
    local = [s for s in local if not re.match(r"ALTER TABLE node\.`(?!\w+_local`)", s)]
    script = ";\n".join(["CREATE DATABASE single", *single, *local])
    about = (
        "SELECT replaceOne(name, '_local', ''), sorting_key, partition_key FROM system.tables"
        " WHERE database = '{0}' AND engine = 'ReplacingMergeTree' AND name != 'migrations'"
        " ORDER BY 1"
    )
    columns = (
        "SELECT replaceOne(table, '_local', ''), name, type, default_kind FROM system.columns"
        " WHERE database = '{0}' AND table NOT LIKE '%feed' AND table != 'migrations'"
        " ORDER BY 1, position"
    )
    with chdb.session.Session() as session:
        for statement in script.split(";\n"):
            session.query(statement)
        for question in (about, columns):
            answers = [
                session.query(question.format(database), "TSV").bytes()
                for database in ("single", "node")
            ]
            assert answers[0] == answers[1]
            assert len(answers[0]) > 100


def test_rows_that_replace_one_another_are_on_one_shard() -> None:
    for table in TABLES:
        by = SHARD_BY.get(table.name, "cityHash64(model)")
        assert set(re.findall(r"\w+", by.removeprefix("cityHash64"))) <= set(table.key), table.name


def test_rows_are_kept_as_long_as_on_one_server() -> None:
    retention = RetentionSettings()
    for table in TABLES:
        assert TIERS[table.name].gone == retention.days(table), table.name
        assert TIERS[table.name].cold < (TIERS[table.name].gone or 10_000)


def test_what_has_no_form_for_a_cluster_is_refused() -> None:
    for statement in (
        "DROP TABLE {database}.`windows`;",
        "ALTER TABLE {database}.`windows` DROP COLUMN `n`;",
        "CREATE TABLE IF NOT EXISTS {database}.`x`\n(`a` String)\nENGINE = MergeTree ORDER BY a;",
    ):
        with pytest.raises(NotUnderstood):
            cluster_files({"0009_x.sql": statement})


def test_the_servers_files_are_xml_and_name_what_the_tables_need(repository: Path) -> None:
    folder = repository / "deploy" / "clickhouse"
    storage = ET.parse(folder / "storage.xml").getroot()  # noqa: S314 - our own file
    assert storage.find(f"./storage_configuration/policies/{POLICY}/volumes/cold") is not None
    assert storage.find(f"./remote_servers/{CLUSTER}/shard") is not None
    users = ET.parse(folder / "users.xml").getroot()  # noqa: S314 - our own file
    setting = "./profiles/driftline_writer/distributed_foreground_insert"
    assert users.findtext(setting) == "1"
