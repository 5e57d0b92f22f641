"""The difference of two means with an interval that may be looked at any time.

Sums over panes: S = sum n (mean_c - mean_p) and V, the variance of S given what the panes vary
within. Each pane compares arms under the same season, so a moving level does not matter. With
probability about 1 - alpha, at all times together,

    |S - n d| <= sqrt((V + r2) (ln((V + r2) / r2) + 2 ln(1/alpha)))

where n is the canary's count and d the mean difference: the asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (Annals of Statistics 2024, arXiv 2103.06476) for a
sum of pane differences. **Asymptotic**: right as counts grow, so nothing is decided by it on few
events. ``r2`` is fixed in the first pane, for intervals that are narrowest after
``narrowest_after`` events of the canary.

V is multiplied by the factor of :mod:`detectors.dispersion` where panes vary more than events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm in one pane: ``n`` values, their mean and population standard deviation."""

    n: int
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and its limits; NaN where nothing can be said."""

    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class DifferenceSequence:
    """``n``, ``n_against``: values in panes that had both arms; ``total`` and ``variance``: S and V
    as above; ``within``: sum of squares of the production arm, for its standard deviation; ``r2``:
    0 until the first pane with variation; ``skipped``: panes that held no usable numbers."""

    n: int = 0
    n_against: int = 0
    total: float = 0.0
    variance: float = 0.0
    within: float = 0.0
    r2: float = 0.0
    skipped: int = 0

    @property
    def sd(self) -> float:
        """The production arm's standard deviation within panes; NaN without values."""
        return math.sqrt(self.within / self.n_against) if self.n_against else math.nan

    def step(
        self, canary: Arm, production: Arm, alpha: float, narrowest_after: int
    ) -> DifferenceSequence:
        """After one more pane; a pane without values of both arms changes nothing."""
        if canary.n < 1 or production.n < 1 or canary.n + production.n < 3:
            return self
        ours, theirs = _variance(canary), _variance(production)
        # The variance of a single value is not known from it: the other arm's stands in.
        ours = theirs if math.isnan(ours) else ours
        theirs = ours if math.isnan(theirs) else theirs
        n = float(canary.n)
        total = self.total + n * (canary.mean - production.mean)
        variance = self.variance + n * n * (ours / n + theirs / production.n)
        within = self.within + production.n * theirs
        if not (math.isfinite(total) and math.isfinite(variance) and math.isfinite(within)):
            return replace(self, skipped=self.skipped + 1)
        r2 = self.r2 or variance / n * narrowest_after / best_ratio(alpha)
        return replace(
            self,
            n=self.n + canary.n,
            n_against=self.n_against + production.n,
            total=total,
            variance=variance,
            within=within,
            r2=r2 if math.isfinite(r2) else 0.0,
        )

    def interval(self, alpha: float, factor: float = 1.0) -> Interval:
        """The mean difference and its limits at level ``alpha``, V times ``factor``."""
        if self.n == 0:
            return Interval()
        estimate = self.total / self.n
        half = half_width(self, self.n, alpha, factor)
        return Interval(estimate, estimate - half, estimate + half)


def half_width(sequence: DifferenceSequence, n: float, alpha: float, factor: float = 1.0) -> float:
    """Half the interval's length once the canary has ``n`` values, if panes stay as they were; NaN
    without any variation, for then chance is not known to be small."""
    if sequence.n == 0 or not sequence.variance > 0 or not sequence.r2 > 0:
        return math.nan
    unit = sequence.variance
    variance, r2 = factor * n / sequence.n, sequence.r2 / unit
    if not (r2 > 0 and math.isfinite(r2) and math.isfinite(variance)):
        return math.nan
    inside = (variance + r2) * (math.log1p(variance / r2) - 2.0 * math.log(alpha))
    return math.sqrt(unit) * (math.sqrt(inside) / n)


def _variance(arm: Arm) -> float:
    """The unbiased variance; NaN of a single value."""
    if arm.n < 2:
        return math.nan
    return arm.sd * arm.sd * (arm.n / (arm.n - 1))


def best_ratio(alpha: float) -> float:
    """V / r2 at which the interval is narrowest (Howard and others 2021, section 3.5)."""
    twice = -2.0 * math.log(alpha)
    return twice + math.log1p(twice)
