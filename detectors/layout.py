"""Which columns are summarised, how, and where their integers stand in one flat vector.

A layout is fixed by a reference and the columns seen. All summaries of a release over an interval
share one int64 vector, so that merging 25 columns is one addition. Two layouts merge if they have
the same reference: columns known to only one of them are empty in the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detectors.categories import Unmergeable
from detectors.fixed_point import Grid


class Kind(StrEnum):
    """How a column is summarised."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class Header(StrEnum):
    """Event counts that stand before all columns: they are the denominators of every rate."""

    PREDICTIONS = "predictions"
    LABELS = "labels"
    SCORES = "scores"
    OUTCOMES = "outcomes"
    FAILED = "failed"


HEADERS = tuple(Header)

# Slots of a numeric column before its bins, and of a categorical one before its categories.
N, ERRORS = 0, 1
CLIPPED_FIRST, CLIPPED_SECOND = 2, 3
FIRST_HIGH, FIRST_LOW, SECOND_HIGH, SECOND_LOW = 4, 5, 6, 7
NUMERIC_SLOTS = 8
CATEGORICAL_SLOTS = 2


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """How one column is summarised.

    Numeric: ``edges`` are the inner edges of the histogram, increasing; bin i holds
    ``edges[i-1] <= x < edges[i]``, the outer bins are open, and without edges there is no
    histogram. ``grid`` is where values are rounded for exact sums. ``sketch``: keep quantiles.
    Categorical: ``categories`` have bins of their own; others are kept by name under a cap.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...] = ()
    grid: Grid = field(default_factory=Grid)
    sketch: bool = True
    categories: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, Kind]:
        return self.name, self.kind

    @property
    def bins(self) -> int:
        if self.kind is Kind.CATEGORICAL:
            return len(self.categories)
        return len(self.edges) + 1 if self.edges else 0

    @property
    def first_bin(self) -> int:
        return CATEGORICAL_SLOTS if self.kind is Kind.CATEGORICAL else NUMERIC_SLOTS

    @property
    def width(self) -> int:
        return self.first_bin + self.bins


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Columns in the order of their names, and the place of each in the vector. Build with
    :meth:`of`; ``reference`` is the id of the reference that fixed edges and grids, or ""."""

    reference: str
    columns: tuple[ColumnSpec, ...]
    starts: Mapping[tuple[str, Kind], int]
    index: Mapping[tuple[str, Kind], int]
    width: int
    low_words: NDArray[np.int64]
    """Where the low words of sums stand: after an addition they are carried into the high ones,
    each of which stands before its low one."""
    low_mask: NDArray[np.int64]
    """int64 [width]: all bits where a low word stands, else none."""

    @classmethod
    def of(cls, reference: str, columns: Iterable[ColumnSpec] = ()) -> Layout:
        ordered = tuple(sorted(columns, key=lambda spec: spec.key))
        starts: dict[tuple[str, Kind], int] = {}
        low_words: list[int] = []
        at = len(HEADERS)
        for spec in ordered:
            if spec.key in starts:
                raise ValueError(f"column {spec.name!r} ({spec.kind}) stands twice in a layout")
            starts[spec.key] = at
            if spec.kind is Kind.NUMERIC:
                low_words += [at + FIRST_LOW, at + SECOND_LOW]
            at += spec.width
        index = {spec.key: i for i, spec in enumerate(ordered)}
        low = np.array(low_words, dtype=np.int64)
        mask = np.zeros(at, np.int64)
        mask[low] = -1
        return cls(reference, ordered, starts, index, at, low, mask)

    def same_as(self, other: Layout) -> bool:
        """Whether vectors of both may be added as they are."""
        return self is other or (
            self.reference == other.reference and self.columns == other.columns
        )

    def union(self, other: Layout) -> Layout:
        """The layout that holds the columns of both."""
        if self.reference != other.reference:
            raise Unmergeable(
                f"summaries stand on different references: {self.reference or 'none'} and "
                f"{other.reference or 'none'}"
            )
        specs = {spec.key: spec for spec in self.columns}
        for spec in other.columns:
            known = specs.setdefault(spec.key, spec)
            if known != spec:
                raise Unmergeable(f"column {spec.name!r} is summarised in two different ways")
        if len(specs) == len(self.columns):
            return self
        if len(specs) == len(other.columns):
            return other
        return Layout.of(self.reference, specs.values())

    def positions_in(self, wider: Layout) -> NDArray[np.int64]:
        """For each element of this layout's vector, its place in ``wider``'s vector."""
        places = [np.arange(len(HEADERS))]
        places += [np.arange(spec.width) + wider.starts[spec.key] for spec in self.columns]
        return np.concatenate(places)

    def columns_in(self, wider: Layout) -> NDArray[np.int64]:
        """For each column of this layout, its index in ``wider``."""
        return np.array([wider.index[spec.key] for spec in self.columns], dtype=np.int64)
