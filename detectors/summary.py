"""Summaries: what is kept of the events of one (release, segment) over one interval.

**Guarantee.** Merging is exact, associative and commutative, with :meth:`Summaries.empty` as
identity, and refuses summaries on unlike references: any way of splitting a stream over batches,
workers and panes gives the same integers. Only minimum and maximum are floating-point, and those
do not depend on order either.

``Summaries`` holds all columns at once (one vector addition merges them); ``summaries.numeric``
and ``summaries.categorical`` look at one column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
    Header,
    Kind,
    Layout,
    N,
)
from detectors.sketch import RELATIVE_ERROR, SQUARE_ERROR, Sketch

_EVENTS = HEADERS.index(Header.FAILED)
"""The headers before it count events."""


@dataclass(frozen=True, slots=True, eq=False)
class NumericSummary:
    """One numeric column: a view, computed when asked.

    ``n``: values; ``nulls``: events of the column's kind without a value; ``errors``: values that
    were there but not numbers; ``bins``: counts per histogram bin, int64, empty without edges.
    """

    spec: ColumnSpec
    n: int
    nulls: int
    errors: int
    bins: NDArray[np.int64]
    minimum: float
    maximum: float
    sketch: Sketch
    _slots: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The mean; NaN if empty. Exact up to the grid, or from the sketch where that is closer
        (values far outside the grid, or far smaller than its step)."""
        if self.n == 0:
            return math.nan
        exact = fixed_point.mean(
            fixed_point.join(self._slots[FIRST_HIGH], self._slots[FIRST_LOW]),
            self.n,
            self.spec.grid,
        )
        if not len(self.sketch.keys):
            return exact
        step = self.spec.grid.scale / fixed_point.STEPS
        # The mean magnitude is at least |mean|: most columns need no look at the sketch.
        coarse = self._slots[CLIPPED_FIRST] or (
            abs(exact) * RELATIVE_ERROR < step and self.sketch.magnitude() * RELATIVE_ERROR < step
        )
        return self.sketch.moment(1) if coarse else exact

    @property
    def sd(self) -> float:
        """The population standard deviation; NaN if empty. From the sketch under the same
        conditions as the mean: squares are rounded to a step too."""
        if self.n == 0:
            return math.nan
        grid = self.spec.grid
        exact = fixed_point.standard_deviation(
            fixed_point.join(self._slots[FIRST_HIGH], self._slots[FIRST_LOW]),
            fixed_point.join(self._slots[SECOND_HIGH], self._slots[SECOND_LOW]),
            self.n,
            grid,
        )
        if not len(self.sketch.keys):
            return exact
        if self._slots[CLIPPED_SECOND]:
            return self.sketch.deviation()
        step = grid.scale * grid.scale / fixed_point.STEPS
        coarse = exact * exact * SQUARE_ERROR < step and (
            self.sketch.moment(2) * SQUARE_ERROR < step
        )
        return self.sketch.deviation() if coarse else exact

    def quantile(self, q: float) -> float:
        """The quantile from the sketch, within ``sketch.RELATIVE_ERROR`` and never outside the
        observed range; NaN where no sketch is kept."""
        value = self.sketch.quantile(q)
        return min(max(value, self.minimum), self.maximum) if self.n else value


