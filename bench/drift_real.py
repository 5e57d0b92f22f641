"""Real streams with their days in random order: nothing changes from then on, but rows of a day
still hang together as they did. What alarms is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.drift_days import READERS, Days
from bench.drift_peers import chi_square, kolmogorov_smirnov, psi
from bench.drift_river import alarms_of, available
from bench.measure import figure, show
from detectors.cells import Cells, Family
from detectors.drift import step
from detectors.drift_settings import DAY_MS, BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import Alarm, empty_state
from detectors.inflation import Panes, learn, measure
from detectors.payoffs import Normal, normal_without_panes, payoffs
from detectors.season import Season, slot_of

Floats = NDArray[np.float64]

DATA = "DRIFTLINE_BENCH_DATA"
"""The variable that names the folder of data sets."""
_REFERENCE_PART = 0.4
_BUDGET_DAYS = 100


def real_streams(quick: bool, folder: Path, seed: int) -> dict[str, Any]:
    """Goal 2: false alarms over the budget, on every data set that is there."""
    found: dict[str, Any] = {}
    lines: list[list[str]] = []
    for name, read in READERS.items():
        try:
            days = read(folder)
        except FileNotFoundError as missing:
            found[name] = {"not_run": f"no {missing.filename}"}
            print(f"not run: {name}: no {missing.filename}; {DATA} names the folder of data sets")
            continue
        rng = np.random.default_rng((seed, 2))
        permutations = 6 if quick else 16
        orders = [rng.permutation(len(days.counts)) for _ in range(permutations)]
        runs = [_permuted(days, order) for order in orders]
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        if available():
            mean |= _online(days, orders[: 1 if quick else 4])
        found[name] = {key: figure(value) for key, value in mean.items()}
        found[name]["worst"] = figure(max(run["driftline"] for run in runs))
        found[name]["moved"] = moved = _moved(days, orders[: 3 if quick else 8])
        mean |= {f"every value a bin up: {key}": value for key, value in moved.items()}
        lines += [[f"{name}: {key}", f"{value:.2f}"] for key, value in mean.items()]
    show("Days permuted: alarms over the budget's number", ("stream and method", "ratio"), lines)
    return found


def _online(days: Days, orders: list[NDArray[np.int64]]) -> dict[str, float]:
    """river's detectors, value by value through the later days of every numeric column, in
    standard deviations of the earlier ones; a stream too long for one is cut and counts for the
    days that it saw."""
    found: dict[str, list[float]] = {}
    for order in orders:
        split = int(len(order) * _REFERENCE_PART)
        budget = (len(order) - split) / _BUDGET_DAYS
        totals: dict[str, float] = {}
        for column in days.values:
            past, later = column.of(order[:split]), column.of(order[split:])
            unit = float(past.std()) or 1.0
            for name, (alarms, seen) in alarms_of((later - past.mean()) / unit).items():
                totals[name] = totals.get(name, 0.0) + alarms / seen
        for name, total in totals.items():
            found.setdefault(name, []).append(total / budget)
    return {name: float(np.mean(ratios)) for name, ratios in found.items()}


def _moved(days: Days, orders: list[NDArray[np.int64]]) -> dict[str, float]:
    """The price of few false alarms: from the first later day on every value of one column lies a
    bin higher (a tenth of the rows in the middle, so about a quarter of a standard deviation; the
    highest bin keeps its rows). Which share of the columns is found, and after how many days."""
    cells = days.dictionary.cells
    delays: list[float] = []
    for order in orders:
        past, later, settings = _cut(days, order)
        normal = learn(days.dictionary, past, settings)
        for w, watch in enumerate(cells.watches):
            if watch.family is not Family.ORDERED:
                continue
            span = slice(int(cells.starts[w]), int(cells.starts[w + 1]))
            moved = later.counts.copy()
            moved[:, span] = np.roll(moved[:, span], 1, axis=1)
            moved[:, span.stop - 1] += moved[:, span.start]
            moved[:, span.start] = 0.0
            panes = Panes(moved, later.starts_ms, later.length_ms)
            delays.append(_first_alarm(normal, panes, settings, w) / DAY_MS)
    hits = [delay for delay in delays if np.isfinite(delay)]
    found = {"columns found": figure(len(hits) / len(delays))}
    if hits:
        found["days until found, median"] = figure(float(np.median(hits)))
    return found


def _permuted(days: Days, order: NDArray[np.int64]) -> dict[str, float]:
    past, later, settings = _cut(days, order)
    counts, split = days.counts[order], int(len(order) * _REFERENCE_PART)
    plain = replace(settings, season=Season.NONE, burst_bound=BurstBound.NEVER)
    lump = normal_without_panes(days.dictionary, past.counts.sum(axis=0))
    methods = {
        "as if independent": (lump, plain),
        "slots, inflation, burst bound": (measure(days.dictionary, past, settings), settings),
        "driftline": (learn(days.dictionary, past, settings), settings),
    }
    budget = (len(counts) - split) / _BUDGET_DAYS
    ratios = {
        name: _alarms(normal, later, used) / budget for name, (normal, used) in methods.items()
    }
    watches = len(days.dictionary.cells.watches)
    ratios["driftline, columns left unarmed"] = float(sum(methods["driftline"][0].unarmed))
    for name, alarms in _peers(days.dictionary.cells, counts, split, watches).items():
        ratios[name] = alarms / budget
    return ratios


def _cut(days: Days, order: NDArray[np.int64]) -> tuple[Panes, Panes, DriftSettings]:
    """The days in this order: those of the reference, the later ones, and how they are judged."""
    counts = days.counts[order]
    split, per_day = int(len(counts) * _REFERENCE_PART), counts.shape[1]
    starts = np.arange(len(counts) * per_day, dtype=np.int64) * days.pane_ms
    both = Panes(counts.reshape(len(starts), -1), starts, days.pane_ms)
    settings = DriftSettings(
        FalseAlarms(1.0, _BUDGET_DAYS * DAY_MS),
        season=Season.HOUR_OF_DAY if per_day > 1 else Season.NONE,
        min_reference_rows=100,
    )
    return both.part(0, split * per_day), both.part(split * per_day, len(starts)), settings


def _alarms(normal: Normal, panes: Panes, settings: DriftSettings) -> int:
    return sum(1 for _ in _raised(normal, panes, settings))


def _first_alarm(normal: Normal, panes: Panes, settings: DriftSettings, watch: int) -> float:
    """When the watch first alarms, in ms from the first pane; infinity if it does not."""
    for alarm in _raised(normal, panes, settings):
        if alarm.watch == watch:
            return float(alarm.at_ms - panes.starts_ms[0])
    return np.inf


def _raised(normal: Normal, panes: Panes, settings: DriftSettings) -> Iterator[Alarm]:
    paid = {}
    state = empty_state(normal.dictionary)
    for counts, start in zip(panes.counts, panes.starts_ms.tolist(), strict=True):
        slot = slot_of(settings.season, start)
        if slot not in paid:
            paid[slot] = payoffs(normal, slot, settings)
        took = step(state, paid[slot], counts, 1.0, start, panes.length_ms, settings)
        state = took.state
        yield from took.alarms


def _peers(cells: Cells, counts: Floats, split: int, watches: int) -> dict[str, float]:
    """Daily windows against the reference as a whole."""
    daily, usual = counts[split:].sum(axis=1), counts[:split].sum(axis=(0, 1))
    found = {"PSI > .2": 0.0, "KS p < .05": 0.0, "chi-square Bonferroni": 0.0}
    for w in range(watches):
        span = slice(int(cells.starts[w]), int(cells.starts[w + 1]))
        now, then = daily[:, span], np.tile(usual[span], (len(daily), 1))
        n, m = now.sum(axis=1), float(usual[span].sum())
        now, then, n = now[n > 0], then[n > 0], n[n > 0]
        found["PSI > .2"] += float((psi(now, then) > 0.2).sum())
        scaled = kolmogorov_smirnov(now, then) * np.sqrt(n * m / (n + m))
        found["KS p < .05"] += float((2 * np.exp(-2 * scaled**2) < 0.05).sum())
        p = stats.chi2.sf(chi_square(now, then) / (1 + n / m), now.shape[1] - 1)
        found["chi-square Bonferroni"] += float((p < 0.05 / watches / 365).sum())
    return found
