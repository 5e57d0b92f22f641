"""What pairs prove about a shadow: fails, disagrees, scores worse, or is slower, at every peek.

One state for a shadow version and a production version; each pane of pairs is one step. Of every
measure there are

- bets that the shadow is worse: exact e-processes on pairs that are independent given the past. For
  failures, scores and latency the coin of McNemar (:class:`detectors.paired.PairedRate`): a pair
  counts if the sides differ by more than the tolerance, and an odds of worse to better of
  ``tolerated_odds`` is let pass. For labels, which have no better or worse without the truth, the
  share of pairs that differ, against ``max_disagreement``;
- confidence sequences to show the difference, and to PASS: asymptotic.

The chance that a shadow within these limits ever fails is at most ``alpha`` for each production
version it is compared with: the measures have parts of it, fixed before their first bet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from detectors.confidence_sequence import DifferenceSequence, Interval
from detectors.e_process import EProcess
from detectors.finding import Finding, Outcome
from detectors.paired import ODDS, Disagreements, PairedRate, paired_step
from detectors.pairs import LATENCY, Differences, PairCounts
from detectors.release import ALL, Release
from detectors.upstream import Direction

ERROR, LABEL = "error", "prediction.label"
FEWEST_CASES = 20
"""Expected at the margin before a PASS: an asymptotic interval of fewer says little."""
MOST_MEASURES = 64
"""Of one shadow; further columns are left out."""


class PairedMeasure(StrEnum):
    """What of the pairs is compared; ``paired_`` before it is the detector's name."""

    FAILURES = "failures"
    DISAGREEMENT = "disagreement"
    LATENCY = "latency"
    DIFFERENCE = "score_difference"
    SCORE_EVENT = "score_event_difference"
    """Of scores that came as events of their own. They are other pairs than those of the answers:
    together with them a request that has its score twice would be two bets on one toss."""


_PARTS = {
    PairedMeasure.FAILURES: 0.3,
    PairedMeasure.DISAGREEMENT: 0.2,
    PairedMeasure.LATENCY: 0.2,
    PairedMeasure.DIFFERENCE: 0.3,
    PairedMeasure.SCORE_EVENT: 0.3,
}
"""Parts of alpha. The last two are one, shared by their columns in the order of their coming."""
_SCORES = (PairedMeasure.DIFFERENCE, PairedMeasure.SCORE_EVENT)


