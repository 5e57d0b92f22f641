"""One measure of one column of a canary, pane by pane: evidence of harm, and of its absence.

Two questions are asked, and both may stay open:

- *Is it worse than its margin?* The e-process over exact conditional e-values
  (:mod:`detectors.conditional`); proven, it fails the canary. Exact given the pooled panes as long
  as nothing makes panes vary more than their events do; where something does, the tolerance for
  host effects and the factor of :mod:`detectors.dispersion` hold against it, and that is tested by
  simulation, not proven.
- *Is it surely not?* The confidence sequence of the difference lies inside the margin. Asymptotic,
  hence only with ``min_events`` values and twenty expected cases of a rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from detectors.canary_bets import (
    TAIL_LEVELS,
    Bets,
    category_bets,
    level_bets,
    rate_bets,
    tail_bets,
    tolerated_odds,
)
from detectors.canary_cells import RATE, Basis, Cells, basis_of, cells_of
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.conditional import log_e_values
from detectors.confidence_sequence import Arm, DifferenceSequence
from detectors.dispersion import Dispersion
from detectors.e_process import EProcess
from detectors.summary import Summaries

_RATES = (Measure.ERRORS, Measure.MISSING)
HELD_LEVELS = (0.5, 0.95, 0.99)
"""Of a tail: at each of these quantiles a PASS needs the interval inside the margin."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Events of both arms in all panes that had both: ``cases`` of a rate, or 0."""

    n: int = 0
    n_against: int = 0
    cases: int = 0
    cases_against: int = 0

    @property
    def pooled_rate(self) -> float:
        return (self.cases + self.cases_against + 0.5) / (self.n + self.n_against + 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class CanaryMetric:
    """``alpha``: its part of the release's, fixed before its first bet; ``basis``: None until its
    cells are fixed; ``shown``: the difference for people; ``held``: what a PASS is decided by
    (empty: by ``shown``); ``unmatched``: events in panes that lacked the other arm; ``first_ms``,
    ``last_ms``: of the panes that had both arms."""

    column: str
    measure: Measure
    alpha: float
    basis: Basis | None
    wealth: EProcess
    dispersion: Dispersion
    shown: DifferenceSequence
    held: tuple[DifferenceSequence, ...]
    tally: Tally
    unmatched: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @classmethod
    def start(cls, column: str, measure: Measure, alpha: float) -> CanaryMetric:
        held = {Measure.TAIL: len(HELD_LEVELS), Measure.ERRORS: 1, Measure.MISSING: 1}
        return cls(
            column,
            measure,
            alpha,
            None,
            EProcess.start(np.ones(1)),
            Dispersion(),
            DifferenceSequence(),
            (DifferenceSequence(),) * held.get(measure, 0),
            Tally(),
        )

    @property
    def needed(self) -> float:
        """The logarithm of the evidence that proves harm."""
        return -math.log(self.alpha)

    @property
    def failed(self) -> bool:
        """Proven once is proven: later evidence does not take it back (Ville)."""
        return self.wealth.peak >= self.needed


@dataclass(frozen=True, slots=True, eq=False)
class ArmsPane:
    """Both arms over one pane, and ``normal``: what was known before it (a reference), if any."""

    start_ms: int
    length_ms: int
    canary: Summaries
    production: Summaries
    normal: Summaries | None = None


def step_metric(
    metric: CanaryMetric, what: Judged, settings: CanarySettings, pane: ArmsPane
) -> CanaryMetric:
    """The metric after one more pane. Never raises for what the summaries hold."""
    if metric.basis is None:
        basis = basis_of(what, settings, pane.normal) if pane.normal is not None else None
        if basis is None and what.measure not in _RATES:
            # Cells that come from this pane cannot be bet on in it.
            return replace(metric, basis=basis_of(what, settings, pane.canary, pane.production))
        metric = replace(metric, basis=basis or RATE)
    cells = cells_of(what, metric.basis or RATE, pane.canary, pane.production)
    if cells is None:
        # The columns are counted in other cells now: go on there with the money that is left.
        return replace(
            metric,
            basis=basis_of(what, settings, pane.canary, pane.production),
            dispersion=Dispersion(),
        )
    arms = _arms(what, pane) if what.measure is Measure.LEVEL else None
    return step_cells(metric, what, settings, pane.start_ms, pane.length_ms, cells, arms)


def step_cells(
    metric: CanaryMetric,
    what: Judged,
    settings: CanarySettings,
    start_ms: int,
    length_ms: int,
    cells: Cells,
    arms: tuple[Arm, Arm] | None = None,
) -> CanaryMetric:
    """The metric after a pane of counts, and for a level the moments of both arms' values. Only
    panes with events of both arms say anything."""
    n, n_against = int(cells.canary.sum()), int(cells.production.sum())
    if n == 0 or n_against == 0 or metric.basis is None:
        return replace(metric, unmatched=metric.unmatched + n + n_against)
    tally = metric.tally
    bets = _bets(what, settings, metric.basis, tally)
    if bets is not None:
        metric = _bet(metric, settings, bets, cells, start_ms)
    rate = what.measure in _RATES
    tally = Tally(
        tally.n + n,
        tally.n_against + n_against,
        tally.cases + (int(cells.canary[1]) if rate else 0),
        tally.cases_against + (int(cells.production[1]) if rate else 0),
    )
    shown, held = _sequences(metric, what, settings, cells, tally, arms)
    return replace(
        metric,
        shown=shown,
        held=held,
        tally=tally,
        first_ms=metric.first_ms if metric.tally.n else start_ms,
        last_ms=max(metric.last_ms, start_ms + length_ms),
    )


def _bets(what: Judged, settings: CanarySettings, basis: Basis, tally: Tally) -> Bets | None:
    """The bets of the next pane, from what was seen before it; None if that was too little."""
    match what.measure:
        case Measure.ERRORS | Measure.MISSING:
            if tally.n + tally.n_against < settings.fix_events:
                return None
            odds = tolerated_odds(tally.pooled_rate, what.margin, settings.host_effect, what.floor)
            return rate_bets(what.harm, odds)
        case Measure.TAIL:
            return tail_bets(what.harm)
        case Measure.LEVEL:
            return level_bets(what.harm, basis.shares, max(what.margin, settings.host_effect))
        case Measure.CATEGORIES:
            return category_bets(basis.shares, what.margin, settings.host_effect)


def _bet(
    metric: CanaryMetric, settings: CanarySettings, bets: Bets, cells: Cells, start_ms: int
) -> CanaryMetric:
    log_e = log_e_values(cells.canary, cells.production, bets.log_ratio, bets.log_tilt)
    # From earlier panes alone: an e-value to a power of at most 1 is still one.
    factor = settings.inflation * metric.dispersion.factor
    wealth = metric.wealth
    if wealth.log_wealth.shape != (len(log_e),):
        wealth = wealth.moved(bets.parts) if wealth.panes else EProcess.start(bets.parts)
    return replace(
        metric,
        wealth=wealth.step(log_e / factor, start_ms, settings.burst * metric.needed),
        dispersion=metric.dispersion.step(cells.canary, cells.production, bets.values),
    )


def _sequences(
    metric: CanaryMetric,
    what: Judged,
    settings: CanarySettings,
    cells: Cells,
    tally: Tally,
    arms: tuple[Arm, Arm] | None,
) -> tuple[DifferenceSequence, tuple[DifferenceSequence, ...]]:
    """What is shown and what a PASS is decided by, after the pane."""

    def after(sequence: DifferenceSequence, canary: Arm, production: Arm) -> DifferenceSequence:
        return sequence.step(canary, production, settings.alpha, settings.narrowest_after)

    n, n_against = int(cells.canary.sum()), int(cells.production.sum())
    match what.measure:
        case Measure.ERRORS | Measure.MISSING:
            ours, theirs = int(cells.canary[1]) / n, int(cells.production[1]) / n_against
            usual = (tally.cases_against + 0.5) / (tally.n_against + 1.0)
            limit, slope = _risen(usual, what)
            # The canary's own variance is that at the limit: few cases would show too little.
            against = Arm(n_against, _risen(theirs, what)[0], slope * _sd(usual))
            shown = after(
                metric.shown,
                Arm(n, ours, _sd((tally.cases + 0.5) / (tally.n + 1.0))),
                Arm(n_against, theirs, _sd(usual)),
            )
            return shown, (after(metric.held[0], Arm(n, ours, _sd(limit)), against),)
        case Measure.TAIL:
            held = []
            for level, sequence in zip(HELD_LEVELS, metric.held, strict=True):
                first = TAIL_LEVELS.index(level) + 1
                pair = [
                    Arm(size, int(counts[first:].sum()) / size, _sd(1.0 - level))
                    for counts, size in ((cells.canary, n), (cells.production, n_against))
                ]
                held.append(after(sequence, *pair))
            return held[-1], tuple(held)
        case Measure.LEVEL:
            return (after(metric.shown, *arms) if arms else metric.shown), ()
        case Measure.CATEGORIES:
            return metric.shown, ()


def _risen(rate: float, what: Judged) -> tuple[float, float]:
    """The highest rate the margin allows beside production's ``rate``, and how it grows with it."""
    odds = 1.0 + what.margin
    at = 1.0 + what.margin * rate
    by_odds, by_floor = odds * rate / at, min(rate + what.floor, 1.0)
    return (by_odds, odds / at**2) if by_odds >= by_floor else (by_floor, 1.0)


def _sd(rate: float) -> float:
    return math.sqrt(max(rate * (1.0 - rate), 0.0))


def _arms(what: Judged, pane: ArmsPane) -> tuple[Arm, Arm] | None:
    ours, theirs = pane.canary.numeric(what.column), pane.production.numeric(what.column)
    if ours is None or theirs is None or not ours.n or not theirs.n:
        return None
    return Arm(ours.n, ours.mean, ours.sd), Arm(theirs.n, theirs.mean, theirs.sd)
