"""The tables, once: names, columns and keys that SQL, the store, Grafana and the API agree on.

Each table is a ReplacingMergeTree whose sorting key is the identity of a row, so that writing a
row twice changes nothing and a higher ``revision`` replaces a lower one. Read with ``FINAL`` (or
``argMax``) where that matters. The SQL itself is in deploy/sql; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATABASE = "driftline"

STORED_AT = "stored_at"
"""Every table also has this MATERIALIZED column, the time of the insert, which ``SELECT *`` leaves
out. Retention counts from it: replayed events keep their old event times."""


ADDED = "ADDED"
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


def _table(name: str, key: str, version: str, columns: str) -> Table:
    """Columns written as ``name Type`` lines, to be read like the SQL they stand for."""
    parsed = tuple(_column(line) for line in columns.strip().splitlines())
    return Table(name, parsed, tuple(key.split()), version)


def _column(line: str) -> Column:
    name, kind = line.split(None, 1)
    return Column(name, kind.removesuffix(f" {ADDED}"), kind.endswith(f" {ADDED}"))


_RELEASE = """
model LowCardinality(String)
version String
role LowCardinality(String)
"""

WINDOWS = _table(
    "windows",
    "model version role segment column window_ms window_start reference",
    "revision",
    _RELEASE.strip()
    + """
segment String
column String
kind LowCardinality(String)
window_ms UInt32
window_start DateTime64(3, 'UTC')
window_end DateTime64(3, 'UTC')
reference String
revision UInt32
events UInt64
n UInt64
nulls UInt64
errors UInt64
mean Nullable(Float64)
sd Nullable(Float64)
min Nullable(Float64)
max Nullable(Float64)
p50 Nullable(Float64)
p95 Nullable(Float64)
p99 Nullable(Float64)
p999 Nullable(Float64)
histogram Array(UInt64)
categories Map(String, UInt64)
offset UInt64
""",
)

FINDINGS = _table(
    "findings",
    "model version role segment column window_ms window_start detector against",
    "revision",
    _RELEASE.strip()
    + """
segment String
column String
window_ms UInt32
window_start DateTime64(3, 'UTC')
window_end DateTime64(3, 'UTC')
detector LowCardinality(String)
against String
revision UInt32
statistic Nullable(Float64)
threshold Nullable(Float64)
n UInt64
n_against UInt64
outcome LowCardinality(String)
reason String
decides Bool
critical Bool
evidence LowCardinality(String)
effect Nullable(Float64) ADDED
effect_low Nullable(Float64) ADDED
effect_high Nullable(Float64) ADDED
direction String ADDED
onset DateTime64(3, 'UTC') ADDED
offset UInt64
""",
)

VERDICTS = _table(
    "verdicts",
    "model version role as_of sequence",
    "offset",
    _RELEASE.strip()
    + """
sequence UInt64
status LowCardinality(String)
reason String
as_of DateTime64(3, 'UTC')
window_start DateTime64(3, 'UTC')
window_ms UInt32
baseline_version String
events UInt64
p95_latency_ms Nullable(Float64)
p99_latency_ms Nullable(Float64)
columns Array(String)
further_events Nullable(Float64) ADDED
further_ms Nullable(Float64) ADDED
upstream Array(String) ADDED
configuration String ADDED
reference String ADDED
offset UInt64
""",
)

ACTIONS = _table(
    "actions",
    "action_key receiver step",
    "revision",
    """
action_key String
step UInt32
kind LowCardinality(String)
model LowCardinality(String)
version String
role LowCardinality(String)
return_to String
receiver String
state LowCardinality(String)
attempt UInt32
reason String
detail String
at DateTime64(3, 'UTC')
revision UInt64
""",
)

AUDIT = _table(
    "audit",
    "chain sequence",
    "at",
    """
chain String
sequence UInt64
at DateTime64(3, 'UTC')
kind LowCardinality(String)
model String
version String
role LowCardinality(String)
subject String
by String
body String
previous String
hash String
""",
)

DEAD_LETTERS = _table(
    "dead_letters",
    "topic partition offset row",
    "seen_at",
    """
topic LowCardinality(String)
partition Int32
offset Int64
row Int32
reason String
bytes UInt64
seen_at DateTime64(3, 'UTC')
""",
)

INTAKE = _table(
    "intake",
    "topic partition first_offset",
    "last_offset",
    """
