"""The page *Drift*: which columns of one release are not what they were, since when, and how."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are bound parameters
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from detectors.release import OTHER
from sinks.console import wording
from sinks.console.bin_plot import Bin
from sinks.console.course_bins import Span
from sinks.console.line_plot import Point, Series
from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import Wanted

MOST_COLUMNS: Final = 40

_NEWEST_WINDOWS: Final = 200
"""How many windows back the newest finding of a column may lie: beyond it the column is gone."""

_PLACE: Final = """model = {model:String} AND version = {version:String} AND role = {role:String}
    AND segment = {segment:String}"""
_JUDGED: Final = """threshold > 0 AND isFinite(ifNull(statistic, nan))
    AND (decides OR startsWith(detector, 'drift')) AND NOT startsWith(against, 'production')"""
"""What says how far a column is from what it was. Of a canary drift does not decide, as it is held
against production, and is shown all the same."""
_IN_SPAN: Final = """window_ms = {window:UInt32}
    AND window_start >= fromUnixTimestamp64Milli({from:Int64})
    AND window_start < fromUnixTimestamp64Milli({to:Int64})"""
_BIN: Final = "intDiv(toUnixTimestamp64Milli(window_start), {step:Int64}) * {step:Int64}"

RANKED: Final = f"""
SELECT column, detector,
    argMax((statistic, threshold, effect, n, outcome, reason, direction,
        toUnixTimestamp64Milli(window_end), toUnixTimestamp64Milli(onset)), window_end) AS newest,
    newest.1 / newest.2 AS share
FROM {{db}}.findings FINAL WHERE {_PLACE} AND {_IN_SPAN} AND {_JUDGED}
GROUP BY column, detector ORDER BY share DESC, column, detector LIMIT 300
"""
COURSE: Final = f"""
SELECT column, {_BIN} AS t,
    max(statistic / threshold)
FROM {{db}}.findings FINAL WHERE {_PLACE} AND {_IN_SPAN} AND {_JUDGED}
    AND column IN {{columns:Array(String)}}
GROUP BY column, t ORDER BY t, column LIMIT 20000
"""
OF_COLUMN: Final = f"""
SELECT detector, {_BIN} AS t,
    max(statistic / threshold)
FROM {{db}}.findings FINAL WHERE {_PLACE} AND {_IN_SPAN} AND {_JUDGED}
    AND column = {{column:String}}
GROUP BY detector, t ORDER BY t, detector LIMIT 5000
"""
CLASSICAL: Final = f"""
SELECT detector, argMax((statistic, n, toUnixTimestamp64Milli(window_end)), window_end) AS newest
FROM {{db}}.findings FINAL WHERE {_PLACE} AND {_IN_SPAN} AND column = {{column:String}}
    AND startsWith(against, 'reference') AND isFinite(ifNull(statistic, nan))
    AND NOT startsWith(detector, 'drift')
GROUP BY detector ORDER BY detector LIMIT 50
"""
VALUES: Final = f"""
SELECT {_BIN} AS t,
    sum(n * mean) / sum(n), max(p50), max(p95), sum(nulls) / greatest(sum(nulls + n), 1)
FROM {{db}}.windows FINAL WHERE {_PLACE} AND {_IN_SPAN} AND column = {{column:String}} AND n > 0
GROUP BY t ORDER BY t LIMIT 1000
"""
HISTOGRAM: Final = f"""
WITH arrayFirst(x -> JSONExtractString(x, 'name') = {{column:String}},
        JSONExtractArrayRaw(content, 'layout')) AS spec,
    if({{segment:String}} = 'all', JSONExtractRaw(content, 'all'),
        JSONExtractRaw(content, 'segments', {{segment:String}})) AS counted,
    arrayFirst(x -> JSONExtractString(x, 'name') = {{column:String}},
        JSONExtractArrayRaw(counted, 'columns')) AS entry
SELECT bins, n, windows, since, until, JSONExtract(spec, 'edges', 'Array(Float64)'),
    JSONExtract(spec, 'categories', 'Array(String)'), JSONExtract(entry, 'bins', 'Array(UInt64)'),
    JSONExtractUInt(entry, 'n')
FROM (
    SELECT reference, sumForEach(histogram) AS bins, sum(n) AS n, count() AS windows,
        toUnixTimestamp64Milli(min(window_start)) AS since,
        toUnixTimestamp64Milli(max(window_end)) AS until
    FROM (
        SELECT reference, histogram, n, window_start, window_end FROM {{db}}.windows FINAL
        WHERE {_PLACE} AND {_IN_SPAN} AND column = {{column:String}} AND notEmpty(histogram)
        ORDER BY window_start DESC LIMIT 10
    )
    GROUP BY reference ORDER BY max(window_start) DESC LIMIT 1
) AS w
INNER JOIN (
    SELECT reference, content FROM {{db}}.references FINAL WHERE model = {{model:String}}
) AS r USING (reference)
"""
"""The newest ten windows together, in the bins of the reference that they stand on."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one detector says of one column now. ``share``: 1 is where it fails."""

    column: str
    detector: str
    share: float
    statistic: float
    threshold: float
    effect: float | None
    n: int
    outcome: str
    reason: str
    direction: str
    window_end_ms: int
    onset_ms: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """``n`` values of ``windows`` windows from ``since_ms`` to ``until_ms``."""

    bins: tuple[Bin, ...]
    n: int
    windows: int
    since_ms: int
    until_ms: int
    reference_n: int


