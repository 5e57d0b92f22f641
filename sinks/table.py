"""What a table is: its columns with their ClickHouse types, and the identity of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

ADDED: Final = "ADDED"
"""Marks a column that a later migration added, where tables are written down below."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name and its ClickHouse type.

    ``added``: a later version brought it. Rows that an older version wrote lack it and are stored
    with `default`: during an upgrade they are still on their way.
    """

    name: str
    type: str
    added: bool = False

    @property
    def default(self) -> Any:
        """What a row without the column is taken to hold: what ClickHouse itself would put there.
        Raises ValueError for a type that has none here."""
        match self.type.partition("(")[0]:
            case "Nullable":
                return None
            case "Array":
                return []
            case "Map":
                return {}
            case "String" | "LowCardinality":
                return ""
            case "Bool":
                return False
            case "Float64":
                return 0.0
            case "DateTime64" | "Int32" | "Int64" | "UInt32" | "UInt64":
                return 0
            case _:
                raise ValueError(f"column {self.name}: {self.type} has no default")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of results. ``key``: sorting key = identity of a row; ``version`` decides replays."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    version: str

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def defaults(self) -> dict[str, Any]:
        """The columns that a row of an older version may lack, and what it then holds."""
        return {column.name: column.default for column in self.columns if column.added}


def table(name: str, key: str, version: str, columns: str) -> Table:
    """Columns written as ``name Type`` lines, to be read like the SQL they stand for, with `ADDED`
    behind those that a later version brought."""
    parsed = tuple(_column(line) for line in columns.strip().splitlines())
    return Table(name, parsed, tuple(key.split()), version)


def _column(line: str) -> Column:
    name, kind = line.split(None, 1)
    return Column(name, kind.removesuffix(f" {ADDED}"), kind.endswith(f" {ADDED}"))


RELEASE: Final = """
model LowCardinality(String)
version String
role LowCardinality(String)"""
"""The columns that name a release."""