@dataclass(frozen=True, slots=True)
class PairedSettings:
    """``tolerated_odds``: of pairs in which the shadow is worse to those in which it is better;
    ``max_disagreement``: of labels (1: disagreement is only shown); ``margin``: a PASS needs the
    share of worse pairs less that of better ones to be surely below it; ``min_pairs``: with fewer
    no PASS; ``narrowest_after``: pairs after which intervals are narrowest; ``latency``: whether a
    slower shadow fails: often it runs on lesser machines. ``lower_is_better``: patterns of scores
    whose rise is the harm. Other numbers than scores have no better or worse: they are shown."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    enabled: bool = True
    alpha: float = 0.05
    tolerated_odds: float = 1.25
    max_disagreement: float = 1.0
    margin: float = 0.05
    min_pairs: int = 200
    narrowest_after: int = 2_000
    latency: bool = False
    lower_is_better: tuple[str, ...] = ("scores.toxicity",)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError("paired.alpha must be between 0 and 1")
        if not 1 <= self.tolerated_odds <= 100:
            raise ValueError("paired.tolerated_odds must be from 1 to 100")
        if not 0 < self.max_disagreement <= 1:
            raise ValueError("paired.max_disagreement must be above 0 and at most 1")
        if not 0 < self.margin < 1:
            raise ValueError("paired.margin must be between 0 and 1")
        if min(self.min_pairs, self.narrowest_after) < 2:
            raise ValueError("paired.min_pairs and narrowest_after must be at least 2")


@dataclass(frozen=True, slots=True)
class Lone:
    """Halves that are in no pair, each of the shadow's version and of production's: ``unpaired``
    have no partner so far, of which ``dropped`` were forgotten while they waited; ``without_id``
    cannot have one."""

    unpaired: tuple[int, int] = (0, 0)
    dropped: tuple[int, int] = (0, 0)
    without_id: tuple[int, int] = (0, 0)

    @property
    def of_shadow(self) -> int:
        return self.unpaired[0] + self.without_id[0]

    def words(self) -> str:
        """What there is of these, for the end of a reason."""
        told = (
            ("unpaired", self.unpaired),
            ("forgotten while they waited", self.dropped),
            ("without a request id", self.without_id),
        )
        return "".join(
            f"; {what}: {ours} of shadow, {theirs} of production"
            for what, (ours, theirs) in told
            if ours or theirs
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairedMetric:
    """``alpha``: its part, 0 where it is only shown; ``bets``: of labels those on too many that
    differ, else those on more worse than better; ``shares``: the share of worse pairs less that of
    better ones (of labels, the share that differ); ``values``: the difference of the values."""

    measure: PairedMeasure
    column: str
    alpha: float
    bets: PairedRate = field(default_factory=PairedRate.start)
    shares: DifferenceSequence = field(default_factory=DifferenceSequence)
    values: DifferenceSequence = field(default_factory=DifferenceSequence)

    @property
    def needed(self) -> float:
        """The ln of evidence that proves harm; NaN where nothing is proven."""
        return -math.log(self.alpha) if self.alpha > 0 else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class PairedState:
    """Metrics in the order of their coming; ``pairs``: all so far."""

    metrics: tuple[PairedMetric, ...] = ()
    pairs: int = 0


def step(
    state: PairedState, counts: PairCounts, start_ms: int, settings: PairedSettings
) -> PairedState:
    """The state after more pairs, of the pane that starts at ``start_ms``. A pane may come in parts
    and late: every pair is one bet, whenever it comes."""
    metrics = {(one.measure, one.column): one for one in state.metrics}

    def take(
        measure: PairedMeasure,
        column: str,
        seen: Disagreements,
        values: Iterable[tuple[float, Differences]] = (),
    ) -> None:
        known = metrics.get((measure, column))
        if known is None:
            if not seen.pairs or len(metrics) >= MOST_MEASURES:
                return
            known = PairedMetric(measure, column, _alpha(measure, column, metrics, settings))
        metrics[measure, column] = _stepped(known, seen, values, start_ms, settings)

    failed = Disagreements(counts.pairs, counts.shadow_failed, counts.production_failed)
    take(PairedMeasure.FAILURES, ERROR, failed)
    take(PairedMeasure.DISAGREEMENT, LABEL, Disagreements(counts.labelled, counts.differ, 0))
    columns: dict[tuple[PairedMeasure, str], list[tuple[float, Differences]]] = {}
    for (column, scale), differences in sorted(counts.measures.items()):
        measure = PairedMeasure.LATENCY if column == LATENCY else PairedMeasure.DIFFERENCE
        columns.setdefault((measure, column), []).append((scale, differences))
    for (column, scale), differences in sorted(counts.scored.items()):
        key = PairedMeasure.SCORE_EVENT, column
        columns.setdefault(key, []).append((scale, differences))
    for (measure, column), found in columns.items():
        n, up, down = (
            sum(each) for each in zip(*((d.n, d.higher, d.lower) for _, d in found), strict=True)
        )
        worse, better = (down, up) if _harm(column, settings) is Direction.DOWN else (up, down)
        take(measure, column, Disagreements(n, worse, better), found)
    return PairedState(tuple(metrics.values()), state.pairs + counts.pairs)


def _harm(column: str, settings: PairedSettings) -> Direction:
    if column == LATENCY:
        return Direction.UP
    if not column.startswith("scores."):
        return Direction.BOTH
    lower = any(fnmatchcase(column, pattern) for pattern in settings.lower_is_better)
    return Direction.UP if lower else Direction.DOWN


def _alpha(
    measure: PairedMeasure,
    column: str,
    metrics: Iterable[tuple[PairedMeasure, str]],
    settings: PairedSettings,
) -> float:
    """Its part, which depends only on what came before it."""
    part = settings.alpha * _PARTS[measure]
    match measure:
        case PairedMeasure.FAILURES:
            return part
        case PairedMeasure.DISAGREEMENT:
            return part if settings.max_disagreement < 1 else 0.0
        case PairedMeasure.LATENCY:
            return part if settings.latency else 0.0
        case PairedMeasure.DIFFERENCE | PairedMeasure.SCORE_EVENT:
            if _harm(column, settings) is Direction.BOTH:
                return 0.0
            before = sum(
                known in _SCORES and _harm(name, settings) is not Direction.BOTH
                for known, name in metrics
            )
            return part / ((before + 1.0) * (before + 2.0))


def _stepped(
    metric: PairedMetric,
    seen: Disagreements,
    values: Iterable[tuple[float, Differences]],
    start_ms: int,
    settings: PairedSettings,
) -> PairedMetric:
    if not seen.pairs:
        return metric
    if metric.measure is PairedMeasure.DISAGREEMENT:
        bets = _label_bets(metric.bets, seen, settings.max_disagreement, start_ms)
    else:
        bets = metric.bets.step(seen, settings.tolerated_odds, start_ms)
    # For intervals of what only is shown, as if it had a tenth of alpha.
    alpha = metric.alpha or settings.alpha / 10
    shares = paired_step(
        metric.shares,
        seen.pairs,
        float(seen.worse - seen.better),
        float(seen.worse + seen.better),
        alpha,
        settings.narrowest_after,
    )
    shown = metric.values
    for scale, each in values:
        shown = paired_step(
            shown,
            each.n,
            each.total(scale),
            each.squares(scale),
            alpha,
            settings.narrowest_after,
        )
    return replace(metric, bets=bets, shares=shares, values=shown)


def _label_bets(bets: PairedRate, seen: Disagreements, limit: float, start_ms: int) -> PairedRate:
    """Bets on a greater share than ``limit``, fair at every share up to it."""
    wealth: EProcess = bets.wealth
    if limit < 1:
        odds = limit / (1.0 - limit) * np.array(ODDS)
        share = odds / (1.0 + odds)
        same = seen.pairs - seen.worse
        log_e = seen.worse * np.log(share / limit) + same * np.log((1.0 - share) / (1.0 - limit))
        wealth = wealth.step(log_e - 32 * 2.0**-52 * seen.pairs, start_ms)
    return PairedRate(
        wealth, bets.pairs + seen.pairs, bets.worse + seen.worse, bets.better + seen.better
    )


def paired_findings(
    state: PairedState,
    shadow: Release,
    production: str,
    window_ms: int,
    window_start_ms: int,
    settings: PairedSettings,
    lone: Mapping[str, Lone] = MappingProxyType({}),
) -> list[Finding]:
    """A finding for each measure, as things stand: the ln of the evidence, and what proves harm.

    ``lone``: halves so far that are in no pair, of each score that comes as events of its own, and
    under "" of the answers. They are told in the reason, because pairs that are missing may not be
    like those that are there; and where a shadow has halves and no pair at all, that is said.
    """
    found = []
    for one in (*state.metrics, *_without_pairs(state, lone, settings)):
        outcome, reason = _answer(one, settings)
        shown = one.values if one.values.n else one.shares
        difference = shown.interval(one.alpha or settings.alpha / 10)
        if shown.n and not difference.known:
            difference = Interval(shown.total / shown.n)
        proven = outcome is Outcome.FAIL
        kind = one.column if one.measure is PairedMeasure.SCORE_EVENT else ""
        lost = lone.get(kind, Lone()).words()
        found.append(
            Finding(
                release=shadow,
                segment=ALL,
                column=one.column,
                window_ms=window_ms,
                window_start_ms=window_start_ms,
                revision=0,
                detector=f"paired_{one.measure}",
                against=f"production:{production}",
                statistic=_evidence(one),
                threshold=one.needed,
                n=one.bets.pairs,
                n_against=one.bets.pairs,
                outcome=outcome,
                reason=reason + lost,
                decides=one.alpha > 0,
                critical=False,
                effect=difference.estimate,
                effect_low=difference.low,
                effect_high=difference.high,
                direction=_direction(one, settings) if proven else "",
                onset_ms=one.bets.wealth.peak_onset_ms if proven else 0,
            )
        )
    return found


def _without_pairs(
    state: PairedState, lone: Mapping[str, Lone], settings: PairedSettings
) -> list[PairedMetric]:
    """What would be compared, if what the shadow sent made pairs."""
    known = {(one.measure, one.column): one for one in state.metrics}
    for kind, halves in sorted(lone.items()):
        key = (PairedMeasure.SCORE_EVENT, kind) if kind else (PairedMeasure.FAILURES, ERROR)
        if halves.of_shadow and key not in known and len(known) < MOST_MEASURES:
            known[key] = PairedMetric(*key, _alpha(*key, known, settings))
    return list(known.values())[len(state.metrics) :]


def _evidence(metric: PairedMetric) -> float:
    """Of what is only shown, the share; else the ln of the best evidence so far: 0 before any."""
    if metric.alpha <= 0:
        return metric.bets.difference
    return max(metric.bets.log_evidence, 0.0)


def _answer(metric: PairedMetric, settings: PairedSettings) -> tuple[Outcome, str]:
    bets = metric.bets
    if metric.alpha <= 0:
        return Outcome.INSUFFICIENT, f"only shown: {bets.worse} against {bets.better} pairs"
    labels = metric.measure is PairedMeasure.DISAGREEMENT
    if bets.log_evidence >= metric.needed:
        if labels:
            return Outcome.FAIL, f"labels differ in {bets.worse} of {bets.pairs} pairs"
        return Outcome.FAIL, f"worse in {bets.worse} pairs, better in {bets.better}"
    room = settings.max_disagreement if labels else settings.margin
    needed = max(settings.min_pairs, math.ceil(FEWEST_CASES / room))
    if bets.pairs < needed:
        return Outcome.INSUFFICIENT, f"{bets.pairs} pairs, {needed} needed"
    if bets.worse + bets.better == 0:
        return Outcome.PASS, "no pair differs"
    interval = metric.shares.interval(metric.alpha)
    if interval.known and interval.high < room:
        return Outcome.PASS, "the interval lies inside the margin"
    return Outcome.INSUFFICIENT, "the interval still reaches beyond the margin"


def _direction(metric: PairedMetric, settings: PairedSettings) -> str:
    if metric.measure in _SCORES:
        return _harm(metric.column, settings).value
    return Direction.UP.value
