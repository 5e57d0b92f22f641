"""How both arms of a pane are read, for numba; see :mod:`detectors.compiled_canary`.

**Guarantee.** Every count and every bit is that of :mod:`detectors.canary_counts` and
:mod:`detectors.canary_cells`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.canary_cells import FIRST_NORMAL, MANTISSAS
from detectors.canary_counts import CANCELS, FAILED, HIGH, PREDICTIONS
from detectors.canary_reading import ReadingKernels
from detectors.compiled_parts import entry, larger, part
from detectors.compiled_types import B1, F1, F3, I1, I2, I3, tuple_of
from detectors.fixed_point import STEPS
from detectors.layout import (
    CLIPPED_FIRST,
    CLIPPED_SECOND,
    FIRST_HIGH,
    FIRST_LOW,
    SECOND_HIGH,
    SECOND_LOW,
    N,
)


@part
def _shares(table: Any, vector: Any, named: Any, cells: Any) -> None:
    """Cells but for those of tails."""
    failures, source, others, other_n, categories, category_starts = table[:6]
    absent, there_at, expected, seen = table[6:10]
    width = vector.size
    for c in range(source.size):
        at = source[c]
        if at < width:
            cells[c] = vector[at]
        else:
            cells[c] = named[at - width - 1] if at > width else 0
    if failures >= 0:
        failed = vector[FAILED]
        cells[failures] = max(vector[PREDICTIONS] - failed, 0)
        cells[failures + 1] = failed
    for k in range(others.size):
        stop = category_starts[k + 1] if k + 1 < others.size else categories.size
        known = 0
        for c in range(category_starts[k], stop):
            known += cells[categories[c]]
        cells[others[k]] = max(vector[other_n[k]] - known, 0)
    for q in range(absent.size):
        there = 0
        for i in range(there_at.shape[0]):
            at = there_at[i, q]
            there += vector[at] if at < width else 0
        nulls = max(vector[expected[q]] - there, 0) if seen[q] else 0
        cells[absent[q] - 1] = there
        cells[absent[q]] = vector[PREDICTIONS] if there | nulls == 0 else nulls


def read(
    table: Any,
    vectors: Any,
    named: Any,
    which: Any,
    cells: Any,
    n: Any,
    mean: Any,
    sd: Any,
    doubtful: Any,
) -> Any:
    """Arms in the cells of a cast, and the moments of its levels. ``vectors``: [arms, width];
    ``which``: the arm on either side of each pane, [2, P]. Returns whether any moment is
    ``doubtful``, [2, P, L]."""
    slots, sketched, centre, scale, coarse_mean, coarse_sd = table[10:]
    any_doubtful = False
    for side in range(which.shape[0]):
        for p in range(which.shape[1]):
            vector = vectors[which[side, p]]
            _shares(table, vector, named[which[side, p]], cells[side, p])
            for i in range(slots.size):
                at = slots[i]
                if at >= vector.size:
                    # The column is not there: its slots hold nothing.
                    n[side, p, i] = 0
                    mean[side, p, i] = centre[i] + scale[i] * 0.0
                    sd[side, p, i] = scale[i] * 0.0
                    doubtful[side, p, i] = False
                    continue
                count = vector[at + N]
                values = np.float64(max(count, 1)) * STEPS
                first = np.float64(vector[at + FIRST_HIGH]) * HIGH
                first = (first + np.float64(vector[at + FIRST_LOW])) / values
                second = np.float64(vector[at + SECOND_HIGH]) * HIGH
                second = (second + np.float64(vector[at + SECOND_LOW])) / values
                variance = second - first * first
                middle = centre[i] + scale[i] * first
                spread = scale[i] * np.sqrt(larger(variance, 0.0))
                coarse = (vector[at + CLIPPED_FIRST] | vector[at + CLIPPED_SECOND]) != 0
                coarse |= abs(middle) < coarse_mean[i] or spread < coarse_sd[i]
                doubt = variance <= CANCELS * second or (sketched[i] and coarse)
                n[side, p, i], mean[side, p, i], sd[side, p, i] = count, middle, spread
                doubtful[side, p, i] = doubt and count > 0
                any_doubtful |= doubtful[side, p, i]
    return any_doubtful


@part
def _moved(keys: Any, at: Any, shrunk: Any, moves: Any) -> Any:
    key = np.int64(keys[at])
    return key + moves[key & MANTISSAS] if shrunk else key


def cut(
    levels: Any,
    begins: Any,
    shrunk: Any,
    moves: Any,
    keys: Any,
    counts: Any,
    ends: Any,
    arms: Any,
    which: Any,
    cells: Any,
) -> Any:
    """Both arms of each pane between the quantiles ``levels`` of both together, for every tail.
    ``ends``: where the sketches of a tail end, by arm, with a zero before. False where a canary has
    values so small that its buckets cannot be moved."""
    for t in range(begins.size):
        for p in range(which.shape[1]):
            ours, theirs = t * arms + which[0, p], t * arms + which[1, p]
            i, i_stop, j, j_stop = ends[ours], ends[ours + 1], ends[theirs], ends[theirs + 1]
            if shrunk[t] and i < i_stop and keys[i] < FIRST_NORMAL:
                return False
            every = 0
            for at in range(i, i_stop):
                every += counts[at]
            mine = every
            for at in range(j, j_stop):
                every += counts[at]
            seen_mine = seen_other = before_mine = before_other = 0
            into = begins[t]
            for level in range(levels.size):
                rank = np.int64(np.ceil(levels[level] * every))
                while seen_mine + seen_other < rank and (i < i_stop or j < j_stop):
                    if j >= j_stop:
                        key = _moved(keys, i, shrunk[t], moves[t])
                    elif i >= i_stop:
                        key = np.int64(keys[j])
                    else:
                        key = min(_moved(keys, i, shrunk[t], moves[t]), np.int64(keys[j]))
                    while i < i_stop and _moved(keys, i, shrunk[t], moves[t]) == key:
                        seen_mine += counts[i]
                        i += 1
                    while j < j_stop and np.int64(keys[j]) == key:
                        seen_other += counts[j]
                        j += 1
                cells[0, p, into + level] = seen_mine - before_mine
                cells[1, p, into + level] = seen_other - before_other
                before_mine, before_other = seen_mine, seen_other
            cells[0, p, into + levels.size] = mine - before_mine
            cells[1, p, into + levels.size] = every - mine - before_other
    return True


def compile_reading(*, cache: bool) -> ReadingKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    types = ["int64", *[I1] * 6, I2, I1, B1, I1, B1, *[F1] * 4]
    table = tuple_of(*types)
    flags = "boolean[:,:,::1]"
    read_types = f"{table}, {I2}, {I2}, {I2}, {I3}, {I3}, {F3}, {F3}, {flags}"
    cut_types = f"{F1}, {I1}, {B1}, int32[:,::1], int32[::1], {I1}, {I1}, int64, {I2}, {I3}"
    return ReadingKernels(
        entry(read, f"boolean({read_types})", cache), entry(cut, f"boolean({cut_types})", cache)
    )
