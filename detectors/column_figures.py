"""The figures of every column of a window at once: counts, nulls, means, deviations, quantiles.

The same numbers, to the last bit, as :class:`detectors.summary.NumericSummary` gives one by one.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

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
from detectors.sketch import RELATIVE_ERROR, SQUARE_ERROR, Sketch, bucket_middle
from detectors.summary import Summaries, expected_of, is_expected
from detectors.window_kernels import WindowKernels

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
    def joined(cls, each: Sequence[Figures]) -> Figures:
        """Those of the first, then of the second, and so on."""
        return cls.of(
            np.concatenate([figures.counts for figures in each], axis=1),
            np.concatenate([figures.values for figures in each], axis=1),
        )

    def copy(self) -> Figures:
        """The same, with arrays of their own."""
        return self.of(self.counts.copy(), self.values.copy())

    def part(self, columns: slice) -> Figures:
        """Those of some columns that stand together."""
        return self.of(self.counts[:, columns], self.values[:, columns])

    def take(self, columns: Ints) -> Figures:
        """Those of the columns at these indices, in this order."""
        return self.of(self.counts.take(columns, axis=1), self.values.take(columns, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the figures of a layout's columns stand in its vector."""

    told: Ints
    """int64 [3 columns]: their values, their errors, the headers that count their events."""
    is_expected: NDArray[np.bool_]
    other: Ints
    """The other half of a column that is numeric and text at once: its index, or -1."""
    halves: bool
    numeric: Ints
    moments: Ints
    """int64 [6, numeric columns]."""
    grids: tuple[tuple[float, float, float, float], ...]
    """Centre and scale of each numeric column; a step of its values, and of their squares."""
    numbers: Mapping[str, int]
    """The index of each numeric column, in the order of the layout."""
    table: tuple[NDArray[Any], ...]
    """These as a kernel reads them."""


_Told = TypeVar("_Told")
_Kernels = WindowKernels | None

_MOST_REMEMBERED: Final = 256
_MOST_TOGETHER: Final = 2.0**62
"""Values: beyond it their sums may wrap round, which must not reach from one summary to another."""


class _Remembered(Generic[_Told]):
    """What was worked out of the newest summaries: a window is asked for by the row that shows it
    and by each comparison. ``work``: for many of one layout at once, which costs hardly more than
    for one."""

    def __init__(
        self, work: Callable[[Layout, Sequence[Summaries], _Kernels], Sequence[_Told]]
    ) -> None:
        self._work = work
        self._known: dict[Summaries, _Told] = {}
        self._changing = threading.Lock()

    def __call__(self, summaries: Summaries) -> _Told:
        found = self._known.get(summaries)
        return self.all([summaries])[0] if found is None else found

    def all(self, many: Iterable[Summaries], kernels: _Kernels = None) -> list[_Told]:
        """Of each of these. ``kernels``: it is the same without."""
        wanted = list(many)
        found = {each: self._known.get(each) for each in wanted}
        together: dict[Layout, list[Summaries]] = {}
        for each, told in found.items():
            if told is None:
                together.setdefault(each.layout, []).append(each)
        for layout, some in together.items():
            fresh = dict(zip(some, self._work(layout, some, kernels), strict=True))
            found |= fresh
            with self._changing:
                self._known |= fresh
                while len(self._known) > _MOST_REMEMBERED:
                    del self._known[next(iter(self._known))]
        return [told for each in wanted if (told := found[each]) is not None]


def _figures(layout: Layout, some: Sequence[Summaries], kernels: _Kernels) -> list[Figures]:
    """The figures of all columns, of each."""
    if kernels is not None:
        counts, values = _figures_by(kernels, layout, some)
    else:
        counts, values = _plain_figures(layout, some)
    return list(map(Figures.of, counts.swapaxes(0, 1), values.swapaxes(0, 1)))


def _figures_by(
    kernels: WindowKernels, layout: Layout, some: Sequence[Summaries]
) -> tuple[Ints, Floats]:
    """As :func:`_plain_figures`."""
    shape = len(some), len(layout.columns)
    counts, values = np.empty((4, *shape), np.int64), np.empty((4, *shape))
    look = np.empty(shape, np.int8)
    kernels.figures(_places(layout).table, _vectors(some), counts, values, look)
    again = False
    for at, column in zip(*(places.tolist() for places in look.nonzero()), strict=True):
        name = layout.columns[column].name
        if look[at, column] > 1 or name in some[at].sketches:
            values[:2, at, column] = _by_the_summary(some[at], name)
            again = True
    if again:
        values[3] = testable(counts[0], values[0], values[1])
    return counts, values


def _plain_figures(layout: Layout, some: Sequence[Summaries]) -> tuple[Ints, Floats]:
    """``counts`` and ``values`` of :class:`Figures`, [4, summaries, columns]."""
    places, columns = _places(layout), len(layout.columns)
    # An array with room for all: to stack what is worked out piece by piece takes as long again.
    counts = np.empty((4, len(some), columns), np.int64)
    n, rows, errors, nulls = counts
    told = _vectors(some).take(places.told, axis=1).reshape(len(some), 3, columns)
    n[:], errors[:], nulls[:] = told.swapaxes(0, 1)
    np.add(n, errors, out=rows)
    nulls -= rows
    if places.halves:
        nothing = np.zeros((len(some), 1), np.int64)
        nulls -= np.concatenate((rows, nothing), axis=1).take(places.other, axis=1)
    np.maximum(nulls, 0, out=nulls)
    nulls *= places.is_expected
    rows += nulls
    values = np.full((4, len(some), columns), np.nan)
    means: list[float] = []
    deviations: list[float] = []
    for each, own in zip(some, n, strict=True):
        _moments(each, places, own, means, deviations)
    shape = len(some), len(places.numeric)
    values[0][:, places.numeric] = np.array(means).reshape(shape)
    values[1][:, places.numeric] = np.array(deviations).reshape(shape)
    with quiet():
        values[2] = rates(nulls, rows)
    values[3] = testable(n, values[0], values[1])
    return counts, values


