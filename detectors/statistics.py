"""The classical drift statistics that people know, as pure functions of counts.

``expected`` and ``observed`` are counts of the same cells, int64 [cells], in the cells' order.
These are for one column; :mod:`detectors.cell_statistics` and :mod:`detectors.differences` compute
the same for many at once.

**Guarantee.** No answer is NaN: empty or unlike input never gives 0 and never raises. Sampling
noise is not taken off: with k cells, n expected and m observed events, PSI is about
(k - 1) * (1/n + 1/m) when nothing has changed, so small samples need a higher threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import differences
from detectors.cell_statistics import (
    Distances,
    Side,
    Slices,
    chi_square_p_values,
    distances,
    ordered_distances,
    quiet,
    running_shares,
    steps_between,
)

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

NAN = math.nan


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
    found = _distances(expected, observed)
    return float(found.psi[0]) if found else NAN


def jensen_shannon(expected: Counts, observed: Counts) -> float:
    """The Jensen-Shannon distance: square root of the divergence in bits (Lin, 1991), 0 to 1.

    >>> jensen_shannon(np.array([10, 0]), np.array([0, 3]))
    1.0
    """
    found = _distances(expected, observed)
    return float(found.jensen_shannon[0]) if found else NAN


def hellinger(expected: Counts, observed: Counts) -> float:
    """The Hellinger distance, sqrt(sum of (sqrt p - sqrt q)**2 / 2): 0 to 1 (Hellinger, 1909).

    >>> round(hellinger(np.array([50, 50]), np.array([100, 0])), 4)  # sqrt(1 - sqrt(1/2))
    0.5412
    """
    found = _distances(expected, observed)
    return float(found.hellinger[0]) if found else NAN


def kolmogorov_smirnov(expected: Counts, observed: Counts) -> float:
    """The greatest difference of the two distribution functions at the cells' edges, 0 to 1.

    Within a cell the functions may lie further apart, so this is a lower bound of the two-sample
    statistic of the raw values, and equal to it where each cell holds one value.

    >>> kolmogorov_smirnov(np.array([1, 1, 2]), np.array([2, 1, 1]))
    0.25
    """
    if not _comparable(expected, observed):
        return NAN
    return _ordered(expected, observed, np.zeros(len(expected)))[0]


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
    if not np.isfinite(positions).all():
        return NAN
    with quiet():
        steps = steps_between(Slices.of_sizes([len(expected)]), positions, np.array([unit]))
    return _ordered(expected, observed, steps)[1]


def total_variation(expected: Counts, observed: Counts) -> float:
    """Half the sum of |p - q|: the share of events that would have to change cells, 0 to 1.

    >>> total_variation(np.array([50, 50]), np.array([25, 75]))
    0.25
    """
    found = _distances(expected, observed)
    return float(found.total_variation[0]) if found else NAN


def l_infinity(expected: Counts, observed: Counts) -> float:
    """The greatest change of one cell's share, 0 to 1.

    >>> l_infinity(np.array([50, 50]), np.array([25, 75]))
    0.25
    """
    found = _distances(expected, observed)
    return float(found.l_infinity[0]) if found else NAN


def chi_square(expected: Counts, observed: Counts) -> ChiSquare:
    """Pearson's test that both samples come from one distribution (two-sample homogeneity).

    Cells of which either side is expected to hold fewer than five events are pooled into one, and
    that with the next smallest if it is still too small. NaN if fewer than two cells are left of
    several; where both sides hold one same cell only, the statistic is 0 with p-value 1.

    >>> chi_square(np.array([40, 60]), np.array([60, 40])).statistic
    8.0
    """
    found = _distances(expected, observed)
    if found is None:
        return ChiSquare(NAN, 0, NAN)
    p_value = chi_square_p_values(found.chi_square, found.dof)
    return ChiSquare(float(found.chi_square[0]), int(found.dof[0]), float(p_value[0]))


def rate_difference(
    expected_hits: int, expected_n: int, observed_hits: int, observed_n: int
) -> RateDifference:
    """Whether two rates differ: the two-proportion z-test with pooled variance, two-sided.

    For missing rates and error rates. NaN without events on both sides; rates that are both 0 or
    both 1 do not differ.

    >>> round(rate_difference(20, 100, 40, 100).z, 4)  # 0.2 / sqrt(0.3 * 0.7 * 2 / 100)
    3.0861
    """
    sides = (expected_hits, expected_n, observed_hits, observed_n)
    with quiet():
        found = differences.rate_differences(*(np.array([side], np.int64) for side in sides))
    return RateDifference(float(found.difference[0]), float(found.z[0]), float(found.p_value[0]))


def mean_difference(
    expected: tuple[int, float, float], observed: tuple[int, float, float]
) -> MeanDifference:
    """Whether two means differ: Welch's t-test (Biometrika, 1947), two-sided.

    Each side is (n, mean, population standard deviation). NaN with fewer than two values on a side
    or anything not finite. Two constants that are unlike differ beyond doubt (t infinite).

    >>> mean_difference((100, 1.0, 0.0), (100, 1.0, 0.0)).p_value
    1.0
    """
    with quiet():
        found = differences.mean_differences(*_one(expected), *_one(observed))
    return MeanDifference(
        float(found.difference[0]),
        float(found.standard_error[0]),
        float(found.t[0]),
        float(found.dof[0]),
        float(found.p_value[0]),
    )


def _one(side: tuple[int, float, float]) -> tuple[Counts, Floats, Floats]:
    n, mean, sd = side
    return np.array([n], np.int64), np.array([mean], np.float64), np.array([sd], np.float64)


def _comparable(expected: Counts, observed: Counts) -> bool:
    return expected.ndim == 1 and expected.shape == observed.shape and len(expected) > 0


def _distances(expected: Counts, observed: Counts) -> Distances | None:
    if not _comparable(expected, observed):
        return None
    slices = Slices.of_sizes([len(expected)])
    with quiet():
        return distances(slices, Side.of(expected, slices), Side.of(observed, slices))


def _ordered(expected: Counts, observed: Counts, steps: Floats) -> tuple[float, float]:
    slices = Slices.of_sizes([len(expected)])
    with quiet():
        usual, now = (
            running_shares(slices, Side.of(side, slices).counts) for side in (expected, observed)
        )
        greatest, moved = ordered_distances(slices, usual, now, steps)
    return float(greatest[0]), float(moved[0])
