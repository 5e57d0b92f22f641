"""Whether rates and means differ, for many columns at once; formulas and sources stand in
:mod:`detectors.statistics`, which is the same for one column.

Divisions by zero and overflows are meant to give NaN and infinity here: call within
:func:`detectors.cell_statistics.quiet`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RateDifferences:
    """Each float64 [columns]: observed less expected rate, that in standard errors, p-value."""

    difference: Floats
    z: Floats
    p_value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MeanDifferences:
    """Each float64 [columns]: observed less expected mean, its standard error, their ratio ``t``
    on ``dof`` degrees of freedom, p-value."""

    difference: Floats
    standard_error: Floats
    t: Floats
    dof: Floats
    p_value: Floats


def rates(hits: Counts, n: Counts) -> Floats:
    """hits / n, NaN where that is no rate."""
    found: Floats = hits / n
    found[(hits < 0) | (hits > n) | (n <= 0)] = np.nan
    return found


def rate_differences(
    expected_hits: Counts, expected_n: Counts, observed_hits: Counts, observed_n: Counts
) -> RateDifferences:
    """The two-proportion z-test with pooled variance."""
    difference = rates(observed_hits, observed_n) - rates(expected_hits, expected_n)
    pooled = (expected_hits + observed_hits) / (expected_n + observed_n)
    variance = pooled * (1 - pooled) * (1 / expected_n + 1 / observed_n)
    z = np.where(variance > 0, difference / np.sqrt(variance), 0.0)
    z[np.isnan(difference)] = np.nan
    return RateDifferences(difference, z, 2 * special.ndtr(-np.abs(z)))


def testable(n: Counts, mean: Floats, sd: Floats) -> Floats:
    """The means of at least two values each, all finite; NaN for others."""
    return np.where((n >= 2) & np.isfinite(mean) & np.isfinite(sd), mean, np.nan)


def differences(mean: Floats, sd: Floats, mean_now: Floats, sd_now: Floats) -> Floats:
    """Observed less expected mean, of means that are :func:`testable`; NaN where
    :func:`mean_differences` has no answer."""
    difference: Floats = mean_now - mean
    if np.isinf(difference).any():
        # Constants may lie further apart than a double can say; else that is no answer.
        difference[np.isinf(difference) & (np.maximum(sd, sd_now) > 0)] = np.nan
    return difference


def mean_differences(
    n: Counts,
    mean: Floats,
    sd: Floats,
    n_now: Counts,
    mean_now: Floats,
    sd_now: Floats,
) -> MeanDifferences:
    """Welch's t-test; ``sd`` are population standard deviations."""
    difference = differences(testable(n, mean, sd), sd, testable(n_now, mean_now, sd_now), sd_now)
    # One unit for all, so that squares of very large or very small values stay representable.
    unit = np.maximum(sd, sd_now)
    constant = unit == 0
    a = (sd / unit) ** 2 / (n - 1)
    b = (sd_now / unit) ** 2 / (n_now - 1)
    error = np.sqrt(a + b)
    t = difference / unit / error
    dof = (a + b) ** 2 / (a * a / (n - 1) + b * b / (n_now - 1))
    p_value = 2 * special.stdtr(dof, -np.abs(t))
    # Two constants: alike, or different beyond doubt.
    apart = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
    t = np.where(constant, apart, t)
    dof = np.where(constant, n + n_now - 2.0, dof)
    error = np.where(constant, 0.0, error * unit)
    p_value = np.where(constant, np.where(difference == 0, 1.0, 0.0), p_value)
    none = np.isnan(difference)
    for figures in (error, t, dof, p_value):
        figures[none] = np.nan
    return MeanDifferences(difference, error, t, dof, p_value)
