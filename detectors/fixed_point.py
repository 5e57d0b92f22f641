"""Sums of floating-point numbers that do not depend on the order of addition.

**Guarantee.** The sum of x and of x**2 over any number of events is the same to the last bit
however the events were split over batches, workers, panes and windows. So a replay gives the same
mean and the same standard deviation, bit for bit, and merging is associative as mathematics has it.

How: each value is rounded once to a grid fixed in advance (``Grid``: a centre and a scale, from
the reference) and from there on only integers are added. z = (x - centre) / scale is kept in steps
of 2**-20 up to |z| < 2**23, z**2 in steps of 2**-20 up to 2**23; what lies beyond is clipped and
counted. Each sum is held as two int64 words, ``high * 2**32 + low`` with 0 <= low < 2**32, so it
cannot overflow below 2**51 events.

The rounding error of a mean is at most 2**-21 of the scale, far below any sampling error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = float(1 << 20)
LIMIT = float(1 << 43)
WORD = 32
MASK = np.int64((1 << WORD) - 1)
MAX_BATCH = 1 << 19
"""Rows that may be added in one int64 before the sum is split into words: 2**43 * 2**19 < 2**63."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where values are rounded to: around ``center`` in units of ``scale`` (> 0, finite)."""

    center: float = 0.0
    scale: float = 1.0

    def steps(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
        """Grid steps of z and of z**2 for finite ``values``, and how many of each were clipped."""
        # What overflows becomes infinite, and is clipped and counted like all that lies beyond.
        with np.errstate(over="ignore", under="ignore"):
            z = (values - self.center) * (1.0 / self.scale)
            first = np.rint(z * STEPS)
            second = np.rint(z * z * STEPS)
        clipped_first = int(np.count_nonzero(np.abs(first) > LIMIT))
        clipped_second = int(np.count_nonzero(second > LIMIT))
        if clipped_first:
            np.clip(first, -LIMIT, LIMIT, out=first)
        if clipped_second:
            np.minimum(second, LIMIT, out=second)
        return first.astype(np.int64), second.astype(np.int64), clipped_first, clipped_second


def grid_for(center: float, spread: float) -> Grid:
    """A grid for values around ``center`` with standard deviation about ``spread``.

    The scale is a power of two, so dividing by it is exact.
    """
    if not math.isfinite(center) or abs(center) > 1e150:
        center = 0.0
    if not math.isfinite(spread) or spread <= 0 or spread > 1e150:
        spread = max(abs(center), 1.0) * 2.0**-10
    exponent = min(max(math.frexp(spread)[1], -500), 500)
    return Grid(float(center), 2.0**exponent)


def join(high: int, low: int) -> int:
    """The sum that two words stand for, as an exact integer."""
    return (int(high) << WORD) + int(low)


def split(total: int) -> tuple[int, int]:
    """Two words for an exact integer: the inverse of :func:`join`."""
    return total >> WORD, total & int(MASK)


def mean(first: int, n: int, grid: Grid) -> float:
    """The mean from the exact sum of grid steps; NaN if n is 0."""
    if n == 0:
        return math.nan
    return grid.center + grid.scale * (first / n / STEPS)


def standard_deviation(first: int, second: int, n: int, grid: Grid) -> float:
    """The population standard deviation from the exact sums; NaN if n is 0."""
    if n == 0:
        return math.nan
    # In integers up to the last division: no cancellation, however small the spread.
    numerator = second * n * int(STEPS) - first * first
    return grid.scale * math.sqrt(max(numerator, 0)) / (n * STEPS) if numerator > 0 else 0.0
