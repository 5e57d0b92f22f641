"""How the columns of two layouts are compared: worked out once for a pair of layouts.

Columns are told apart by how their cells come about. *Binned*: both sides count the same bins,
which are gathered from the vectors in one step. *Loose*: numbers without bins are compared in
buckets of both sketches, categories without bins by name; that is done when both sides are there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.cell_statistics import Slices
from detectors.layout import ColumnSpec, Kind, Layout

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Columns in *order of comparison*: binned numbers, binned categories, loose numbers, loose
    categories; in each group by name. All arrays of a comparison stand in this order.

    ``columns``: the current side's; ``kinds`` in the same order. ``usual_columns`` and
    ``now_columns``: int64 [columns], their indices in the two layouts. ``by_name``: int64
    [columns], in which order of comparison to go to have them by name.
    ``usual_cells``, ``now_cells``: int64 [cells], of binned columns, where the cells stand in the
    vector with the rest of each binned category column behind it.
    """

    columns: tuple[ColumnSpec, ...]
    binned_numbers: int
    binned: int
    loose_numbers: int
    usual_columns: Ints
    now_columns: Ints
    by_name: Ints
    usual_cells: Ints
    now_cells: Ints
    slices: Slices
    """Of the binned columns."""
    number_slices: Slices
    """Of the binned numbers: the first cells of ``slices``."""
    bounds: Floats
    """float64 [cells of binned numbers + binned numbers]: the edges of each between its two outer
    bounds, which are the outer edges here."""
    first_bounds: Ints
    last_bounds: Ints
    lower_bounds: Ints
    """int64 [cells of binned numbers]: where each one's lower bound stands, the upper behind it."""


@functools.lru_cache(maxsize=1_024)
def plan_of(usual: Layout, now: Layout) -> Plan:
    """The plan for the columns that both layouts have, which are all if the layout is one."""
    shared = [spec for spec in now.columns if spec.key in usual.index]

    def group(spec: ColumnSpec) -> int:
        known = usual.columns[usual.index[spec.key]]
        loose = not spec.bins or (known is not spec and known != spec)
        return 2 * loose + (spec.kind is Kind.CATEGORICAL)

    groups = [group(spec) for spec in shared]
    order = sorted(range(len(shared)), key=lambda i: (groups[i], shared[i].key))
    columns = tuple(shared[i] for i in order)
    numbers, texts, loose = (groups.count(i) for i in range(3))
    binned = columns[: numbers + texts]
    slices = Slices.of_sizes([_cells(spec) for spec in binned])
    sizes = [spec.bins for spec in columns[:numbers]]
    number_slices = Slices.of_sizes(sizes)
    edges = [(s.edges[0], *s.edges, s.edges[-1]) for s in columns[:numbers]]
    ends = np.cumsum(np.array(sizes, np.int64) + 1)
    return Plan(
        columns,
        numbers,
        numbers + texts,
        loose,
        np.array([usual.index[spec.key] for spec in columns], np.int64),
        np.array([now.index[spec.key] for spec in columns], np.int64),
        np.argsort(order),
        _places(usual, binned),
        _places(now, binned),
        slices,
        number_slices,
        np.array([bound for column in edges for bound in column], np.float64),
        ends - np.array(sizes, np.int64) - 1,
        ends - 1,
        # Each column has a bound more than cells.
        np.arange(len(number_slices.of)) + number_slices.of,
    )


def _cells(spec: ColumnSpec) -> int:
    """Categories have one cell more, for all others."""
    return spec.bins + (spec.kind is Kind.CATEGORICAL)


def _places(layout: Layout, columns: tuple[ColumnSpec, ...]) -> Ints:
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    rest = layout.width
    for spec in columns:
        first = layout.starts[spec.key] + spec.first_bin
        places.append(np.arange(first, first + spec.bins))
        if spec.kind is Kind.CATEGORICAL:
            places.append(np.array([rest], np.int64))
            rest += 1
    return np.concatenate(places)
