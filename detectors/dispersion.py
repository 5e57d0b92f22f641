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

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

FEWEST_PANES = 8
_MOST_CORRELATION = 0.9
_ERROR = 6.0
"""Squared relative error of the factor, times panes: 2 from the variance, 4 from r."""
_MOST = 1e300


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Sums over ``panes``: ``weight`` and ``weighted`` give the mean difference in standard
    deviations; ``squares`` and ``products`` are of residuals and of neighbouring ones; ``last`` is
    the last residual."""

    panes: int = 0
    weight: float = 0.0
    weighted: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    last: float = 0.0

    @property
    def factor(self) -> float:
        """By what evidence is divided: at least 1."""
        if self.panes < FEWEST_PANES or not self.squares > 0:
            return 1.0
        together = min(max(self.products / self.squares, 0.0), _MOST_CORRELATION)
        found = self.squares / self.panes * (1.0 + together) / (1.0 - together)
        found /= 1.0 + math.sqrt(_ERROR / self.panes)
        return min(max(found, 1.0), _MOST)

    def step(self, canary: Counts, production: Counts, values: Floats) -> Dispersion:
        """After a pane with counts [K] of cells that stand for ``values`` [K].

        A pane without variation, or with an empty arm, changes nothing."""
        ours, theirs = canary.astype(np.float64), production.astype(np.float64)
        n, m = float(ours.sum()), float(theirs.sum())
        if n <= 0 or m <= 0:
            return self
        first, usual = float(ours @ values), float(theirs @ values)
        total = n + m
        centre = (first + usual) / total
        squares = float((ours + theirs) @ ((values - centre) ** 2))
        if not squares > 0 or not total > 1:
            return self
        difference = (first / n - usual / m) / math.sqrt(squares / (total - 1.0))
        weight = n * (m / total)
        both, together = self.weight + weight, self.weighted + weight * difference
        if not math.isfinite(together) or not math.isfinite(both):
            return self
        if self.weight <= 0:
            return Dispersion(0, both, together)
        # The mean so far is itself an estimate: its error is in the residual too.
        residual = (difference - self.weighted / self.weight) * math.sqrt(
            weight / (1.0 + weight / self.weight)
        )
        return Dispersion(
            self.panes + 1,
            both,
            together,
            self.squares + residual * residual,
            self.products + residual * self.last,
            residual,
        )
