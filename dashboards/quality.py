"""The board *Data quality and pipeline health*: is what we judge whole, and is it on time?"""

# ruff: noqa: S608 - queries are made of our own text; names from outside are variables
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import StackingMode

from dashboards.board import QUALITY, Frame, build
from dashboards.clickhouse_query import sql
from dashboards.intake_rows import INTAKE_ROWS
from dashboards.panels import NEVER, PLAIN, Shown, lines, number, rows
from dashboards.window_rows import SHORTEST, window_rows

Panels = Sequence[Builder[dashboard.Panel]]

LATE_STEPS = (("green", None), ("#EAB839", 300.0), ("red", 900.0))
PLACE = """model = {model} AND version = {version} AND role = {role}
    AND segment = {segment} AND window_ms = {window} AND $__timeFilter(window_start)"""

RATIO_STEPS = (("green", None), ("#EAB839", 0.001), ("red", 0.01))


def quality(database: str) -> dashboard.Dashboard:
    """The board over a database of results."""
    fill = partial(sql, database=database)
    frame = Frame(
        QUALITY,
        "driftline / Data quality and pipeline health",
        "Nulls, unknown categories and values of the wrong type in one release; and what became of"
        " every row that was read: counted, dead-lettered, late, or beyond a cap.",
        ("model", "version", "role", "segment", "window"),
        hours=3,
    )
    found = window_rows(
        "column, kind, n, nulls, errors, min, max", f"{PLACE} AND column != 'error'", "column"
    )
    return build(
        frame,
        [
            ("", _pipeline_now(fill)),
            (
                "Values",
                [
                    lines(
                        "Nulls",
                        "Share of events without a value, of the 15 columns with the most. A jump"
                        " to 100 % is a field that vanished or was renamed.",
                        fill(_by_column("sum(nulls) / sum(n + nulls + errors)")),
                        "percentunit",
                        size=(8, 9),
                        lowest=0,
                    ),
                    lines(
                        "Values of the wrong type",
                        "Share of events whose value could not be read as what the column is.",
                        fill(_by_column("sum(errors) / sum(n + nulls + errors)")),
                        "percentunit",
                        size=(8, 9),
                        lowest=0,
                    ),
                    lines(
                        "New categories",
                        "Share of values that are categories the reference does not have.",
                        fill(
                            _by_column(
                                "sum(n - arraySum(histogram)) / sum(n)",
                                "AND kind = 'categorical' AND n > 0 AND notEmpty(histogram)",
                            )
                        ),
                        "percentunit",
                        size=(8, 9),
                        lowest=0,
                    ),
                    rows(
                        "Columns in the time shown",
                        "Sums over the time shown, columns with most missing values first.",
                        fill(f"""
                        SELECT column, any(kind) AS type, sum(n) AS total,
                        sum(nulls) / greatest(sum(n + nulls + errors), 1) AS missing,
                        sum(errors) / greatest(sum(n + nulls + errors), 1) AS wrong_type,
                        min(min) AS lowest, max(max) AS highest
                        FROM {found}
                        GROUP BY column
                        ORDER BY missing DESC, wrong_type DESC, column LIMIT 1000"""),
                        {
                            "total": Shown("short", width=100),
                            "missing": Shown("percentunit", RATIO_STEPS, decimals=2, width=100),
                            "wrong_type": Shown("percentunit", RATIO_STEPS, decimals=2, width=110),
                            "lowest": Shown("short", width=110),
                            "highest": Shown("short", width=110),
                        },
                    ),
                ],
            ),
            ("Pipeline", _pipeline(fill)),
        ],
        database,
    )


def _pipeline_now(fill: partial[str]) -> Panels:
    size = (6, 4)
    ratio = "greatest(sum(events + dead + late + capped), 1)"
    one = f"FROM {INTAKE_ROWS}"
    return [
        number(
            "Dead letters",
            "Share of rows that could not be read, in the time shown, over all input topics.",
            fill(f"SELECT sum(dead) / {ratio} AS dead_letters {one}"),
            "percentunit",
            size=size,
            steps=RATIO_STEPS,
        ),
        number(
            "Late",
            "Share of rows that came after their window was closed for good; they are counted here"
            " and nowhere else.",
            fill(f"SELECT sum(late) / {ratio} AS late_rows {one}"),
            "percentunit",
            size=size,
            steps=RATIO_STEPS,
        ),
        number(
            "Beyond a cap",
            "Share of rows left out because there were too many models, columns or segments.",
            fill(f"SELECT sum(capped) / {ratio} AS beyond_cap {one}"),
            "percentunit",
            size=size,
            steps=RATIO_STEPS,
        ),
        number(
            "Silence of the store",
            "How long ago the last verdict was stored. Verdicts are repeated while nothing changes,"
            " so silence means that judge or store is down, or cannot reach Kafka.",
            fill("""
            SELECT toFloat64(dateDiff('second', max(stored_at), now('UTC'))) AS silence
            FROM {db}.newest_verdicts HAVING count() > 0"""),
            "s",
            size=size,
            steps=LATE_STEPS,
        ),
    ]


