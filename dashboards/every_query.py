"""Every query that a Grafana with these boards and rules would send, to be run and measured without
one: of panels, variables, marks and alert rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Who asks."""

    PANEL = "panel"
    VARIABLE = "variable"
    MARK = "mark"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Query:
    """One query. ``shown``: the JSON of the panel, variable, mark or rule it belongs to."""

    kind: Kind
    board: str
    title: str
    sql: str
    format: int
    shown: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.board} / {self.kind} / {self.title}"


def queries_of(board: Mapping[str, Any]) -> Iterator[Query]:
    """All queries of one board's JSON, in the order in which they stand there."""
    title = str(board["uid"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            target = variable["query"]
            yield _query(Kind.VARIABLE, title, variable["name"], target, variable)
    for mark in board["annotations"]["list"]:
        yield _query(Kind.MARK, title, mark["name"], mark["target"], mark)
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield _query(Kind.PANEL, title, panel["title"], target, panel)


def queries_of_rules(group: Mapping[str, Any]) -> Iterator[Query]:
    """The queries of a group of alert rules, without its expressions."""
    for rule in group["rules"]:
        for part in rule["data"]:
            if "rawSql" in part["model"]:
                yield _query(Kind.RULE, str(group["name"]), rule["title"], part["model"], rule)


def _query(
    kind: Kind, board: str, title: str, target: Mapping[str, Any], shown: Mapping[str, Any]
) -> Query:
    return Query(kind, board, title, target["rawSql"], target["format"], shown)
