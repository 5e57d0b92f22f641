"""Findings of a release, read back from the store for the API."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from detectors.release import Role
from sinks.schema import DATABASE, FINDINGS

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]
"""Runs a query with bound parameters and gives its rows; raises Retryable or Permanent."""

MAX_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class FindingQuery:
    """Which findings: the newest ``limit`` of a release, in all roles if ``role`` is None."""

    model: str
    version: str
    role: Role | None
    limit: int


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding as the API shows it: times in ISO 8601 UTC, None for what was not computed."""

    model: str
    version: str
    role: str
    segment: str
    column: str
    window_ms: int
    window_start: str
    window_end: str
    detector: str
    against: str
    revision: int
    statistic: float | None
    threshold: float | None
    n: int
    n_against: int
    outcome: str
    reason: str
    decides: bool
    critical: bool
    evidence: str


_SELECT: Final = (
    "SELECT model, version, role, segment, column, window_ms,"
    " toUnixTimestamp64Milli(window_start), toUnixTimestamp64Milli(window_end),"
    " detector, against, revision, statistic, threshold, n, n_against, outcome, reason,"
    " decides, critical, evidence"
)


def read_findings(ask: Ask, query: FindingQuery, database: str = DATABASE) -> list[FindingRow]:
    """The newest findings first. Every value a caller gave is a bound parameter.

    ``database`` comes from configuration and is quoted as an identifier.
    """
    table = f"`{database.replace('`', '')}`.{FINDINGS.name}"
    role = " AND role = {role:String}" if query.role is not None else ""
    sql = (
        f"{_SELECT} FROM {table} FINAL"
        f" WHERE model = {{model:String}} AND version = {{version:String}}{role}"
        " ORDER BY window_start DESC, window_ms, segment, column, detector, against"
        " LIMIT {limit:UInt32}"
    )
    parameters: dict[str, Any] = {
        "model": query.model,
        "version": query.version,
        "limit": min(query.limit, MAX_ROWS),
    }
    if query.role is not None:
        parameters["role"] = query.role.value
    return [_row(row) for row in ask(sql, parameters)]


def _row(values: Sequence[Any]) -> FindingRow:
    row = list(values)
    row[6], row[7] = iso(int(row[6])), iso(int(row[7]))
    row[11], row[12] = _finite(row[11]), _finite(row[12])
    row[17], row[18] = bool(row[17]), bool(row[18])
    return FindingRow(*row)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def iso(ms: int) -> str:
    """Epoch milliseconds as ``2023-06-13T10:00:00.123Z``.

    >>> iso(1_686_650_400_123)
    '2023-06-13T10:00:00.123Z'
    """
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
