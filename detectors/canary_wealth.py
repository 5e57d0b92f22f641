"""The wealth of all bets of a release: :class:`detectors.e_process.EProcess` of many measures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.e_process import AT_ONCE

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Wealth:
    """``log_wealth``, ``onset_ms``: of each bet, [B]; the others of each part, [M]: ``panes`` that
    were bet on, ``evidence`` (ln of all its wealth), its ``peak``, and ``peak_onset_ms``: since
    when the bet that led then had been winning."""

    log_wealth: Floats
    onset_ms: Indices
    panes: Indices
    evidence: Floats
    peak: Floats
    peak_onset_ms: Indices

    def step(self, book: Book, log_e: Floats, bet_on: Flags, start_ms: int, cap: Floats) -> Wealth:
        """After a pane with e-values e**``log_e`` [B]; ``bet_on``: the parts it says something of,
        [M]; ``cap``: of what one pane may add, [M]."""
        owner, betting, starts = book.owner, book.betting, book.starts
        if not len(betting):
            return self
        t = self.panes
        if t.all():
            new = np.log((1.0 - AT_ONCE) / t / (t + 1.0))
        else:
            later = np.maximum(t, 1)
            new = np.where(t == 0, math.log(AT_ONCE), np.log((1.0 - AT_ONCE) / later / (later + 1)))
        put_in = new[owner] + book.log_part
        onset = np.where(put_in > self.log_wealth, start_ms, self.onset_ms)
        gain = np.minimum(np.where(np.isnan(log_e), 0.0, log_e), cap[owner])
        wealth = np.logaddexp(self.log_wealth, put_in) + gain
        if not bet_on[betting].all():
            on = bet_on[owner]
            wealth = np.where(on, wealth, self.log_wealth)
            onset = np.where(on, onset, self.onset_ms)
        best = np.full(len(t), -np.inf)
        best[betting] = np.maximum.reduceat(wealth, starts)
        known = np.where(np.isfinite(best), best, 0.0)[owner]
        total = np.add.reduceat(np.exp(wealth - known), starts)
        evidence = self.evidence.copy()
        moved = bet_on[betting]
        evidence[betting[moved]] = best[betting[moved]] + np.log(total[moved])
        peak, since = self.peak, self.peak_onset_ms
        higher = np.flatnonzero(evidence > peak)
        if len(higher):
            peak, since = peak.copy(), since.copy()
            peak[higher] = evidence[higher]
            leading = np.flatnonzero(wealth == best[owner])
            leader = leading[np.searchsorted(owner[leading], higher)]
            since[higher] = onset[leader]
        return Wealth(wealth, onset, t + bet_on, evidence, peak, since)

    def leading_since(self, bets: Indices) -> Indices:
        """When the bet that leads now among those of each part began to win; 0 without bets.
        ``bets``: how many each part has, [M]."""
        found = np.zeros(len(bets), np.int64)
        betting = np.flatnonzero(bets)
        if len(betting):
            starts = (bets.cumsum() - bets)[betting]
            best = np.maximum.reduceat(self.log_wealth, starts)
            leading = np.flatnonzero(self.log_wealth == best.repeat(bets[betting]))
            found[betting] = self.onset_ms[leading[leading.searchsorted(starts)]]
        return found
