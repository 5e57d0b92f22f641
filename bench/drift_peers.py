"""What people use instead, on the same cells: PSI, Kolmogorov-Smirnov and chi-square over tumbling
windows, with thresholds set by simulation to the same false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.drift_streams import Change, Law

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
"""Counts of windows [windows, cells] and of their references [windows, cells] to a statistic."""

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
    law: Law, reference_rows: int, rows: int, panes: float, rng: np.random.Generator
) -> dict[tuple[str, int], float]:
    """By statistic and window: what is exceeded once in ``panes`` panes without a change, over
    windows and drawn references together."""
    found: dict[tuple[str, int], float] = {}
    for window in WINDOWS:
        share = window / panes
        count = int(min(_MOST_WINDOWS, max(30 / share, 2000)))
        counts = rng.multinomial(rows * window, law.mass, size=count).astype(np.float64)
        references = rng.multinomial(reference_rows, law.mass, size=count).astype(np.float64)
        for name, statistic in STATISTICS.items():
            values = np.sort(statistic(counts, references))
            found[name, window] = float(values[min(int((1 - share) * count), count - 1)])
    return found


def delays(
    change: Change,
    reference_rows: int,
    rows: int,
    limits: dict[tuple[str, int], float],
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
