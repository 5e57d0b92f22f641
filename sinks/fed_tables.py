"""Tables that inserts into others feed: what boards ask for, in the order in which they ask."""

from __future__ import annotations

from sinks.schema import INTAKE
from sinks.table import RELEASE, Table, table

NEWEST_VERDICTS = table(
    "newest_verdicts",
    "model version role",
    "sequence",
    RELEASE
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

NEWEST_FINDINGS = table(
    "newest_findings",
    "model version role segment column window_ms detector compared",
    "newest",
    RELEASE
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

INCIDENTS = table(
    "incidents",
    "model version role incident",
    "sequence",
    RELEASE
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

ROLLBACKS = table(
    "rollbacks",
    "model version role rollback",
    "sequence",
    RELEASE
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

INTAKE_BY_TIME = table(
    "intake_by_time",
    "seen_at topic partition first_offset",
    "last_offset",
    "\n".join(f"{column.name} {column.type}" for column in INTAKE.columns),
)

TRAFFIC = table(
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

EVIDENCE_PEAKS = table(
    "evidence_peaks",
    "model version role segment window_ms span column",
    "share",
    RELEASE
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
"""Tables that nobody writes: inserts into those of sinks/schema.py feed them, through the
materialized views ``<name>_feed``. Each has a TTL of its own, in its migration; incidents and
rollbacks are kept for ever: they are few."""