def _vectors(some: Sequence[Summaries]) -> Ints:
    """int64 [summaries, width of their layout]."""
    return np.concatenate([each.vector for each in some]).reshape(len(some), -1)


figures_of: Final = _Remembered(_figures)
"""The figures of all columns: :class:`Figures` of one, or of ``all`` of many summaries."""


def _quantiles(layout: Layout, some: Sequence[Summaries], kernels: _Kernels) -> list[Floats]:
    """float64 [4, columns] for :data:`QUANTILES`, of each, NaN where no sketch is kept."""
    places = _places(layout)
    found = np.full((len(QUANTILES), len(some), len(layout.columns)), np.nan)
    cells: list[int] = []
    kept: list[Sketch] = []
    for at, each in enumerate(some):
        for name, sketch in each.sketches.items():
            column = places.numbers.get(name)
            if column is not None and len(sketch.keys):
                cells.append(at * len(layout.columns) + column)
                kept.append(sketch)
    if kept:
        keys = np.concatenate([sketch.keys for sketch in kept])
        counts = np.concatenate([sketch.counts for sketch in kept])
        if len(some) > 1 and counts.sum(dtype=np.float64) > _MOST_TOGETHER:
            return [_quantiles(layout, [each], kernels)[0] for each in some]
        upto = np.cumsum(counts)
        ends = upto[np.cumsum([len(sketch.keys) for sketch in kept]) - 1]
        before = np.empty_like(ends)
        before[0], before[1:] = 0, ends[:-1]
        ranks = (_RANKS * (ends - before - 1)).astype(np.int64)
        at_ranks = np.searchsorted(upto, before + ranks, side="right")
        found.reshape(len(QUANTILES), -1)[:, cells] = bucket_middle(
            keys[np.minimum(at_ranks, len(keys) - 1)]
        )
        # Never outside the observed range, which is known where values are.
        extremes = np.concatenate([each.extremes for each in some]).reshape(len(some), 2, -1)
        inside = np.minimum(np.maximum(found, extremes[:, 0]), extremes[:, 1])
        n = _vectors(some).take(places.told[: len(layout.columns)], axis=1)
        np.copyto(found, inside, where=n > 0)
    return list(found.swapaxes(0, 1))


quantiles_of: Final = _Remembered(_quantiles)
"""float64 [4, columns] for :data:`QUANTILES`, NaN where no sketch is kept: of one, or of ``all`` of
many summaries."""


@functools.lru_cache(maxsize=1_024)
def _places(layout: Layout) -> _Places:
    keys = [spec.key for spec in layout.columns]
    starts = np.array([layout.starts[key] for key in keys], np.int64)
    twin = {Kind.NUMERIC: Kind.CATEGORICAL, Kind.CATEGORICAL: Kind.NUMERIC}
    other = [layout.index.get((name, twin[kind]), -1) for name, kind in keys]
    expected = [HEADERS.index(expected_of(name)) for name, _ in keys]
    numeric = [spec for spec in layout.columns if spec.kind is Kind.NUMERIC]
    at = np.array([layout.index[spec.key] for spec in numeric], np.int64)
    told = np.concatenate((starts + N, starts + ERRORS, np.array(expected, np.int64)))
    expects = np.array([is_expected(name) for name, _ in keys], np.bool_)
    halves, moments = np.array(other, np.int64), starts[at] + _MOMENT_SLOTS
    step = 1 / fixed_point.STEPS
    grids = tuple(
        (grid.center, grid.scale, grid.scale * step, grid.scale * grid.scale * step)
        for grid in (spec.grid for spec in numeric)
    )
    return _Places(
        told,
        expects,
        halves,
        any(index >= 0 for index in other),
        at,
        moments,
        grids,
        {spec.name: index for spec, index in zip(numeric, at.tolist(), strict=True)},
        (told, expects, halves, at, moments, np.array(grids, np.float64).reshape(-1, 4)),
    )


def _moments(
    summaries: Summaries, places: _Places, n: Ints, means: list[float], deviations: list[float]
) -> None:
    """Those of each numeric column, behind what is there of others."""
    slots = summaries.vector[places.moments].tolist()
    counts = n[places.numeric].tolist()
    sketches = summaries.sketches
    sqrt, word, steps = math.sqrt, fixed_point.WORD, fixed_point.STEPS
    for name, grid, count, far, wide, high, low, high_2, low_2 in zip(
        places.numbers, places.grids, counts, *slots, strict=True
    ):
        if not count:
            means.append(math.nan)
            deviations.append(math.nan)
            continue
        center, scale, step, square_step = grid
        # As in fixed_point.mean and fixed_point.standard_deviation, without their calls.
        first = (high << word) + low
        mean = center + scale * (first / count / steps)
        spread = ((high_2 << word) + low_2) * count * _STEPS - first * first
        sd = scale * sqrt(spread) / (count * steps) if spread > 0 else 0.0
        if (
            far or wide or abs(mean) * RELATIVE_ERROR < step or sd * sd * SQUARE_ERROR < square_step
        ) and name in sketches:
            # The grid may be too coarse here: the summary itself decides whether it is.
            mean, sd = _by_the_summary(summaries, name)
        means.append(mean)
        deviations.append(sd)


def _by_the_summary(summaries: Summaries, name: str) -> tuple[float, float]:
    column = summaries.numeric(name)
    return (column.mean, column.sd) if column is not None else (math.nan, math.nan)
