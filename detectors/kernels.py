"""From columns of values to summaries, for many groups at once.

A *group* is one (release, segment, pane). Rows come sorted by group, so that each group is a slice
and no Python runs per row: sums are differences of one cumulative sum, histograms are counts of
comparisons for big groups and one bincount for many small ones. Only integers are added, so the
result does not depend on how rows were batched.

Where numba is installed, :mod:`detectors.compiled` counts the same in one pass over a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point
from detectors.categories import CategoryCounts
from detectors.layout import (
    CLIPPED_FIRST,
    CLIPPED_SECOND,
    ERRORS,
    FIRST_HIGH,
    FIRST_LOW,
    HEADERS,
    SECOND_HIGH,
    SECOND_LOW,
    ColumnSpec,
    Kind,
    Layout,
    N,
)
from detectors.scratch import Scratch
from detectors.sketch import Sketch, bucket_of
from detectors.summary import Summaries, no_extremes

_BIG_GROUP = 512
"""Rows per group from which counting comparisons beats searching each value's bin."""
_DENSE_CELLS = 1 << 22
"""Largest table that is counted densely; beyond it the combinations are sorted instead."""
_CHUNK = 16384
_NO_ORDER = np.empty(0, np.int64)
"""For compiled code: the rows stand sorted."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Dictionary-coded text: ``codes`` int32 [rows], -1 for no value; ``names`` by code."""

    codes: NDArray[np.int32]
    names: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one model by group. ``starts``: int64 [groups + 1], the slice of each group.

    ``headers``: int64 [groups, headers], the event counts. ``numeric``: float64 [rows], NaN for no
    value; ``texts``: codes per column; ``errors``: int64 [groups] per column. ``order``: int64,
    which rows of the columns the slices are of, one after the other; None: they stand sorted.
    """

    starts: NDArray[np.int64]
    headers: NDArray[np.int64]
    numeric: Mapping[str, NDArray[np.float64]]
    texts: Mapping[str, Codes]
    errors: Mapping[str, NDArray[np.int64]]
    order: NDArray[np.int64] | None = None

    @property
    def groups(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class CompiledKernels:
    """``numbers`` and ``codes``: ``count_numbers`` and ``count_codes`` of
    :mod:`detectors.compiled`, compiled."""

    numbers: Callable[..., None]
    codes: Callable[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class Workshop:
    """Compiled kernels with the room they work in. Not for use by several threads at once."""

    kernels: CompiledKernels
    scratch: Scratch = field(default_factory=Scratch.new)


def summarize(rows: Rows, layout: Layout, workshop: Workshop | None = None) -> list[Summaries]:
    """Summaries of each group. Columns that the layout does not have are passed over. The result
    is the same to the last bit with a ``workshop`` and without."""
    groups = rows.groups
    matrix = np.zeros((groups, layout.width), np.int64)
    matrix[:, : len(HEADERS)] = rows.headers
    extremes = np.tile(no_extremes(len(layout.columns)), (groups, 1, 1))
    sketches: list[dict[str, Sketch]] = [{} for _ in range(groups)]
    categories: list[dict[str, CategoryCounts]] = [{} for _ in range(groups)]
    for index, spec in enumerate(layout.columns):
        start = layout.starts[spec.key]
        slots = matrix[:, start : start + spec.width]
        if spec.kind is Kind.NUMERIC and spec.name in rows.numeric:
            if workshop is None:
                _numeric(rows, spec, slots, extremes[:, :, index], sketches)
            else:
                _numeric_compiled(rows, spec, slots, extremes[:, :, index], sketches, workshop)
        elif spec.kind is Kind.CATEGORICAL and spec.name in rows.texts:
            _categorical(rows, spec, slots, categories, workshop)
        # A column's unreadable values are told once, with its numeric half where it has one.
        if spec.name in rows.errors and (
            spec.kind is Kind.NUMERIC or (spec.name, Kind.NUMERIC) not in layout.starts
        ):
            slots[:, ERRORS] += rows.errors[spec.name]
    return [
        Summaries(layout, matrix[g], extremes[g], sketches[g], categories[g]) for g in range(groups)
    ]


def _numeric(
    rows: Rows,
    spec: ColumnSpec,
    slots: NDArray[np.int64],
    extremes: NDArray[np.float64],
    sketches: list[dict[str, Sketch]],
) -> None:
    every = rows.numeric[spec.name]
    values, starts = _present(every if rows.order is None else every[rows.order], rows.starts)
    counts = np.diff(starts)
    slots[:, N] = counts
    if not len(values):
        return
    for a in range(rows.groups):
        low, high = starts[a], starts[a + 1]
        if high > low:
            part = values[low:high]
            # Adding zero turns -0.0 into 0.0: which of the two is "less" depends on the order.
            extremes[a] = part.min() + 0.0, part.max() + 0.0
            _sums(part, spec, slots[a])
    if spec.edges:
        slots[:, spec.first_bin :] = histogram(values, starts, np.array(spec.edges))
    if spec.sketch:
        for group, sketch in enumerate(group_sketches(values, starts)):
            if len(sketch.keys):
                sketches[group][spec.name] = sketch


def _numeric_compiled(
    rows: Rows,
    spec: ColumnSpec,
    slots: NDArray[np.int64],
    extremes: NDArray[np.float64],
    sketches: list[dict[str, Sketch]],
    workshop: Workshop,
) -> None:
    edges = np.array(spec.edges, np.float64)
    # The kernels know one type of array each: float64, contiguous. Read-only ones are not copied.
    values = np.require(rows.numeric[spec.name], np.float64, "C")
    # A place more than there can be buckets: the kernel writes before it knows that one is empty.
    most = int(rows.starts[-1] - rows.starts[0]) + 1
    keys, counts = np.empty(most, np.int32), np.empty(most, np.int64)
    ends = np.zeros(rows.groups, np.int64)
    found = np.zeros((rows.groups, spec.width), np.int64)
    range_bits = np.zeros((rows.groups, 2), np.int64)
    workshop.kernels.numbers(
        values,
        _NO_ORDER if rows.order is None else rows.order,
        rows.starts,
        edges,
        bucket_of(edges).astype(np.int64),
        spec.grid.center,
        1.0 / spec.grid.scale,
        found,
        range_bits,
        keys,
        counts,
        ends,
        workshop.scratch,
    )
    slots += found
    there = found[:, N] > 0
    extremes[there] = range_bits.view(np.float64)[there]
    if not spec.sketch:
        return
    # Copies: the room for as many buckets as rows is given back.
    keys, counts = keys[: ends[-1]].copy(), counts[: ends[-1]].copy()
    at = 0
    for group, end in enumerate(ends.tolist()):
        if end > at:
            sketches[group][spec.name] = Sketch(keys[at:end], counts[at:end])
        at = end


def _sums(values: NDArray[np.float64], spec: ColumnSpec, slots: NDArray[np.int64]) -> None:
    first_total = second_total = 0
    for at in range(0, len(values), fixed_point.MAX_BATCH):
        part = values[at : at + fixed_point.MAX_BATCH]
        first, second, clipped_first, clipped_second = spec.grid.steps(part)
        first_total += int(first.sum())
        second_total += int(second.sum())
        slots[CLIPPED_FIRST] += clipped_first
        slots[CLIPPED_SECOND] += clipped_second
    slots[FIRST_HIGH], slots[FIRST_LOW] = fixed_point.split(first_total)
    slots[SECOND_HIGH], slots[SECOND_LOW] = fixed_point.split(second_total)


def histogram(
    values: NDArray[np.float64], starts: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Counts per bin of each group, int64 [groups, len(edges) + 1]; values must be finite."""
    groups, bins = len(starts) - 1, len(edges) + 1
    if len(values) >= groups * _BIG_GROUP:
        counts = np.empty((groups, bins), np.int64)
        for group in range(groups):
            counts[group] = _compare_counts(values[starts[group] : starts[group + 1]], edges)
        return counts
    group_of = np.repeat(np.arange(groups), np.diff(starts))
    cells = group_of * bins + np.searchsorted(edges, values, side="right")
    return np.bincount(cells, minlength=groups * bins).reshape(groups, bins)


