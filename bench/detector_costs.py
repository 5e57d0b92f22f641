"""What the smaller detectors cost the judge, each by itself: CPU of one process, medians of rounds.

Drift has its own figures in `bench detection`, and the canary in `bench canary`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench.measure import Spread, report, show
from detectors.cells import Aspect
from detectors.frames import follow_online, panes
from detectors.online_rules import Feed, Method, OnlineSettings, OnlineWatch, Quantity
from detectors.paired_evidence import PairedSettings, PairedState, paired_findings, step
from detectors.pairs import Differences, PairCounts
from detectors.release import Release, Role
from detectors.sample_ratio import SampleRatio, SplitSettings
from detectors.table import compare, reference_of, summarize_table
from detectors.upstream import Direction, Movement, common_cause

_SHADOW: Final = Release("m", "2", Role.SHADOW)
_NUMBERS, _TEXTS, _ROWS, _PANE_MS = 20, 5, 1_000, 10_000
_RATES: Final = (Method.DDM, Method.EDDM, Method.HDDM_A, Method.HDDM_W)


def _per_call(work: Callable[[], object], calls: int, rounds: int) -> Spread:
    """CPU microseconds of one call."""
    work()
    figures = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(calls):
            work()
        figures.append((time.process_time() - began) / calls * 1e6)
    return Spread.of(figures)


def _table(rows: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"features.n{i}": rng.normal(size=rows) for i in range(_NUMBERS)}
    names = np.array([f"v{i}" for i in range(12)])
    columns |= {f"features.t{i}": rng.choice(names, rows) for i in range(_TEXTS)}
    return pa.table(columns)


def _split() -> Callable[[], object]:
    settings = SplitSettings({Role.CANARY: 0.05})
    counts = {Role.PRODUCTION: 950, Role.CANARY: 50}
    held = SampleRatio()
    return lambda: held.step(settings, counts)


def _paired(measures: int) -> Callable[[], object]:
    """A pane of 100 pairs with so many scores (and failures, and labels), and its findings."""
    settings = PairedSettings()
    one = Differences(n=100, higher=9, lower=11, first=40, second=4_000)
    counts = PairCounts(100, 100, 5, 1, 1, {(f"scores.s{i}", 0.01): one for i in range(measures)})
    held = step(PairedState(), counts, 0, settings)

    def pane() -> object:
        after = step(held, counts, _PANE_MS, settings)
        return paired_findings(after, _SHADOW, "1", _PANE_MS, _PANE_MS, settings)

    return pane


def _cause() -> Callable[[], object]:
    canary = [Movement(f"scores.s{i}", Aspect.VALUES, Direction.DOWN, 1.0) for i in range(4)]
    production = [Movement(f"scores.s{i}", Aspect.VALUES, Direction.DOWN, 0.7) for i in range(25)]
    return lambda: common_cause(canary, production)


def _statistics() -> Callable[[], object]:
    normal = reference_of(_table(20_000, 7))
    now = summarize_table(_table(_ROWS, 8), normal)
    return lambda: compare(normal, now)


def _online(method: Method, feed: Feed, count: int) -> Callable[[], object]:
    """One watch over ``count`` panes of one column."""
    rng = np.random.default_rng(5)
    rows = count * 100
    table = pa.table(
        {
            "ts": pa.array(np.arange(rows) * 100, pa.timestamp("ms")),
            "features.age": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.05),
        }
    )
    normal = reference_of(table.drop_columns(["ts"]))
    stream = list(panes(table, normal))
    quantity = Quantity.NULL_RATE if method in _RATES else Quantity.MEAN
    settings = OnlineSettings((OnlineWatch(method, quantity, feed=feed),))
    return lambda: follow_online(normal, stream, settings)


def run(quick: bool) -> str:
    """Microseconds of CPU, by detector."""
    rounds, calls = (3, 50) if quick else (9, 400)
    columns = _NUMBERS + _TEXTS
    found = {
        "sample ratio, a pane": _per_call(_split(), calls, rounds),
        "paired, a measure and pane (of 12)": _per_call(_paired(10), calls, rounds).scaled(1 / 12),
        "common cause, a failing canary": _per_call(_cause(), calls, rounds),
        "all classical statistics, a column and window": _per_call(
            _statistics(), max(calls // 10, 5), rounds
        ).scaled(1 / columns),
    }
    count = 50 if quick else 200
    for method in Method:
        for feed in Feed:
            if method is Method.EDDM and feed is Feed.PANES:
                continue  # it counts single errors
            whole = _per_call(_online(method, feed, count), 1, rounds).scaled(1 / count)
            found[f"{method.value}, feed {feed.value}, a column and pane"] = whole
    show("Cost of a detector", ("", "CPU, µs"), [[name, str(each)] for name, each in found.items()])
    return report(
        "detectors",
        "quick" if quick else "full",
        {"us": {name: each.fields() for name, each in found.items()}},
    )
