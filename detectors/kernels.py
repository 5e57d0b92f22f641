"""From columns of values to summaries, for many groups at once.

A *group* is one (release, segment, pane). Rows come sorted by group, so that each group is a slice
and no Python runs per row: sums are differences of one cumulative sum, histograms are counts of
comparisons for big groups and one bincount for many small ones. Only integers are added, so the
result does not depend on how rows were batched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from detectors.sketch import Sketch, bucket_of
from detectors.summary import Summaries, no_extremes

_BIG_GROUP = 512
"""Rows per group from which counting comparisons beats searching each value's bin."""
_DENSE_CELLS = 1 << 22
"""Largest table that is counted densely; beyond it the combinations are sorted instead."""
_CHUNK = 16384


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Dictionary-coded text: ``codes`` int32 [rows], -1 for no value; ``names`` by code."""

    codes: NDArray[np.int32]
    names: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one model, sorted by group. ``starts``: int64 [groups + 1], the slice of each group.

    ``headers``: int64 [groups, headers], the event counts. ``numeric``: float64 [rows], NaN for no
    value; ``texts``: codes per column; ``errors``: int64 [groups] per column.
    """

    starts: NDArray[np.int64]
    headers: NDArray[np.int64]
    numeric: Mapping[str, NDArray[np.float64]]
    texts: Mapping[str, Codes]
    errors: Mapping[str, NDArray[np.int64]]

    @property
    def groups(self) -> int:
        return len(self.starts) - 1


def summarize(rows: Rows, layout: Layout) -> list[Summaries]:
    """Summaries of each group. Columns that the layout does not have are passed over."""
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
            _numeric(rows, spec, slots, extremes[:, :, index], sketches)
        elif spec.kind is Kind.CATEGORICAL and spec.name in rows.texts:
            _categorical(rows, spec, slots, categories)
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
    values, starts = _present(rows.numeric[spec.name], rows.starts)
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
) -> None:
    column = rows.texts[spec.name]
    group_of = np.repeat(np.arange(rows.groups), np.diff(rows.starts))
    present = column.codes >= 0
    codes, group_of = column.codes[present].astype(np.int64), group_of[present]
    slots[:, N] = np.bincount(group_of, minlength=rows.groups)
    cells, counts = _count_cells(group_of * len(column.names) + codes, rows.groups, column.names)
    own = {name: i for i, name in enumerate(spec.categories)}
    rest: list[dict[str, int]] = [{} for _ in range(rows.groups)]
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        group, code = divmod(cell, len(column.names))
        name = column.names[code]
        bin_ = own.get(name)
        if bin_ is None:
            rest[group][name] = rest[group].get(name, 0) + count
        else:
            slots[group, spec.first_bin + bin_] += count
    for group, counted in enumerate(rest):
        if counted:
            categories[group][spec.name] = CategoryCounts.of(counted)


def _count_cells(
    cells: NDArray[np.int64], groups: int, names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if groups * len(names) <= _DENSE_CELLS:
        dense = np.bincount(cells, minlength=1)
        found = np.flatnonzero(dense)
        return found, dense[found]
    unique, counts = np.unique(cells, return_counts=True)
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
