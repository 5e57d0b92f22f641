"""Shadow against production on the same requests: pairs, valid at every peek.

A pair holds the request fixed, so a difference that would need thousands of events between arms
shows after tens. Which pairs belong together is decided elsewhere; here are sums per pane.

- :class:`PairedRate`: of pairs that disagree, how many went against the shadow (``worse``) and how
  many against production (``better``). With a tolerated odds ratio g each disagreeing pair is a
  coin whose odds of "worse" are at most g (McNemar 1947), so the wealth of fixed bets on higher
  odds is an e-process: exact, for pairs that are independent given the past.
- :class:`DifferenceSequence` of :func:`paired_step`: the mean difference within pairs with its
  interval; asymptotic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from detectors.confidence_sequence import Arm, DifferenceSequence
from detectors.e_process import EProcess

ODDS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Bets: odds of "worse" that many times the tolerated ones."""
_ROUNDING = 32 * 2.0**-52


@dataclass(frozen=True, slots=True)
class Disagreements:
    """One pane of pairs: ``worse``: production right and shadow wrong (or above a limit);
    ``better``: the other way round; ``pairs``: all of them."""

    pairs: int
    worse: int
    better: int


@dataclass(frozen=True, slots=True, eq=False)
class PairedRate:
    """``wealth`` of the bets; counts so far. ``peak`` of the wealth at ln(1/alpha) proves it."""

    wealth: EProcess
    pairs: int = 0
    worse: int = 0
    better: int = 0

    @classmethod
    def start(cls) -> PairedRate:
        return cls(EProcess.start(np.full(len(ODDS), 1.0 / len(ODDS))))

    def step(self, pane: Disagreements, tolerated_odds: float, start_ms: int) -> PairedRate:
        """After one more pane. ``tolerated_odds``: of worse to better among disagreements; 1 is
        "no worse". A pane without disagreement earns nothing."""
        worse, better = max(pane.worse, 0), max(pane.better, 0)
        wealth = self.wealth
        if worse + better:
            odds = tolerated_odds * np.array(ODDS)
            # Odds g against odds g rho: ln of the likelihood ratio of each coin.
            up = np.log(odds / (1.0 + odds) * ((1.0 + tolerated_odds) / tolerated_odds))
            down = np.log((1.0 + tolerated_odds) / (1.0 + odds))
            log_e = worse * up + better * down - _ROUNDING * (worse + better)
            wealth = wealth.step(log_e, start_ms)
        return PairedRate(
            wealth, self.pairs + max(pane.pairs, 0), self.worse + worse, self.better + better
        )

    @property
    def log_evidence(self) -> float:
        """ln of the highest evidence so far that the shadow is worse."""
        return self.wealth.peak

    @property
    def difference(self) -> float:
        """Share of pairs that went against the shadow, less the share that went for it."""
        return (self.worse - self.better) / self.pairs if self.pairs else math.nan


def paired_step(
    sequence: DifferenceSequence,
    n: int,
    total: float,
    squares: float,
    alpha: float,
    narrowest_after: int,
) -> DifferenceSequence:
    """A sequence after a pane of ``n`` pairs whose differences (shadow less production) add up to
    ``total`` and their squares to ``squares``. Rates are differences of -1, 0 and 1."""
    if n < 2 or not (math.isfinite(total) and math.isfinite(squares)):
        return sequence
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0)
    # Against an arm without values that vary: only differences are left.
    beside = Arm(n, 0.0, 0.0)
    return sequence.step(Arm(n, mean, math.sqrt(variance)), beside, alpha, narrowest_after)
