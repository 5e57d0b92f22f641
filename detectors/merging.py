"""Many summaries of one layout, merged run by run: what :meth:`Summaries.merge` gives one after
another, to the last bit, in a few array operations for all of them.

Blocks stand one after another, and each *run* of them becomes one: the deltas of a pane, the panes
of a window, of every release at once. With compiled kernels all comes to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point
from detectors.categories import CategoryCounts
from detectors.layout import Layout
from detectors.sketch import Sketch
from detectors.summary import Summaries

Ints = NDArray[np.int64]

_CELLS_A_KEY = 16
"""Buckets between the lowest and the highest, to one that is in use: up to so many are counted in a
table of all."""


@dataclass(frozen=True, slots=True)
class MergingKernels:
    """The functions of :mod:`detectors.compiled_merging`, compiled, in its order."""

    add_up: Callable[..., None]
    count_up: Callable[..., bool]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """``vectors``: int64 [blocks, layout.width]; ``extremes``: float64 [blocks, 2, columns].

    ``sketched``: by sketch, the block and the column that it belongs to; ``sizes``: how many
    buckets each has; ``keys``, int32, and ``counts``, int64: the buckets of all of them, end to
    end. ``categories``: by block the columns that have some.
    """

    layout: Layout
    vectors: Ints
    extremes: NDArray[np.float64]
    sketched: Sequence[tuple[int, str]]
    sizes: Sequence[int]
    keys: NDArray[np.int32]
    counts: Ints
    categories: Iterable[tuple[int, Mapping[str, CategoryCounts]]]

    @classmethod
    def of(cls, layout: Layout, summaries: Sequence[Summaries]) -> Blocks:
        """Of summaries that have this layout; at least one."""
        sketched = [
            (at, name, sketch)
            for at, block in enumerate(summaries)
            for name, sketch in block.sketches.items()
        ]
        return cls(
            layout,
            np.concatenate([block.vector for block in summaries]).reshape(-1, layout.width),
            np.concatenate([block.extremes for block in summaries]).reshape(
                len(summaries), 2, len(layout.columns)
            ),
            [(at, name) for at, name, _ in sketched],
            [len(sketch.keys) for _, _, sketch in sketched],
            np.concatenate([np.empty(0, np.int32), *(each.keys for _, _, each in sketched)]),
            np.concatenate([np.empty(0, np.int64), *(each.counts for _, _, each in sketched)]),
            [(at, block.categories) for at, block in enumerate(summaries) if block.categories],
        )


def merge_runs(
    blocks: Blocks, sizes: Sequence[int], kernels: MergingKernels | None = None
) -> list[Summaries]:
    """One value for each run; ``sizes``: how many blocks each has, at least 1, of all blocks."""
    layout = blocks.layout
    if kernels is None:
        sums, extremes = _added(blocks, sizes)
        vectors = _carried(sums, layout)
    else:
        vectors = np.zeros((len(sizes), layout.width), np.int64)
        extremes = np.empty((len(sizes), 2, len(layout.columns)))
        runs = np.array(sizes, np.int64)
        kernels.add_up(blocks.vectors, blocks.extremes, runs, layout.low_mask, vectors, extremes)
    run_of = [run for run, size in enumerate(sizes) for _ in range(size)]
    sketches = _sketches(blocks, run_of, len(sizes), kernels)
    categories: list[dict[str, CategoryCounts]] = [{} for _ in sizes]
    for at, more in blocks.categories:
        kept = categories[run_of[at]]
        for name, counts in more.items():
            known = kept.get(name)
            kept[name] = known.merge(counts) if known is not None else counts
    # Copies: a row that is kept for long must not hold those of all other releases.
    return [
        Summaries(layout, vectors[run].copy(), extremes[run].copy(), sketches[run], categories[run])
        for run in range(len(sizes))
    ]


def merge_alike(
    parts: Sequence[Sequence[Summaries]], kernels: MergingKernels | None = None
) -> list[Summaries]:
    """Each of ``parts``, which are not empty and stand on one reference each, merged."""
    merged: list[Summaries | None] = [None] * len(parts)
    together: dict[Layout, list[int]] = {}
    for at, part in enumerate(parts):
        layout = part[0].layout
        if len(part) == 1:
            merged[at] = part[0]
        elif all(block.layout is layout for block in part):
            together.setdefault(layout, []).append(at)
        else:
            whole = part[0]
            for block in part[1:]:
                whole = whole.merge(block)
            merged[at] = whole
    for layout, places in together.items():
        flat = [block for at in places for block in parts[at]]
        sizes = [len(parts[at]) for at in places]
        runs = merge_runs(Blocks.of(layout, flat), sizes, kernels)
        for at, whole in zip(places, runs, strict=True):
            merged[at] = whole
    return [whole for whole in merged if whole is not None]


def _added(blocks: Blocks, sizes: Sequence[int]) -> tuple[Ints, NDArray[np.float64]]:
    """Sums without carries, and extremes, of each run."""
    vectors, both = blocks.vectors, blocks.extremes
    runs, most = len(sizes), max(sizes)
    if most * runs == len(vectors):
        # Runs of one length, as a rule: several times as fast as what follows.
        cut = vectors.reshape(runs, most, -1)
        edges = both.reshape(runs, most, *both.shape[1:])
        outer = np.empty((runs, *both.shape[1:]))
        edges[:, :, 0].min(axis=1, out=outer[:, 0])
        edges[:, :, 1].max(axis=1, out=outer[:, 1])
        return cut.sum(axis=1), outer
    lengths = np.array(sizes, np.int64)
    starts = lengths.cumsum() - lengths
    lowest = np.minimum.reduceat(both[:, 0], starts, axis=0)
    highest = np.maximum.reduceat(both[:, 1], starts, axis=0)
    return np.add.reduceat(vectors, starts, axis=0), np.stack((lowest, highest), axis=1)


def _carried(vectors: Ints, layout: Layout) -> Ints:
    """Low words are below 2**32 each, so carrying once is enough for 2**31 blocks. All words are
    gone through, of which others carry nothing: picking out the low ones costs more."""
    carried = (vectors & layout.low_mask) >> fixed_point.WORD
    vectors[:, :-1] += carried[:, 1:]
    vectors -= carried << fixed_point.WORD
    return vectors


def _sketches(
    blocks: Blocks, run_of: Sequence[int], runs: int, kernels: MergingKernels | None
) -> list[dict[str, Sketch]]:
    """By run, the sketch of each column: counts of equal buckets added up."""
    found: list[dict[str, Sketch]] = [{} for _ in range(runs)]
    columns: dict[tuple[int, str], int] = {}
    column_of = [
        columns.setdefault((run_of[at], name), len(columns)) for at, name in blocks.sketched
    ]
    if not len(blocks.keys):
        for run, name in columns:
            found[run][name] = Sketch.empty()
        return found
    most = _CELLS_A_KEY * len(blocks.keys)
    by_kernel = None
    if kernels is not None:
        by_kernel = _counted_by(kernels, blocks, column_of, len(columns), most)
    keys, counts, ends = by_kernel or _apart(blocks, column_of, len(columns), most)
    begin = 0
    for (run, name), end in zip(columns, ends, strict=True):
        found[run][name] = Sketch(keys[begin:end].copy(), counts[begin:end].copy())
        begin = end
    return found


def _counted_by(
    kernels: MergingKernels, blocks: Blocks, column_of: Sequence[int], columns: int, most: int
) -> tuple[NDArray[np.int32], Ints, list[int]] | None:
    """As :func:`_apart`, where a table of all is small enough."""
    keys, counts = np.empty_like(blocks.keys), np.empty_like(blocks.counts)
    ends = np.empty(columns, np.int64)
    sketched = np.array((column_of, blocks.sizes), np.int64)
    if kernels.count_up(sketched, blocks.keys, blocks.counts, most, keys, counts, ends):
        return keys, counts, ends.tolist()
    return None


def _apart(
    blocks: Blocks, column_of: Sequence[int], columns: int, most: int
) -> tuple[NDArray[np.int32], Ints, list[int]]:
    """The buckets of each column end to end, their counts, and where those of each end. ``most``:
    how many cells a table of all may have."""
    lowest = int(blocks.keys.min())
    width = int(blocks.keys.max()) - lowest + 1
    cells = columns * width
    # Column and bucket in one number, so that what belongs together is equal.
    joint = (np.array(column_of, np.int64) * width - lowest).repeat(blocks.sizes)
    joint += blocks.keys
    if cells <= most:
        places, counts = _in_a_table(joint, blocks.counts, cells)
    else:
        places, counts = _sorted(joint, blocks.counts)
    keys = (places % width + lowest).astype(np.int32)
    ends = places.searchsorted(np.arange(width, cells + 1, width)).tolist()
    return keys, counts, ends


def _in_a_table(places: Ints, counts: Ints, cells: int) -> tuple[Ints, Ints]:
    """The places that occur, in order, and the sum of the counts at each, which are positive: with
    a cell for every place there can be."""
    table = np.zeros(cells, np.int64)
    np.add.at(table, places, counts)
    # Twice as fast as asking the numbers themselves.
    found = (table != 0).nonzero()[0]
    return found, table.take(found)


def _sorted(places: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """The same by sorting, where few of the cells are in use."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[first], np.add.reduceat(counts[order], first)
