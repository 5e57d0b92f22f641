"""The wealth of all bets of a release: :class:`detectors.e_process.EProcess` of many measures.

Of several releases with the same bets the arrays have one row each, and nothing of a row depends on
the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.e_process import AT_ONCE
from detectors.flags import all_of, any_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Wealth:
    """``log_wealth``, ``onset_ms``: of each bet, [..., B]; of each part, [..., M]: ``panes`` that
    were bet on, ``evidence`` (ln of all its wealth), its ``peak``, and ``peak_onset_ms``: since
    when the bet that led then had been winning."""

    log_wealth: Floats
    onset_ms: Indices
    panes: Indices
    evidence: Floats
    peak: Floats
    peak_onset_ms: Indices

    def step(self, book: Book, log_e: Floats, bet_on: Flags, start_ms: int, cap: Floats) -> Wealth:
        """After a pane with e-values e**``log_e`` [..., B]; ``bet_on``: the parts it says something
        of, [..., M]; ``cap``: of what one pane may add to all bets of a part together, [M]."""
        owner, betting, starts = book.owner, book.betting, book.starts
        if not len(betting):
            return self
        t = self.panes
        if all_of(t):
            so_far = t.astype(np.float64)
            new = np.log((1.0 - AT_ONCE) / so_far / (so_far + 1.0))
        else:
            later = np.maximum(t, 1)
            new = np.where(t == 0, math.log(AT_ONCE), np.log((1.0 - AT_ONCE) / later / (later + 1)))
        # Arrays of all bets are worked on in place: fresh ones are not in the processor's cache.
        put_in = new.take(owner, axis=-1)
        put_in += book.log_part
        onset = np.where(put_in > self.log_wealth, start_ms, self.onset_ms)
        unknown = np.isnan(log_e)
        known_e = np.where(unknown, 0.0, log_e) if any_of(unknown) else log_e
        most = cap.take(owner)
        most -= book.log_part
        wealth = _log_of_sum(self.log_wealth, put_in)
        wealth += np.minimum(known_e, most)
        moved = bet_on.take(betting, axis=-1)
        all_moved = all_of(moved)
        if not all_moved:
            on = bet_on.take(owner, axis=-1)
            wealth = np.where(on, wealth, self.log_wealth)
            onset = np.where(on, onset, self.onset_ms)
        best = np.maximum.reduceat(wealth, starts, axis=-1)
        known = np.where(np.isfinite(best), best, 0.0)
        held = book.held
        parts = known.repeat(held, axis=-1)
        np.exp(np.subtract(wealth, parts, out=parts), out=parts)
        total = np.add.reduceat(parts, starts, axis=-1)
        evidence = best + np.log(total)
        if not all_moved:
            evidence = np.where(moved, evidence, self.evidence.take(betting, axis=-1))
        if len(betting) < len(book.bets):
            # The others stay as they were.
            told, evidence = evidence, self.evidence.copy()
            evidence[..., betting] = told
        return self.closed(book, wealth, onset, best, evidence, new, bet_on, cap)

    def closed(
        self,
        book: Book,
        wealth: Floats,
        onset: Indices,
        best: Floats,
        evidence: Floats,
        new: Floats,
        bet_on: Flags,
        cap: Floats,
    ) -> Wealth:
        """What is left of a step. ``best``: of each part that has bets the best one's wealth,
        ``evidence``: all of it, before anything is taken away, and ``new``: logarithm of the money
        that was put in, [..., M]."""
        betting, owner, held = book.betting, book.owner, book.held
        if any_of(evidence - self.evidence > cap):
            # New money counts to what was there before. Of parts not bet on nothing rose.
            over = np.maximum(evidence - (_log_of_sum(self.evidence, new) + cap), 0.0)
            evidence, taken = evidence - over, over.take(owner, axis=-1)
            wealth, best = wealth - taken, best - over.take(betting, axis=-1)
        peak, since = self.peak, self.peak_onset_ms
        higher = np.flatnonzero(evidence > peak)
        if len(higher):
            peak, since = peak.copy(), since.copy()
            peak.reshape(-1)[higher] = evidence.reshape(-1)[higher]
            # Places among the bets of all rows: the first that leads from where a part's begin.
            leading = np.flatnonzero(wealth == best.repeat(held, axis=-1))
            row, part = np.divmod(higher, len(book.bets))
            begins = row * len(owner) + book.begins[part]
            leader = leading[leading.searchsorted(begins)]
            since.reshape(-1)[higher] = onset.reshape(-1)[leader]
        return Wealth(wealth, onset, self.panes + bet_on, evidence, peak, since)

    def leading_since(self, bets: Indices) -> Indices:
        """When the bet that leads now among those of each part began to win, [..., M]; 0 without
        bets. ``bets``: how many each part has, [M]."""
        found = np.zeros(self.panes.shape, np.int64)
        betting = np.flatnonzero(bets)
        if len(betting):
            starts = (bets.cumsum() - bets)[betting]
            best = np.maximum.reduceat(self.log_wealth, starts, axis=-1)
            leading = np.flatnonzero(self.log_wealth == best.repeat(bets[betting], axis=-1))
            width = self.log_wealth.shape[-1]
            rows = np.arange(self.log_wealth.size // width) * width
            begins = (rows[:, None] + starts).ravel()
            leader = leading[leading.searchsorted(begins)]
            found[..., betting] = self.onset_ms.reshape(-1)[leader].reshape(best.shape)
        return found


def _log_of_sum(first: Floats, second: Floats) -> Floats:
    """ln(e**first + e**second), like np.logaddexp, which takes several times as long. The second
    is finite."""
    larger: Floats = np.maximum(first, second)
    apart = np.minimum(first, second)
    apart -= larger
    larger += np.log1p(np.exp(apart, out=apart), out=apart)
    return larger
