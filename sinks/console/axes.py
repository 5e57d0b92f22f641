"""Scales and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_STEPS_MS: Final = (
    *(1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000),
    *(3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000),
    *(604_800_000, 1_209_600_000, 2_592_000_000),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """From ``low``..``high`` of the data to ``start``..``end`` of the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where ``value`` is drawn; what lies outside is drawn at the edge."""
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def fitted(
    values: Iterable[float], start: float, end: float, *, with_zero: bool = False
) -> tuple[Scale, list[float]]:
    """A scale that holds all ``values``, and its ticks: round numbers, three to six of them.

    >>> fitted([0.2, 9.7], 0, 100)
    (Scale(low=0.0, high=10.0, start=0, end=100), [0.0, 5.0, 10.0])
    """
    finite = [v for v in values if math.isfinite(v)] + ([0.0] if with_zero else [])
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        # A flat line: the numbers next to it must still differ from each other when written.
        low, high = (0.0, 1.0) if low == 0 else (low - abs(low) * 0.1, high + abs(high) * 0.1)
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [step * i for i in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], start, end), ticks


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)


def time_ticks(from_ms: int, to_ms: int, most: int = 7) -> list[tuple[int, str]]:
    """Round points in time (UTC) and how they are written, at most ``most`` of them.

    >>> time_ticks(1_686_650_400_000, 1_686_657_600_000, 4)
    [(1686650400000, '10:00'), (1686654000000, '11:00'), (1686657600000, '12:00')]
    """
    length = max(to_ms - from_ms, 1)
    step = next((s for s in _STEPS_MS if length / s <= most - 1), length)
    first = -(-from_ms // step) * step
    form = "%H:%M:%S" if step < 60_000 else "%H:%M" if length <= 86_400_000 else "%d %b"
    if form == "%d %b" and step < 86_400_000:
        form = "%d %b %H:%M"
    return [
        (at, f"{datetime.fromtimestamp(at // 1000, UTC):{form}}")
        for at in range(first, to_ms + 1, step)
    ]
