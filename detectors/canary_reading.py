"""Both arms of panes read with compiled kernels: :func:`detectors.canary_counts.read_arms` and
:func:`detectors.canary_cells.tail_cells` in two calls, to the same bits.

Where cells are not those of the layout, where releases have unlike columns, or values are too small
for a bucket to be moved, nothing is read here and the plain form is asked. No numba here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.canary_cast import Cast
from detectors.canary_cells import TAIL_QUANTILES, bucket_moves
from detectors.canary_counts import ArmCounts, Reader, reader_of
from detectors.canary_metric import ArmsPane
from detectors.kernel_arrays import kernel_arrays
from detectors.sketch import Sketch
from detectors.summary import Summaries

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_UNMOVED = bucket_moves(1.0)
_NO_KEYS, _NO_COUNTS = np.empty(0, np.int32), np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class ReadingKernels:
    """The functions of :mod:`detectors.compiled_reading`, compiled, in its order."""

    read: Callable[..., bool]
    cut: Callable[..., bool]


@lru_cache(maxsize=512)
def _table_of(reader: Reader) -> tuple[Any, ...]:
    """A reader as the kernels have it. Behind the vector stand a zero, and the counts of categories
    without a bin."""
    source, extra = reader.source.copy(), reader.width + 1
    for _, wanted in reader.named:
        for cell, _ in wanted:
            source[cell] = extra
            extra += 1
    levels = reader.levels
    return kernel_arrays(
        reader.failures,
        source,
        *(reader.others, reader.other_n, reader.categories, reader.category_starts),
        *(reader.absent, reader.there, reader.expected, reader.seen),
        *(np.array(levels.slots, np.int64), levels.sketched, levels.centre, levels.scale),
        *(levels.coarse_mean, levels.coarse_sd),
    )


@lru_cache(maxsize=512)
def _tails_of(cast: Cast) -> tuple[tuple[str, ...], Counts, NDArray[np.bool_], NDArray[np.int32]]:
    """Of each tail with cells its column, where they begin, whether the canary's values are divided
    first, and by how many buckets they move then, by mantissa."""
    found = []
    for at in cast.tails:
        basis = cast.parts[at].basis
        if basis is not None:
            found.append((cast.parts[at].column, int(cast.starts[at]), basis.shrink))
    return (
        tuple(column for column, _, _ in found),
        np.array([begin for _, begin, _ in found], np.int64),
        np.array([shrink != 1.0 for _, _, shrink in found], np.bool_),
        # Of the same width where no tail has cells yet.
        np.array([bucket_moves(shrink) for _, _, shrink in found], np.int32).reshape(
            len(found), len(_UNMOVED)
        ),
    )


def read_by(kernels: ReadingKernels, cast: Cast, panes: Sequence[ArmsPane]) -> ArmCounts | None:
    """Both arms of each pane in the cells of the cast, [2, panes, ...]; None where that is for the
    plain form."""
    sides = [pane.canary for pane in panes], [pane.production for pane in panes]
    arms = {id(arm): arm for side in sides for arm in side}
    every = tuple(arms.values())
    layout = every[0].layout
    if any(arm.layout is not layout for arm in every):
        return None
    reader = reader_of(cast, layout)
    if reader.levels.unbinned:
        return None
    place = dict(zip(arms, range(len(arms)), strict=True))
    which = np.array([[place[id(arm)] for arm in side] for side in sides])
    vectors = np.array([arm.vector for arm in every])
    cells = np.empty((2, len(panes), cast.width), np.int64)
    n = np.empty((2, len(panes), len(cast.levels)), np.int64)
    mean, sd = np.empty(n.shape), np.empty(n.shape)
    doubtful = np.empty(n.shape, np.bool_)
    table = _table_of(reader)
    if kernels.read(table, vectors, _named(reader, every), which, cells, n, mean, sd, doubtful):
        for arm, pane, level in np.argwhere(doubtful).tolist():
            column = every[which[arm, pane]].numeric(reader.levels.columns[level])
            if column is not None:
                mean[arm, pane, level], sd[arm, pane, level] = column.mean, column.sd
    if len(cast.tails) and not _cut(kernels, cast, every, which, cells):
        return None
    return ArmCounts(cells, n, mean, sd, (frozenset(),) * len(panes))


def _named(reader: Reader, arms: Sequence[Summaries]) -> Counts:
    """Counts of categories without a bin, in the order of the table."""
    found = np.zeros((len(arms), sum(len(wanted) for _, wanted in reader.named)), np.int64)
    first = 0
    for column, wanted in reader.named:
        for row, arm in zip(found, arms, strict=True):
            kept = arm.categories.get(column)
            if kept is not None:
                row[first : first + len(wanted)] = [kept.counts.get(name, 0) for _, name in wanted]
        first += len(wanted)
    return found


def _cut(
    kernels: ReadingKernels, cast: Cast, arms: Sequence[Summaries], which: Counts, cells: Counts
) -> bool:
    """Fill the cells of tails; False where values are too small to be moved."""
    columns, begins, shrunk, moves = _tails_of(cast)
    sketches = [arm.sketches.get(column, _EMPTY) for column in columns for arm in arms]
    keys = np.concatenate([_NO_KEYS, *[sketch.keys for sketch in sketches]])
    counts = np.concatenate([_NO_COUNTS, *[sketch.counts for sketch in sketches]])
    ends = np.array([0, *accumulate([len(sketch.keys) for sketch in sketches])])
    return kernels.cut(
        TAIL_QUANTILES, begins, shrunk, moves, keys, counts, ends, len(arms), which, cells
    )


_EMPTY = Sketch.empty()
