"""Both arms of a pane, counted in the cells of a cast.

Where the counts stand in a summary's vector follows from its layout, so it is looked up once for
each pair of cast and layout; a pane is then a few operations on arrays. What cannot be taken from
the vector is taken from sketches (cells that are not the reference's) and from category counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.canary_cast import Cast
from detectors.canary_rules import Measure
from detectors.fixed_point import STEPS, WORD
from detectors.flags import any_of
from detectors.layout import (
    CATEGORICAL_SLOTS,
    CLIPPED_FIRST,
    CLIPPED_SECOND,
    ERRORS,
    FIRST_HIGH,
    HEADERS,
    NUMERIC_SLOTS,
    SECOND_LOW,
    ColumnSpec,
    Header,
    Kind,
    Layout,
    N,
)
from detectors.sketch import RELATIVE_ERROR, STRIDE, Sketch, bucket_floor, bucket_of
from detectors.summary import Summaries, expected_of

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

PREDICTIONS, FAILED = HEADERS.index(Header.PREDICTIONS), HEADERS.index(Header.FAILED)
_NONE = np.empty(0, np.int64)
HIGH = float(1 << WORD)
CANCELS = 1e-6
"""Of the mean square: a variance below this share of it is computed in integers."""


@dataclass(frozen=True, slots=True, eq=False)
class ArmCounts:
    """Of arms: ``cells``: [arms, C]; ``n``, ``mean``, ``sd`` (population): of the values of
    levels, [arms, L] in the order of the cast. ``lost``: by arm, parts whose values cannot be
    counted in their cells.

    Of panes, canary and production: the same with [2, panes, ...]."""

    cells: Counts
    n: Counts
    mean: Floats
    sd: Floats
    lost: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Levels:
    """``slots``: where each column's begin in the vector, [L], and ``places``: all of them, [slots,
    L]; ``unbinned``: whose cells are not the layout's bins, and ``buckets``: their edges as sketch
    buckets, if those are exact; ``coarse_mean``, ``coarse_sd``: below them the grid says little."""

    parts: tuple[int, ...]
    columns: tuple[str, ...]
    slots: tuple[int, ...]
    places: Indices
    unbinned: tuple[int, ...]
    buckets: tuple[NDArray[np.int32] | None, ...]
    sketched: NDArray[np.bool_]
    centre: Floats
    scale: Floats
    coarse_mean: Floats
    coarse_sd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Where the counts of a cast stand in the vector of a layout. Make it with :func:`reader_of`.

    ``source``: of each cell, [C]; ``named``: cells of categories without a bin, by column.
    ``others``: the last cell of each categorical part, ``other_n`` where its count of values
    stands; ``categories``: all cells of these parts, and ``category_starts``: where each part's
    begin among them. ``absent``: the second cells of missing values, [Q]; ``there``: where a
    column's values and errors are counted, [4, Q]; ``expected``: where the events are that should
    have it, ``seen``: whether the layout has it. A place beyond the vector holds 0."""

    cast: Cast
    width: int
    source: Indices
    named: tuple[tuple[str, tuple[tuple[int, str], ...]], ...]
    others: Indices
    other_n: Indices
    categories: Indices
    category_starts: Indices
    failures: int
    absent: Indices
    there: Indices
    expected: Indices
    seen: NDArray[np.bool_]
    levels: _Levels

    def read(self, *arms: Summaries) -> ArmCounts:
        """Count arms of this layout. Cells of tails stay empty: they need both arms."""
        vector = np.zeros((len(arms), self.width + NUMERIC_SLOTS), np.int64)
        for row, arm in zip(vector, arms, strict=True):
            row[: self.width] = arm.vector
        cells = vector.take(self.source, axis=1)
        for column, wanted in self.named:
            for row, arm in zip(cells, arms, strict=True):
                kept = arm.categories.get(column)
                if kept is not None:
                    for cell, name in wanted:
                        row[cell] = kept.counts.get(name, 0)
        if self.failures >= 0:
            failed = vector[:, FAILED]
            cells[:, self.failures] = np.maximum(vector[:, PREDICTIONS] - failed, 0)
            cells[:, self.failures + 1] = failed
        if len(self.others):
            # The cells of others are still empty.
            every = cells.take(self.categories, axis=1)
            named = np.add.reduceat(every, self.category_starts, axis=1)
            cells[:, self.others] = np.maximum(vector.take(self.other_n, axis=1) - named, 0)
        if len(self.absent):
            there = vector.take(self.there, axis=1).sum(axis=1)
            nulls = np.maximum(vector.take(self.expected, axis=1) - there, 0) * self.seen
            # The arm never sent the column: all its events lack it.
            never = (there | nulls) == 0
            cells[:, self.absent - 1] = there
            cells[:, self.absent] = np.where(never, vector[:, PREDICTIONS, None], nulls)
        lost: tuple[frozenset[int], ...] = ()
        if self.levels.unbinned:
            lost = tuple(
                self._sketched(arm, counts, row)
                for row, counts, arm in zip(cells, vector, arms, strict=True)
            )
        return ArmCounts(cells, *self._moments(arms, vector), lost or (frozenset(),) * len(arms))

    def _sketched(self, summaries: Summaries, vector: Counts, cells: Counts) -> frozenset[int]:
        """Counts the levels whose cells are not the layout's bins; returns those it cannot."""
        levels = self.levels
        lost: set[int] = set()
        found: list[tuple[int, Sketch, NDArray[np.int32]]] = []
        for at in levels.unbinned:
            n = int(vector[levels.slots[at] + N])
            if n == 0:
                continue
            sketch, buckets = summaries.sketches.get(levels.columns[at]), levels.buckets[at]
            if sketch is None or buckets is None or sketch.n != n:
                lost.add(levels.parts[at])
            else:
                found.append((levels.parts[at], sketch, buckets))
        if found:
            _recount(found, self.cast, cells)
        return frozenset(lost)

    def _moments(
        self, arms: tuple[Summaries, ...], vector: Counts
    ) -> tuple[Counts, Floats, Floats]:
        """As :attr:`NumericSummary.mean` and ``sd``, up to rounding; where doubles would cancel or
        the grid is too coarse, these themselves are asked."""
        levels = self.levels
        slots = vector.take(levels.places, axis=1)
        n = slots[:, N]
        # High and low words of both moments stand side by side. They are made doubles once: each
        # operation on both kinds of numbers would do it again.
        words = slots[:, FIRST_HIGH : SECOND_LOW + 1].astype(np.float64)
        values = np.maximum(n, 1).astype(np.float64) * STEPS
        moments = (words[:, ::2] * HIGH + words[:, 1::2]) / values[:, None]
        first, second = moments[:, 0], moments[:, 1]
        variance = second - first * first
        mean = levels.centre + levels.scale * first
        sd = levels.scale * np.sqrt(np.maximum(variance, 0.0))
        coarse = (slots[:, CLIPPED_FIRST] | slots[:, CLIPPED_SECOND]) != 0
        coarse |= np.abs(mean) < levels.coarse_mean
        coarse |= sd < levels.coarse_sd
        doubtful = (variance <= CANCELS * second) | (levels.sketched & coarse)
        doubtful &= n > 0
        for arm, place in np.argwhere(doubtful).tolist() if any_of(doubtful) else ():
            column = arms[arm].numeric(levels.columns[place])
            if column is not None:
                mean[arm, place], sd[arm, place] = column.mean, column.sd
        return n, mean, sd