topic LowCardinality(String)
partition Int32
first_offset Int64
last_offset Int64
messages UInt64
events UInt64
dead UInt64
late UInt64
capped UInt64
seen_at DateTime64(3, 'UTC')
""",
)

REFERENCES = _table(
    "references",
    "model reference",
    "effective_from",
    """
model LowCardinality(String)
reference String
origin String
rows UInt64
columns UInt32
effective_from DateTime64(3, 'UTC')
content String
""",
)

CONFIGURATIONS = _table(
    "configurations",
    "configuration",
    "seen_at",
    """
configuration String
content String
seen_at DateTime64(3, 'UTC')
""",
)

EVENTS = _table(
    "events",
    "model version role ts topic partition offset row",
    "offset",
    _RELEASE.strip()
    + """
kind LowCardinality(String)
ts DateTime64(3, 'UTC')
topic LowCardinality(String)
partition Int32
offset Int64
row Int32
numbers Map(String, Float64)
texts Map(String, String)
""",
)

NEWEST_VERDICTS = _table(
    "newest_verdicts",
    "model version role",
    "sequence",
    _RELEASE.strip()
    + """
sequence UInt64
status LowCardinality(String)
reason String
as_of DateTime64(3, 'UTC')
window_ms UInt32
baseline_version String
events UInt64
p95_latency_ms Nullable(Float64)
p99_latency_ms Nullable(Float64)
further_events Nullable(Float64)
further_ms Nullable(Float64)
""",
)

NEWEST_FINDINGS = _table(
    "newest_findings",
    "model version role segment column window_ms detector compared",
    "newest",
    _RELEASE.strip()
    + """
segment String
column String
window_ms UInt32
detector LowCardinality(String)
compared LowCardinality(String)
newest UInt64
window_start DateTime64(3, 'UTC')
window_end DateTime64(3, 'UTC')
statistic Nullable(Float64)
threshold Nullable(Float64)
n UInt64
outcome LowCardinality(String)
reason String
critical Bool
effect Nullable(Float64)
effect_low Nullable(Float64)
effect_high Nullable(Float64)
""",
)

INCIDENTS = _table(
    "incidents",
    "model version role incident",
    "sequence",
    _RELEASE.strip()
    + """
incident String
known_as String
sequence UInt64
state LowCardinality(String)
cause LowCardinality(String)
severity LowCardinality(String)
team LowCardinality(String)
reason String
opened_at DateTime64(3, 'UTC')
changed_at DateTime64(3, 'UTC')
pages UInt32
taken_by String
taken_at DateTime64(3, 'UTC')
silenced_by Array(String)
flapping Bool
""",
)

ROLLBACKS = _table(
    "rollbacks",
    "model version role rollback",
    "sequence",
    _RELEASE.strip()
    + """
rollback String
sequence UInt64
state LowCardinality(String)
return_to String
by String
reason String
changed_at DateTime64(3, 'UTC')
""",
)

INTAKE_BY_TIME = _table(
    "intake_by_time",
    "seen_at topic partition first_offset",
    "last_offset",
    "\n".join(f"{column.name} {column.type}" for column in INTAKE.columns),
)

TRAFFIC = _table(
    "traffic",
    "window_ms window_start column model version role segment reference",
    "revision",
    """
window_ms UInt32
window_start DateTime64(3, 'UTC')
window_end DateTime64(3, 'UTC')
column LowCardinality(String)
model LowCardinality(String)
version String
role LowCardinality(String)
segment String
reference String
revision UInt32
n UInt64
errors UInt64
p95 Nullable(Float64)
p99 Nullable(Float64)
""",
)

EVIDENCE_PEAKS = _table(
    "evidence_peaks",
    "model version role segment window_ms span column",
    "share",
    _RELEASE.strip()
    + """
segment String
window_ms UInt32
span DateTime('UTC')
column String
share UInt32
""",
)

FED: tuple[Table, ...] = (
    NEWEST_VERDICTS,
    NEWEST_FINDINGS,
    INCIDENTS,
    ROLLBACKS,
    INTAKE_BY_TIME,
    TRAFFIC,
    EVIDENCE_PEAKS,
)
"""Tables that nobody writes: inserts into the tables above feed them, through the materialized
views ``<name>_feed``. Each has a TTL of its own, in its migration; incidents and rollbacks are kept
for ever: they are few."""

TABLES: tuple[Table, ...] = (
    *(WINDOWS, FINDINGS, VERDICTS, ACTIONS, AUDIT),
    *(DEAD_LETTERS, INTAKE, REFERENCES, CONFIGURATIONS, EVENTS),
)
