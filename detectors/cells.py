"""Which cells of a release's summaries drift is watched in, and how to count them.

A *watch* is one question about one column: the law of its values, or how often it is missing or
cannot be read. All watches of a (release, segment) stand one after the other in one flat vector of
cells, so that a pane of 25 columns is counted in a few operations on arrays.

Cells are chosen from the reference alone and never change with the data, which the guarantee of
:mod:`detectors.drift` needs. What the reference does not let us watch is kept with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.binning import keeps_quantiles
from detectors.kernel_arrays import kernel_arrays
from detectors.layout import (
    CATEGORICAL_SLOTS,
    ERRORS,
    HEADERS,
    NUMERIC_SLOTS,
    Header,
    Kind,
    Layout,
    N,
)
from detectors.release import OTHER
from detectors.summary import (
    CategoricalSummary,
    NumericSummary,
    Summaries,
    expected_of,
    is_expected,
)

MOST_NAMED = 30
"""Categories with a cell of their own: the most frequent of the reference."""
RARER = "__rarer__"
"""The cell of the reference's other categories."""
MODEL_FAILURES = "error"
"""The column under which the model's own failures are reported."""
LARGEST_EXACT = 2**53

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Aspect(StrEnum):
    """What is watched of a column."""

    VALUES = "values"
    PRESENCE = "presence"
    FAILURES = "failures"


class Family(StrEnum):
    """Which bets suit a watch: cells in order, cells in order with a tail that matters by itself,
    cells without order, or rates (the first cell is where nothing is wrong)."""

    ORDERED = "ordered"
    TAILED = "tailed"
    NAMED = "named"
    RATES = "rates"


@dataclass(frozen=True, slots=True)
class Watch:
    """``names``: of the cells where they have names (categories, "missing", ...), else empty.
    ``bins``: for named values, the cell of each bin of the column's specification."""

    column: str
    kind: Kind
    aspect: Aspect
    family: Family
    cells: int
    names: tuple[str, ...] = ()
    bins: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A column of the reference that drift cannot be watched in, and why."""

    column: str
    aspect: Aspect
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """``starts``: int64 [watches + 1], the slice of each watch in the flat vector, and ``begins``
    without its end; ``sizes``: int64 [watches], how many cells each has; ``watch_of``: int64
    [cells], the watch that a cell belongs to; ``width``: how many cells there are. Make it with
    :meth:`of`."""

    reference: str
    watches: tuple[Watch, ...]
    starts: Indices
    unwatched: tuple[Unwatched, ...]
    begins: Indices
    sizes: Indices
    watch_of: Indices
    width: int

    @classmethod
    def of(
        cls, reference: str, watches: tuple[Watch, ...], unwatched: tuple[Unwatched, ...]
    ) -> Cells:
        sizes = np.array([watch.cells for watch in watches], np.int64)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        watch_of = np.repeat(np.arange(len(watches)), sizes)
        width = int(starts[-1])
        return cls(reference, watches, starts, unwatched, starts[:-1], sizes, watch_of, width)


def cells_of(normal: Summaries) -> Cells:
    """The cells that a reference's summaries (all of them, or one segment's) let us watch."""
    watches: list[Watch] = []
    unwatched: list[Unwatched] = []
    for column in normal.columns():
        watch = _values(column)
        if watch is None:
            reason = f"the reference holds no value of {column.spec.name}"
            unwatched.append(Unwatched(column.spec.name, Aspect.VALUES, reason))
        else:
            watches.append(watch)
    names = ("present", "missing", "unreadable")
    for name in sorted({spec.name for spec in normal.layout.columns}):
        if is_expected(name):
            kind = Kind.NUMERIC if normal.numeric(name) else Kind.CATEGORICAL
            watches.append(Watch(name, kind, Aspect.PRESENCE, Family.RATES, 3, names))
    failed = ("answered", "failed")
    watches.append(
        Watch(MODEL_FAILURES, Kind.NUMERIC, Aspect.FAILURES, Family.RATES, 2, failed),
    )
    # One family after the other: bets of a family are settled together.
    order = list(Family)
    watches.sort(key=lambda watch: (order.index(watch.family), watch.column, watch.aspect))
    return Cells.of(normal.layout.reference, tuple(watches), tuple(unwatched))


def count(cells: Cells, summaries: Summaries, kernel: Callable[..., None] | None = None) -> Floats:
    """The counts of a pane or of the reference itself: float64 [cells], exact up to 2**53 each.
    ``kernel``: ``count`` of :mod:`detectors.compiled_drift`, which comes to the same bits.

    The summaries must stand on the same reference; what they do not have counts as not there: a
    column that disappeared is missing in every event.
    """
    layout = summaries.layout
    if layout.reference != cells.reference:
        raise ValueError(
            f"summaries stand on reference {layout.reference or 'none'}, the cells on "
            f"{cells.reference or 'none'}"
        )
    places = _places_in(cells, layout)
    if kernel is None:
        counts = _count(places, summaries.vector, cells.width)
    else:
        counts = np.zeros(cells.width)
        kernel(*kernel_arrays(summaries.vector), *places.arrays, counts)
    for name, cell in places.rest:
        kept = summaries.categories.get(name)
        if kept is not None:
            counts[cell] += kept.total
    return counts


def _count(places: _Places, found: Indices, width: int) -> Floats:
    """What the vector tells."""
    # A count is at most 2**53 here, whatever arrives: above it doubles skip integers.
    vector = np.minimum(np.maximum(found, 0), LARGEST_EXACT).astype(np.float64)
    source, target, missing, expected, answered = places.arrays
    counts: Floats = np.bincount(target, weights=vector.take(source), minlength=width).astype(
        np.float64, copy=False
    )
    present = counts[missing - 1] + counts[missing + 1]
    counts[missing] = np.maximum(vector[expected] - present, 0.0)
    counts[answered] = np.maximum(counts[answered] - counts[answered + 1], 0.0)
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the cells' counts stand in a layout's vector. ``arrays``: where the vector has them and
    which cells they are added to; the cells of missing values, and where the events stand that
    should have one; the cells of answered events. ``rest``: cells of categories beyond the bins."""

    arrays: tuple[Indices, Indices, Indices, Indices, Indices]
    rest: tuple[tuple[str, int], ...]