def _pipeline(fill: partial[str]) -> Panels:
    return [
        lines(
            "Rows read",
            "What became of the rows, a second: counted, dead letters, late, beyond a cap. The four"
            " add up to what was read.",
            fill(f"""
            SELECT $__timeInterval(seen_at) AS time, sum(events) / $__interval_s AS counted,
            sum(dead) / $__interval_s AS dead_letters, sum(late) / $__interval_s AS late_rows,
            sum(capped) / $__interval_s AS beyond_cap
            FROM {INTAKE_ROWS}
            GROUP BY time ORDER BY time LIMIT 20000"""),
            "rowsps",
            stacked=StackingMode.NORMAL,
            lowest=0,
        ),
        lines(
            "Watermark age",
            "Time now less the event time that each model is judged up to, of the 20 that are"
            " furthest behind. It rises a second a second when a model stops or a partition holds"
            " it up; a saw-tooth of a window's length is normal.",
            fill("""
            SELECT $__timeInterval(stored_at) AS time, model,
            max(dateDiff('second', as_of, stored_at)) AS age
            FROM {db}.verdicts
            WHERE as_of >= $__fromTime - toIntervalDay(1) AND $__timeFilter(stored_at)
            AND model IN (SELECT model FROM {db}.newest_verdicts
            GROUP BY model ORDER BY max(as_of), model LIMIT 20)
            GROUP BY time, model ORDER BY time, model LIMIT 20000"""),
            "s",
            lowest=0,
        ),
        lines(
            "From a window's end to the store",
            "How long after the end of a window its figures were stored: half, and 99 % of them."
            " It holds all waiting on the way (Kafka, watermark, judge, store). Replayed history"
            " shows its own age.",
            fill("""
            SELECT $__timeInterval(stored_at) AS time,
            quantile(0.5)(dateDiff('millisecond', window_end, toDateTime64(stored_at, 3))) AS half,
            quantile(0.99)(dateDiff('millisecond', window_end, toDateTime64(stored_at, 3))) AS p99
            FROM {db}.traffic
            WHERE column = 'error' AND segment = 'all' AND revision = 0
            AND $__timeFilter(window_start) AND $__timeFilter(stored_at)
            GROUP BY time ORDER BY time LIMIT 20000"""),
            "ms",
            lowest=0,
        ),
        lines(
            "Folded cardinality",
            "Predictions of versions and segments that were too many to be kept apart and are"
            " counted under `__other__`. Above nothing: a limit is too low, or an id is used as a"
            " name.",
            fill(f"""
            SELECT $__timeInterval(window_start) AS time, model, sum(n) AS folded
            FROM {{db}}.traffic FINAL
            WHERE column = 'error' AND $__timeFilter(window_start)
            AND (version = '__other__' OR model = '__other__' OR endsWith(segment, '__other__'))
            AND {SHORTEST}
            GROUP BY time, model ORDER BY time, model LIMIT 20000"""),
            "short",
            lowest=0,
        ),
        rows(
            "Input partitions",
            "How far each partition has been read and when that was last said. A partition that"
            " is silent while others move has no traffic, or nobody reads it.",
            fill(f"""
            SELECT topic, partition, max(last_offset) AS read_to, sum(messages) AS read,
            sum(events) AS counted, sum(dead) AS dead_letters, sum(late) AS late_rows,
            sum(capped) AS beyond_cap,
            toFloat64(dateDiff('second', max(seen_at), now64(3))) AS silent
            FROM {INTAKE_ROWS}
            GROUP BY topic, partition ORDER BY topic, partition LIMIT 1000"""),
            {
                "read_to": Shown("none", width=120),
                "read": Shown("short", width=100),
                "counted": Shown("short", width=100),
                "dead_letters": Shown("short", NEVER, width=100),
                "late_rows": Shown("short", width=90),
                "beyond_cap": Shown("short", NEVER, width=90),
                "silent": Shown("s", LATE_STEPS, width=100),
            },
            size=(12, 9),
        ),
        rows(
            "Dead letters by reason",
            "Why rows could not be read, in the time shown, and the address of the newest: the"
            " bytes are in the dead-letter topic under topic, partition and offset.",
            fill("""
            SELECT reason, count() AS rows, max(seen_at) AS newest,
            argMax(topic, seen_at) AS in_topic, argMax(partition, seen_at) AS in_partition,
            argMax(offset, seen_at) AS at_offset
            FROM {db}.dead_letters FINAL WHERE $__timeFilter(seen_at)
            GROUP BY reason ORDER BY rows DESC, reason LIMIT 100"""),
            {
                "rows": Shown("short", PLAIN, width=90),
                "newest": Shown("dateTimeAsIso", width=160),
                "in_partition": Shown("none", width=90),
                "at_offset": Shown("none", width=120),
            },
            size=(12, 9),
        ),
    ]


def _by_column(value: str, further: str = "AND column != 'error'") -> str:
    """Series of the columns of one release in which ``value`` was largest."""
    figures = "column, window_start, n, nulls, errors"
    if "histogram" in value:
        figures += ", histogram"
    found = window_rows(figures, f"{PLACE} {further}", "column")
    return f"""
    SELECT $__timeInterval(window_start) AS time, column, {value} AS value
    FROM {found}
    WHERE column IN (SELECT column FROM {found}
    GROUP BY column HAVING {value} > 0 ORDER BY {value} DESC, column LIMIT 15)
    GROUP BY time, column HAVING isFinite(value) ORDER BY time, column LIMIT 20000"""