@dataclass(frozen=True, slots=True, eq=False)
class CategoricalSummary:
    """One categorical column. ``bins``: counts of ``spec.categories``; ``rest``: all others."""

    spec: ColumnSpec
    n: int
    nulls: int
    errors: int
    bins: NDArray[np.int64]
    rest: CategoryCounts

    def counts(self) -> dict[str, int]:
        """Counts by name of all categories that are kept, without those that never occurred."""
        named = zip(self.spec.categories, self.bins.tolist(), strict=True)
        return {name: n for name, n in named if n} | dict(self.rest.counts)


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """All columns of one (release, segment) over one interval.

    ``vector``: int64 [layout.width]; ``extremes``: float64 [2, columns], minimum (+inf if none)
    and maximum (-inf if none); ``sketches`` and ``categories``: only columns that have some.
    """

    layout: Layout
    vector: NDArray[np.int64]
    extremes: NDArray[np.float64]
    sketches: Mapping[str, Sketch] = field(default_factory=dict)
    categories: Mapping[str, CategoryCounts] = field(default_factory=dict)

    @classmethod
    def empty(cls, layout: Layout) -> Summaries:
        """The identity of :meth:`merge`."""
        return cls(layout, np.zeros(layout.width, np.int64), no_extremes(len(layout.columns)))

    def merge(self, other: Summaries) -> Summaries:
        """The summaries of both streams together, as a new value."""
        layout = (
            self.layout if self.layout.same_as(other.layout) else self.layout.union(other.layout)
        )
        mine, theirs = self.widen(layout), other.widen(layout)
        vector = mine.vector + theirs.vector
        low = layout.low_words
        vector[low - 1] += vector[low] >> fixed_point.WORD
        vector[low] &= fixed_point.MASK
        extremes = np.stack(
            (
                np.minimum(mine.extremes[0], theirs.extremes[0]),
                np.maximum(mine.extremes[1], theirs.extremes[1]),
            )
        )
        sketches = dict(mine.sketches)
        for name, sketch in theirs.sketches.items():
            known = sketches.get(name)
            sketches[name] = known.merge(sketch) if known else sketch
        categories = dict(mine.categories)
        for name, counts in theirs.categories.items():
            kept = categories.get(name)
            categories[name] = kept.merge(counts) if kept else counts
        return Summaries(layout, vector, extremes, sketches, categories)

    def widen(self, layout: Layout) -> Summaries:
        """The same summaries in a layout that has all their columns, and perhaps more."""
        if layout.same_as(self.layout):
            return self
        vector = np.zeros(layout.width, np.int64)
        vector[self.layout.positions_in(layout)] = self.vector
        extremes = no_extremes(len(layout.columns))
        extremes[:, self.layout.columns_in(layout)] = self.extremes
        return Summaries(layout, vector, extremes, self.sketches, self.categories)

    def header(self, header: Header) -> int:
        """How many events of a kind were counted."""
        return int(self.vector[HEADERS.index(header)])

    @property
    def events(self) -> int:
        """All events: predictions, labels, scores and outcomes."""
        # As a list: of so few numbers that is a third of what their sum as an array takes.
        return sum(self.vector[:_EVENTS].tolist())

    def numeric(self, name: str) -> NumericSummary | None:
        """The numeric column of that name, or None if the layout has none."""
        start = self.layout.starts.get((name, Kind.NUMERIC))
        if start is None:
            return None
        index = self.layout.index[name, Kind.NUMERIC]
        spec = self.layout.columns[index]
        slots = self.vector[start : start + spec.width]
        n, errors = int(slots[N]), int(slots[ERRORS])
        return NumericSummary(
            spec,
            n,
            self._nulls(name, n + errors),
            errors,
            slots[spec.first_bin :],
            float(self.extremes[0, index]),
            float(self.extremes[1, index]),
            self.sketches.get(name) or Sketch.empty(),
            slots[: spec.first_bin],
        )

    def categorical(self, name: str) -> CategoricalSummary | None:
        """The categorical column of that name, or None if the layout has none."""
        start = self.layout.starts.get((name, Kind.CATEGORICAL))
        if start is None:
            return None
        spec = self.layout.columns[self.layout.index[name, Kind.CATEGORICAL]]
        slots = self.vector[start : start + spec.width]
        n, errors = int(slots[N]), int(slots[ERRORS])
        return CategoricalSummary(
            spec,
            n,
            self._nulls(name, n + errors),
            errors,
            slots[spec.first_bin :],
            self.categories.get(name) or CategoryCounts(),
        )

    def columns(self) -> Iterator[NumericSummary | CategoricalSummary]:
        """Every column, numeric and categorical, in the order of the layout."""
        for spec in self.layout.columns:
            look = self.numeric if spec.kind is Kind.NUMERIC else self.categorical
            summary = look(spec.name)
            if summary is not None:
                yield summary

    def _nulls(self, name: str, there: int) -> int:
        """Events that should have had a value and had none. A column may be numeric in one row
        and text in the next, so what its other half holds is there too."""
        other = 0
        for kind in Kind:
            start = self.layout.starts.get((name, kind))
            if start is not None:
                other += int(self.vector[start + N]) + int(self.vector[start + ERRORS])
        expected = self.header(expected_of(name)) if is_expected(name) else max(other, there)
        return max(expected - other, 0)


def no_extremes(columns: int) -> NDArray[np.float64]:
    """Minimum and maximum of nothing: float64 [2, columns]."""
    extremes = np.empty((2, columns), np.float64)
    extremes[0], extremes[1] = math.inf, -math.inf
    return extremes


def is_expected(column: str) -> bool:
    """Whether each event of its kind should have the column, so that absence counts as null.
    Scores are often computed for a sample of the traffic only, and absence says nothing there."""
    return not column.startswith(("scores.", "outcomes.", "prediction.probabilities."))


def expected_of(column: str) -> Header:
    """The events that are a column's denominator."""
    return Header.LABELS if column == "label" else Header.PREDICTIONS