def _compare_counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    at_or_above = np.zeros(len(edges) + 2, np.int64)
    at_or_above[0] = len(values)
    for at in range(0, len(values), _CHUNK):
        part = values[at : at + _CHUNK]
        for i, edge in enumerate(edges):
            at_or_above[i + 1] += np.count_nonzero(part >= edge)
    return -np.diff(at_or_above)


def group_sketches(values: NDArray[np.float64], starts: NDArray[np.int64]) -> list[Sketch]:
    """A sketch of each group; values must be finite."""
    groups = len(starts) - 1
    keys = bucket_of(values)
    lowest = int(keys.min())
    width = int(keys.max()) - lowest + 1
    if groups * width <= _DENSE_CELLS:
        cells = np.repeat(np.arange(groups) * width, np.diff(starts)) + (keys - lowest)
        dense = np.bincount(cells, minlength=groups * width).reshape(groups, width)
        found = [np.flatnonzero(dense[group]) for group in range(groups)]
        return [
            Sketch((at + lowest).astype(np.int32), dense[group][at])
            for group, at in enumerate(found)
        ]
    parts = [keys[starts[group] : starts[group + 1]] for group in range(groups)]
    counted = [np.unique(part, return_counts=True) for part in parts]
    return [Sketch(key, count.astype(np.int64)) for key, count in counted]


