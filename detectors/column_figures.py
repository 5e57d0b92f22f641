"""The figures of every column of a window at once: counts, nulls, means, deviations, quantiles.

The same numbers, to the last bit, as :class:`detectors.summary.NumericSummary` gives one by one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point
from detectors.cell_statistics import quiet
from detectors.differences import rates, testable
from detectors.layout import (
    CLIPPED_FIRST,
    CLIPPED_SECOND,
    ERRORS,
    FIRST_HIGH,
    FIRST_LOW,
    HEADERS,
    SECOND_HIGH,
    SECOND_LOW,
    Kind,
    Layout,
    N,
)
from detectors.sketch import RELATIVE_ERROR, SQUARE_ERROR, bucket_middle
from detectors.summary import Summaries, expected_of, is_expected

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

QUANTILES = (0.5, 0.95, 0.99, 0.999)
_RANKS = np.array(QUANTILES)[:, None]
_MOMENT_SLOTS = np.array(
    [CLIPPED_FIRST, CLIPPED_SECOND, FIRST_HIGH, FIRST_LOW, SECOND_HIGH, SECOND_LOW]
)[:, None]
_STEPS = int(fixed_point.STEPS)


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """By column, in the order of the layout. Build with :meth:`of`.

    ``counts``, int64 [4, columns], has the rows ``n``: values, ``rows``: events that had, or should
    have had, a value, ``errors``: values that could not be read, ``nulls``: events of the column's
    kind without a value. ``values``, float64 [4, columns], has the rows ``mean`` and ``sd``
    (population standard deviation): NaN for categories, and where nothing is; ``missing``: nulls
    as a share of the rows, NaN without rows; ``testable``: means of at least two values, else NaN.
    """

    counts: Ints
    values: Floats
    n: Ints
    rows: Ints
    errors: Ints
    nulls: Ints
    mean: Floats
    sd: Floats
    missing: Floats
    testable: Floats

    @classmethod
    def of(cls, counts: Ints, values: Floats) -> Figures:
        """From the arrays with all rows."""
        return cls(counts, values, *counts, *values)

    @classmethod
    def many(cls, each: Sequence[Figures], columns: Ints) -> Figures:
        """Those of the columns at these indices of the first, then of the second, and so on."""
        counts = np.stack([figures.counts for figures in each], axis=1).take(columns, axis=2)
        values = np.stack([figures.values for figures in each], axis=1).take(columns, axis=2)
        shape = 4, len(each) * len(columns)
        return cls.of(counts.reshape(shape), values.reshape(shape))

    @classmethod
    def joined(cls, each: Sequence[Figures]) -> Figures:
        """Those of the first, then of the second, and so on."""
        return cls.of(
            np.concatenate([figures.counts for figures in each], axis=1),
            np.concatenate([figures.values for figures in each], axis=1),
        )

    def part(self, columns: slice) -> Figures:
        """Those of some columns that stand together."""
        return self.of(self.counts[:, columns], self.values[:, columns])

    def take(self, columns: Ints) -> Figures:
        """Those of the columns at these indices, in this order."""
        return self.of(self.counts.take(columns, axis=1), self.values.take(columns, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the figures of a layout's columns stand in its vector."""

    n: Ints
    errors: Ints
    expected: Ints
    """The header that each column's events are counted in."""
    is_expected: NDArray[np.bool_]
    other: Ints
    """The other half of a column that is numeric and text at once: its index, or -1."""
    halves: bool
    numeric: Ints
    moments: Ints
    """int64 [6, numeric columns]."""
    grids: tuple[tuple[float, float], ...]
    """Centre and scale of each numeric column."""
    names: tuple[str, ...]
    """Of the numeric columns."""


@functools.lru_cache(maxsize=256)
def figures_of(summaries: Summaries) -> Figures:
    """The figures of all columns. Remembered for the newest summaries: a window is asked for by
    the row that shows it and by each comparison."""
    places = _places(summaries.layout)
    vector = summaries.vector
    n, errors = vector[places.n], vector[places.errors]
    there = n + errors
    all_there = there
    if places.halves:
        all_there = there + np.append(there, 0)[places.other]
    nulls = np.maximum(vector[places.expected] - all_there, 0) * places.is_expected
    rows = there + nulls
    values = np.full((4, len(n)), np.nan)
    values[:2, places.numeric] = _moments(summaries, places, n)
    with quiet():
        values[2] = rates(nulls, rows)
    values[3] = testable(n, values[0], values[1])
    return Figures.of(np.concatenate((n, rows, errors, nulls)).reshape(4, -1), values)


