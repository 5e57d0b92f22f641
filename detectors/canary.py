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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book, book_of
from detectors.canary_cast import RATE, RATES, Cast, Part, Rulebook, cast_of, judged_parts, rulebook
from detectors.canary_cells import basis_of, new_measures, tail_cells
from detectors.canary_counts import ArmCounts, reader_of
from detectors.canary_ledger import BLANK, Ledger, entered, fitted
from detectors.canary_metric import ArmsPane, CanaryMetric, metrics_of
from detectors.canary_rules import (
    CanarySettings,
    Judged,
    Measure,
    first_alphas,
    later_alpha,
)
from detectors.canary_shares import closest_shares
from detectors.canary_standing import MetricStanding, standing_of
from detectors.finding import Finding, Outcome
from detectors.layout import Header
from detectors.release import Role
from detectors.sample_ratio import SampleRatio
from detectors.sketch import Sketch
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
        return bool(self.ledger.cast.fixed.all())

    @property
    def failed(self) -> bool:
        """Whether any measure has failed. Costs no more than a look."""
        return bool((self.ledger.wealth.peak >= self.ledger.cast.needed).any())


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
    counted = count(state, settings, pane)
    ledger = entered(
        fitted(state.ledger, counted.book),
        counted.book,
        settings,
        pane.start_ms,
        pane.length_ms,
        counted.arms,
        counted.ready,
        pane.variance,
    )
    return replace(state, ledger=ledger, panes=state.panes + 1, late=counted.late)


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A pane in the cells of all measures that are judged from now on; ``ready``: those whose cells
    were fixed before it, [M]."""

    book: Book
    arms: ArmCounts
    ready: NDArray[np.bool_]
    late: int


def count(state: CanaryState, settings: CanarySettings, pane: ArmsPane) -> Counted:
    """Who is judged from this pane on, in which cells, and their counts in it."""
    rules = rulebook(settings)
    cast, late = _with_new(state, settings, rules, pane)
    cast, fresh = _with_cells(cast, settings, rules, pane)
    arms = _read(cast, pane)
    lost = arms.lost
    if lost:
        # The columns are counted in other cells now: go on there with the money that is left.
        cast = _recut(cast, lost, settings, rules, pane)
        fresh |= lost
        arms = _read(cast, pane)
    ready = cast.fixed
    if fresh:
        ready = ready.copy()
        ready[sorted(fresh)] = False
    return Counted(book_of(cast, rules), arms, ready, late)


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


def _with_new(
    state: CanaryState, settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> tuple[Cast, int]:
    """With the measures that this pane is the first to have, and their parts of alpha; and how many
    have come late."""
    cast, late = state.ledger.cast, state.late
    new = new_measures(cast, rules, pane.canary.layout, pane.production.layout)
    if new:
        new = tuple(what for what in new if _occurs(what, pane))
    if not new:
        return cast, late
    if cast.parts:
        alphas = [later_alpha(settings, late + i) for i in range(len(new))]
        late += len(new)
    else:
        alphas = first_alphas(settings, list(new))
    added = [
        Part(what.column, what.measure, alpha, RATE if what.measure in RATES else None)
        for what, alpha in zip(new, alphas, strict=True)
    ]
    return cast_of(tuple(sorted((*cast.parts, *added), key=lambda part: part.key))), late


def _occurs(what: Judged, pane: ArmsPane) -> bool:
    """Whether a column has anything in it. Workers send the columns of a whole flush for each of
    its panes, and which panes share a flush is chance: without a value a column is not there."""
    if what.measure is Measure.ERRORS:
        return any(arm.header(Header.PREDICTIONS) for arm in (pane.canary, pane.production))
    return any(
        column is not None and column.n + column.errors > 0
        for arm in (pane.canary, pane.production)
        for column in (arm.numeric(what.column), arm.categorical(what.column))
    )


def _with_cells(
    cast: Cast, settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> tuple[Cast, frozenset[int]]:
    """With cells for the parts that have none yet: those of the reference can be bet on at once;
    ``fresh``: parts whose cells come from this pane and cannot be bet on in it."""
    if cast.fixed.all():
        return cast, frozenset()
    held_to, parts = judged_parts(cast, rules), list(cast.parts)
    fresh: set[int] = set()
    found = False
    for at, (part, what) in enumerate(zip(cast.parts, held_to, strict=True)):
        if part.basis is not None or what is None:
            continue
        basis = basis_of(what, settings, pane.normal) if pane.normal is not None else None
        if basis is None:
            basis = basis_of(what, settings, pane.canary, pane.production)
            fresh.add(at)
        if basis is not None:
            parts[at], found = replace(part, basis=basis), True
    return cast_of(tuple(parts)) if found else cast, frozenset(fresh)


def _recut(
    cast: Cast, lost: frozenset[int], settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> Cast:
    held_to, parts = judged_parts(cast, rules), list(cast.parts)
    for at in lost:
        what = held_to[at]
        if what is not None:
            basis = basis_of(what, settings, pane.canary, pane.production)
            parts[at] = replace(parts[at], basis=basis)
    return cast_of(tuple(parts))


def _read(cast: Cast, pane: ArmsPane) -> ArmCounts:
    """Both arms in the cells of the cast; those of tails lie at quantiles of both together."""
    both = pane.canary, pane.production
    if pane.canary.layout is pane.production.layout:
        arms = reader_of(cast, pane.canary.layout).read(*both)
    else:
        ours, theirs = (reader_of(cast, arm.layout).read(arm) for arm in both)
        arms = ours.beside(theirs)
    for at in cast.tails:
        part = cast.parts[at]
        if part.basis is not None:
            slow, usual = (arm.sketches.get(part.column) or Sketch.empty() for arm in both)
            cells = tail_cells(slow, usual, part.basis.shrink)
            span = slice(int(cast.starts[at]), int(cast.starts[at]) + part.cells)
            arms.cells[:, span] = cells.canary, cells.production
    return arms


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
