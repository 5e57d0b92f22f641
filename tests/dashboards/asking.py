"""Asks the store what a Grafana would ask, in the way the plugin would."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.boards import BOARDS, board_json
from dashboards.every_query import Query, queries_of, queries_of_rules
from dashboards.macros import Range, expand, interpolate
from dashboards.rules import rule_group
from dashboards.settings import GrafanaSettings
from sinks.embedded_store import EmbeddedStore
from sinks.schema import DATABASE, VERDICTS
from sinks.statement import read_statement
from tests.dashboards.conftest import RecordingLine

QUERIES = [
    *(query for name in BOARDS for query in queries_of(board_json(name, DATABASE))),
    *queries_of_rules(rule_group(GrafanaSettings(), DATABASE)),
]
BY_NAME = {query.name: query for query in QUERIES}
VALUES = {
    "model": "fraud",
    "version": "2",
    "role": "canary",
    "segment": "all",
    "window": "60000",
    "column": "features.amount",
    "filter": "",
}
PRODUCTION = {**VALUES, "version": "1", "role": "production"}
NUMBER = re.compile(r"(U?Int\d+|Float\d+|Decimal.*)")
LABEL = "String"


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns in order with their types, without Nullable and LowCardinality, and the rows."""

    types: Mapping[str, str]
    nullable: frozenset[str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def numbers(self) -> list[str]:
        return [name for name, kind in self.types.items() if NUMBER.fullmatch(kind)]

    @property
    def labels(self) -> list[str]:
        return [name for name, kind in self.types.items() if kind == LABEL]


def ask(store: EmbeddedStore, query: Query, seen: Range, values: Mapping[str, str]) -> Answer:
    text = expand(interpolate(query.sql, values), seen)
    assert "${" not in text
    assert "$__" not in text
    # The way every reader goes: refused if it is more than reading, and read-only in the engine.
    statement = read_statement(text.encode(), read_only=True, outward_names=store.outward)
    found = json.loads(store.run(statement, default_format="JSON", read_only=True).data)
    types, nullable = {}, set()
    for column in found["meta"]:
        kind = re.sub(r"LowCardinality\((.*)\)", r"\1", column["type"])
        if kind.startswith("Nullable("):
            nullable.add(column["name"])
            kind = kind.removeprefix("Nullable(")[:-1]
        types[column["name"]] = kind
    assert len(types) == len(found["meta"]), "two columns share a name"
    return Answer(types, frozenset(nullable), found["data"])


def rows_of(
    store: EmbeddedStore, seen: Range, name: str, values: Mapping[str, str] = PRODUCTION
) -> Sequence[Mapping[str, Any]]:
    return ask(store, BY_NAME[name], seen, values).rows


def newest_verdicts(line: RecordingLine) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in line.rows[VERDICTS]:
        key = row["model"], row["version"], row["role"]
        if key not in found or found[key]["sequence"] < row["sequence"]:
            found[key] = row
    return found


def stored_now(store: EmbeddedStore) -> Range:
    """The quarter of an hour in which the rows were stored."""
    now_s = store.client.query("SELECT toUnixTimestamp(now())").result_rows[0][0]
    return Range((now_s - 900) * 1000, (now_s + 60) * 1000)