def rows_of(cells: Cells, counts: Floats) -> Floats:
    """The rows of each watch in counts: float64 [watches]."""
    return np.add.reduceat(counts, cells.begins)


@lru_cache(maxsize=256)
def _places_in(cells: Cells, layout: Layout) -> _Places:
    """Remembered by the identity of the layout, and else by its content."""
    return _places(cells, tuple(layout.starts.items()))


@lru_cache(maxsize=256)
def _places(cells: Cells, starts: tuple[tuple[tuple[str, Kind], int], ...]) -> _Places:
    """A pure function of its arguments, remembered: layouts are rebuilt with every message."""
    at = dict(starts)
    source: list[int] = []
    target: list[int] = []
    rest: list[tuple[str, int]] = []
    missing: list[int] = []
    expected: list[int] = []
    answered: list[int] = []
    for watch, begin in zip(cells.watches, cells.starts.tolist(), strict=False):
        match watch.aspect:
            case Aspect.VALUES:
                start = at.get((watch.column, watch.kind))
                if watch.kind is Kind.CATEGORICAL:
                    # Category counts beyond the bins need no place in the vector.
                    rest.append((watch.column, begin + watch.cells - 1))
                if start is None:
                    continue
                if watch.kind is Kind.NUMERIC:
                    source += range(start + NUMERIC_SLOTS, start + NUMERIC_SLOTS + watch.cells)
                    target += range(begin, begin + watch.cells)
                else:
                    source += [start + CATEGORICAL_SLOTS + i for i in range(len(watch.bins))]
                    target += [begin + cell for cell in watch.bins]
            case Aspect.PRESENCE:
                for kind in Kind:
                    start = at.get((watch.column, kind))
                    if start is not None:
                        source += [start + N, start + ERRORS]
                        target += [begin, begin + 2]
                missing.append(begin + 1)
                expected.append(HEADERS.index(expected_of(watch.column)))
            case Aspect.FAILURES:
                source += [HEADERS.index(Header.PREDICTIONS), HEADERS.index(Header.FAILED)]
                target += [begin, begin + 1]
                answered.append(begin)
    return _Places(
        (
            np.array(source, np.int64),
            np.array(target, np.int64),
            np.array(missing, np.int64),
            np.array(expected, np.int64),
            np.array(answered, np.int64),
        ),
        tuple(rest),
    )


def _values(column: NumericSummary | CategoricalSummary) -> Watch | None:
    """The watch over a column's values; None if the reference says nothing of them."""
    spec = column.spec
    if column.n == 0:
        return None
    if isinstance(column, NumericSummary):
        if spec.bins < 2:
            return None
        family = Family.TAILED if keeps_quantiles(spec.name) else Family.ORDERED
        return Watch(spec.name, spec.kind, Aspect.VALUES, family, spec.bins)
    ranked = sorted(range(spec.bins), key=lambda i: (-int(column.bins[i]), spec.categories[i]))
    named = sorted(ranked[:MOST_NAMED])
    cell_of = {bin_: cell for cell, bin_ in enumerate(named)}
    names = [spec.categories[i] for i in named]
    if spec.bins > len(named):
        names.append(RARER)
    bins = tuple(cell_of.get(i, len(named)) for i in range(spec.bins))
    names.append(OTHER)
    return Watch(spec.name, spec.kind, Aspect.VALUES, Family.NAMED, len(names), tuple(names), bins)
