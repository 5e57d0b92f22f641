"""The page *Release*: canary, shadow and production of one model side by side."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are bound parameters
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from detectors.release import Role
from sinks.console.course_bins import Span
from sinks.console.line_plot import COLOURS, Point, Series
from sinks.console.status_bars import Bar, Mark, StatusRun
from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import Wanted

MOST_BARS: Final = 12
MOST_MEASURES: Final = 9
MOST_SCORES: Final = 4

Arm = tuple[str, str]
"""Version and role."""

_SPAN: Final = """fromUnixTimestamp64Milli({from:Int64}) <= window_start
    AND window_start < fromUnixTimestamp64Milli({to:Int64})"""
_RELEASE: Final = "model = {model:String} AND version = {version:String} AND role = {role:String}"

VERDICTS: Final = """
SELECT version, role, intDiv(toUnixTimestamp64Milli(as_of), {step:Int64}) * {step:Int64} AS t,
    argMax((status, toUnixTimestamp64Milli(as_of)), sequence) AS newest
FROM {db}.verdicts
WHERE model = {model:String} AND as_of >= fromUnixTimestamp64Milli({from:Int64})
    AND as_of <= fromUnixTimestamp64Milli({until:Int64})
GROUP BY version, role, t ORDER BY t, version, role LIMIT 20000
"""
DECISIONS: Final = """
SELECT version, role, toUnixTimestamp64Milli(min(as_of)) AS seen,
    toUnixTimestamp64Milli(minOrNullIf(as_of, status IN ('pass', 'fail'))) AS decided,
    argMinIf(status, as_of, status IN ('pass', 'fail')),
    argMinIf(events, as_of, status IN ('pass', 'fail')), max(events),
    argMax((further_events, further_ms), sequence)
FROM {db}.verdicts WHERE model = {model:String}
GROUP BY version, role ORDER BY max(as_of) DESC, version, role LIMIT 50
"""
"""Without FINAL: a verdict that is stored twice changes none of these."""

DIFFERENCES: Final = f"""
SELECT column, detector,
    intDiv(toUnixTimestamp64Milli(window_start), {{step:Int64}}) * {{step:Int64}} AS t,
    argMax((effect, effect_low, effect_high), window_end)
FROM {{db}}.findings FINAL
WHERE {_RELEASE} AND segment = 'all' AND window_ms = {{window:UInt32}} AND {_SPAN}
    AND isFinite(ifNull(effect, nan))
    AND (column, detector) IN (
        SELECT column, detector FROM {{db}}.newest_findings FINAL
        WHERE {_RELEASE} AND segment = 'all' AND window_ms = {{window:UInt32}}
            AND compared = 'production' AND isFinite(ifNull(effect, nan))
        ORDER BY outcome != 'fail', endsWith(detector, '_missing'),
            NOT startsWith(column, 'scores.'), NOT critical, statistic / threshold DESC,
            column, detector
        LIMIT {MOST_MEASURES}
    )
GROUP BY column, detector, t ORDER BY t, column, detector LIMIT 10000
"""
FIGURES: Final = f"""
SELECT version, role, column,
    intDiv(toUnixTimestamp64Milli(window_start), {{step:Int64}}) * {{step:Int64}} AS t,
    max(p50), max(p95), max(p99), sum(errors) / sum(n), sum(n * mean) / sum(n),
    sum(n) * 1000 / (uniqExact(window_start) * {{window:UInt32}})
FROM {{db}}.windows FINAL
WHERE model = {{model:String}} AND segment = {{segment:String}}
    AND (column IN ('latency_ms', 'error', 'cost') OR startsWith(column, 'scores.'))
    AND window_ms = {{window:UInt32}} AND {_SPAN} AND n > 0
GROUP BY version, role, column, t ORDER BY t, version, role, column LIMIT 30000
"""
FINDINGS: Final = f"""
SELECT segment, column, detector, compared, window_ms, outcome, statistic, threshold,
    statistic / threshold AS share, effect, effect_low, effect_high, n, critical,
    toUnixTimestamp64Milli(window_end), reason
FROM {{db}}.newest_findings FINAL WHERE {_RELEASE}
ORDER BY indexOf(['fail', 'insufficient', 'pass'], outcome), share DESC, segment, column, detector
LIMIT 60
"""
ROLLBACKS: Final = """
SELECT version, role, toUnixTimestamp64Milli(min(at)), any(return_to)
FROM {db}.actions FINAL WHERE model = {model:String} AND kind = 'rollback'
GROUP BY action_key, version, role ORDER BY 3 DESC LIMIT 20
"""


@dataclass(frozen=True, slots=True)
class Decided:
    """When a release was first decided, and after how much. None: not yet, or not known."""

    version: str
    role: str
    seen_ms: int
    decided_ms: int | None
    status: str
    exposed: int
    events: int
    further_events: float | None
    further_ms: float | None

    @property
    def took_ms(self) -> int | None:
        return None if self.decided_ms is None else self.decided_ms - self.seen_ms


@dataclass(frozen=True, slots=True)
class Measure:
    """One difference to production over time, with its interval."""

    column: str
    detector: str
    series: Series


@dataclass(frozen=True, slots=True)
class FindingLine:
    """The newest finding of one detector."""

    segment: str
    column: str
    detector: str
    compared: str
    window_ms: int
    outcome: str
    statistic: float | None
    threshold: float | None
    share: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    n: int
    critical: bool
    window_end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One figure in each release: ``unit`` is ``ms``, ``share``, ``per_second`` or ""."""

    title: str
    unit: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class ReleaseFigures:
    """What the store says of the releases of one model."""

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    decisions: tuple[Decided, ...]
    measures: tuple[Measure, ...]
    plots: tuple[SideBySide, ...]
    findings: tuple[FindingLine, ...]
    told: tuple[Told, ...]


