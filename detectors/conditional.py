"""Evidence that a canary is worse than production, exact whatever the traffic does.

In each pane the events of both arms are put into K cells and pooled. If the canary is like
production, the pooled pane says nothing about which events are the canary's: they are a draw
without replacement. A bet that the canary has ``rho[k]`` times its fair part of cell k then earns

    l = sum_k c[k] ln rho[k] - ln E[prod of rho over the draw],

and e**l is an e-value: its expectation given the pooled pane and the past is at most 1, whatever
the level, the season or the number of events does, since all of that is in the pooled pane.

**What is exact.** A tolerated difference is a tilt: ``g[k]``, by how much the canary's odds of
cell k may exceed production's. Given cells in an order in which g and rho rise together (or fall
together), E[e**l] <= 1 for every canary whose likelihood ratio to production is g or grows more
slowly than g. No distribution is assumed and no limit is taken. Reasons, for draws S of n out of
N events with weights g, in which E = Z(g rho) / Z(g) and Z is the elementary symmetric sum:

- ratios that grow more slowly: n-subsets ordered by their sorted elements are a distributive
  lattice on which product weights are log-modular, so the FKG inequality (1971) gives
  E_h[prod rho] <= E_g[prod rho] where h/g falls;
- Z(g rho) / Z(g) <= (sum m g rho / sum m g)**n, as the normalised g rho majorises g and Z is
  Schur-concave. For g = 1 this is Hoeffding (1963, theorem 4);
- that bound loses the share n/N of the evidence, half of it in an even split. Where the canary
  has more than :data:`TIGHT_SHARE` of the pane a second bound is used if it is smaller. With S a
  sum of N independent indicators of odds w z, Z(w) = prod (1 + w z) z**-n P(S = n) for every z;
  P(S = n) <= e**-v I0(v) with v the variance of S, because |phi(t)| <= exp(-2 v sin**2(t/2));
  and if the mean of S is n, P(S = n) >= P(Binomial(N, n/N) = n) (Hoeffding 1956).

What independence within an arm cannot cover (one bad host, users who return) is for the tilt and
for :mod:`detectors.dispersion`. Rounding is counted against the evidence.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

TIGHT_SHARE = 0.1
"""From this share of the pane on, the tighter bound is worth its cost."""
_ROUNDING = 32 * float(np.finfo(np.float64).eps)
_NEWTON_STEPS = 20
_CONVERGED = 1e-9
_MOST_STEP = 2.0


def log_e_values(canary: Counts, production: Counts, log_ratio: Floats, log_tilt: Floats) -> Floats:
    """The logarithms of the e-values of J bets on one pane, [J].

    ``canary``, ``production``: counts of cells, [K]; ``log_ratio``: ln rho, [J, K]; ``log_tilt``:
    ln g, [J, K], which along some order of the cells rises or falls with ``log_ratio``. A pane in
    which one arm has no events earns nothing: zeros.
    """
    ours = canary.astype(np.float64)
    pooled = ours + production.astype(np.float64)
    n, total = float(ours.sum()), float(pooled.sum())
    if not 0 < n < total:
        return np.zeros(len(log_ratio))
    shares = pooled / total
    bet = log_tilt + log_ratio
    # Logarithms of sums near 1, times n: nothing large cancels.
    fair = n * (np.log(np.exp(bet) @ shares) - np.log(np.exp(log_tilt) @ shares))
    if n > TIGHT_SHARE * total:
        fair = np.minimum(fair, _tight(pooled, n, bet, log_tilt))
    terms = n * (float(np.abs(log_ratio).max()) + float(np.abs(bet).max()) + 1.0)
    return np.asarray(log_ratio @ ours - fair - _ROUNDING * terms)


def _tight(pooled: Floats, n: float, bet: Floats, tilt: Floats) -> Floats:
    """An upper bound of ln(Z(g rho) / Z(g)), [J]; infinity where it could not be found."""
    total = float(pooled.sum())
    # Most bets share their tilt: one in each direction.
    tilts, which = np.unique(tilt, axis=0, return_inverse=True)
    log_bet, variance, _ = _generating(pooled, n, bet)
    log_tilt, _, miss = _generating(pooled, n, tilts)
    upper = log_bet + np.log(special.i0e(variance))
    lower = (log_tilt + _log_binomial_at_mean(n, total))[which]
    found = upper - lower + _ROUNDING * total * (1.0 + float(np.abs(bet).max()))
    usable = np.isfinite(found) & (miss <= _CONVERGED * n)[which]
    return np.where(usable, found, np.inf)


def _generating(pooled: Floats, n: float, log_weight: Floats) -> tuple[Floats, Floats, Floats]:
    """sum m ln(1 + w z) - n ln z near the z at which the mean of S is n; there the variance of S,
    and by how much its mean misses n. All [J]."""
    total = float(pooled.sum())
    log_z = math.log(n / (total - n)) - np.log(np.exp(log_weight) @ (pooled / total))
    for _ in range(_NEWTON_STEPS):
        odds = special.expit(log_z[:, None] + log_weight)
        miss = odds @ pooled - n
        variance = (odds * (1.0 - odds)) @ pooled
        if float(np.abs(miss).max()) <= _CONVERGED * n:
            break
        log_z = log_z - np.clip(miss / np.maximum(variance, 1e-300), -_MOST_STEP, _MOST_STEP)
    terms = np.logaddexp(0.0, log_z[:, None] + log_weight) @ pooled
    return terms - n * log_z, variance, np.abs(miss)


def _log_binomial_at_mean(n: float, total: float) -> float:
    """ln P(Binomial(N, n/N) = n), after Loader (2000): nothing large cancels."""
    rest = total - n
    return (
        _stirling_error(total)
        - _stirling_error(n)
        - _stirling_error(rest)
        - 0.5 * math.log(2.0 * math.pi * n * (rest / total))
    )


def _stirling_error(x: float) -> float:
    """ln x! less Stirling's formula."""
    if x > 32.0:
        return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * x * x)) / (x * x)) / x
    return math.lgamma(x + 1.0) - ((x + 0.5) * math.log(x) - x + 0.5 * math.log(2.0 * math.pi))
