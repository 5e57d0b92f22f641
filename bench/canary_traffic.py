"""Seeded traffic of many canaries beside production, as counts of cells, all runs at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.binning import QUANTILES
from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_cast import RATE, Basis
from detectors.canary_cells import tail_cells
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.sketch import Sketch, bucket_floor, bucket_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Law = Callable[[Floats, "Harm"], Floats]

ERRORS, TAIL, SCORES = range(3)
MEASURES = (Measure.ERRORS, Measure.TAIL, Measure.LEVEL)
ERROR_RATE = 0.01
LOG_SD = 0.5
"""Of latencies; one in a hundred is three times slower."""
_DAY = 1440
_SCORE_EDGES = special.ndtri(np.array(QUANTILES))
_FIRST, _LAST = bucket_of(np.array([0.1, 50.0])).tolist()
# Every second bucket: 2.2% apart, enough for margins of 10%.
_BUCKETS = np.arange(_FIRST, _LAST, 2, dtype=np.int32)
_BUCKET_LOGS = np.log(bucket_floor(_BUCKETS[1:]))


@dataclass(frozen=True, slots=True)
class Harm:
    """What is wrong with a canary: errors times a factor, latencies times a factor, another share
    of slow events, a lower score (in standard deviations)."""

    errors: float = 1.0
    slower: float = 1.0
    slow_share: float = 0.01
    lower: float = 0.0


class Traffic:
    """Many runs of one measure. ``lean``: standard deviation of what the canary's hosts add, in
    normal scores, as an autoregression of correlation .8 between minutes, one for each run."""

    CANARY: ClassVar[int] = 200
    PRODUCTION: ClassVar[int] = 9800

    def __init__(self, measure: int, runs: int, seed: int, lean: float = 0.0) -> None:
        self._generator = np.random.default_rng((seed, measure))
        self._measure, self._runs, self._sd = measure, runs, lean
        self._lean = self._generator.normal(0, lean, runs) if lean else np.zeros(runs)

    def pane(self, t: int, harm: Harm, basis: Basis) -> tuple[Counts, Counts]:
        """The counts of minute ``t``, [runs, cells]: of canaries and of production."""
        if self._sd:
            more = self._generator.normal(0, self._sd * 0.6, self._runs)
            self._lean = 0.8 * self._lean + more
        season = math.sin(2 * math.pi * t / _DAY)
        if self._measure == ERRORS:
            return self._errors(season, harm)
        if self._measure == TAIL:
            ours = self._drawn(self.CANARY, latency_law(0.2 * season + LOG_SD * self._lean, harm))
            theirs = self._drawn(self.PRODUCTION, self._sound(latency_law, 0.2 * season))
            return _tails(ours, theirs, basis.shrink)
        ours = self._drawn(self.CANARY, score_law(0.2 * season + self._lean, harm))
        return ours, self._drawn(self.PRODUCTION, self._sound(score_law, 0.2 * season))

    def _sound(self, law: Law, level: float) -> Floats:
        return np.repeat(law(np.array([level]), Harm()), self._runs, axis=0)

    def _drawn(self, n: int, laws: Floats) -> Counts:
        found: Counts = self._generator.multinomial(n, laws)
        return found

    def _errors(self, season: float, harm: Harm) -> tuple[Counts, Counts]:
        usual = ERROR_RATE * (1 + 0.3 * season)
        rate = special.ndtr(special.ndtri(min(usual * harm.errors, 0.999)) + self._lean)
        ours = self._generator.binomial(self.CANARY, rate)
        theirs = self._generator.binomial(self.PRODUCTION, usual, self._runs)
        return (
            np.stack((self.CANARY - ours, ours), axis=1),
            np.stack((self.PRODUCTION - theirs, theirs), axis=1),
        )


def basis_of(what: Judged, settings: CanarySettings) -> Basis:
    """The cells as a reference would fix them."""
    match what.measure:
        case Measure.ERRORS:
            return RATE
        case Measure.TAIL:
            shares = np.diff(np.array((0.0, *TAIL_LEVELS, 1.0)))
            spread = math.sqrt(LOG_SD**2 + 0.01 * 0.99 * math.log(3) ** 2)
            by_host = math.exp(settings.host_effect * spread)
            return Basis(tuple(shares.tolist()), shrink=max(1 + what.margin, by_host))
        case _:
            return Basis(tuple(np.diff(np.array((0.0, *QUANTILES, 1.0))).tolist()))


def p99_by_minute(seed: int, n: int, minutes: int) -> Floats:
    """The 99th percentile of latency of each minute of ``n`` sound events."""
    levels = 0.2 * np.sin(2 * math.pi * np.arange(minutes) / _DAY)
    counts = np.random.default_rng(seed).multinomial(n, latency_law(levels, Harm()))
    reached = counts.cumsum(axis=1) >= 0.99 * n
    return bucket_floor(_BUCKETS[reached.argmax(axis=1)])


def divergence(measure: int, harm: Harm) -> float:
    """Kullback-Leibler divergence of the harmed law from the sound one, per event, in the middle of
    the season. Of scores and latencies between the laws themselves, not their cells."""
    if measure == ERRORS:
        p, q = ERROR_RATE * harm.errors, ERROR_RATE
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    if measure == SCORES:
        return harm.lower**2 / 2
    bad, sound = latency_law(np.zeros(1), harm)[0], latency_law(np.zeros(1), Harm())[0]
    both = (bad > 1e-300) & (sound > 1e-300)
    return float((bad[both] * np.log(bad[both] / sound[both])).sum())


def latency_law(level: Floats, harm: Harm) -> Floats:
    """Probabilities of the buckets at each level (mean logarithm), [levels, buckets]."""
    at = level[:, None] + math.log(harm.slower)
    upto = (1 - harm.slow_share) * special.ndtr((_BUCKET_LOGS - at) / LOG_SD)
    upto = upto + harm.slow_share * special.ndtr((_BUCKET_LOGS - at - math.log(3)) / LOG_SD)
    return _law(upto)


def score_law(mean: Floats, harm: Harm) -> Floats:
    """Probabilities of the cells between the reference's quantiles, [means, cells]."""
    return _law(special.ndtr(_SCORE_EDGES - (mean - harm.lower)[:, None]))