def read_release(store: StoreView, wanted: Wanted, span: Span) -> ReleaseFigures:
    """Everything over time. ``wanted`` names the release whose evidence is shown."""
    of_model = {"model": wanted.model}
    binned = of_model | {"from": span.from_ms, "to": span.to_ms, "step": span.step_ms}
    focus = {"version": wanted.version, "role": wanted.role}
    windows = binned | {"window": span.window_ms}
    # A release that fell silent is judged after its last window: look a little further.
    until_ms = span.to_ms + (span.to_ms - span.from_ms) // 4
    verdicts = store.told(
        VERDICTS,
        of_model | {"from": span.from_ms, "until": until_ms, "step": max(span.step_ms // 4, 1)},
    )
    decisions = store.told(DECISIONS, of_model)
    rollbacks = store.told(ROLLBACKS, of_model)
    differences = store.told(DIFFERENCES, windows | focus)
    figures = store.told(FIGURES, windows | {"segment": wanted.segment})
    findings = store.told(FINDINGS, of_model | focus)
    arms = _arms(wanted, [(row[0], row[1]) for told in (decisions, figures) for row in told])
    return ReleaseFigures(
        bars=_bars(verdicts, arms, span),
        marks=_marks(rollbacks, arms[:MOST_BARS], span),
        decisions=_decisions(decisions),
        measures=_measures(differences),
        plots=_plots(figures, arms),
        findings=tuple(_finding(row) for row in findings),
        told=(verdicts, decisions, rollbacks, differences, figures, findings),
    )


def _arms(wanted: Wanted, seen: Sequence[Arm]) -> list[Arm]:
    """The releases in the order in which they are shown, which fixes their colours: the chosen one,
    then production, then the others."""
    chosen = (wanted.version, wanted.role)
    return sorted(
        set(seen), key=lambda arm: (arm != chosen, arm[1] != Role.PRODUCTION, arm[1], arm[0])
    )


def _bars(verdicts: Told, arms: Sequence[Arm], span: Span) -> tuple[Bar, ...]:
    runs: dict[Arm, list[StatusRun]] = {}
    for version, role, _, (status, at_ms) in verdicts:
        of = runs.setdefault((version, role), [])
        if of:
            last = of[-1]
            of[-1] = StatusRun(last.status, last.from_ms, int(at_ms))
        if not of or of[-1].status != status:
            of.append(StatusRun(status, int(at_ms), int(at_ms)))
    found = []
    for arm in arms[:MOST_BARS]:
        if arm in runs:
            *before, last = runs[arm]
            # The newest verdict holds until the end of what is shown.
            held = StatusRun(last.status, last.from_ms, max(last.to_ms, span.to_ms))
            found.append(Bar(name_of(arm), (*before, held)))
    return tuple(found)


def _marks(rollbacks: Told, arms: Sequence[Arm], span: Span) -> tuple[Mark, ...]:
    return tuple(
        Mark(int(at_ms), arms.index((version, role)), f"rollback decided, to {return_to}")
        for version, role, at_ms, return_to in rollbacks
        if (version, role) in arms and span.from_ms <= at_ms <= span.to_ms
    )


def name_of(arm: Arm) -> str:
    """How a release of a known model is called."""
    return f"{arm[1]} {arm[0]}"


def _decisions(told: Told) -> tuple[Decided, ...]:
    return tuple(
        Decided(version, role, int(seen), decided, status, int(exposed), int(events), *further)
        for version, role, seen, decided, status, exposed, events, further in told
    )


def _measures(told: Told) -> tuple[Measure, ...]:
    points: dict[tuple[str, str], list[Point]] = {}
    for column, detector, at_ms, (effect, low, high) in told:
        if effect is not None:
            points.setdefault((column, detector), []).append(Point(int(at_ms), effect, low, high))
    order = sorted(points, key=lambda key: (not key[0].startswith("scores."), key))
    return tuple(
        Measure(column, detector, Series("difference", 0, tuple(points[column, detector])))
        for column, detector in order
    )


def _finding(row: Sequence[Any]) -> FindingLine:
    return FindingLine(*row)


_SHOWN: Final = (
    ("Latency, median (ms)", "ms", "latency_ms", 4),
    ("Latency, 95 % (ms)", "ms", "latency_ms", 5),
    ("Latency, 99 % (ms)", "ms", "latency_ms", 6),
    ("Error rate", "share", "error", 7),
    ("Predictions a second", "per_second", "error", 9),
    ("Cost of a prediction", "", "cost", 8),
)


def _plots(told: Told, arms: Sequence[Arm]) -> tuple[SideBySide, ...]:
    by_column: dict[str, dict[Arm, list[Sequence[Any]]]] = {}
    for row in told:
        of = by_column.setdefault(row[2], {})
        of.setdefault((row[0], row[1]), []).append(row)
    scores = sorted(name for name in by_column if name.startswith("scores."))[:MOST_SCORES]
    wanted = (*((f"Mean of {name}", "", name, 8) for name in scores), *_SHOWN)
    found = []
    for title, unit, column, place in wanted:
        series = tuple(
            Series(name_of(arm), arms.index(arm) % COLOURS, points)
            for arm, rows in sorted(by_column.get(column, {}).items(), key=_by(arms))
            if (points := _points(rows, place))
        )
        if series:
            found.append(SideBySide(title, unit, series[:COLOURS]))
    return tuple(found)


def _by(arms: Sequence[Arm]) -> Any:
    return lambda item: arms.index(item[0])


def _points(rows: Sequence[Sequence[Any]], place: int) -> tuple[Point, ...]:
    return tuple(Point(int(r[3]), r[place]) for r in rows if r[place] is not None)
