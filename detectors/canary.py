"""A canary, or an A/B arm, against production at the same time: one alpha, valid at every peek.

**Guarantee.** A release that is no worse than its margins is ever failed with probability at most
``alpha``, over all its measures and panes together, whenever and however often one looks. Each
measure has its own part of alpha, fixed before its first bet; within it, see
:mod:`detectors.canary_ledger` for what is exact and what is asymptotic. A PASS is given only when
the interval of every critical measure lies inside its margin, so a release that is worse than a
margin passes with probability about alpha at most, as intervals are asymptotic. All else is
INSUFFICIENT and says how much longer it will take; a broken split is HOLD.

Pure: the state is a frozen value with the same bytes for the same panes in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from detectors.canary_book import book_of
from detectors.canary_cast import rulebook
from detectors.canary_ledger import BLANK, Ledger, entered, fitted
from detectors.canary_metric import ArmsPane, CanaryMetric, metrics_of
from detectors.canary_pane import count
from detectors.canary_rows import apart, together
from detectors.canary_rules import CanarySettings
from detectors.canary_shares import closest_shares
from detectors.canary_standing import MetricStanding, standing_of
from detectors.finding import Finding, Outcome
from detectors.release import Role
from detectors.sample_ratio import SampleRatio
from detectors.thresholds import Place
from detectors.upstream import CommonCause, Movement, common_cause
from detectors.verdict import Status


@dataclass(frozen=True, slots=True, eq=False)
class CanaryState:
    """``ledger``: all that was learnt from panes, in arrays; ``late``: how many measures came after
    the first pane; ``one_sided``: panes in which only one arm had events."""

    ledger: Ledger = BLANK
    split: SampleRatio = field(default_factory=SampleRatio)
    panes: int = 0
    one_sided: int = 0
    late: int = 0

    @property
    def metrics(self) -> tuple[CanaryMetric, ...]:
        """Every measure of every column, in the order of (column, measure). Made when asked."""
        return metrics_of(self.ledger, self.ledger.factor(CanarySettings()))

    @property
    def settled(self) -> bool:
        """Whether the cells of all measures are fixed: what came before is not needed any more."""
        return self.ledger.cast.settled

    @property
    def failed(self) -> bool:
        """Whether any measure has failed. Costs no more than a look."""
        return bool((self.ledger.wealth.peak >= self.ledger.cast.needed).any())

    @property
    def proven(self) -> bool:
        """Whether the evidence against the release, or against its split, is complete."""
        return self.failed or self.split.broken is not None


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
    return step_all([state], settings, [pane], counts)[0]


def step_all(
    states: Sequence[CanaryState],
    settings: CanarySettings,
    panes: Sequence[ArmsPane],
    counts: Mapping[Role, int] | None = None,
) -> list[CanaryState]:
    """:func:`step` of several releases, each with its own pane. Bit for bit the same as one by one,
    at a fraction of the cost where they have columns and cells in common."""
    found = [_split(state, settings, counts or {}) for state in states]
    judged: list[int] = []
    for at, (state, pane) in enumerate(zip(found, panes, strict=True)):
        if state.split.broken is not None:
            continue
        ours, theirs = pane.canary.events, pane.production.events
        if ours and theirs:
            judged.append(at)
        else:
            found[at] = replace(state, one_sided=state.one_sided + bool(ours or theirs))
    known = [(found[at].ledger.cast, found[at].late) for at in judged]
    for counted in count(known, settings, [panes[at] for at in judged]):
        places = [judged[at] for at in counted.of]
        ledgers = [fitted(found[at].ledger, counted.book) for at in places]
        pane = panes[places[0]]
        after = entered(
            together(ledgers),
            counted.book,
            settings,
            pane.start_ms,
            pane.length_ms,
            counted.arms,
            counted.ready,
            pane.variance,
        )
        for at, ledger, late in zip(places, apart(after), counted.late, strict=True):
            state = found[at]
            found[at] = CanaryState(ledger, state.split, state.panes + 1, state.one_sided, late)
    return found


def _split(state: CanaryState, settings: CanarySettings, counts: Mapping[Role, int]) -> CanaryState:
    split = state.split.step(settings.split, counts)
    return state if split is state.split else replace(state, split=split)


def verdict(
    state: CanaryState, settings: CanarySettings, production: Iterable[Movement] = ()
) -> CanaryVerdict:
    """What is to be thought of the canary now. ``production``: what drifts in production itself,
    against its reference."""
    ledger = state.ledger
    book = book_of(ledger.cast, rulebook(settings))
    factor = ledger.factor(settings)
    shares = closest_shares(ledger, book, factor, settings.alpha)
    standings = tuple(
        standing_of(metric, what, settings, share)
        for metric, what, share in zip(metrics_of(ledger, factor), book.what, shares, strict=True)
        if what is not None
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
    wanted = [one for one in standings if one.critical and not one.silent]
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
