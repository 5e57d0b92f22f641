"""Wealth of many bets over time, and when it proves something.

Each bet j starts again in every pane with a little new money, so that a change found today does
not first have to earn back what the bet lost in a healthy month. The money adds up to at most 1:
:data:`AT_ONCE` in the first pane and the rest as 1/(t (t+1)) over later ones. If every pane's
e-value has expectation at most 1 given the past, so has the mean of all wealth at any time, and
by Ville's inequality it ever reaches 1/alpha with probability at most alpha: whoever looks,
however often. Taking money away, as the cap on what one pane may add does, keeps that; and so does
dividing a pane's logarithm by a number of at least 1 that was fixed before it (Jensen).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AT_ONCE = 0.9
"""The part of the money that is bet on a difference from the first pane on."""


@dataclass(frozen=True, slots=True, eq=False)
class EProcess:
    """``log_part``: ln of each bet's part of all money, [J], together at most 1; ``log_wealth``:
    per bet, [J]; ``onset_ms``: when the money that each bet's wealth mostly comes from was put in,
    [J]; ``panes``: so many were bet on; ``evidence``: ln of all wealth, minus infinity before the
    first pane; ``peak``: the highest ``evidence`` so far, and ``peak_onset_ms``: since when the bet
    that led then had been winning."""

    log_part: Floats
    log_wealth: Floats
    onset_ms: NDArray[np.int64]
    panes: int = 0
    evidence: float = -math.inf
    peak: float = -math.inf
    peak_onset_ms: int = 0

    @classmethod
    def start(cls, parts: Floats) -> EProcess:
        """Before the first pane; ``parts``: of the money that each bet gets, [J], sum at most 1."""
        bets = len(parts)
        return cls(np.log(parts), np.full(bets, -np.inf), np.zeros(bets, np.int64))

    def step(self, log_e: Floats, start_ms: int, cap: float = math.inf) -> EProcess:
        """The wealth after a pane that begins at ``start_ms`` with e-values e**``log_e`` [J].

        ``cap``: no more than this is added to the logarithm of all the money, so that no single
        pane decides; what is above it is taken from all bets alike. A bet wins at most what would
        be so much alone, so one strange pane does not leave the others with nothing. A logarithm
        that is not a number adds nothing.
        """
        t = self.panes
        new = math.log(AT_ONCE) if t == 0 else math.log((1.0 - AT_ONCE) / t / (t + 1.0))
        put_in = new + self.log_part
        onset = np.where(put_in > self.log_wealth, start_ms, self.onset_ms)
        gain = np.minimum(np.where(np.isnan(log_e), 0.0, log_e), cap - self.log_part)
        wealth = np.logaddexp(self.log_wealth, put_in) + gain
        leader = int(wealth.argmax())
        best = float(wealth[leader])
        evidence = best + math.log(float(np.exp(wealth - best).sum()))
        most = float(np.logaddexp(self.evidence, new)) + cap
        if evidence > most:
            wealth, evidence = wealth - (evidence - most), most
        if evidence > self.peak:
            return EProcess(
                self.log_part, wealth, onset, t + 1, evidence, evidence, int(onset[leader])
            )
        return EProcess(
            self.log_part, wealth, onset, t + 1, evidence, self.peak, self.peak_onset_ms
        )

    def moved(self, parts: Floats) -> EProcess:
        """The same money spread over other bets by ``parts``, as when cells change: the sum is
        kept, so nothing is gained by it."""
        log_part = np.log(parts)
        return replace(
            self,
            log_part=log_part,
            log_wealth=self.evidence + log_part,
            onset_ms=np.full(len(parts), self.peak_onset_ms, np.int64),
        )