@dataclass(frozen=True, slots=True)
class Drift:
    """The page. ``column``: the one that is looked at, "" if there is none."""

    ranked: tuple[Ranked, ...]
    heat: Mapping[str, Sequence[tuple[int, float]]]
    column: str
    histogram: Histogram | None
    evidence: tuple[Series, ...]
    values: tuple[Series, ...]
    classical: tuple[tuple[str, float, int], ...]
    told: tuple[Told, ...]


def read_drift(store: StoreView, wanted: Wanted, span: Span) -> Drift:
    """Everything on the page, of the release, segment and column in ``wanted``; without a column
    of the one that has come closest."""
    place: dict[str, Any] = {
        "model": wanted.model,
        "version": wanted.version,
        "role": wanted.role,
        "segment": wanted.segment,
        "window": span.window_ms,
        "from": span.from_ms,
        "to": span.to_ms,
    }
    binned = place | {"step": span.step_ms}
    newest_from_ms = max(span.from_ms, span.to_ms - _NEWEST_WINDOWS * span.window_ms)
    told_ranked = store.told(RANKED, place | {"from": newest_from_ms})
    ranked = tuple(_ranked(row) for row in told_ranked)
    columns = list(dict.fromkeys(each.column for each in ranked))[:MOST_COLUMNS]
    told = [told_ranked]
    heat: dict[str, list[tuple[int, float]]] = {name: [] for name in columns}
    if columns:
        told.append(store.told(COURSE, binned | {"columns": columns}))
        for name, at_ms, value in told[-1]:
            heat[name].append((int(at_ms), value))
    column = wanted.column or next(iter(columns), "")
    if not column:
        return Drift(ranked, heat, "", None, (), (), (), tuple(told))
    binned |= {"column": column}
    of_column = store.told(OF_COLUMN, binned)
    values = store.told(VALUES, binned)
    place |= {"column": column}
    histogram = store.told(HISTOGRAM, place)
    classical = store.told(CLASSICAL, place)
    told += [of_column, values, histogram, classical]
    return Drift(
        ranked,
        heat,
        column,
        next((_histogram(row) for row in histogram), None),
        _evidence(of_column),
        _values(values),
        tuple((row[0], row[1][0], int(row[1][1])) for row in classical),
        tuple(told),
    )


def _ranked(row: Sequence[Any]) -> Ranked:
    column, detector, newest, share = row
    statistic, threshold, effect, n, outcome, reason, direction, end_ms, onset_ms = newest
    return Ranked(
        column, detector, share, statistic, threshold, effect, int(n), outcome, reason, direction,
        int(end_ms), int(onset_ms),
    )  # fmt: skip


def _histogram(row: Sequence[Any]) -> Histogram | None:
    """None where the reference has no such column any more."""
    counts, n, windows, since_ms, until_ms, edges, categories, before, before_n = row
    if not n or not (edges or categories):
        return None
    if categories:
        names = [*categories, "other" if OTHER not in categories else OTHER]
        labels = names
    else:
        written = [wording.number(edge, 4) for edge in edges]
        between = [f"{low} to {high}" for low, high in pairwise(written)]
        names = [f"below {written[0]}", *between, f"{written[-1]} and above"]
        labels = [f"< {written[0]}", *written]
    now = [*counts, max(n - sum(counts), 0)] if len(counts) < len(names) else list(counts)
    was = [*before, max(before_n - sum(before), 0)] if 0 < len(before) < len(names) else before
    bins = tuple(
        Bin(name, labels[i], now[i] / n, was[i] / before_n if i < len(was) and before_n else None)
        for i, name in enumerate(names)
        if i < len(now)
    )
    return Histogram(bins, int(n), int(windows), int(since_ms), int(until_ms), int(before_n))


def _evidence(told: Told) -> tuple[Series, ...]:
    points: dict[str, list[Point]] = {}
    for detector, at_ms, value in told:
        points.setdefault(detector, []).append(Point(int(at_ms), value))
    return tuple(
        Series(name, colour, tuple(of)) for colour, (name, of) in enumerate(sorted(points.items()))
    )[:8]


def _values(told: Told) -> tuple[Series, ...]:
    rows = list(told)
    found = []
    for colour, (name, place) in enumerate((("mean", 1), ("median", 2), ("95 %", 3))):
        points = tuple(Point(int(row[0]), row[place]) for row in rows if row[place] is not None)
        if points:
            found.append(Series(name, colour, points))
    return tuple(found)
