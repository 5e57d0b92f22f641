"""By how much the difference of two arms varies more from pane to pane than chance allows.

Hosts, caches and returning users make events of one arm alike, and whole panes lean one way for a
while. Then the differences of successive panes vary more than draws without replacement would and
hang together. This watches the standardised differences around their own mean, so a steady
difference (what a canary is judged for) does not count, and gives the factor by which evidence is
to be divided: variance times (1 + r)/(1 - r), r the correlation of neighbouring panes (the
long-run variance of a first-order autoregression), less what estimating it may get wrong.

The factor is at least 1 and comes from past panes only, so an e-process that divides by it stays
one; it is a protection, never a source of evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.flags import all_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEWEST_PANES = 8
MOST_CORRELATION = 0.9
ERROR = 6.0
"""Squared relative error of the factor, times panes: 2 from the variance, 4 from r."""
MOST_FACTOR = 1e300


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Both arms of one pane, by measure, [..., M]: values ``n`` and ``m`` (of production); ``gap``:
    the difference of means in standard deviations of the pooled pane; ``weight``: 1 / (1/n + 1/m).
    ``known``: where there is a gap: both arms have values, and they vary."""

    n: Counts
    m: Counts
    gap: Floats
    weight: Floats
    known: Flags


def differences(cells: Counts, values: Floats, starts: Counts, owner: Counts) -> Differences:
    """``cells``: counts of the cells of all measures, one after the other, the canary's and
    production's, [2, ..., C], that stand for ``values`` [C]; ``starts``: where each measure's
    begin, [M]; ``owner``: the measure of each cell, [C]."""
    counts = np.add.reduceat(cells, starts, axis=-1)
    # Counts are made doubles once: an operation on both kinds of numbers takes twice as long.
    sums = np.add.reduceat(cells.astype(np.float64) * values, starts, axis=-1)
    sizes = np.maximum(counts, 1).astype(np.float64)
    ours, theirs = sizes
    total = ours + theirs
    apart = values - ((sums[0] + sums[1]) / total).take(owner, axis=-1)
    pooled = (cells[0] + cells[1]).astype(np.float64)
    squares = np.add.reduceat(pooled * (apart * apart), starts, axis=-1)
    n, m = counts
    known = (n > 0) & (m > 0) & (squares > 0)
    spread = np.sqrt(np.where(known, squares, 1.0) / (total - 1.0))
    means = sums / sizes
    gap = (means[0] - means[1]) / spread
    return Differences(n, m, gap, ours * (theirs / total), known)


@dataclass(frozen=True, slots=True, eq=False)
class Dispersion:
    """Of each measure, [..., M], sums over ``panes``: ``weight`` and ``weighted`` give the mean
    difference in standard deviations; ``squares`` and ``products`` are of residuals and of
    neighbouring ones; ``last`` is the last residual."""

    panes: Counts
    weight: Floats
    weighted: Floats
    squares: Floats
    products: Floats
    last: Floats

    @classmethod
    def start(cls, measures: int) -> Dispersion:
        zeros = np.zeros(measures)
        return cls(np.zeros(measures, np.int64), zeros, zeros, zeros, zeros, zeros)

    @property
    def factor(self) -> Floats:
        """By what evidence is divided: at least 1, [..., M]."""
        judged = (self.panes >= FEWEST_PANES) & (self.squares > 0)
        squares = np.where(judged, self.squares, 1.0)
        panes = np.maximum(self.panes, 1).astype(np.float64)
        # Not np.clip: it costs several times as much on short arrays.
        together = np.minimum(np.maximum(self.products / squares, 0.0), MOST_CORRELATION)
        found = squares / panes * (1.0 + together) / (1.0 - together)
        found /= 1.0 + np.sqrt(ERROR / panes)
        return np.where(judged, np.minimum(np.maximum(found, 1.0), MOST_FACTOR), 1.0)

    def step(self, pane: Differences, seen: Flags) -> Dispersion:
        """After a pane; ``seen``: which measures it says something of, [..., M]. A pane without
        variation, or with an empty arm, changes nothing."""
        weight = self.weight + pane.weight
        weighted = self.weighted + pane.weight * pane.gap
        add = seen & pane.known & np.isfinite(weight + weighted)
        so_far = self.weight
        started = so_far > 0
        if not all_of(started):
            so_far = np.where(started, so_far, 1.0)
        # The mean so far is itself an estimate: its error is in the residual too.
        residual = (pane.gap - self.weighted / so_far) * np.sqrt(
            pane.weight / (1.0 + pane.weight / so_far)
        )
        later = add & started
        if all_of(later):
            return Dispersion(
                self.panes + 1,
                weight,
                weighted,
                self.squares + residual * residual,
                self.products + residual * self.last,
                residual,
            )
        return Dispersion(
            self.panes + later,
            np.where(add, weight, self.weight),
            np.where(add, weighted, self.weighted),
            np.where(later, self.squares + residual * residual, self.squares),
            np.where(later, self.products + residual * self.last, self.products),
            np.where(later, residual, self.last),
        )
