"""The board *Drift*: which columns of a release are not what they were, since when, and how."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are variables
from __future__ import annotations

from functools import partial

from grafana_foundation_sdk.models import dashboard

from dashboards.board import DRIFT, Frame, address, build
from dashboards.clickhouse_query import sql
from dashboards.panels import LIMIT, NEVER, Shown, bars, heat, lines, number, rows
from dashboards.standing_rows import SHARE
from dashboards.window_rows import window_rows

PLACE = """model = {model} AND version = {version} AND role = {role} AND segment = {segment}"""
NEWEST = f"{PLACE} AND window_end >= $__fromTime AND threshold > 0"
COLUMN = f"{PLACE} AND column = {{column}} AND window_ms = {{window}}"
COLUMN_IN_TIME = f"{COLUMN} AND $__timeFilter(window_start)"

CLASSICAL = (
    "'psi', 'jensen_shannon', 'hellinger', 'kolmogorov_smirnov', 'wasserstein', 'chi_square',"
    " 'total_variation', 'l_infinity'"
)


def drift(database: str) -> dashboard.Dashboard:
    """The board over a database of results."""
    fill = partial(sql, database=database)
    frame = Frame(
        DRIFT,
        "driftline / Drift",
        "What is different from the reference in one release: ranked by evidence, over time, and"
        " as a histogram beside the reference.",
        ("model", "version", "role", "segment", "window", "column"),
        hours=24,
    )
    here = {"model": "model", "version": "version", "role": "role", "segment": "segment"}
    return build(
        frame,
        [
            (
                "",
                [
                    number(
                        "Columns that fail",
                        "How many columns have a finding that fails now, in the chosen segment.",
                        fill(f"""
                        SELECT uniqExactIf(column, outcome = 'fail') AS failing
                        FROM {{db}}.newest_findings FINAL WHERE {NEWEST}"""),
                        "none",
                        steps=NEVER,
                    ),
                    number(
                        "Columns watched",
                        "How many columns have a finding that decides, and enough data for it.",
                        fill(f"""
                        SELECT uniqExactIf(column, outcome != 'insufficient') AS watched
                        FROM {{db}}.newest_findings FINAL WHERE {NEWEST}"""),
                        "none",
                    ),
                    number(
                        "Budget used",
                        "The largest share of the false-alarm budget that the evidence of a column"
                        " has used. At 1 it alarms; without any change it gets there as seldom as"
                        " the budget says, for all columns together.",
                        fill(f"""
                        SELECT maxIf({SHARE}, startsWith(detector, 'drift')) AS budget
                        FROM {{db}}.newest_findings FINAL WHERE {NEWEST}"""),
                        "percentunit",
                        steps=LIMIT,
                    ),
                    number(
                        "Closest to a limit",
                        "The largest share of any limit that a column has reached; 1 is the limit.",
                        fill(f"""
                        SELECT max({SHARE}) AS share
                        FROM {{db}}.newest_findings FINAL WHERE {NEWEST}"""),
                        "percentunit",
                        steps=LIMIT,
                    ),
                    heat(
                        "Columns over time",
                        "How close each column came to what fails it, over time: green is far, red"
                        " is there. The 30 columns that are closest, in the order of their names."
                        " White: no answer then. Beyond some hours a cell is five minutes or more.",
                        fill(_heat_map()),
                    ),
                    rows(
                        "Columns, ranked",
                        "The newest deciding findings of the release by how close they are to what"
                        " fails them. Click a column to see it below.",
                        fill(f"""
                        SELECT model, version, role, segment, column, detector, compared, outcome,
                        statistic, threshold, {SHARE} AS share, n, window_ms AS window,
                        window_end AS at, reason
                        FROM {{db}}.newest_findings FINAL WHERE {NEWEST}
                        ORDER BY share DESC, column, detector LIMIT 300"""),
                        {
                            "column": Shown(
                                link=("Show it below", address(DRIFT, column="column", **here))
                            ),
                            "outcome": Shown(words=True, width=110),
                            "statistic": Shown("short", decimals=3, width=90),
                            "threshold": Shown("short", decimals=3, width=90),
                            "share": Shown("percentunit", LIMIT, decimals=0, width=80),
                            "n": Shown("short", width=80),
                            "window": Shown("dtdurationms", width=90),
                            "at": Shown("dateTimeAsIso", width=160),
                        },
                    ),
                ],
            ),
            (
                "Column $column",
                [
                    bars(
                        "Histogram now and in the reference",
                        "Share of values in each bin of the reference: in the time shown, and in"
                        " the reference. `other` are categories the reference does not have. No"
                        " bars of the reference: it has no such segment or column.",
                        fill(_histogram()),
                        "percentunit",
                    ),
                    lines(
                        "Classical statistics",
                        "The well-known distances between each window and the reference. They need"
                        " no promise to be shown: what decides is their limit or the evidence.",
                        fill(f"""
                        SELECT $__timeInterval(window_start) AS time, detector,
                        max(statistic) AS value
                        FROM {{db}}.findings FINAL
                        WHERE {COLUMN} AND detector IN ({CLASSICAL})
                        AND startsWith(against, 'reference') AND $__timeFilter(window_start)
                        GROUP BY time, detector HAVING value IS NOT NULL
                        ORDER BY time, detector LIMIT 20000"""),
                        "short",
                        decimals=3,
                        lowest=0,
                    ),
                    lines(
                        "Values",
                        "Mean and quantiles of each window; of a categorical column nothing.",
                        fill(f"""
                        SELECT $__timeInterval(window_start) AS time,
                        sum(n * mean) / sum(n) AS average,
                        max(p50) AS half, max(p95) AS `95 %`, max(p99) AS `99 %`
                        FROM {window_rows("window_start, n, mean, p50, p95, p99", COLUMN_IN_TIME)}
                        WHERE n > 0
                        GROUP BY time HAVING average IS NOT NULL ORDER BY time LIMIT 20000"""),
                        "short",
                    ),
                    lines(
                        "Evidence",
                        "Share of the limit or of the false-alarm budget, of each detector that"
                        " decides on this column. At 1 it fails.",
                        fill(f"""
                        SELECT $__timeInterval(window_start) AS time,
                        concat(detector, ' against ', splitByChar(':', against)[1]) AS measure,
                        max({SHARE}) AS value
                        FROM {{db}}.findings FINAL
                        WHERE {COLUMN} AND decides AND threshold > 0
                        AND $__timeFilter(window_start)
                        GROUP BY time, measure HAVING value IS NOT NULL
                        ORDER BY time, measure LIMIT 20000"""),
                        "percentunit",
                        steps=LIMIT,
                        lowest=0,
                    ),
                    rows(
                        "Categories now",
                        "The most frequent categories in the time shown, by name, also those the"
                        " reference does not have.",
                        fill(_categories()),
                        {
                            "total": Shown("short", width=100),
                            "share": Shown("percentunit", decimals=2, width=100),
                        },
                        size=(12, 8),
                    ),
                    rows(
                        "Segments",
                        "The same column in every segment of the release: is it all of the traffic,"
                        " or one slice? Click a segment to look at it.",
                        fill(f"""
                        SELECT model, version, role, segment, column, max({SHARE}) AS share,
                        argMax(detector, {SHARE}) AS worst_detector,
                        argMax(outcome, {SHARE}) AS says, max(n) AS total
                        FROM {{db}}.newest_findings FINAL
                        WHERE model = {{model}} AND version = {{version}} AND role = {{role}}
                        AND column = {{column}} AND window_end >= $__fromTime AND threshold > 0
                        GROUP BY model, version, role, segment, column
                        ORDER BY share DESC, segment LIMIT 200"""),
                        {
                            "segment": Shown(
                                link=("Show it", address(DRIFT, column="column", **here))
                            ),
                            "share": Shown("percentunit", LIMIT, decimals=0, width=80),
                            "says": Shown(words=True, width=110),
                            "total": Shown("short", width=80),
                        },
                        size=(12, 8),
                    ),
                ],
            ),
        ],
        database,
    )


def _heat_map() -> str:
    """The most that was told of each column, in each point; from the peaks of five minutes where a
    point is a minute or longer. Of the two halves one has a condition that is false before
    anything is read."""
    closest = f"""column IN (SELECT column FROM {{db}}.newest_findings FINAL
    WHERE {PLACE} AND threshold > 0 GROUP BY column ORDER BY max({SHARE}) DESC, column LIMIT 30)"""
    return f"""
    SELECT time, column, max(share) AS value FROM (
    SELECT $__timeInterval(window_start) AS time, column, assumeNotNull({SHARE}) AS share
    FROM {{db}}.findings
    WHERE $__interval_s < 60 AND {PLACE} AND window_ms = {{window}} AND decides AND threshold > 0
    AND statistic IS NOT NULL AND $__timeFilter(window_start) AND {closest}
    UNION ALL
    SELECT $__timeInterval(span) AS time, column, share / 1000000 AS share
    FROM {{db}}.evidence_peaks
    WHERE $__interval_s >= 60 AND {PLACE} AND window_ms = {{window}}
    AND $__timeFilter(span) AND {closest})
    GROUP BY time, column ORDER BY time, column LIMIT 50000"""


def _histogram() -> str:
    """Counts per bin of the newest reference, beside what that reference's file says.

    The file is JSON (detectors/reference_file.py): ``layout`` has the edges or categories of each
    column, ``all`` or ``segments.<name>`` its counts, in the same bins as a window's histogram.
    """
    return f"""
    WITH arrayFirst(x -> JSONExtractString(x, 'name') = {{column}},
    JSONExtractArrayRaw(r.content, 'layout')) AS spec,
    if({{segment}} = 'all', JSONExtractRaw(r.content, 'all'),
    JSONExtractRaw(r.content, 'segments', {{segment}})) AS counted,
    arrayFirst(x -> JSONExtractString(x, 'name') = {{column}},
    JSONExtractArrayRaw(counted, 'columns')) AS entry,
    arrayMap(x -> toString(toFloat32(x)), JSONExtract(spec, 'edges', 'Array(Float64)')) AS edges,
    JSONExtract(spec, 'categories', 'Array(String)') AS names,
    JSONExtract(entry, 'bins', 'Array(UInt64)') AS before,
    greatest(JSONExtractUInt(entry, 'n'), 1) AS before_n,
    if(empty(names), arrayMap(i -> multiIf(i = 1, concat('< ', edges[1]), i > length(edges),
    concat('≥ ', edges[-1]), concat(edges[i - 1], ' to ', edges[i])),
    range(1, length(edges) + 2)), arrayPushBack(names, 'other')) AS labels
    SELECT labels[i] AS bin,
    if(i > length(w.now), w.n - arraySum(w.now), w.now[i]) / w.n AS now,
    if(empty(before), NULL,
    if(i > length(before), before_n - arraySum(before), before[i]) / before_n) AS reference
    FROM (SELECT reference, sumForEach(histogram) AS now, sum(n) AS n
    FROM {window_rows("reference, histogram, n, window_start", COLUMN_IN_TIME)}
    WHERE notEmpty(histogram) GROUP BY reference ORDER BY max(window_start) DESC LIMIT 1) AS w
    INNER JOIN (SELECT reference, content FROM {{db}}.references FINAL WHERE model = {{model}}) AS r
    USING (reference)
    ARRAY JOIN arrayEnumerate(labels) AS i
    WHERE w.n > 0 ORDER BY i LIMIT 200"""


def _categories() -> str:
    return f"""
    SELECT category, sum(count) AS total, total / greatest(sum(total) OVER (), 1) AS share
    FROM {window_rows("categories", COLUMN_IN_TIME)}
    ARRAY JOIN mapKeys(categories) AS category, mapValues(categories) AS count
    GROUP BY category ORDER BY total DESC, category LIMIT 50"""
