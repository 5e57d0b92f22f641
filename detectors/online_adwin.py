"""ADWIN: a window that shrinks when two of its parts have unlike means.

The window is kept as an exponential histogram: at most ``max_buckets + 1`` buckets of each size 1,
2, 4, ..., each with its sum and its sum of squared deviations. Every ``clock`` values each cut of
the window into an older part of n0 and a newer part of n1 values is tried; it shows a change if

    |mean0 - mean1| > sqrt(2 v d / m) + 2 d / (3 m),
    d = ln(2 ln(n) / delta),  1 / m = 1 / (n0 - min + 1) + 1 / (n1 - min + 1),

v the variance of the window. (Bifet and Gavalda, "Learning from time-changing data with adaptive
windowing", SIAM SDM 2007; the forms of m and v are those of the library river, and the alarms are
the same as its, value by value.) The bound holds for one cut, one look and values in [0, 1]; over
time the window is cut again and again, so it is no false-alarm budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Memory = tuple[float, ...]
"""All that a method remembers, as numbers; () before the first value."""
Parameters = Mapping[str, float]

MOST_ROWS = 48
"""Buckets of 2**48 values are never filled."""
MOST_VALUES = float(2**53)
"""What a count read from outside may be: above it doubles skip integers."""
_HEAD = 4


@dataclass(slots=True)
class _Row:
    """Buckets of one size, the oldest first: sums and sums of squared deviations."""

    totals: list[float]
    squares: list[float]


def update(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """After one more value: the memory, whether a change is shown (then the memory is empty), and
    the largest difference tried, as a share of its bound (0 where none was tried).

    >>> update((), 0.5, {"max_buckets": 5, "clock": 1, "grace_period": 10})[1:]
    (False, 0.0)
    """
    tick, width, total, squares = memory[:_HEAD] if memory else (0.0, 0.0, 0.0, 0.0)
    rows = _rows(memory)
    rows[0].totals.append(value)
    rows[0].squares.append(0.0)
    if width:
        away = value - total / width
        squares += width * away * away / (width + 1.0)
    width += 1.0
    total += value
    tick += 1.0
    _compress(rows, int(p["max_buckets"]))
    highest = 0.0
    if tick % p["clock"] == 0 and width > p["grace_period"]:
        highest = _highest_cut(rows, width, total, squares, p)
    if highest > 1.0:
        return (), True, highest
    return _flat(rows, (tick, width, total, squares)), False, highest


def readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of this method."""
    if not memory:
        return True
    if len(memory) <= _HEAD or not all(map(math.isfinite, memory)):
        return False
    tick, width, _, squares = memory[:_HEAD]
    at, row, counted = _HEAD, 0, 0
    while at < len(memory):
        buckets = memory[at]
        if row >= MOST_ROWS or buckets < 0 or buckets != int(buckets) or buckets > len(memory):
            return False
        counted += int(buckets) << row
        at, row = at + 1 + 2 * int(buckets), row + 1
    return at == len(memory) and counted == width and tick >= width and squares >= 0


def _highest_cut(
    rows: list[_Row], width: float, total: float, squares: float, p: Parameters
) -> float:
    least = p["min_window_length"]
    certainty = math.log(2.0 * math.log(width) / p["delta"])
    spread = 2.0 * certainty * max(squares, 0.0) / width
    older, older_total = 0.0, 0.0
    highest = 0.0
    for exponent in range(len(rows) - 1, -1, -1):
        for bucket in rows[exponent].totals:
            older += 1 << exponent
            older_total += bucket
            newer = width - older
            if newer < least:
                return highest
            if older < least:
                continue
            per_value = 1.0 / (older - least + 1.0) + 1.0 / (newer - least + 1.0)
            bound = math.sqrt(spread * per_value) + 2.0 / 3.0 * certainty * per_value
            apart = abs(older_total / older - (total - older_total) / newer)
            highest = max(highest, apart / bound)
    return highest


def _compress(rows: list[_Row], most: int) -> None:
    """Merge the two oldest buckets of a size into one of the next where there are too many."""
    for exponent, row in enumerate(rows):
        if len(row.totals) <= most:
            return
        if exponent + 1 == len(rows):
            rows.append(_Row([], []))
        size = float(1 << exponent)
        first, second = row.totals[:2]
        between = (first - second) / size
        merged = row.squares[0] + row.squares[1] + size * between * between / 2.0
        rows[exponent + 1].totals.append(first + second)
        rows[exponent + 1].squares.append(merged)
        del row.totals[:2], row.squares[:2]


def _rows(memory: Memory) -> list[_Row]:
    rows: list[_Row] = []
    at = _HEAD
    while at < len(memory):
        buckets = int(memory[at])
        middle, end = at + 1 + buckets, at + 1 + 2 * buckets
        rows.append(_Row(list(memory[at + 1 : middle]), list(memory[middle:end])))
        at = end
    return rows or [_Row([], [])]


def _flat(rows: list[_Row], head: Memory) -> Memory:
    flat = list(head)
    for row in rows:
        flat.append(float(len(row.totals)))
        flat += row.totals
        flat += row.squares
    return tuple(flat)
