"""The page *Fleet*: every release, the worst first.

Statuses, reasons, events and latencies are those of the verdict board; budget, traffic and open
incidents come from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detectors.release import Release
from detectors.verdict import Status
from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import Wanted
from sinks.verdict_board import Answer, Standing

PER_PAGE: Final = 50
WORST_FIRST: Final = (
    Status.FAIL,
    Status.HOLD,
    Status.BLIND,
    Status.INSUFFICIENT,
    Status.PASS,
)
_LOOK_BACK_MS: Final = 93_600_000
"""How far before the newest verdict of a page traffic is looked for: 26 hours."""

Key = tuple[str, str, str]

EVIDENCE: Final = """
SELECT model, version, role, max(share), argMax(column, share), argMax(detector, share),
    maxOrNullIf(share, startsWith(detector, 'drift')),
    toInt64(toUnixTimestamp64Milli(max(window_end)))
FROM (
    SELECT model, version, role, column, detector, window_ms, window_end,
        statistic / threshold AS share,
        max(window_end) OVER (PARTITION BY model, version, role) AS latest
    FROM {db}.newest_findings FINAL
    WHERE model IN {models:Array(String)} AND threshold > 0 AND isFinite(ifNull(statistic, nan))
)
WHERE window_end >= latest - toIntervalMillisecond(2 * window_ms)
GROUP BY model, version, role LIMIT 10000
"""
"""Of columns that are still seen: a column that is gone keeps its last finding for months."""

TRAFFIC: Final = """
SELECT model, version, role, window_ms, toUnixTimestamp64Milli(window_start) AS start,
    sum(n) AS predictions, sum(errors) AS failed
FROM {db}.windows FINAL
WHERE model IN {models:Array(String)} AND segment = 'all' AND column = 'error'
    AND window_start >= fromUnixTimestamp64Milli({from:Int64})
GROUP BY model, version, role, window_ms, window_start
ORDER BY start DESC LIMIT 40 BY model, version, role, window_ms
LIMIT 20000
"""

OPEN_INCIDENTS: Final = """
SELECT model, version, role, count()
FROM {db}.incidents FINAL WHERE state = 'open' AND cause != 'nothing'
GROUP BY model, version, role ORDER BY model, version, role LIMIT 10000
"""
"""Incidents that somebody was told of and that have not ended."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How close a release is to what fails it; 1 is reached. ``budget``: the largest share of the
    false-alarm budget that drift has used, None where no drift is judged."""

    worst: float
    column: str
    detector: str
    budget: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of the newest window; ``course``: predictions a second of the windows before it."""

    per_second: float
    error_rate: float | None
    course: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One release. What the store did not tell is None."""

    standing: Standing
    answer: Answer
    evidence: Evidence | None
    traffic: Traffic | None
    incidents: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """The page. ``matching`` of ``total`` releases match the filter; ``rows`` are one page of
    them. ``told``: the store's answers, for what there is to say of their age."""

    counts: Mapping[str, int]
    total: int
    matching: int
    rows: tuple[FleetRow, ...]
    pages: int
    told: tuple[Told, ...]


def read_fleet(
    standings: Sequence[tuple[Standing, Answer]], store: StoreView, wanted: Wanted
) -> Fleet:
    """Everything on the page."""
    counts = {status.value: 0 for status in WORST_FIRST}
    for _, answer in standings:
        counts[answer.status.value] += 1
    matching = sorted((pair for pair in standings if _matches(pair[0], wanted.q)), key=_order)
    first = (wanted.page - 1) * PER_PAGE
    shown = matching[first : first + PER_PAGE]
    if not shown:
        return Fleet(counts, len(standings), len(matching), (), _pages(len(matching)), ())
    models = sorted({standing.release.model for standing, _ in shown})
    from_ms = max(standing.as_of_ms for standing, _ in shown) - _LOOK_BACK_MS
    evidence = store.told(EVIDENCE, {"models": models})
    traffic = store.told(TRAFFIC, {"models": models, "from": _by_minute(from_ms)})
    incidents = store.told(OPEN_INCIDENTS, {})
    known, courses = _evidence(evidence), _traffic(traffic)
    opened = {(row[0], row[1], row[2]): int(row[3]) for row in incidents}
    rows = tuple(
        FleetRow(
            standing,
            answer,
            known.get(key := key_of(standing.release)),
            courses.get(key),
            opened.get(key, 0),
        )
        for standing, answer in shown
    )
    return Fleet(
        counts,
        len(standings),
        len(matching),
        rows,
        _pages(len(matching)),
        (evidence, traffic, incidents),
    )


def key_of(release: Release) -> Key:
    """A release as rows of the store name it."""
    return release.model, release.version, release.role.value


def _pages(count: int) -> int:
    return max(-(-count // PER_PAGE), 1)


def _by_minute(ms: int) -> int:
    """The same question for a minute: what the store is asked is kept by its text."""
    return max(ms // 60_000 * 60_000, 0)


def _matches(standing: Standing, words: str) -> bool:
    release = standing.release
    said = f"{release.model} {release.version} {release.role.value} {standing.status.value}"
    return all(word in said.casefold() for word in words.casefold().split())


def _order(pair: tuple[Standing, Answer]) -> tuple[int, str, str, str]:
    standing, answer = pair
    release = standing.release
    return WORST_FIRST.index(answer.status), release.model, release.version, release.role.value


def _evidence(told: Told) -> dict[Key, Evidence]:
    return {(row[0], row[1], row[2]): Evidence(row[3], row[4], row[5], row[6]) for row in told}


def _traffic(told: Told) -> dict[Key, Traffic]:
    """From the shortest windows that each release has."""
    held: dict[Key, dict[int, list[Sequence[Any]]]] = {}
    for row in told:
        held.setdefault((row[0], row[1], row[2]), {}).setdefault(int(row[3]), []).append(row)
    found = {}
    for key, by_window in held.items():
        window_ms = min(by_window)
        newest_first = by_window[window_ms]
        rates = [row[5] * 1000 / window_ms for row in newest_first]
        n, failed = newest_first[0][5], newest_first[0][6]
        found[key] = Traffic(rates[0], failed / n if n else None, tuple(reversed(rates)))
    return found
