"""What a measure of a canary says now: failed, surely fine, or how much longer it will take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detectors.canary_metric import CanaryMetric
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.canary_shares import ClosestShare
from detectors.confidence_sequence import DifferenceSequence, Interval, events_until, half_width
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
    means for a level, else of the share that is nearest to its limit (for a tail, of the share
    beyond a quantile once the margin is taken off). ``margin``: the limit of the difference in its
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


@dataclass(frozen=True, slots=True)
class _Question:
    """What a PASS is decided by: the interval of ``sequence``, half of which is ``half`` long, and
    the ``room`` there is for it; ``missing``: values until FEWEST_CASES are expected at each
    limit."""

    sequence: DifferenceSequence
    room: float
    half: float
    inside: bool
    missing: int = 0


def standing_of(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, share: ClosestShare | None
) -> MetricStanding:
    """The present answer of one measure, of shares with the one that is nearest to its limit. No
    answer is INSUFFICIENT, with a reason."""
    question, difference, margin = _question(metric, what, settings, share)
    outcome, reason, silent = _answer(metric, what, settings, question)
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
        margin,
        _direction(metric, what),
        metric.tally.n,
        metric.tally.n_against,
        metric.wealth.peak_onset_ms,
        silent,
        Outlook(
            _to_fail(metric),
            _to_pass(metric, settings, question),
            metric.tally.n / span if span > 0 else 0.0,
        ),
    )


def _question(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, share: ClosestShare | None
) -> tuple[_Question, Interval, float]:
    """And the difference to be shown, and its margin."""
    sequence = metric.sequence
    if what.measure is not Measure.LEVEL:
        if share is None:
            return _Question(sequence, math.nan, math.nan, False), Interval(), math.nan
        decides = DifferenceSequence(
            sequence.n, sequence.n_against, variance=share.variance, r2=share.r2
        )
        missing = max(math.ceil(FEWEST_CASES / share.rarest) - metric.tally.n, 0)
        question = _Question(decides, share.room, share.half, share.inside, missing)
        return question, share.difference, share.margin
    if not sequence.n:
        return _Question(sequence, math.nan, math.nan, False), Interval(), math.nan
    margin, estimate = what.margin * sequence.sd, sequence.total / sequence.n
    match what.harm:
        case Direction.UP:
            room = margin - estimate
        case Direction.DOWN:
            room = margin + estimate
        case Direction.BOTH:
            room = margin - abs(estimate)
    half = half_width(sequence, sequence.n, settings.alpha, metric.factor)
    # Written so that a NaN anywhere is a no.
    question = _Question(sequence, room, half, half < room)
    return question, Interval(estimate, estimate - half, estimate + half), margin


def _answer(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, question: _Question
) -> tuple[Outcome, str, bool]:
    if metric.failed:
        went = _direction(metric, what)
        words = _IN_WORDS[what.measure]
        return Outcome.FAIL, f"{words.replace('WAY', went.value)} beyond the margin", False
    tally = metric.tally
    if tally.n == 0:
        if metric.unmatched == 0:
            return Outcome.INSUFFICIENT, "no values in either arm", True
        return Outcome.INSUFFICIENT, "no pane has had values of both arms", False
    sequence = metric.sequence
    if what.measure is Measure.LEVEL and not sequence.variance > 0:
        if sequence.n and not sequence.skipped and sequence.total == 0:
            return Outcome.INSUFFICIENT, "the same constant in both arms", True
        return Outcome.INSUFFICIENT, "no variation, so no interval of the difference", False
    if tally.n < settings.min_events:
        return Outcome.INSUFFICIENT, f"{tally.n} values, {settings.min_events} needed", False
    missing = question.missing
    if missing > 0:
        return Outcome.INSUFFICIENT, f"too few cases: {missing} more values needed", False
    if question.inside:
        return Outcome.PASS, "the interval lies inside the margin", False
    if not question.room > 0:
        return Outcome.INSUFFICIENT, "at or beyond the margin, not proven yet", False
    return Outcome.INSUFFICIENT, "the interval still reaches beyond the margin", False


_IN_WORDS = {
    Measure.LEVEL: "values go WAY",
    Measure.TAIL: "slow events go WAY",
    Measure.ERRORS: "errors go WAY",
    Measure.MISSING: "missing values go WAY",
    Measure.CATEGORIES: "the share of a category moves",
}


def _direction(metric: CanaryMetric, what: Judged) -> Direction:
    if what.harm is not Direction.BOTH:
        return what.harm
    if what.measure is Measure.LEVEL and metric.sequence.n:
        return Direction.UP if metric.sequence.total > 0 else Direction.DOWN
    return Direction.BOTH


def _to_fail(metric: CanaryMetric) -> int | None:
    """From how fast the leading bet has won since it was made, if traffic was even."""
    wealth = metric.wealth
    span = metric.last_ms - metric.first_ms
    if metric.failed:
        return 0
    if not wealth.evidence > 0 or span <= 0:
        return None
    since = metric.last_ms - wealth.leading_since_ms
    events = metric.tally.n * min(max(since / span, 0.0), 1.0)
    further = (metric.needed - wealth.evidence) * events / wealth.evidence
    return math.ceil(further) if further < 1e15 else None


def _to_pass(metric: CanaryMetric, settings: CanarySettings, question: _Question) -> int | None:
    """From how fast the interval narrows, if the difference stays as it is estimated now."""
    if metric.failed or metric.tally.n == 0:
        return None
    further = max(settings.min_events - metric.tally.n, question.missing, 0)
    if question.inside:
        return further
    events = events_until(question.sequence, question.room, settings.alpha, metric.factor)
    return None if events is None else max(further, events)
