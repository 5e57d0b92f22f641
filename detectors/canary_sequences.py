"""Differences of two arms for many measures at once: :class:`DifferenceSequence` as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.confidence_sequence import DifferenceSequence, best_ratio
from detectors.flags import all_of, any_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_ROUNDS = 60
_NEAR = 2.0**-11
_MOST_EVENTS = float(1 << 60)


@dataclass(frozen=True, slots=True, eq=False)
class PaneValues:
    """Both arms in one pane: ``n`` values, their mean and population standard deviation; each
    [2, ..., S]."""

    n: Counts
    mean: Floats
    sd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """The fields of :class:`DifferenceSequence`, [..., S] each."""

    n: Counts
    n_against: Counts
    total: Floats
    variance: Floats
    within: Floats
    r2: Floats
    skipped: Counts

    def step(self, pane: PaneValues, seen: Flags, alpha: float, narrowest_after: int) -> Sequences:
        """After one more pane; ``seen``: which of them it says something of."""
        n, m = pane.n
        sizes, unbiased = pane.n.astype(np.float64), pane.sd * pane.sd
        if int(pane.n.min(initial=2)) > 1:
            unbiased = unbiased * (sizes / (sizes - 1.0))
            ours, theirs = sizes
        else:
            ours, theirs = np.maximum(sizes, 1.0)
            seen = seen & (n >= 1) & (m >= 1) & (n + m >= 3)
            # The variance of a single value is not known from it: the other arm's stands in.
            single = pane.n < 2
            unbiased = np.where(single, np.nan, unbiased * (sizes / np.maximum(sizes - 1.0, 1.0)))
            unbiased = np.where(single, unbiased[::-1], unbiased)
        total = self.total + ours * (pane.mean[0] - pane.mean[1])
        variance = self.variance + (unbiased[0] * ours + unbiased[1] * (ours * (ours / theirs)))
        within = self.within + theirs * unbiased[1]
        usable = np.isfinite(total + variance + within)
        r2, skipped = self.r2, self.skipped
        if not all_of(r2):
            first = variance / ours * (narrowest_after / best_ratio(alpha))
            r2 = np.where(r2 != 0, r2, np.where(np.isfinite(first), first, 0.0))
        add = seen & usable
        if all_of(add):
            return Sequences(
                self.n + n, self.n_against + m, total, variance, within, r2, self.skipped
            )
        return Sequences(
            self.n + n * add,
            self.n_against + m * add,
            np.where(add, total, self.total),
            np.where(add, variance, self.variance),
            np.where(add, within, self.within),
            np.where(add, r2, self.r2),
            skipped + (seen & ~usable),
        )

    def each(self) -> list[DifferenceSequence]:
        """One by one."""
        columns = (
            self.n,
            self.n_against,
            self.total,
            self.variance,
            self.within,
            self.r2,
            self.skipped,
        )
        return list(map(DifferenceSequence, *(column.tolist() for column in columns)))


def half_widths(variance: Floats, r2: Floats, n: Counts, alpha: float, factor: Floats) -> Floats:
    """:func:`detectors.confidence_sequence.half_width` of many at once, after ``n`` canary values;
    NaN where nothing is known."""
    spread, unit = factor, r2 / variance
    inside = (spread + unit) * (np.log1p(spread / unit) - 2.0 * math.log(alpha))
    half = np.sqrt(variance) * (np.sqrt(inside) / n)
    known = (n > 0) & (variance > 0) & (unit > 0) & np.isfinite(unit) & np.isfinite(spread)
    return np.where(known, half, np.nan)


def events_until(
    variance: Floats, r2: Floats, n: Counts, room: Floats, alpha: float, factor: Floats
) -> Floats:
    """How many further canary values make half the interval shorter than ``room``, if panes stay
    as they were; NaN where it never is, or nothing is known. All of one shape, and each by itself.

    With x = V / r2 and L = (ln(1 + x) - 2 ln alpha) / scale the length is right where
    x**2 = L (x + 1). L hardly changes with x, so a few rounds are enough.
    """
    half = half_widths(variance, r2, n, alpha, factor)
    per_value = factor / n * (variance / r2)
    scale = room * (room / r2) / per_value / per_value
    open_ = (room > 0) & ~np.isnan(half) & (per_value > 0) & (scale > 0) & np.isfinite(1.0 / scale)
    x = np.where(open_, per_value * n, 1.0)
    scale = np.where(open_, scale, 1.0)
    moving = open_ & ~(half < room)
    for _ in range(_ROUNDS):
        if not any_of(moving):
            break
        inside = (np.log1p(x) - 2.0 * math.log(alpha)) / scale
        next_x = 0.5 * (inside + np.sqrt(inside * (inside + 4.0)))
        near = np.abs(next_x - x) <= _NEAR * next_x
        x = np.where(moving, next_x, x)
        moving &= ~near
    # A little more than the root, which is found from both sides.
    events = np.ceil(x / per_value * (1.0 + 4.0 * _NEAR))
    found = np.where(open_ & (events < _MOST_EVENTS), np.maximum(events - n, 1.0), np.nan)
    return np.where((room > 0) & (half < room), 0.0, found)