@functools.lru_cache(maxsize=256)
def quantiles_of(summaries: Summaries) -> Floats:
    """float64 [4, columns] for :data:`QUANTILES`, NaN where no sketch is kept."""
    n = summaries.vector[_places(summaries.layout).n]
    layout = summaries.layout
    found = np.full((len(QUANTILES), len(n)), np.nan)
    kept = [
        (layout.index[name, Kind.NUMERIC], sketch)
        for name, sketch in summaries.sketches.items()
        if len(sketch.keys) and (name, Kind.NUMERIC) in layout.index
    ]
    if not kept:
        return found
    columns = np.array([index for index, _ in kept])
    keys = np.concatenate([sketch.keys for _, sketch in kept])
    upto = np.cumsum(np.concatenate([sketch.counts for _, sketch in kept]))
    ends = upto[np.cumsum([len(sketch.keys) for _, sketch in kept]) - 1]
    before = np.empty_like(ends)
    before[0], before[1:] = 0, ends[:-1]
    ranks = (_RANKS * (ends - before - 1)).astype(np.int64)
    places = np.searchsorted(upto, before + ranks, side="right")
    values = bucket_middle(keys[np.minimum(places, len(keys) - 1)])
    # Never outside the observed range, which is known where values are.
    low, high = summaries.extremes[:, columns]
    found[:, columns] = np.where(n[columns] > 0, np.minimum(np.maximum(values, low), high), values)
    return found


@functools.lru_cache(maxsize=1_024)
def _places(layout: Layout) -> _Places:
    keys = [spec.key for spec in layout.columns]
    starts = np.array([layout.starts[key] for key in keys], np.int64)
    twin = {Kind.NUMERIC: Kind.CATEGORICAL, Kind.CATEGORICAL: Kind.NUMERIC}
    other = [layout.index.get((name, twin[kind]), -1) for name, kind in keys]
    numeric = [spec for spec in layout.columns if spec.kind is Kind.NUMERIC]
    at = np.array([layout.index[spec.key] for spec in numeric], np.int64)
    return _Places(
        starts + N,
        starts + ERRORS,
        np.array([HEADERS.index(expected_of(name)) for name, _ in keys], np.int64),
        np.array([is_expected(name) for name, _ in keys], np.bool_),
        np.array(other, np.int64),
        any(index >= 0 for index in other),
        at,
        starts[at] + _MOMENT_SLOTS,
        tuple((spec.grid.center, spec.grid.scale) for spec in numeric),
        tuple(spec.name for spec in numeric),
    )


def _moments(summaries: Summaries, places: _Places, n: Ints) -> tuple[list[float], list[float]]:
    means: list[float] = []
    deviations: list[float] = []
    slots = summaries.vector[places.moments].tolist()
    counts = n[places.numeric].tolist()
    sketches = summaries.sketches
    sqrt, steps = math.sqrt, fixed_point.STEPS
    for name, (center, scale), count, far, wide, high, low, high_2, low_2 in zip(
        places.names, places.grids, counts, *slots, strict=True
    ):
        if not count:
            means.append(math.nan)
            deviations.append(math.nan)
            continue
        # As in fixed_point.mean and fixed_point.standard_deviation, without their calls.
        first = (high << fixed_point.WORD) + low
        mean = center + scale * (first / count / steps)
        spread = ((high_2 << fixed_point.WORD) + low_2) * count * _STEPS - first * first
        sd = scale * sqrt(spread) / (count * steps) if spread > 0 else 0.0
        if (
            far
            or wide
            or abs(mean) * RELATIVE_ERROR < scale / steps
            or sd * sd * SQUARE_ERROR < scale * scale / steps
        ) and name in sketches:
            # The grid may be too coarse here: the summary itself decides whether it is.
            mean, sd = _by_the_summary(summaries, name)
        means.append(mean)
        deviations.append(sd)
    return means, deviations


def _by_the_summary(summaries: Summaries, name: str) -> tuple[float, float]:
    column = summaries.numeric(name)
    return (column.mean, column.sd) if column is not None else (math.nan, math.nan)