def _categorical(
    rows: Rows,
    spec: ColumnSpec,
    slots: NDArray[np.int64],
    categories: list[dict[str, CategoryCounts]],
    workshop: Workshop | None,
) -> None:
    column = rows.texts[spec.name]
    width = len(column.names) + 1
    if rows.groups * width > _DENSE_CELLS:
        cells, counts = _sparse_cells(rows, column)
    else:
        dense = _dense_cells(rows, column, workshop)
        cells = np.flatnonzero(dense)
        counts = dense[cells]
    group_of, code = cells // width, cells % width - 1
    there = code >= 0
    group_of, code, counts = group_of[there], code[there], counts[there]
    np.add.at(slots[:, N], group_of, counts)
    own = {name: i for i, name in enumerate(spec.categories)}
    bin_of = np.array([own.get(name, -1) for name in column.names], np.int64)[code]
    known = bin_of >= 0
    np.add.at(slots, (group_of[known], bin_of[known] + spec.first_bin), counts[known])
    if known.all():
        return
    rest: dict[int, dict[str, int]] = {}
    unknown = (group_of[~known].tolist(), code[~known].tolist(), counts[~known].tolist())
    for group, other, count in zip(*unknown, strict=True):
        counted = rest.setdefault(group, {})
        name = column.names[other]
        counted[name] = counted.get(name, 0) + count
    for group, counted in rest.items():
        categories[group][spec.name] = CategoryCounts.of(counted)


def _dense_cells(rows: Rows, column: Codes, workshop: Workshop | None) -> NDArray[np.int64]:
    """How often each code (from -1 on) occurs in each group, int64 [groups * (names + 1)]."""
    width = len(column.names) + 1
    if workshop is None:
        codes = column.codes if rows.order is None else column.codes[rows.order]
        group_of = np.repeat(np.arange(rows.groups) * width + 1, np.diff(rows.starts))
        found = np.bincount(group_of + codes, minlength=rows.groups * width)
        return found.astype(np.int64, copy=False)
    counts = np.zeros((rows.groups, width), np.int64)
    codes = np.require(column.codes, np.int32, "C")
    order = _NO_ORDER if rows.order is None else rows.order
    workshop.kernels.codes(codes, order, rows.starts, counts)
    return counts.ravel()


def _sparse_cells(rows: Rows, column: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for the cells that occur only: their numbers and counts."""
    width = len(column.names) + 1
    codes = column.codes if rows.order is None else column.codes[rows.order]
    group_of = np.repeat(np.arange(rows.groups) * width + 1, np.diff(rows.starts))
    unique, counts = np.unique(group_of + codes, return_counts=True)
    return unique, counts.astype(np.int64)


def _present(
    values: NDArray[np.float64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Only the finite values, and where each group starts among them."""
    finite = np.isfinite(values)
    if finite.all():
        return values, starts
    before = np.concatenate(([0], np.cumsum(finite)))
    return values[finite], before[starts]
