"""The classical drift statistics that people know, as pure functions of counts.

``expected`` and ``observed`` are counts of the same cells, int64 [cells], in the cells' order.

**Guarantee.** No answer is NaN: empty or unlike input never gives 0 and never raises. Sampling
noise is not taken off: with k cells, n expected and m observed events, PSI is about
(k - 1) * (1/n + 1/m) when nothing has changed, so small samples need a higher threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

NAN = math.nan
SMALLEST_EXPECTED = 5.0
"""Cochran's rule (Biometrics, 1954): cells expected to hold less are pooled for chi-square."""
PSEUDO_COUNT = 0.5


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """``statistic`` on ``dof`` degrees of freedom, and the chance of one as large by luck."""

    statistic: float
    dof: int
    p_value: float


@dataclass(frozen=True, slots=True)
class RateDifference:
    """``difference``: observed rate minus expected rate; ``z``: in standard errors."""

    difference: float
    z: float
    p_value: float


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """``difference``: observed mean minus expected mean, and its standard error; ``t``: their
    ratio, on ``dof`` degrees of freedom."""

    difference: float
    standard_error: float
    t: float
    dof: float
    p_value: float


def psi(expected: Counts, observed: Counts) -> float:
    """The population stability index, sum of (q - p) ln(q / p): 0 if alike, without upper limit.

    Kullback's symmetric divergence J (Information Theory and Statistics, 1959) as credit scoring
    uses it (Siddiqi, 2006: below 0.1 stable, above 0.25 shifted). Where a cell is empty on one
    side the logarithm has no value; then every cell of both sides gets half an event more. Cells
    empty on both sides do not count.

    >>> round(psi(np.array([50, 50]), np.array([25, 75])), 4)  # 0.25 ln 2 + 0.25 ln 1.5
    0.2747
    """
    if not _comparable(expected, observed):
        return NAN
    seen = (expected > 0) | (observed > 0)
    p, q = expected[seen].astype(np.float64), observed[seen].astype(np.float64)
    if (p == 0).any() or (q == 0).any():
        p, q = p + PSEUDO_COUNT, q + PSEUDO_COUNT
    p, q = p / p.sum(), q / q.sum()
    return max(float(((q - p) * np.log(q / p)).sum()), 0.0)


def jensen_shannon(expected: Counts, observed: Counts) -> float:
    """The Jensen-Shannon distance: square root of the divergence in bits (Lin, 1991), 0 to 1.

    >>> jensen_shannon(np.array([10, 0]), np.array([0, 3]))
    1.0
    """
    if not _comparable(expected, observed):
        return NAN
    p, q = _shares(expected), _shares(observed)
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()) / 2
    return math.sqrt(min(max(float(divergence) / math.log(2), 0.0), 1.0))


def hellinger(expected: Counts, observed: Counts) -> float:
    """The Hellinger distance, sqrt(sum of (sqrt p - sqrt q)**2 / 2): 0 to 1 (Hellinger, 1909).

    >>> round(hellinger(np.array([50, 50]), np.array([100, 0])), 4)  # sqrt(1 - sqrt(1/2))
    0.5412
    """
    if not _comparable(expected, observed):
        return NAN
    gap = np.sqrt(_shares(expected)) - np.sqrt(_shares(observed))
    return math.sqrt(min(float((gap * gap).sum()) / 2, 1.0))


def kolmogorov_smirnov(expected: Counts, observed: Counts) -> float:
    """The greatest difference of the two distribution functions at the cells' edges, 0 to 1.

    Within a cell the functions may lie further apart, so this is a lower bound of the two-sample
    statistic of the raw values, and equal to it where each cell holds one value.

    >>> kolmogorov_smirnov(np.array([1, 1, 2]), np.array([2, 1, 1]))
    0.25
    """
    if not _comparable(expected, observed):
        return NAN
    gaps = np.cumsum(_shares(expected)) - np.cumsum(_shares(observed))
    return min(float(np.abs(gaps[:-1]).max(initial=0.0)), 1.0)


def wasserstein(expected: Counts, observed: Counts, positions: Floats, unit: float) -> float:
    """The first Wasserstein (earth mover's) distance in multiples of ``unit``.

    ``positions``: float64 [cells], not decreasing, where each cell's events are taken to stand;
    ``unit``: the standard deviation of the reference. NaN if the unit is not positive: a constant
    reference has no scale to measure by.

    >>> wasserstein(np.array([1, 1, 0]), np.array([0, 1, 1]), np.array([0.0, 1.0, 3.0]), 2.0)
    0.75
    """
    if not _comparable(expected, observed) or positions.shape != expected.shape:
        return NAN
    if not (math.isfinite(unit) and unit > 0) or not np.isfinite(positions).all():
        return NAN
    gaps = np.abs(np.cumsum(_shares(expected)) - np.cumsum(_shares(observed)))
    # Divided first: the distance of the largest doubles overflows, their ratio may not.
    with np.errstate(over="ignore", invalid="ignore"):
        total = float((gaps[:-1] * np.diff(positions / unit)).sum())
    return total if math.isfinite(total) else NAN


def total_variation(expected: Counts, observed: Counts) -> float:
    """Half the sum of |p - q|: the share of events that would have to change cells, 0 to 1.

    >>> total_variation(np.array([50, 50]), np.array([25, 75]))
    0.25
    """
    if not _comparable(expected, observed):
        return NAN
    return min(float(np.abs(_shares(expected) - _shares(observed)).sum()) / 2, 1.0)


