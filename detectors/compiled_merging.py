"""How runs of summaries are added up, and the sketches of equal columns in them, for numba.

**Guarantee.** Sums, extremes, buckets and counts are those of :mod:`detectors.merging` without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.compiled_parts import entry, larger, smaller
from detectors.compiled_types import F3, I1, I2
from detectors.fixed_point import WORD
from detectors.merging import MergingKernels


def add_up(vectors: Any, extremes: Any, sizes: Any, low_mask: Any, sums: Any, outer: Any) -> None:
    """``vectors``: [blocks, width], and ``extremes``: [blocks, 2, columns], of runs of so many
    blocks, at least one; ``low_mask``: of the layout. ``sums``: zeros, [runs, width], and
    ``outer``: [runs, 2, columns], become those of each run."""
    at = 0
    for run in range(sizes.shape[0]):
        row, low, high = sums[run], outer[run, 0], outer[run, 1]
        for c in range(low.shape[0]):
            low[c], high[c] = extremes[at, 0, c], extremes[at, 1, c]
        stop = at + sizes[run]
        while at < stop:
            for i in range(row.shape[0]):
                row[i] += vectors[at, i]
            for c in range(low.shape[0]):
                low[c] = smaller(low[c], extremes[at, 0, c])
                high[c] = larger(high[c], extremes[at, 1, c])
            at += 1
        # Low words stand behind their high ones, never side by side.
        for i in range(1, row.shape[0]):
            carried = (row[i] & low_mask[i]) >> WORD
            row[i - 1] += carried
            row[i] -= carried << WORD


def count_up(
    sketched: Any,
    keys: Any,
    counts: Any,
    most: Any,
    new_keys: Any,
    new_counts: Any,
    ends: Any,
) -> bool:
    """``sketched``: the column and the size of each sketch, [2, sketches], whose ``keys`` (one at
    least) and ``counts`` stand end to end. The new ones stand end to end too; ``ends``: where those
    of each column do. False, and nothing done, if a table of all buckets of all columns had more
    than ``most`` cells."""
    lowest = highest = np.int64(keys[0])
    for i in range(keys.shape[0]):
        lowest, highest = min(lowest, np.int64(keys[i])), max(highest, np.int64(keys[i]))
    width = highest - lowest + 1
    if ends.shape[0] * width > most:
        return False
    table = np.zeros((ends.shape[0], width), np.int64)
    at = 0
    for s in range(sketched.shape[1]):
        row = table[sketched[0, s]]
        stop = at + sketched[1, s]
        while at < stop:
            row[keys[at] - lowest] += counts[at]
            at += 1
    into = 0
    for c in range(table.shape[0]):
        for bucket in range(width):
            if table[c, bucket] != 0:
                new_keys[into] = bucket + lowest
                new_counts[into] = table[c, bucket]
                into += 1
        ends[c] = into
    return True


def compile_merging(*, cache: bool) -> MergingKernels:
    """The kernels, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`."""
    keys = "int32[::1]"
    return MergingKernels(
        entry(add_up, f"void({I2}, {F3}, {I1}, {I1}, {I2}, {F3})", cache),
        entry(count_up, f"boolean({I2}, {keys}, {I1}, int64, {keys}, {I1}, {I1})", cache),
    )
