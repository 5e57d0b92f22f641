"""The board *Fleet*: every model and release, one row each, the worst on top."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are variables
from __future__ import annotations

from functools import partial

from grafana_foundation_sdk.models import dashboard

from dashboards.board import (
    DRIFT,
    FLEET,
    INCIDENTS,
    MATCHES,
    RELEASE,
    RELEASE_LINK,
    Frame,
    address,
    build,
)
from dashboards.clickhouse_query import sql
from dashboards.panels import LIMIT, NEVER, Shown, lines, number, rows
from dashboards.standing_rows import OPEN_INCIDENTS, SHARE, STANDINGS
from dashboards.window_rows import SHORTEST

SEEN = f"as_of >= $__fromTime AND {MATCHES}"

SEVERITY = "['fail', 'hold', 'blind', 'insufficient', 'pass']"


def fleet(database: str) -> dashboard.Dashboard:
    """The board over a database of results."""
    fill = partial(sql, database=database)
    frame = Frame(
        FLEET,
        "driftline / Fleet",
        "Is anything wrong anywhere? Every model and release with its verdict, the worst first."
        " Click a version for the release, a column for its drift.",
        ("filter",),
    )
    drift_link = (
        "Open its drift",
        address(DRIFT, model="model", version="version", role="role", column="worst_column"),
    )
    how_it_stands = {
        "worst": Shown("percentunit", LIMIT, width=90, decimals=0),
        "worst_column": Shown(link=drift_link),
        "budget": Shown("percentunit", LIMIT, width=90, decimals=0),
        "incidents": Shown(
            "none", NEVER, width=90, link=("Open the incidents", address(INCIDENTS))
        ),
    }
    return build(
        frame,
        [
            (
                "",
                [
                    number(
                        "Releases by verdict",
                        "How many releases have which verdict now. Only pass is healthy; blind and"
                        " insufficient mean that nobody knows. One that was rolled back and fell"
                        " silent counts as fail. Releases not heard of in the time shown are left"
                        " out.",
                        fill(f"""
                        SELECT countIf(status = 'fail') AS fail, countIf(status = 'hold') AS hold,
                        countIf(status = 'blind') AS blind,
                        countIf(status = 'insufficient') AS insufficient,
                        countIf(status = 'pass') AS pass
                        FROM ({STANDINGS}) WHERE {SEEN}"""),
                        "none",
                        size=(12, 4),
                        colours={
                            "fail": "red",
                            "hold": "orange",
                            "blind": "purple",
                            "insufficient": "#8F8F8F",
                            "pass": "green",
                        },
                    ),
                    number(
                        "Open incidents",
                        "Releases with an incident that people know of and that has not ended.",
                        fill(f"""
                        SELECT count() AS incidents FROM ({OPEN_INCIDENTS}) WHERE {MATCHES}"""),
                        "none",
                        steps=NEVER,
                    ),
                    number(
                        "Oldest verdict",
                        "How far the slowest model is behind: time now less the event time its"
                        " newest verdict rests on. It grows when events stop or the line is stuck;"
                        " replayed history shows its own age.",
                        fill(f"""
                        SELECT toFloat64(dateDiff('second', min(newest), now64(3))) AS age
                        FROM (SELECT model, max(as_of) AS newest
                        FROM {{db}}.newest_verdicts WHERE {SEEN} GROUP BY model)"""),
                        "s",
                        steps=(("green", None), ("#EAB839", 300), ("red", 900)),
                    ),
                    rows(
                        "Models",
                        "One row a model, the worst on top: the worst verdict of its releases, what"
                        " is closest to a limit in any of them, and how many predictions a second"
                        " it made in the time shown. p95 and p99 are those of its slowest release.",
                        fill(_models()),
                        {
                            "model": Shown(
                                link=("Open the model", address(RELEASE, model="model"))
                            ),
                            "status": Shown(words=True, width=100),
                            "releases": Shown("none", width=90),
                            **how_it_stands,
                            "traffic": Shown("reqps", width=100),
                            "p95": Shown("ms", width=90),
                            "p99": Shown("ms", width=90),
                            "as_of": Shown("dateTimeAsIso", width=160),
                        },
                        size=(24, 8),
                    ),
                    rows(
                        "Releases",
                        "One row a release, the worst on top. `worst` is how close the newest"
                        " findings are to a limit (1: reached) and in which column; `budget` is the"
                        " share of the false-alarm budget that the evidence of drift has used: at 1"
                        " it alarms, which without any change happens as seldom as configured.",
                        fill(f"""
                        SELECT v.model AS model, v.version AS version, v.role AS role,
                        v.status AS status, f.worst AS worst, f.worst_column AS worst_column,
                        f.budget AS budget, a.open AS incidents, v.events AS events,
                        v.p95_latency_ms AS p95, v.p99_latency_ms AS p99, v.as_of AS as_of,
                        v.reason AS reason
                        FROM (SELECT * FROM ({STANDINGS}) WHERE {SEEN}) AS v
                        LEFT JOIN (SELECT model, version, role, max({SHARE}) AS worst,
                        argMax(column, {SHARE}) AS worst_column,
                        maxIf(statistic, startsWith(detector, 'drift')) AS budget
                        FROM {{db}}.newest_findings FINAL
                        WHERE window_end >= $__fromTime AND threshold > 0 AND {MATCHES}
                        GROUP BY model, version, role) AS f USING (model, version, role)
                        LEFT JOIN ({OPEN_INCIDENTS}) AS a USING (model, version, role)
                        ORDER BY indexOf({SEVERITY}, status),
                        worst DESC, model, version, role LIMIT 500"""),
                        {
                            "model": Shown(link=RELEASE_LINK),
                            "version": Shown(link=RELEASE_LINK),
                            "status": Shown(words=True, width=100),
                            **how_it_stands,
                            "events": Shown("short", width=90),
                            "p95": Shown("ms", width=90),
                            "p99": Shown("ms", width=90),
                            "as_of": Shown("dateTimeAsIso", width=160),
                        },
                        size=(24, 12),
                    ),
                ],
            ),
            (
                "Traffic and health over time",
                [
                    lines(
                        "Traffic by model",
                        "Predictions a second, of the 20 models with the most. A line that falls to"
                        " nothing is a model that stopped, or its log.",
                        fill(_by_model("sum(n) / greatest($__interval_s, max(window_ms) / 1000)")),
                        "reqps",
                        lowest=0,
                    ),
                    lines(
                        "Errors by model",
                        "Share of predictions that failed, over all releases of a model.",
                        fill(_by_model("sum(errors) / greatest(sum(n), 1)")),
                        "percentunit",
                        lowest=0,
                    ),
                    lines(
                        "p95 latency by model",
                        "The slowest release of each model: 95th percentile within a window.",
                        fill(_by_model("max(p95)", "latency_ms")),
                        "ms",
                        lowest=0,
                    ),
                    lines(
                        "p99 latency by model",
                        "The slowest release of each model: 99th percentile within a window.",
                        fill(_by_model("max(p99)", "latency_ms")),
                        "ms",
                        lowest=0,
                    ),
                ],
            ),
            (
                "What is closest to a limit",
                [
                    rows(
                        "Worst findings",
                        "The newest findings of the whole fleet, by how close they are to what"
                        " fails them. Click a column to see how it drifts.",
                        fill(f"""
                        SELECT model, version, role, segment, column AS worst_column, detector,
                        {SHARE} AS share, outcome, critical, window_end AS at, reason
                        FROM {{db}}.newest_findings FINAL
                        WHERE window_end >= $__fromTime AND threshold > 0 AND {MATCHES}
                        AND statistic IS NOT NULL
                        ORDER BY share DESC, model, version, role, segment, column LIMIT 50"""),
                        {
                            "version": Shown(link=RELEASE_LINK),
                            "worst_column": Shown(link=drift_link),
                            "share": Shown("percentunit", LIMIT, width=90, decimals=0),
                            "outcome": Shown(words=True, width=110),
                            "at": Shown("dateTimeAsIso", width=160),
                        },
                    ),
                ],
            ),
        ],
        database,
    )


def _models() -> str:
    return f"""
    SELECT v.model AS model, v.status AS status, v.releases AS releases, f.worst AS worst,
    f.column AS worst_column, f.version AS version, f.role AS role, f.budget AS budget,
    a.open AS incidents, t.traffic AS traffic, v.p95 AS p95, v.p99 AS p99, v.newest AS as_of
    FROM (SELECT model, {SEVERITY}[min(indexOf({SEVERITY}, status))] AS status,
    count() AS releases, max(p95_latency_ms) AS p95, max(p99_latency_ms) AS p99,
    max(as_of) AS newest FROM ({STANDINGS}) WHERE {SEEN} GROUP BY model) AS v
    LEFT JOIN (SELECT model, max({SHARE}) AS worst, argMax(column, {SHARE}) AS column,
    argMax(version, {SHARE}) AS version, argMax(role, {SHARE}) AS role,
    maxIf(statistic, startsWith(detector, 'drift')) AS budget
    FROM {{db}}.newest_findings FINAL
    WHERE window_end >= $__fromTime AND threshold > 0 AND {MATCHES} GROUP BY model) AS f
    USING (model)
    LEFT JOIN (SELECT model, sum(open) AS open FROM ({OPEN_INCIDENTS}) GROUP BY model) AS a
    USING (model)
    LEFT JOIN (SELECT model,
    sum(n) / greatest(dateDiff('second', $__fromTime, $__toTime), 1) AS traffic
    FROM {{db}}.traffic FINAL
    WHERE $__timeFilter(window_start) AND segment = 'all' AND column = 'error'
    AND {SHORTEST}
    GROUP BY model) AS t USING (model)
    ORDER BY indexOf({SEVERITY}, status), worst DESC, model LIMIT 500"""


def _by_model(value: str, column: str = "error") -> str:
    """Series by model from the shortest windows of all traffic, of the busiest models."""
    return f"""
    SELECT $__timeInterval(window_start) AS time, model, {value} AS value
    FROM {{db}}.traffic FINAL
    WHERE $__timeFilter(window_start) AND segment = 'all' AND column = '{column}'
    AND {SHORTEST}
    AND model IN (SELECT model FROM {{db}}.newest_verdicts WHERE {SEEN}
    GROUP BY model ORDER BY sum(events) DESC, model LIMIT 20)
    GROUP BY time, model ORDER BY time, model LIMIT 20000"""