def l_infinity(expected: Counts, observed: Counts) -> float:
    """The greatest change of one cell's share, 0 to 1.

    >>> l_infinity(np.array([50, 50]), np.array([25, 75]))
    0.25
    """
    if not _comparable(expected, observed):
        return NAN
    return float(np.abs(_shares(expected) - _shares(observed)).max())


def chi_square(expected: Counts, observed: Counts) -> ChiSquare:
    """Pearson's test that both samples come from one distribution (two-sample homogeneity).

    Cells of which either side is expected to hold fewer than five events are pooled into one, and
    that with the next smallest if it is still too small. NaN if fewer than two cells are left of
    several; where both sides hold one same cell only, the statistic is 0 with p-value 1.

    >>> chi_square(np.array([40, 60]), np.array([60, 40])).statistic
    8.0
    """
    if not _comparable(expected, observed):
        return ChiSquare(NAN, 0, NAN)
    seen = (expected > 0) | (observed > 0)
    table = np.stack((expected[seen], observed[seen])).astype(np.float64)
    if table.shape[1] == 1:
        return ChiSquare(0.0, 0, 1.0)
    table = _pool(table)
    if table.shape[1] < 2:
        return ChiSquare(NAN, 0, NAN)
    due = table.sum(axis=1, keepdims=True) * (table.sum(axis=0) / table.sum())
    statistic = float(((table - due) ** 2 / due).sum())
    dof = table.shape[1] - 1
    return ChiSquare(statistic, dof, float(special.chdtrc(dof, statistic)))


def rate_difference(
    expected_hits: int, expected_n: int, observed_hits: int, observed_n: int
) -> RateDifference:
    """Whether two rates differ: the two-proportion z-test with pooled variance, two-sided.

    For missing rates and error rates. NaN without events on both sides; rates that are both 0 or
    both 1 do not differ.

    >>> round(rate_difference(20, 100, 40, 100).z, 4)  # 0.2 / sqrt(0.3 * 0.7 * 2 / 100)
    3.0861
    """
    if not (0 <= expected_hits <= expected_n and 0 <= observed_hits <= observed_n):
        return RateDifference(NAN, NAN, NAN)
    if not expected_n or not observed_n:
        return RateDifference(NAN, NAN, NAN)
    difference = observed_hits / observed_n - expected_hits / expected_n
    pooled = (expected_hits + observed_hits) / (expected_n + observed_n)
    variance = pooled * (1 - pooled) * (1 / expected_n + 1 / observed_n)
    if variance <= 0:
        return RateDifference(difference, 0.0, 1.0)
    z = difference / math.sqrt(variance)
    return RateDifference(difference, z, 2 * float(special.ndtr(-abs(z))))


def mean_difference(
    expected: tuple[int, float, float], observed: tuple[int, float, float]
) -> MeanDifference:
    """Whether two means differ: Welch's t-test (Biometrika, 1947), two-sided.

    Each side is (n, mean, population standard deviation). NaN with fewer than two values on a side
    or anything not finite. Two constants that are unlike differ beyond doubt (t infinite).

    >>> mean_difference((100, 1.0, 0.0), (100, 1.0, 0.0)).p_value
    1.0
    """
    n, mean, sd = expected
    m, mean_now, sd_now = observed
    none = MeanDifference(NAN, NAN, NAN, NAN, NAN)
    if n < 2 or m < 2 or not all(map(math.isfinite, (mean, sd, mean_now, sd_now))):
        return none
    difference = mean_now - mean
    # One unit for all, so that squares of very large or very small values stay representable.
    unit = max(sd, sd_now)
    if unit == 0:
        if difference == 0:
            return MeanDifference(0.0, 0.0, 0.0, n + m - 2, 1.0)
        return MeanDifference(difference, 0.0, math.copysign(math.inf, difference), n + m - 2, 0.0)
    if not math.isfinite(difference):
        return none
    a, b = (sd / unit) ** 2 / (n - 1), (sd_now / unit) ** 2 / (m - 1)
    error = math.sqrt(a + b)
    t = difference / unit / error
    dof = (a + b) ** 2 / (a * a / (n - 1) + b * b / (m - 1))
    p_value = 2 * float(special.stdtr(dof, -abs(t)))
    return MeanDifference(difference, error * unit, t, dof, p_value)


def _comparable(expected: Counts, observed: Counts) -> bool:
    if expected.ndim != 1 or expected.shape != observed.shape or not len(expected):
        return False
    if min(expected.min(), observed.min()) < 0:
        return False
    return bool(expected.any()) and bool(observed.any())


def _shares(counts: Counts) -> Floats:
    # Summed as doubles: the int64 sum of counts near 2**63 would wrap round.
    weights = counts.astype(np.float64)
    shares: Floats = weights / weights.sum()
    return shares


def _pool(table: Floats) -> Floats:
    """The table with sparse cells in one: float64 [2, fewer cells]."""
    total, cells = table.sum(), table.sum(axis=0)
    needed = SMALLEST_EXPECTED * total / table.sum(axis=1).min()
    if (cells >= needed).all():
        return table
    table = table[:, np.argsort(cells, kind="stable")]
    ordered = table.sum(axis=0)
    sparse = int(np.count_nonzero(ordered < needed))
    while ordered[:sparse].sum() < needed and sparse < len(ordered):
        sparse += 1
    return np.column_stack((table[:, :sparse].sum(axis=1), table[:, sparse:]))
