"""The online detectors that people know, as river has them, with its defaults: ADWIN, Page-Hinkley
and KSWIN on values one by one, and the delay of each beside driftline's on the same laws."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.drift_streams import NORMAL, Law, Watching, panes_of, shifted
from bench.measure import figure, show
from detectors.drift_settings import BurstBound

Floats = NDArray[np.float64]
Values = Callable[[np.random.Generator, int], Floats]
"""Draws so many values of a law."""

_KSWIN_VALUES = 10_000
"""KSWIN costs 0.3 ms a value: longer streams are cut here."""
_ROWS = 32
_REFERENCE = 10**5
_BETWEEN = 1e6
"""Rows between two false alarms of driftline, at most."""


def available() -> bool:
    return importlib.util.find_spec("river") is not None


def detectors() -> dict[str, Callable[[], Any]]:
    """A fresh detector of each kind, with river's defaults."""
    from river import drift  # only where it is installed

    return {
        "ADWIN": drift.ADWIN,
        "Page-Hinkley": drift.PageHinkley,
        "KSWIN": lambda: drift.KSWIN(seed=1),
    }


def alarms_of(values: Floats) -> dict[str, tuple[int, float]]:
    """By detector: how many alarms it raised, and which share of the values it saw."""
    found: dict[str, tuple[int, float]] = {}
    for name, make in detectors().items():
        seen = values[:_KSWIN_VALUES] if name == "KSWIN" else values
        detector, alarms = make(), 0
        for value in seen.tolist():
            detector.update(value)
            alarms += detector.drift_detected
        found[name] = alarms, len(seen) / max(len(values), 1)
    return found


def by_value(quick: bool, seed: int) -> dict[str, Any]:
    """Rows until a change of a normal law is found, and false alarms in a million rows without
    one. driftline: panes of 32 rows, a reference of 1e5, at most one false alarm in 1e6 rows."""
    rng = np.random.default_rng((seed, 5))
    laws: dict[str, tuple[Values, Values]] = {"normal": (_normal, _normal)}
    laws["lognormal"] = (_lognormal, _lognormal)
    without = 30_000 if quick else 300_000
    alarms = {name: alarms_of(draw(rng, without)) for name, (draw, _) in laws.items()}
    lines = [
        [f"false alarms in 1e6 rows, {law}", "at most 1"]
        + [f"{count / (share * without) * 1e6:.0f}" for count, share in found.values()]
        for law, found in alarms.items()
    ]
    shown: dict[str, dict[str, float]] = {
        f"false alarms, {law}": {
            name: figure(count / (share * without) * 1e6) for name, (count, share) in found.items()
        }
        for law, found in alarms.items()
    }
    changes = {f"mean {m:g} sd": (m, 1.0) for m in (0.1, 0.25, 0.5, 1.0)}
    changes |= {"sd x1.25": (0.0, 1.25), "sd x1.5": (0.0, 1.5)}
    worst = np.inf
    for name, (mean, sd) in changes.items():
        ours = _ours(shifted(mean, sd), 40 if quick else 200, rng)
        theirs = {
            peer: _delay(make, mean, sd, 3 if quick else 12, rng)
            for peer, make in detectors().items()
        }
        shown[name] = {"driftline": figure(ours)} | {
            peer: figure(rows) for peer, (rows, _) in theirs.items()
        }
        lines.append([name, f"{ours:.0f}"] + [_told(*found) for found in theirs.values()])
        if name.startswith("sd"):
            worst = min(worst, theirs["ADWIN"][0] / ours)
    show(
        "Rows to an alarm, river's defaults (missed: within 20,000 rows)",
        ("change of a normal law", "driftline", *detectors()),
        lines,
    )
    return {"spread_faster_than_adwin": figure(worst), "rows": shown}


def _ours(after: Floats, streams: int, rng: np.random.Generator) -> float:
    law: Law = NORMAL
    panes = _BETWEEN / _ROWS
    watching = Watching(law, streams, _REFERENCE, panes, 0.0, rng, BurstBound.NEVER)
    for pane in panes_of(law.mass, _ROWS, streams, 30, rng):
        watching.see(pane)
    most = 700
    found = np.full(streams, float(most))
    for at, pane in enumerate(panes_of(after, _ROWS, streams, most, rng), start=1):
        for alarm in watching.see(pane):
            found[alarm.watch] = min(found[alarm.watch], at)
        if (found < most).all():
            break
    return float(found.mean() * _ROWS)


def _delay(
    make: Callable[[], Any], mean: float, sd: float, runs: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean rows until found, and the share of misses; a miss counts as found at the end."""
    slow = getattr(make(), "stat_size", None) is not None
    most, before = (2_000, 200) if slow else (20_000, 3_000)
    rows: list[float] = []
    missed = 0
    for _ in range(runs):
        detector = make()
        for value in rng.normal(size=before).tolist():
            detector.update(value)
        for at, value in enumerate(rng.normal(mean, sd, size=most).tolist(), start=1):
            detector.update(value)
            if detector.drift_detected:
                rows.append(at)
                break
        else:
            rows.append(most)
            missed += 1
    return float(np.mean(rows)), missed / runs


def _told(rows: float, missed: float) -> str:
    return f"{rows:.0f}" + (f" ({missed:.0%} missed)" if missed else "")


def _normal(rng: np.random.Generator, rows: int) -> Floats:
    return rng.normal(size=rows)


def _lognormal(rng: np.random.Generator, rows: int) -> Floats:
    """In standard deviations from its mean."""
    values = rng.lognormal(size=rows)
    found: Floats = (values - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    return found
