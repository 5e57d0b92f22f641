"""Quantiles of any stream, mergeable, with a stated relative error.

**Guarantee.** For a value x with 2^-1016 <= |x| < 2^1024, the value that :meth:`Sketch.quantile`
returns for the rank of x differs from x by at most 0.79 % of |x| (``RELATIVE_ERROR``), whatever
was merged in whatever order; counts are exact. Smaller magnitudes are reported as zero or within
the width of a subnormal bucket.

How: a bucket is a sign, an exponent and the first 6 bits of the mantissa of the IEEE 754 double,
so it spans 1/64 of a power of two and its number is the upper bits of the number itself: no
logarithm is taken. This is DDSketch's idea (Masson, Rim and Lee, VLDB 2019) on the log-linear
buckets of HdrHistogram. Merging adds counts of equal buckets: associative, commutative, exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 6
SHIFT = 52 - MANTISSA_BITS
RELATIVE_ERROR = 2.0 ** -(MANTISSA_BITS + 1)
SQUARE_ERROR = 2 * RELATIVE_ERROR
"""Of the square of a value, to first order."""
STRIDE = 1 << 20
"""More than there are buckets: so far apart, keys of several sketches stand in one order."""
_SIGN = np.int64(0x7FFF_FFFF_FFFF_FFFF)


def bucket_of(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """The bucket of each finite value: monotone in the value, 0 for zero, negative below zero."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    keys = ((bits & _SIGN) >> SHIFT).astype(np.int32)
    return np.where(bits < 0, -keys, keys)


def bucket_floor(keys: NDArray[np.int32]) -> NDArray[np.float64]:
    """The smallest double that falls into each bucket or a higher one."""
    keys = np.asarray(keys, dtype=np.int64)
    magnitude = np.abs(keys) << SHIFT
    positive = magnitude.view(np.float64)
    # A bucket below zero holds (-ceiling, -floor]: its smallest double is just above -ceiling.
    # Bucket 0 reaches below zero too, by the subnormals too small for a bucket of their own.
    ceiling = ((np.abs(keys) + 1) << SHIFT) - 1
    negative = -ceiling.view(np.float64)
    return np.where(keys > 0, positive, negative)


def bucket_middle(keys: NDArray[np.int32]) -> NDArray[np.float64]:
    """The value reported for each bucket: it halves the relative error at both ends."""
    keys = np.asarray(keys, dtype=np.int64)
    magnitude = np.abs(keys)
    # Between two powers of two doubles are as far apart as their bits, below the smallest too.
    middle = ((magnitude << SHIFT) + (1 << (SHIFT - 1))).view(np.float64)
    middle[magnitude == 0] = 0.0
    return np.where(keys < 0, -middle, middle)


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Counts per bucket. ``keys``: int32, increasing; ``counts``: int64, positive, same length."""

    keys: NDArray[np.int32]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Sketch:
        """The identity of :meth:`merge`."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64))

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Sketch:
        """A sketch of the finite ones among ``values``.

        >>> Sketch.of(np.array([1.0, 2.0, float("nan"), 1.001])).n
        3
        """
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        keys, counts = np.unique(bucket_of(finite), return_counts=True)
        return cls(keys, counts.astype(np.int64))

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def merge(self, other: Sketch) -> Sketch:
        """The sketch of both streams together. Exact: any grouping gives equal counts."""
        if not len(other.keys):
            return self
        if not len(self.keys):
            return other
        if np.array_equal(self.keys, other.keys):
            return Sketch(self.keys, self.counts + other.counts)
        keys = np.concatenate((self.keys, other.keys))
        unique, inverse = np.unique(keys, return_inverse=True)
        counts = np.zeros(len(unique), np.int64)
        np.add.at(counts, inverse, np.concatenate((self.counts, other.counts)))
        return Sketch(unique.astype(np.int32), counts)

    def quantile(self, q: float) -> float:
        """The value at rank ``q`` (0 to 1), within ``RELATIVE_ERROR``; NaN if empty."""
        if not len(self.keys):
            return float("nan")
        cumulative = np.cumsum(self.counts)
        rank = min(max(q, 0.0), 1.0) * (int(cumulative[-1]) - 1)
        index = int(np.searchsorted(cumulative, int(rank), side="right"))
        return float(bucket_middle(self.keys[index : index + 1])[0])

    def moment(self, power: int) -> float:
        """The mean of x**power over all values (power 1 or 2), from the bucket middles; NaN if
        empty."""
        if not len(self.keys):
            return float("nan")
        # Shares rather than counts: a sum of the largest doubles would overflow, their mean not.
        shares = self.counts / self.counts.sum()
        # The largest doubles squared overflow; a result of infinity is then the honest one.
        with np.errstate(over="ignore"):
            return float((bucket_middle(self.keys) ** power * shares).sum())

    def magnitude(self) -> float:
        """The mean of |x|; times ``RELATIVE_ERROR`` it bounds the error of ``moment(1)``."""
        if not len(self.keys):
            return float("nan")
        shares = self.counts / self.counts.sum()
        return float((np.abs(bucket_middle(self.keys)) * shares).sum())

    def deviation(self) -> float:
        """The population standard deviation, from the bucket middles; NaN if empty."""
        if not len(self.keys):
            return float("nan")
        values = bucket_middle(self.keys)
        # In units of the largest magnitude nothing overflows, and centred nothing cancels.
        unit = float(np.abs(values).max()) or 1.0
        shares = self.counts / self.counts.sum()
        scaled = values / unit
        centred = scaled - (scaled * shares).sum()
        return unit * float(np.sqrt((centred * centred * shares).sum()))

    def tail(self, value: float) -> int:
        """How many values lie in buckets wholly at or above the one that holds ``value``."""
        key = bucket_of(np.array([value]))[0]
        return int(self.counts[self.keys >= key].sum())
