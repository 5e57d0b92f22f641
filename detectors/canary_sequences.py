"""Differences of two arms for many measures at once: :class:`DifferenceSequence` as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.confidence_sequence import DifferenceSequence, best_ratio

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


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
        unbiased = pane.sd * pane.sd
        if int(pane.n.min(initial=2)) > 1:
            unbiased = unbiased * (pane.n / (pane.n - 1))
            ours, theirs = np.maximum(n, 1), m
        else:
            ours, theirs = np.maximum(n, 1), np.maximum(m, 1)
            seen = seen & (n >= 1) & (m >= 1) & (n + m >= 3)
            # The variance of a single value is not known from it: the other arm's stands in.
            single = pane.n < 2
            unbiased = np.where(single, np.nan, unbiased * (pane.n / np.maximum(pane.n - 1, 1)))
            unbiased = np.where(single, unbiased[::-1], unbiased)
        total = self.total + ours * (pane.mean[0] - pane.mean[1])
        variance = self.variance + (unbiased[0] * ours + unbiased[1] * (ours * (ours / theirs)))
        within = self.within + theirs * unbiased[1]
        usable = np.isfinite(total + variance + within)
        r2, skipped = self.r2, self.skipped
        if not r2.all():
            first = variance / ours * (narrowest_after / best_ratio(alpha))
            r2 = np.where(r2 != 0, r2, np.where(np.isfinite(first), first, 0.0))
        add = seen & usable
        if add.all():
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
