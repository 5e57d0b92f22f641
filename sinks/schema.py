"""The tables, once: names, columns and keys that SQL, the store, Grafana and the API agree on.

Each table is a ReplacingMergeTree whose sorting key is the identity of a row, so that writing a
row twice changes nothing and a higher ``revision`` replaces a lower one. Read with ``FINAL`` (or
``argMax``) where that matters. The SQL itself is in deploy/sql; a test holds the two together.
"""

from __future__ import annotations

from sinks.table import RELEASE, Table, table

DATABASE = "driftline"

STORED_AT = "stored_at"
"""Every table also has this MATERIALIZED column, the time of the insert, which ``SELECT *`` leaves
out. Retention counts from it: replayed events keep their old event times."""


WINDOWS = table(
    "windows",
    "model version role segment column window_ms window_start reference",
    "revision",
    RELEASE
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

FINDINGS = table(
    "findings",
    "model version role segment column window_ms window_start detector against",
    "revision",
    RELEASE
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

VERDICTS = table(
    "verdicts",
    "model version role as_of sequence",
    "offset",
    RELEASE
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

ACTIONS = table(
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

AUDIT = table(
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

DEAD_LETTERS = table(
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

INTAKE = table(
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

REFERENCES = table(
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

CONFIGURATIONS = table(
    "configurations",
    "configuration",
    "seen_at",
    """
configuration String
content String
seen_at DateTime64(3, 'UTC')
""",
)

EVENTS = table(
    "events",
    "model version role ts topic partition offset row",
    "offset",
    RELEASE
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

TABLES: tuple[Table, ...] = (
    *(WINDOWS, FINDINGS, VERDICTS, ACTIONS, AUDIT),
    *(DEAD_LETTERS, INTAKE, REFERENCES, CONFIGURATIONS, EVENTS),
)
