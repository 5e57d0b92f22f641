"""The board *Release*: canary, shadow and production side by side, and what was decided when."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are variables
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import StackingMode

from dashboards.board import DRIFT, RELEASE, Frame, address, build
from dashboards.clickhouse_query import sql
from dashboards.panels import LIMIT, STATUS_NUMBER, Shown, lines, rows, timeline
from dashboards.standing_rows import STANDINGS
from dashboards.window_rows import window_rows

ARM = "concat(role, ' ', version)"
Fill = Callable[[str], str]
"""Makes a query of its text: see `dashboards.clickhouse_query.sql`."""

MEAN = "sum(n * mean) / sum(n)"


def release(database: str) -> dashboard.Dashboard:
    """The board over a database of results."""
    fill = partial(sql, database=database)
    difference, arms = partial(_difference, fill), partial(_arms, fill)
    frame = Frame(
        RELEASE,
        "driftline / Release",
        "Is this release better or worse than production, how sure is that, and what was done?"
        " All releases of the model side by side; evidence is that of the chosen version in the"
        " chosen role.",
        ("model", "version", "role", "segment", "window", "column"),
    )
    drift_link = (
        "Open its drift",
        address(DRIFT, model="model", version="version", role="role", column="column"),
    )
    return build(
        frame,
        [
            (
                "",
                [
                    rows(
                        "Verdicts now",
                        "The newest verdict of every release of the model. `more events` is how"
                        " many further ones will probably decide it, `more time` how long they will"
                        " take at the present rate; empty when decided or nothing is to be"
                        " expected.",
                        fill(f"""
                        SELECT version, role, status, events, p95_latency_ms AS p95,
                        p99_latency_ms AS p99, baseline_version AS compared_with,
                        further_events AS `more events`, further_ms AS `more time`, as_of, reason
                        FROM ({STANDINGS})
                        WHERE model = {{model}} AND as_of >= $__fromTime
                        ORDER BY version = {{version}} DESC, as_of DESC, version, role
                        LIMIT 100"""),
                        {
                            "status": Shown(words=True, width=110),
                            "events": Shown("short", width=90),
                            "p95": Shown("ms", width=90),
                            "p99": Shown("ms", width=90),
                            "more events": Shown("short", width=110),
                            "more time": Shown("dtdurationms", width=110),
                            "as_of": Shown("dateTimeAsIso", width=160),
                        },
                        size=(24, 6),
                    ),
                    timeline(
                        "Verdicts over time",
                        "One bar a release. Grey is too little data, purple is blind (no or stale"
                        " data), orange holds (the comparison itself is broken, or the cause is"
                        " upstream), red fails.",
                        fill(f"""
                        SELECT $__timeInterval(as_of) AS time, {ARM} AS release,
                        argMax({STATUS_NUMBER}, sequence) AS value
                        FROM {{db}}.verdicts
                        WHERE model = {{model}} AND $__timeFilter(as_of)
                        GROUP BY time, release ORDER BY time, release LIMIT 20000"""),
                    ),
                ],
            ),
            (
                "Evidence against production",
                [
                    difference(
                        "Difference of $column",
                        "The chosen column: this version less production, with an interval that is"
                        " right at every look, not only at the last. While it contains 0 the two"
                        " may be the same; wholly on the bad side of the margin is harm proven.",
                        "canary_level",
                        "{column}",
                        "short",
                    ),
                    difference(
                        "Difference of the error rate",
                        "Failed predictions: share of this version less that of production, with"
                        " its interval.",
                        "canary_errors",
                        "'error'",
                        "percentunit",
                    ),
                    difference(
                        "Difference of slow answers",
                        "Share of answers slower than production's 99th percentile (with the margin"
                        " taken off): this version less production, with its interval.",
                        "canary_tail",
                        "'latency_ms'",
                        "percentunit",
                    ),
                    lines(
                        "Evidence of harm",
                        "How much of the evidence that proves harm has come together, by column and"
                        " measure, the most that was told in each point. At 1 the release fails;"
                        " the chance that a harmless one ever gets there is what was configured,"
                        " for all measures together.",
                        fill("""
                        SELECT $__timeInterval(window_end) AS time,
                        concat(column, ' ', detector) AS measure,
                        max(statistic / threshold) AS value
                        FROM {db}.findings
                        WHERE model = {model} AND version = {version} AND role = {role}
                        AND segment = {segment} AND window_ms = {window}
                        AND $__timeFilter(window_start) AND threshold > 0
                        AND startsWith(against, 'production')
                        AND column IN (SELECT column FROM {db}.newest_findings FINAL
                        WHERE model = {model} AND version = {version} AND role = {role}
                        AND threshold > 0 AND compared = 'production' GROUP BY column
                        ORDER BY max(statistic / threshold) DESC, column LIMIT 12)
                        GROUP BY time, measure HAVING value IS NOT NULL
                        ORDER BY time, measure LIMIT 20000"""),
                        "percentunit",
                        size=(24, 8),
                        steps=LIMIT,
                        lowest=0,
                    ),
                    rows(
                        "Events to decision",
                        "For each release: when it was first seen, when it first passed or failed,"
                        " how many events had come by then (its exposure), and how long that took.",
                        fill("""
                        SELECT version, role, min(as_of) AS seen,
                        minOrNullIf(as_of, status IN ('pass', 'fail')) AS decided,
                        argMinIf(status, as_of, status IN ('pass', 'fail')) AS first,
                        if(isNull(decided), NULL,
                        argMinIf(events, as_of, status IN ('pass', 'fail'))) AS exposed,
                        toFloat64(dateDiff('second', seen, decided)) AS took,
                        countIf(status = 'fail') AS fails, max(events) AS total
                        FROM {db}.verdicts FINAL
                        WHERE model = {model} AND $__timeFilter(as_of)
                        GROUP BY version, role
                        ORDER BY version = {version} DESC, seen DESC, version, role LIMIT 100"""),
                        {
                            "seen": Shown("dateTimeAsIso", width=170),
                            "decided": Shown("dateTimeAsIso", width=170),
                            "first": Shown(words=True, width=110),
                            "exposed": Shown("short", width=100),
                            "took": Shown("dtdurations", width=120),
                            "fails": Shown("none", width=80),
                            "total": Shown("short", width=100),
                        },
                        size=(24, 6),
                    ),
                ],
            ),
            (
                "Side by side",
                [
                    arms(
                        "Mean of $column",
                        "Mean of the chosen column in each release.",
                        MEAN,
                        "{column}",
                        "short",
                    ),
                    arms(
                        "Error rate",
                        "Share of predictions that failed, in each release.",
                        "sum(errors) / sum(n)",
                        "'error'",
                        "percentunit",
                        lowest=0,
                    ),
                    arms(
                        "Share of traffic",
                        "Who answers how many of the predictions: how much is exposed.",
                        "sum(n)",
                        "'error'",
                        "short",
                        stacked=StackingMode.PERCENT,
                    ),
                    arms(
                        "Latency p50",
                        "Median latency of a window, in each release.",
                        "max(p50)",
                        "'latency_ms'",
                        "ms",
                        lowest=0,
                    ),
                    arms(
                        "Latency p95",
                        "95th percentile of a window in each release; a point's worst window.",
                        "max(p95)",
                        "'latency_ms'",
                        "ms",
                        lowest=0,
                    ),
                    arms(
                        "Latency p99",
                        "99th percentile of a window in each release; a point's worst window.",
                        "max(p99)",
                        "'latency_ms'",
                        "ms",
                        lowest=0,
                    ),
                    arms(
                        "Cost per prediction",
                        "Mean cost of a prediction in the unit it is logged in.",
                        MEAN,
                        "'cost'",
                        "short",
                        lowest=0,
                    ),
                    arms(
                        "Tokens in",
                        "Mean number of tokens of a prompt, in each release.",
                        MEAN,
                        "'tokens_in'",
                        "short",
                        lowest=0,
                    ),
                    arms(
                        "Tokens out",
                        "Mean number of tokens of an answer, in each release.",
                        MEAN,
                        "'tokens_out'",
                        "short",
                        lowest=0,
                    ),
                ],
            ),
            (
                "Findings",
                [
                    rows(
                        "Newest findings of this version",
                        "What every deciding detector says now of the chosen role, the worst first."
                        " `effect` with `low` and `high` is the size of the difference in the units"
                        " of the column or as a rate, where the detector gives one.",
                        fill("""
                        SELECT model, version, role, segment, column, detector, compared, outcome,
                        statistic, threshold, statistic / threshold AS share, effect,
                        effect_low AS low, effect_high AS high, n, critical, window_end AS at,
                        reason
                        FROM {db}.newest_findings FINAL
                        WHERE model = {model} AND version = {version} AND role = {role}
                        AND window_end >= $__fromTime
                        ORDER BY indexOf(['fail', 'insufficient', 'pass'], outcome), share DESC,
                        segment, column, detector LIMIT 500"""),
                        {
                            "column": Shown(link=drift_link),
                            "outcome": Shown(words=True, width=110),
                            "statistic": Shown("short", decimals=3, width=90),
                            "threshold": Shown("short", decimals=3, width=90),
                            "share": Shown("percentunit", LIMIT, decimals=0, width=80),
                            "effect": Shown("short", decimals=4, width=90),
                            "low": Shown("short", decimals=4, width=90),
                            "high": Shown("short", decimals=4, width=90),
                            "n": Shown("short", width=80),
                            "at": Shown("dateTimeAsIso", width=160),
                        },
                        size=(24, 12),
                    ),
                ],
            ),
        ],
        database,
    )


def _difference(
    fill: Fill, title: str, read_as: str, detector: str, column: str, unit: str
) -> timeseries.Panel:
    """Production subtracted, with the interval: columns ``difference``, ``low`` and ``high``."""
    query = fill(f"""
    SELECT $__timeInterval(window_end) AS time,
    argMax(effect, (window_end, revision)) AS difference,
    argMax(effect_low, (window_end, revision)) AS low,
    argMax(effect_high, (window_end, revision)) AS high
    FROM {{db}}.findings
    WHERE model = {{model}} AND version = {{version}} AND role = {{role}}
    AND segment = {{segment}} AND column = {column} AND window_ms = {{window}}
    AND detector = '{detector}' AND $__timeFilter(window_start)
    GROUP BY time HAVING difference IS NOT NULL ORDER BY time LIMIT 20000""")
    return lines(title, read_as, query, unit, size=(8, 8), bands=(("low", "high"),))


def _arms(
    fill: Fill,
    title: str,
    read_as: str,
    value: str,
    column: str,
    unit: str,
    *,
    lowest: float | None = None,
    stacked: StackingMode = StackingMode.NONE,
) -> timeseries.Panel:
    """A series for each release of the model."""
    place = f"""model = {{model}} AND segment = {{segment}} AND column = {column}
    AND window_ms = {{window}} AND $__timeFilter(window_start)"""
    figures = "version, role, window_start, n, errors, mean, p50, p95, p99"
    query = fill(f"""
    SELECT $__timeInterval(window_start) AS time, {ARM} AS release, {value} AS value
    FROM {window_rows(figures, place, "version", "role")} WHERE n > 0
    GROUP BY time, release ORDER BY time, release LIMIT 20000""")
    return lines(title, read_as, query, unit, size=(8, 8), lowest=lowest, stacked=stacked)
