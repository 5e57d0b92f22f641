"""Seeded traffic of a canary and of production, as counts of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.binning import QUANTILES
from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_cells import RATE, Basis, Cells, tail_cells
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.sketch import Sketch, bucket_floor, bucket_of

Floats = NDArray[np.float64]

ERRORS, TAIL, SCORES = range(3)
ERROR_RATE = 0.01
LOG_SD = 0.5
"""Of latencies; one in a hundred is three times slower."""
_DAY = 1440
_SCORE_EDGES = special.ndtri(np.array(QUANTILES))
_BUCKETS = np.arange(bucket_of(np.array([0.05]))[0], bucket_of(np.array([80.0]))[0], dtype=np.int32)
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
    """One run. ``lean``: standard deviation of what the canary's hosts add, in normal scores, as an
    autoregression of correlation .8 between minutes, one for each measure."""

    CANARY: ClassVar[int] = 200
    PRODUCTION: ClassVar[int] = 9800
    MEASURES: ClassVar[tuple[Measure, ...]] = (Measure.ERRORS, Measure.TAIL, Measure.LEVEL)

    def __init__(self, seed: int, lean: float = 0.0) -> None:
        self._generator = np.random.default_rng(seed)
        self._sd = lean
        self._lean = self._generator.normal(0, lean, 3) if lean else np.zeros(3)

    def basis(self, what: Judged, settings: CanarySettings) -> Basis:
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

    def pane(
        self, t: int, measures: tuple[int, ...], harm: Harm, bases: Sequence[Basis | None]
    ) -> list[Cells]:
        """The counts of minute ``t``."""
        if self._sd:
            more = self._generator.normal(0, self._sd * 0.6, 3)
            self._lean = 0.8 * self._lean + more
        season = math.sin(2 * math.pi * t / _DAY)
        found = []
        for measure, basis in zip(measures, bases, strict=True):
            lean = float(self._lean[measure])
            if measure == ERRORS:
                found.append(self._errors(season, lean, harm))
            elif measure == TAIL:
                found.append(self._latencies(season, lean, harm, basis.shrink if basis else 1.0))
            else:
                found.append(self._scores(season, lean, harm))
        return found

    def p99_by_minute(self, n: int, minutes: int) -> Floats:
        """The 99th percentile of latency of each minute of ``n`` sound events."""
        found = np.empty(minutes)
        for t in range(minutes):
            law = latency_law(0.2 * math.sin(2 * math.pi * t / _DAY), Harm())
            upto = np.cumsum(self._generator.multinomial(n, law))
            found[t] = bucket_floor(_BUCKETS[int((upto >= 0.99 * n).argmax())][None])[0]
        return found

    def _errors(self, season: float, lean: float, harm: Harm) -> Cells:
        usual = ERROR_RATE * (1 + 0.3 * season)
        rate = float(special.ndtr(special.ndtri(min(usual * harm.errors, 0.999)) + lean))
        ours = int(self._generator.binomial(self.CANARY, rate))
        theirs = int(self._generator.binomial(self.PRODUCTION, usual))
        return Cells(
            np.array((self.CANARY - ours, ours)), np.array((self.PRODUCTION - theirs, theirs))
        )

    def _latencies(self, season: float, lean: float, harm: Harm, shrink: float) -> Cells:
        ours = self._generator.multinomial(
            self.CANARY, latency_law(0.2 * season + LOG_SD * lean, harm)
        )
        theirs = self._generator.multinomial(self.PRODUCTION, latency_law(0.2 * season, Harm()))
        return tail_cells(_sketch(ours), _sketch(theirs), shrink)

    def _scores(self, season: float, lean: float, harm: Harm) -> Cells:
        ours = self._generator.multinomial(self.CANARY, score_law(0.2 * season - harm.lower + lean))
        theirs = self._generator.multinomial(self.PRODUCTION, score_law(0.2 * season))
        return Cells(ours, theirs)


def divergence(measure: int, harm: Harm) -> float:
    """Kullback-Leibler divergence of the harmed law from the sound one, per event, in the middle of
    the season. Of scores and latencies between the laws themselves, not their cells."""
    if measure == ERRORS:
        p, q = ERROR_RATE * harm.errors, ERROR_RATE
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    if measure == SCORES:
        return harm.lower**2 / 2
    bad, sound = latency_law(0.0, harm), latency_law(0.0, Harm())
    both = (bad > 1e-300) & (sound > 1e-300)
    return float((bad[both] * np.log(bad[both] / sound[both])).sum())


def latency_law(level: float, harm: Harm) -> Floats:
    """Probabilities of the buckets."""
    at = level + math.log(harm.slower)
    upto = (1 - harm.slow_share) * special.ndtr((_BUCKET_LOGS - at) / LOG_SD)
    upto = upto + harm.slow_share * special.ndtr((_BUCKET_LOGS - at - math.log(3)) / LOG_SD)
    law: Floats = np.diff(np.concatenate(((0.0,), upto, (1.0,))))
    return law


def score_law(mean: float) -> Floats:
    """Probabilities of the cells between the reference's quantiles."""
    upto = special.ndtr(_SCORE_EDGES - mean)
    law: Floats = np.diff(np.concatenate(((0.0,), upto, (1.0,))))
    return law


def _sketch(counts: NDArray[np.int64]) -> Sketch:
    there = np.flatnonzero(counts)
    return Sketch(_BUCKETS[there], counts[there])