def _law(upto: Floats) -> Floats:
    ends = np.zeros((len(upto), 1)), np.ones((len(upto), 1))
    law: Floats = np.diff(np.concatenate((ends[0], upto, ends[1]), axis=1))
    return law


def _tails(ours: Counts, theirs: Counts, shrink: float) -> tuple[Counts, Counts]:
    """:func:`detectors.canary_cells.tail_cells` of all runs at once, checked on the first."""
    lower = bucket_of(bucket_floor(_BUCKETS) / shrink) if shrink != 1.0 else _BUCKETS
    keys = np.unique(np.concatenate((lower, _BUCKETS)))
    place = np.zeros((2, len(ours), len(keys)), np.int64)
    np.add.at(place[0].T, np.searchsorted(keys, lower), ours.T)
    place[1][:, np.searchsorted(keys, _BUCKETS)] = theirs
    upto = place.cumsum(axis=2)
    pooled = upto.sum(axis=0)
    ranks = np.ceil(np.array(TAIL_LEVELS) * float(pooled[0, -1])).astype(np.int64)
    bounds = np.stack([(pooled >= rank).argmax(axis=1) for rank in ranks], axis=1)
    below = np.take_along_axis(upto, np.broadcast_to(bounds, (2, *bounds.shape)), axis=2)
    cells = np.diff(below, axis=2, prepend=0, append=upto[:, :, -1:])
    one = tail_cells([_sketch(ours[0])], [_sketch(theirs[0])], shrink)
    if not np.array_equal(cells[:, 0], one[:, 0]):
        raise AssertionError("the benchmark does not count tails as the detector does")
    return cells[0], cells[1]


def _sketch(counts: Counts) -> Sketch:
    there = np.flatnonzero(counts)
    return Sketch(_BUCKETS[there], counts[there])
