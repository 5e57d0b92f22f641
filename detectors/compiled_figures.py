"""The figures of every column of a window, for numba.

**Guarantee.** What :mod:`detectors.column_figures` makes of the same summaries without it, to the
last bit; it says what each line is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.compiled_parts import entry, part
from detectors.compiled_types import B1, F2, F3, I1, I2, I3, tuple_of
from detectors.fixed_point import STEPS, WORD
from detectors.sketch import RELATIVE_ERROR, SQUARE_ERROR

_ROOM = 1 << (62 - WORD)
_EXACT = 1 << 53
"""Whole numbers up to here are doubles as they are."""
_MOST = 1 << 40
_HALF, _LOW = np.uint64(32), np.uint64((1 << 32) - 1)
_ONE, _NONE, _TOP = np.uint64(1), np.uint64(0), np.uint64(63)
_UP, _DOWN = np.uint64(20), np.uint64(44)
"""A sum in steps is shifted by the bits of a step, and takes up what runs out of its low word."""


@part
def _sum(a: Any, b: Any) -> Any:
    """Runs over as numpy's does: of signed words the compiler may take it that none does."""
    return np.int64(np.uint64(a) + np.uint64(b))


@part
def _less(a: Any, b: Any) -> Any:
    return np.int64(np.uint64(a) - np.uint64(b))


@part
def _product(a: Any, b: Any) -> Any:
    """Of two unsigned words, in two: the high one first."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW, b >> _HALF, b & _LOW
    low, left, right = a_low * b_low, a_high * b_low, a_low * b_high
    middle = (low >> _HALF) + (left & _LOW) + (right & _LOW)
    high = a_high * b_high + (left >> _HALF) + (right >> _HALF) + (middle >> _HALF)
    return high, (low & _LOW) | (middle << _HALF)


@part
def _double(high: Any, low: Any) -> Any:
    """The double next to what two words stand for, as Python rounds a whole number."""
    unit, lost = 1.0, _NONE
    while high != _NONE:
        # What falls out at the low end counts for ties alone.
        lost |= low & _ONE
        low = (low >> _ONE) | (high << _TOP)
        high >>= _ONE
        unit *= 2.0
    return np.float64(low | lost) * unit


@part
def _root_of_spread(first: Any, second: Any, count: Any) -> Any:
    """Of ``second * count * STEPS - first * first``, 0 where that is not positive."""
    high, low = _product(np.uint64(second), np.uint64(count))
    high, low = (high << _UP) | (low >> _DOWN), low << _UP
    high_2, low_2 = _product(np.uint64(abs(first)), np.uint64(abs(first)))
    if high < high_2 or (high == high_2 and low <= low_2):
        return 0.0
    return np.sqrt(_double(high - high_2 - (_ONE if low < low_2 else _NONE), low - low_2))


def figures(table: Any, vectors: Any, counts: Any, values: Any, look: Any) -> None:
    """``table``: where figures stand, see :class:`detectors.column_figures.Places`; ``vectors``,
    [summaries, width]; ``counts`` and ``values``: of :class:`detectors.column_figures.Figures`,
    [4, summaries, columns]; ``look``, [summaries, columns]: 1 where the moments may be too coarse,
    2 where they are none that fit here."""
    told, is_expected, other, numeric, moments, grids = table
    columns = is_expected.size
    for s in range(vectors.shape[0]):
        mine = vectors[s]
        for c in range(columns):
            n, errors = mine[told[c]], mine[told[columns + c]]
            there = _sum(n, errors)
            nulls = _less(mine[told[2 * columns + c]], there)
            if other[c] >= 0:
                nulls = _less(nulls, _sum(mine[told[other[c]]], mine[told[columns + other[c]]]))
            nulls = max(nulls, 0) if is_expected[c] else 0
            rows = _sum(there, nulls)
            counts[0, s, c], counts[1, s, c], counts[2, s, c], counts[3, s, c] = (
                n,
                rows,
                errors,
                nulls,
            )
            values[0, s, c], values[1, s, c], values[3, s, c] = np.nan, np.nan, np.nan
            values[2, s, c] = nulls / rows if 0 <= nulls <= rows and rows > 0 else np.nan
            look[s, c] = 0
        for m in range(numeric.size):
            c = numeric[m]
            count = counts[0, s, c]
            if count == 0:
                continue
            high, low = mine[moments[2, m]], mine[moments[3, m]]
            high_2, low_2 = mine[moments[4, m]], mine[moments[5, m]]
            fits = -_ROOM < high < _ROOM and -_ROOM < high_2 < _ROOM and 0 < count <= _MOST
            first, second = _sum(high << WORD, low), _sum(high_2 << WORD, low_2)
            if not (fits and -_EXACT <= first <= _EXACT and 0 <= second <= _EXACT):
                look[s, c] = 2
                continue
            center, scale, step, square_step = grids[m]
            mean = center + scale * (first / count / STEPS)
            sd = scale * _root_of_spread(first, second, count) / (count * STEPS)
            values[0, s, c], values[1, s, c] = mean, sd
            if count >= 2 and np.isfinite(mean) and np.isfinite(sd):
                values[3, s, c] = mean
            if (
                mine[moments[0, m]] != 0
                or mine[moments[1, m]] != 0
                or abs(mean) * RELATIVE_ERROR < step
                or sd * sd * SQUARE_ERROR < square_step
            ):
                look[s, c] = 1


def compile_figures(*, cache: bool) -> Callable[..., None]:
    """The kernel, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled_canary.compile_canary`."""
    types = f"{tuple_of(I1, B1, I1, I1, I2, F2)}, {I2}, {I3}, {F3}, int8[:,::1]"
    compiled: Callable[..., None] = entry(figures, f"void({types})", cache)
    return compiled