def _recount(found: list[tuple[int, Sketch, NDArray[np.int32]]], cast: Cast, cells: Counts) -> None:
    """:func:`detectors.binning.recount` for several columns at once."""
    offset = np.arange(len(found), dtype=np.int64) * STRIDE
    keys = np.concatenate([sketch.keys for _, sketch, _ in found])
    keys = keys + np.repeat(offset, [len(sketch.keys) for _, sketch, _ in found])
    upto = np.concatenate(((0,), np.cumsum(np.concatenate([s.counts for _, s, _ in found]))))
    edges = [np.append(buckets, STRIDE // 2) for _, _, buckets in found]
    bounds = np.concatenate(edges) + np.repeat(offset, [len(some) for some in edges])
    below = upto[np.searchsorted(keys, bounds, side="left")]
    counts = np.diff(below, prepend=0)
    start = 0
    for (part, _, _), some in zip(found, edges, strict=True):
        first = int(cast.starts[part])
        cells[first : first + len(some)] = counts[start : start + len(some)]
        start += len(some)


def read_arms(cast: Cast, arms: Sequence[Summaries]) -> ArmCounts:
    """Counts of arms in the cells of the cast but for tails, in their order. Arms of one layout are
    read at once."""
    layouts: dict[int, list[int]] = {}
    for at, arm in enumerate(arms):
        layouts.setdefault(id(arm.layout), []).append(at)
    found = [
        reader_of(cast, arms[places[0]].layout).read(*(arms[at] for at in places))
        for places in layouts.values()
    ]
    if len(found) == 1:
        return found[0]
    back = np.argsort([at for places in layouts.values() for at in places])
    cells, n, mean, sd = (
        np.concatenate(some)[back]
        for some in zip(*((one.cells, one.n, one.mean, one.sd) for one in found), strict=True)
    )
    lost = [some for one in found for some in one.lost]
    return ArmCounts(cells, n, mean, sd, tuple(lost[at] for at in back.tolist()))


@lru_cache(maxsize=512)
def reader_of(cast: Cast, layout: Layout) -> Reader:
    """For this cast and layout, remembered by their identity and else by their content."""
    return _reader(cast, layout.reference, layout.columns)


@lru_cache(maxsize=512)
def _reader(cast: Cast, reference: str, columns: tuple[ColumnSpec, ...]) -> Reader:
    layout = Layout.of(reference, columns)
    direct: list[tuple[int, int]] = []
    named: list[tuple[str, tuple[tuple[int, str], ...]]] = []
    others: list[tuple[int, int, int]] = []
    absent: list[tuple[int, list[int], int, bool]] = []
    failures = -1
    for part, first in zip(cast.parts, cast.starts.tolist(), strict=True):
        if part.basis is None:
            continue
        kind = Kind.CATEGORICAL if part.measure is Measure.CATEGORIES else Kind.NUMERIC
        at = layout.starts.get((part.column, kind))
        if part.measure is Measure.ERRORS:
            failures = first
        elif part.measure is Measure.MISSING:
            absent.append((first + 1, *_presence(layout, part.column)))
        elif part.measure is Measure.CATEGORIES and at is not None:
            spec = layout.columns[layout.index[part.column, kind]]
            bins = {name: at + CATEGORICAL_SLOTS + i for i, name in enumerate(spec.categories)}
            cells = tuple(enumerate(part.basis.categories, first))
            direct += [(bins[name], cell) for cell, name in cells if name in bins]
            named.append((part.column, tuple(pair for pair in cells if pair[1] not in bins)))
            others.append((first, first + part.cells - 1, at + N))
        elif part.measure is Measure.LEVEL and at is not None:
            spec = layout.columns[layout.index[part.column, kind]]
            if spec.edges == part.basis.edges:
                direct += [(at + NUMERIC_SLOTS + i, first + i) for i in range(part.cells)]
    # Beyond the vector there are zeros.
    source = np.full(cast.width, layout.width, np.int64)
    for place, cell in direct:
        source[cell] = place
    return Reader(
        cast,
        layout.width,
        source,
        tuple((column, wanted) for column, wanted in named if wanted),
        np.array([last for _, last, _ in others], np.int64),
        np.array([n for _, _, n in others], np.int64),
        np.concatenate([np.arange(first, last + 1) for first, last, _ in others] or [_NONE]),
        np.array([0, *(last + 1 - first for first, last, _ in others)], np.int64)[:-1].cumsum(),
        failures,
        np.array([at for at, _, _, _ in absent], np.int64),
        np.array([there for _, there, _, _ in absent], np.int64).reshape(-1, 4).T.copy(),
        np.array([expected for _, _, expected, _ in absent], np.int64),
        np.array([seen for _, _, _, seen in absent], np.bool_),
        _levels(cast, layout),
    )


def _presence(layout: Layout, column: str) -> tuple[list[int], int, bool]:
    """Where values and errors of both kinds are counted, where the events, and if there are any."""
    kinds = [layout.starts.get((column, kind)) for kind in Kind]
    seen = [at for at in kinds if at is not None]
    there = [at + slot for at in seen for slot in (N, ERRORS)]
    padded = there + [layout.width] * (4 - len(there))
    return padded, HEADERS.index(expected_of(column)), bool(seen)


def _levels(cast: Cast, layout: Layout) -> _Levels:
    slots: list[int] = []
    unbinned: list[int] = []
    buckets: list[NDArray[np.int32] | None] = []
    specs: list[ColumnSpec] = []
    parts = cast.levels.tolist()
    for place, at in enumerate(parts):
        part = cast.parts[at]
        key = (part.column, Kind.NUMERIC)
        seen = key in layout.index
        spec = layout.columns[layout.index[key]] if seen else _ABSENT
        slots.append(layout.starts.get(key, layout.width))
        specs.append(spec)
        edges = part.basis.edges if part.basis is not None else None
        if seen and edges is not None and spec.edges != edges:
            unbinned.append(place)
        buckets.append(_exact_buckets(edges) if edges else None)
    scale = np.array([spec.grid.scale for spec in specs])
    return _Levels(
        tuple(parts),
        tuple(cast.parts[at].column for at in parts),
        tuple(slots),
        np.arange(NUMERIC_SLOTS)[:, None] + np.array(slots, np.int64),
        tuple(unbinned),
        tuple(buckets),
        np.array([spec.sketch for spec in specs], np.bool_),
        np.array([spec.grid.center for spec in specs]),
        scale,
        scale / STEPS / RELATIVE_ERROR,
        scale * math.sqrt(1.0 / STEPS / (2 * RELATIVE_ERROR)),
    )


_ABSENT = ColumnSpec("", Kind.NUMERIC, sketch=False)


def _exact_buckets(edges: tuple[float, ...]) -> NDArray[np.int32] | None:
    """The edges as sketch buckets; None if a sketch cannot be counted between them exactly."""
    values = np.array(edges)
    found = bucket_of(values)
    return found if np.array_equal(bucket_floor(found), values) else None
