"""A canary, or an A/B arm, against production at the same time: one alpha, valid at every peek.

**Guarantee.** A release that is no worse than its margins is ever failed with probability at most
``alpha``, over all its measures and panes together, whenever and however often one looks. Each
measure has its own part of alpha, fixed before its first bet; within it, see
:mod:`detectors.canary_metric` for what is exact and what is asymptotic. A PASS is given only when
the interval of every critical measure lies inside its margin, so a release that is worse than a
margin passes with probability about alpha at most, as intervals are asymptotic. All else is
INSUFFICIENT and says how much longer it will take; a broken split is HOLD.

Pure: the state is a frozen value with the same bytes for the same panes in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from detectors.canary_cells import measures_of
from detectors.canary_metric import ArmsPane, CanaryMetric, step_metric
from detectors.canary_rules import CanarySettings, Measure, first_alphas, judged, later_alpha
from detectors.canary_standing import MetricStanding, standing_of
from detectors.finding import Finding, Outcome
from detectors.release import Role
from detectors.sample_ratio import SampleRatio
from detectors.thresholds import Place
from detectors.upstream import CommonCause, Movement, common_cause
from detectors.verdict import Status


@dataclass(frozen=True, slots=True, eq=False)
class CanaryState:
    """``metrics`` in the order of (column, measure); ``late``: how many of them came after the
    first pane; ``one_sided``: panes in which only one arm had events."""

    metrics: tuple[CanaryMetric, ...] = ()
    split: SampleRatio = field(default_factory=SampleRatio)
    panes: int = 0
    one_sided: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class CanaryVerdict:
    """``roll_back``: a critical measure failed and the cause is not upstream; ``upstream``: what
    production has in common with it; ``further_events``, ``further_ms``: canary events and time
    until the verdict is expected (None: nothing to expect from what was seen)."""

    status: Status
    reason: str
    standings: tuple[MetricStanding, ...]
    roll_back: bool = False
    upstream: CommonCause | None = None
    further_events: int | None = None
    further_ms: int | None = None


def step(
    state: CanaryState,
    settings: CanarySettings,
    pane: ArmsPane,
    counts: Mapping[Role, int] | None = None,
) -> CanaryState:
    """The state after one more pane, in the order of time. Never raises for what panes hold.

    ``counts``: events of the pane by role, for the split. From a broken split nothing is learnt.
    """
    split = state.split.step(settings.split, counts or {})
    state = replace(state, split=split)
    if split.broken is not None:
        return state
    if not pane.canary.events or not pane.production.events:
        one_sided = bool(pane.canary.events or pane.production.events)
        return replace(state, one_sided=state.one_sided + one_sided)
    state = _with_new(state, settings, pane)
    metrics = []
    for metric in state.metrics:
        what = judged(settings, metric.column, metric.measure)
        metrics.append(step_metric(metric, what, settings, pane) if what is not None else metric)
    return replace(state, metrics=tuple(metrics), panes=state.panes + 1)


def verdict(
    state: CanaryState, settings: CanarySettings, production: Iterable[Movement] = ()
) -> CanaryVerdict:
    """What is to be thought of the canary now. ``production``: what drifts in production itself,
    against its reference."""
    standings = tuple(
        standing_of(metric, what, settings)
        for metric in state.metrics
        if (what := judged(settings, metric.column, metric.measure)) is not None
    )
    if state.split.broken is not None:
        return CanaryVerdict(Status.HOLD, state.split.broken.reason, standings)
    failed = [one for one in standings if one.outcome is Outcome.FAIL]
    if failed:
        return _failed(standings, failed, production)
    if not state.panes:
        return CanaryVerdict(
            Status.INSUFFICIENT, "no pane has had events of canary and production", standings
        )
    wanted = [one for one in standings if one.critical and _has_interval(one) and not one.silent]
    if not wanted:
        return CanaryVerdict(
            Status.INSUFFICIENT, "no critical measure has values to judge", standings
        )
    open_ones = [one for one in wanted if one.outcome is not Outcome.PASS]
    if not open_ones:
        words = f"{len(wanted)} critical measures lie inside their margins"
        return CanaryVerdict(Status.PASS, words, standings)
    return _open(standings, open_ones)


def findings_of(found: CanaryVerdict, place: Place, against: str) -> list[Finding]:
    """A finding for each measure: the evidence of harm as a natural logarithm, and what proves it.

    ``against``: as in :attr:`Finding.against`."""
    return [
        Finding(
            release=place.release,
            segment=place.segment,
            column=one.column,
            window_ms=place.window_ms,
            window_start_ms=place.window_start_ms,
            revision=place.revision,
            detector=f"canary_{one.measure}",
            against=against,
            statistic=one.evidence,
            threshold=one.needed,
            n=one.n,
            n_against=one.n_against,
            outcome=one.outcome,
            reason=one.reason,
            decides=True,
            critical=one.critical,
            effect=one.difference.estimate,
            effect_low=one.difference.low,
            effect_high=one.difference.high,
            direction=one.direction.value if one.outcome is Outcome.FAIL else "",
            onset_ms=one.since_ms if one.outcome is Outcome.FAIL else 0,
        )
        for one in found.standings
    ]


def _with_new(state: CanaryState, settings: CanarySettings, pane: ArmsPane) -> CanaryState:
    """With the measures that this pane is the first to have, and their parts of alpha."""
    known = {(metric.column, metric.measure) for metric in state.metrics}
    new = [
        what
        for what in measures_of(pane.canary, pane.production, settings)
        if (what.column, what.measure) not in known
    ]
    if not new:
        return state
    late = state.late
    if state.metrics:
        alphas = [later_alpha(settings, late + i) for i in range(len(new))]
        late += len(new)
    else:
        alphas = first_alphas(settings, new)
    added = [
        CanaryMetric.start(what.column, what.measure, alpha)
        for what, alpha in zip(new, alphas, strict=True)
    ]
    metrics = sorted((*state.metrics, *added), key=lambda one: (one.column, one.measure))
    return replace(state, metrics=tuple(metrics), late=late)


def _has_interval(one: MetricStanding) -> bool:
    return one.measure is not Measure.CATEGORIES


def _failed(
    standings: tuple[MetricStanding, ...],
    failed: list[MetricStanding],
    production: Iterable[Movement],
) -> CanaryVerdict:
    worst = sorted(failed, key=lambda one: (not one.critical, one.needed - one.evidence))
    critical = [one for one in worst if one.critical]
    held_against = critical or worst
    cause = common_cause(
        (Movement(one.column, one.direction, 1.0) for one in held_against), production
    )
    words = "; ".join(f"{one.column}: {one.reason}" for one in worst[:3])
    if len(worst) > 3:
        words += f"; and {len(worst) - 3} more"
    upstream = cause is not None and cause.all_of_it
    if cause is not None:
        words += f"; {cause.reason}"
    return CanaryVerdict(
        Status.FAIL, words, standings, bool(critical) and not upstream, cause, 0, 0
    )


def _open(standings: tuple[MetricStanding, ...], open_ones: list[MetricStanding]) -> CanaryVerdict:
    """Not decided: a FAIL comes with the first measure to fail, a PASS with the last to pass."""
    fails = [(e, one) for one in standings if (e := one.outlook.to_fail) is not None]
    passes = [(e, one) for one in open_ones if (e := one.outlook.to_pass) is not None]
    expected = [min(fails, key=lambda pair: pair[0])] if fails else []
    if len(passes) == len(open_ones):
        expected.append(max(passes, key=lambda pair: pair[0]))
    shown = "; ".join(f"{one.column} ({one.measure}): {one.reason}" for one in open_ones[:3])
    more = f"; and {len(open_ones) - 3} more" if len(open_ones) > 3 else ""
    if not expected:
        return CanaryVerdict(Status.INSUFFICIENT, shown + more, standings)
    events, one = min(expected, key=lambda pair: pair[0])
    return CanaryVerdict(
        Status.INSUFFICIENT,
        f"{shown}{more}; about {events} more events",
        standings,
        further_events=events,
        further_ms=one.outlook.wait_ms(events),
    )
