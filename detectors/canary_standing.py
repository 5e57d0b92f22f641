"""What a measure of a canary says now: failed, surely fine, or how much longer it will take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detectors.canary_metric import HELD_LEVELS, CanaryMetric
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.confidence_sequence import DifferenceSequence, Interval, events_until
from detectors.finding import Outcome
from detectors.upstream import Direction

FEWEST_CASES = 20
"""Of a rate: expected at the margin before an interval is believed."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Canary values that are still needed, if things go on as they have: until the measure fails,
    and until it passes; None where it will not, or nothing is known. ``events_per_ms``: how fast
    they come."""

    to_fail: int | None = None
    to_pass: int | None = None
    events_per_ms: float = 0.0

    def wait_ms(self, events: int | None) -> int | None:
        """How long it takes until so many values have come."""
        if events is None or not self.events_per_ms > 0:
            return None
        wait = events / self.events_per_ms
        return round(wait) if wait < 1e15 else None


@dataclass(frozen=True, slots=True)
class MetricStanding:
    """``evidence`` and ``needed``: natural logarithms; at ``needed`` harm is proven.
    ``difference``: canary less production with its interval at level ``alpha`` of the release: of
    means for a level, of rates for errors and missing values, for a tail the share of events beyond
    the 99th percentile once the margin is taken off. ``margin``: the limit of the difference in its
    units (NaN where it has none). ``since_ms``: when the winning evidence began (0: none).
    ``silent``: nothing to be judged: no values in either arm, or the same constant in both."""

    column: str
    measure: Measure
    critical: bool
    outcome: Outcome
    reason: str
    evidence: float
    needed: float
    difference: Interval
    margin: float
    direction: Direction
    n: int
    n_against: int
    since_ms: int
    silent: bool
    outlook: Outlook


def standing_of(metric: CanaryMetric, what: Judged, settings: CanarySettings) -> MetricStanding:
    """The present answer of one measure. No answer is INSUFFICIENT, with a reason."""
    factor = settings.inflation * metric.dispersion.factor
    difference = metric.shown.interval(settings.alpha, factor)
    outcome, reason, silent = _answer(metric, what, settings, factor)
    span = metric.last_ms - metric.first_ms
    return MetricStanding(
        metric.column,
        metric.measure,
        what.critical,
        outcome,
        reason,
        metric.wealth.peak,
        metric.needed,
        difference,
        what.margin * metric.shown.sd if what.measure is Measure.LEVEL else math.nan,
        _direction(metric, what),
        metric.tally.n,
        metric.tally.n_against,
        metric.wealth.peak_onset_ms,
        silent,
        Outlook(
            _to_fail(metric),
            _to_pass(metric, what, settings, factor),
            metric.tally.n / span if span > 0 else 0.0,
        ),
    )


def _answer(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, factor: float
) -> tuple[Outcome, str, bool]:
    if metric.failed:
        went = _direction(metric, what)
        return Outcome.FAIL, f"{_IN_WORDS[what.measure]} {went} beyond the margin", False
    tally = metric.tally
    if tally.n == 0:
        if metric.unmatched == 0:
            return Outcome.INSUFFICIENT, "no values in either arm", True
        return Outcome.INSUFFICIENT, "no pane has had values of both arms", False
    if what.measure is Measure.CATEGORIES:
        return Outcome.INSUFFICIENT, "no change is proven; categories have no interval", False
    shown = metric.shown
    if what.measure is Measure.LEVEL and not shown.variance > 0:
        if shown.n and not shown.skipped and shown.total == 0:
            return Outcome.INSUFFICIENT, "the same constant in both arms", True
        return Outcome.INSUFFICIENT, "no variation, so no interval of the difference", False
    if tally.n < settings.min_events:
        return Outcome.INSUFFICIENT, f"{tally.n} values, {settings.min_events} needed", False
    missing = _cases_missing(metric, what)
    if missing > 0:
        return Outcome.INSUFFICIENT, f"too few cases: {missing} more values needed", False
    rooms = _rooms(metric, what)
    if all(_inside(sequence, room, settings, factor) for sequence, room in rooms):
        return Outcome.PASS, "the interval lies inside the margin", False
    if any(not room > 0 for _, room in rooms):
        return Outcome.INSUFFICIENT, "at or beyond the margin, not proven yet", False
    return Outcome.INSUFFICIENT, "the interval still reaches beyond the margin", False


_IN_WORDS = {
    Measure.LEVEL: "values go",
    Measure.TAIL: "slow events go",
    Measure.ERRORS: "errors go",
    Measure.MISSING: "missing values go",
    Measure.CATEGORIES: "a category goes",
}


def _rooms(metric: CanaryMetric, what: Judged) -> list[tuple[DifferenceSequence, float]]:
    """The sequences that decide a PASS, each with the distance of its estimate from its limit."""
    if what.measure is not Measure.LEVEL:
        return [(one, -one.total / one.n if one.n else math.nan) for one in metric.held]
    shown = metric.shown
    if not shown.n:
        return [(shown, math.nan)]
    margin, estimate = what.margin * shown.sd, shown.total / shown.n
    match what.harm:
        case Direction.UP:
            room = margin - estimate
        case Direction.DOWN:
            room = margin + estimate
        case Direction.BOTH:
            room = margin - abs(estimate)
    return [(shown, room)]


def _inside(
    sequence: DifferenceSequence, room: float, settings: CanarySettings, factor: float
) -> bool:
    interval = sequence.interval(settings.alpha, factor)
    # Written so that a NaN anywhere is a no.
    return interval.known and interval.high - interval.estimate < room


def _cases_missing(metric: CanaryMetric, what: Judged) -> int:
    """How many more values a rate needs until FEWEST_CASES are expected at its margin."""
    match what.measure:
        case Measure.TAIL:
            rate = 1.0 - max(HELD_LEVELS)
        case Measure.ERRORS | Measure.MISSING:
            tally = metric.tally
            usual = (tally.cases_against + 0.5) / (tally.n_against + 1.0)
            rate = max(usual * (1.0 + what.margin), usual + what.floor)
        case Measure.LEVEL | Measure.CATEGORIES:
            return 0
    return max(math.ceil(FEWEST_CASES / rate) - metric.tally.n, 0)


def _direction(metric: CanaryMetric, what: Judged) -> Direction:
    if what.harm is not Direction.BOTH:
        return what.harm
    if what.measure is Measure.LEVEL and metric.shown.n:
        return Direction.UP if metric.shown.total > 0 else Direction.DOWN
    return Direction.BOTH


def _to_fail(metric: CanaryMetric) -> int | None:
    """From how fast the leading bet has won since it was made, if traffic was even."""
    wealth = metric.wealth
    span = metric.last_ms - metric.first_ms
    if metric.failed:
        return 0
    if not wealth.evidence > 0 or span <= 0:
        return None
    since = metric.last_ms - int(wealth.onset_ms[wealth.leader])
    events = metric.tally.n * min(max(since / span, 0.0), 1.0)
    further = (metric.needed - wealth.evidence) * events / wealth.evidence
    return math.ceil(further) if further < 1e15 else None


def _to_pass(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, factor: float
) -> int | None:
    """From how fast the intervals narrow, if the difference stays as it is estimated now."""
    if metric.failed or metric.tally.n == 0 or what.measure is Measure.CATEGORIES:
        return None
    further = max(settings.min_events - metric.tally.n, _cases_missing(metric, what), 0)
    for sequence, room in _rooms(metric, what):
        events = events_until(sequence, room, settings.alpha, factor)
        if events is None:
            return None
        further = max(further, events)
    return further
