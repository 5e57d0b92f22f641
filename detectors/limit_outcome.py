"""What a limit makes of a statistic, and why, in words."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.cell_statistics import chi_square_p_values
from detectors.column_directions import Direction
from detectors.compared import Many
from detectors.differences import mean_differences, rate_differences
from detectors.finding import Outcome
from detectors.judged_columns import OF_COLUMNS, Measure, Rules
from detectors.limits import LATENCY, Detector
from detectors.sketch import Sketch
from detectors.statistics import rate_difference
from detectors.summary import Summaries

NO_LIMIT = "no limit set"
# Names of categories are payload text: they stay in the store, and out of reasons, which reach
# logs and alerts.
_WORDS = {
    Direction.NONE: "no direction",
    Direction.UP: "up",
    Direction.DOWN: "down",
    Direction.WIDER: "wider",
    Direction.NARROWER: "narrower",
    Direction.NEW_CATEGORY: "new category",
    Direction.CATEGORY_UP: "a category up",
    Direction.CATEGORY_DOWN: "a category down",
}


class AskedOfColumn(NamedTuple):
    """What a limit asks for beside the value; only deciding findings pay for it. ``column``: its
    place in the plan; ``place``: in ``many``."""

    many: Many
    rules: Rules
    column: int
    place: int
    statistic: int
    told: NDArray[np.int64] | None

    def words(self) -> str:
        usual, now, place = self.many.usual, self.many.now, self.place
        detector = OF_COLUMNS[self.statistic]
        if detector is Detector.MISSING_RATE:
            return f"{now.missing[place]:.2%} missing, was {usual.missing[place]:.2%}"
        if detector in (Detector.MEAN_SHIFT, Detector.MEAN_WORSE):
            return f"mean {now.mean[place]:.4g}, was {usual.mean[place]:.4g}"
        return _WORDS[Direction(int(self.told[self.column]) if self.told is not None else 0)]

    def z(self) -> float:
        """The distance from chance in standard errors, NaN if it is unknown."""
        usual, now = self.many.usual, self.many.now
        one, detector = slice(self.place, self.place + 1), OF_COLUMNS[self.statistic]
        if detector is Detector.MISSING_RATE:
            sides = usual.nulls[one], usual.rows[one], now.nulls[one], now.rows[one]
            return float(rate_differences(*sides).z[0])
        if detector in (Detector.MEAN_SHIFT, Detector.MEAN_WORSE):
            means = mean_differences(
                usual.n[one], usual.mean[one], usual.sd[one], now.n[one], now.mean[one], now.sd[one]
            )
            t = float(means.t[0])
            shift = detector is Detector.MEAN_SHIFT
            return abs(t) if shift else float(self.rules.sign[self.column]) * t
        found = self.many.distances
        return _z_of(float(chi_square_p_values(found.chi_square[one], found.dof[one])[0]))


class AskedOfTails(NamedTuple):
    """Of a quantile of the latency: both sides, its rank and its value on both."""

    usual: Summaries
    now: Summaries
    rank: float
    there: float
    here: float

    def words(self) -> str:
        return f"p{round(self.rank * 100)} {self.here:.4g} ms, was {self.there:.4g} ms"

    def z(self) -> float:
        """By how much more than expected of the current values lie above the usual quantile."""
        usual, now = (side.sketches.get(LATENCY) or Sketch.empty() for side in self[:2])
        tails = usual.tail(self.there), now.tail(self.there)
        return rate_difference(tails[0], usual.n, tails[1], now.n).z


class AskedOfFailures(NamedTuple):
    """Of the error rate: failed and all predictions of both sides."""

    usual: tuple[int, int]
    now: tuple[int, int]

    def words(self) -> str:
        return "share of errors"

    def z(self) -> float:
        return rate_difference(*self.usual, *self.now).z


def outcome_of(
    measure: Measure,
    value: float,
    lacks: str,
    asked: AskedOfColumn | AskedOfTails | AskedOfFailures,
) -> tuple[Outcome, str]:
    """No answer is INSUFFICIENT with a reason; it is never PASS."""
    limit = measure.limit
    if lacks:
        return Outcome.INSUFFICIENT, lacks
    if math.isnan(value):
        return Outcome.INSUFFICIENT, measure.cannot
    if limit is None:
        return Outcome.PASS, NO_LIMIT
    if value <= limit.above:
        return Outcome.PASS, asked.words()
    z = asked.z() if limit.z else math.inf
    if math.isnan(z):
        return Outcome.INSUFFICIENT, f"{asked.words()}; chance could not be ruled out"
    if z < limit.z:
        apart = f"{z:.1f} standard errors from chance, {limit.z:g} needed"
        return Outcome.INSUFFICIENT, f"{asked.words()}; {apart}"
    return Outcome.FAIL, asked.words()


def _z_of(p_value: float) -> float:
    """A p-value as the distance from chance in standard errors."""
    return math.nan if math.isnan(p_value) else -float(special.ndtri(max(p_value, 1e-300)))
