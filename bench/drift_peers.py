"""What people use instead, on the same cells: PSI, Kolmogorov-Smirnov and chi-square over tumbling
windows, with thresholds set by simulation to the same false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.drift_streams import Change, Law
from detectors.bets import share_bounds
from detectors.cells import Family

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
"""Counts of windows [windows, cells] and of their references [windows, cells] to a statistic."""
Limits = dict[tuple[str, int], float]
"""By statistic and window: above this is an alarm."""

WINDOWS = (1, 2, 5, 10, 20, 50, 100)
REFERENCES = 20
_MOST_WINDOWS = 60_000


def psi(counts: Floats, reference: Floats) -> Floats:
    now = np.maximum(_shares(counts), 1e-4)
    usual = np.maximum(_shares(reference), 1e-4)
    found: Floats = ((now - usual) * np.log(now / usual)).sum(axis=1)
    return found


def chi_square(counts: Floats, reference: Floats) -> Floats:
    due = counts.sum(axis=1, keepdims=True) * _shares(reference + 0.5)
    found: Floats = ((counts - due) ** 2 / due).sum(axis=1)
    return found


def kolmogorov_smirnov(counts: Floats, reference: Floats) -> Floats:
    gaps = np.cumsum(_shares(counts), axis=1) - np.cumsum(_shares(reference), axis=1)
    found: Floats = np.abs(gaps).max(axis=1)
    return found


STATISTICS: dict[str, Statistic] = {
    "chi-square": chi_square,
    "PSI": psi,
    "KS": kolmogorov_smirnov,
}


def thresholds(
    law: Law, reference_rows: int, rows: int, panes: float, rng: np.random.Generator, after: Floats
) -> Limits:
    """By statistic and window: what is exceeded once in ``panes`` panes of the law ``after``,
    over windows and drawn references together."""
    found: Limits = {}
    for window in WINDOWS:
        share = window / panes
        count = int(min(_MOST_WINDOWS, max(30 / share, 2000)))
        counts = rng.multinomial(rows * window, after, size=count).astype(np.float64)
        references = rng.multinomial(reference_rows, law.mass, size=count).astype(np.float64)
        for name, statistic in STATISTICS.items():
            values = np.sort(statistic(counts, references))
            found[name, window] = float(values[min(int((1 - share) * count), count - 1)])
    return found


def allowed_by(law: Law, reference_rows: int) -> Floats:
    """A law that a reference of so many rows still allows, at three standard errors: a rate at its
    upper bound, and so cells that the reference hardly ever fills: float64 [cells]. driftline keeps
    its budget under it; thresholds simulated on the law itself do not."""
    rows = np.full(len(law.mass), float(reference_rows))
    _, high = share_bounds(law.mass, rows, 3.0)
    if law.family is Family.RATES:
        return np.array([1 - high[1], high[1]])
    unseen = law.mass * reference_rows < 1
    if not unseen.any():
        return law.mass
    _, high = share_bounds(np.zeros(len(law.mass)), rows, 3.0)
    raised = np.where(unseen, high, law.mass)
    found: Floats = raised / raised.sum()
    return found


def delays(
    change: Change,
    reference_rows: int,
    rows: int,
    limits: Limits,
    most_panes: int,
    rng: np.random.Generator,
    streams: int = 200,
) -> dict[str, float]:
    """The mean delay in panes of each statistic with its best window in hindsight; a window that
    misses more than a fifth of the changes within ``most_panes`` does not count."""
    best = dict.fromkeys(STATISTICS, np.inf)
    references = rng.multinomial(reference_rows, change.law.mass, size=streams).astype(np.float64)
    for window in WINDOWS:
        # The change comes anywhere in the first window; delay counts from there.
        before = rng.integers(0, window, size=streams)
        first = rng.multinomial(rows * before, change.law.mass)
        first = first + rng.multinomial(rows * (window - before), change.after)
        pending = {name: np.full(streams, np.inf) for name in STATISTICS}
        at = 0
        while at * window < most_panes:
            counts = (
                first if at == 0 else rng.multinomial(rows * window, change.after, size=streams)
            ).astype(np.float64)
            at += 1
            for name, statistic in STATISTICS.items():
                over = statistic(counts, references) > limits[name, window]
                known = pending[name]
                known[over & np.isinf(known)] = at * window - before[over & np.isinf(known)]
            if all(np.isfinite(known).all() for known in pending.values()):
                break
        for name, known in pending.items():
            if np.isfinite(known).mean() >= 0.8:
                best[name] = min(best[name], float(known[np.isfinite(known)].mean()))
    return best


def _shares(counts: Floats) -> Floats:
    found: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    return found
