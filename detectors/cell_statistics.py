"""The classical statistics of many columns at once, from counts of cells that lie end to end.

A column's cells are one slice of a flat array (:class:`Slices`); sums are taken slice by slice, so
a column's figures do not depend, to the last bit, on which other columns stand beside it. That
matters because which columns a window holds may depend on how the stream was cut into batches.

Formulas and their sources stand in :mod:`detectors.statistics`, which is the same for one column.
Divisions by zero and overflows are meant to give NaN and infinity here: call within :func:`quiet`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

quiet = functools.partial(np.errstate, divide="ignore", invalid="ignore", over="ignore")

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SMALLEST_EXPECTED = 5.0
"""Cochran's rule (Biometrics, 1954): cells expected to hold less are pooled for chi-square."""
PSEUDO_COUNT = 0.5

TINY = 1e-300
"""Stands for the ratio where a share is 0, so that 0 times its logarithm is 0 and not NaN."""
_EXACT = float(1 << 53)
TWO_LOG_2 = 2 * float(np.log(2.0))


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Where each column's cells stand: ``starts`` and ``last``, int64 [columns], its first and its
    last cell; ``of``, int64 [cells], the column of each cell. No column is without a cell."""

    starts: Counts
    last: Counts
    of: Counts

    @classmethod
    def of_sizes(cls, sizes: Sequence[int] | Counts) -> Slices:
        """``sizes``: how many cells each column has, all at least 1."""
        lengths = np.asarray(sizes, np.int64)
        ends = np.cumsum(lengths)
        return cls(ends - lengths, ends - 1, np.repeat(np.arange(len(lengths)), lengths))

    def times(self, copies: int) -> Slices:
        """So many of these, one after another."""
        columns, cells = len(self.starts), len(self.of)
        shift = np.repeat(np.arange(copies), columns) * cells
        of = np.tile(self.of, copies) + np.repeat(np.arange(copies), cells) * columns
        return Slices(np.tile(self.starts, copies) + shift, np.tile(self.last, copies) + shift, of)

    def sum(self, cells: Floats) -> Floats:
        """float64 [..., columns] of float64 [..., cells]."""
        total: Floats = np.add.reduceat(cells, self.starts, axis=-1)
        return total

    def running(self, cells: Floats) -> Floats:
        """The running sum within each column, of whole numbers: float64 [cells]."""
        running: Floats = np.cumsum(cells)
        if running[-1] < _EXACT:
            # All partial sums are whole and exact, so the columns before can be taken off again.
            before = running.take(self.starts) - cells.take(self.starts)
            return running - before.take(self.of)
        return np.concatenate([np.cumsum(part) for part in np.split(cells, self.starts[1:])])


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of a comparison: ``counts`` and ``shares``, float64 [cells], and what is derived
    from them alone; ``totals``: float64 [columns]. Totals and shares of a column without events
    are NaN, and so is all that is computed from them."""

    counts: Floats
    totals: Floats
    shares: Floats
    roots: Floats
    empty: Flags

    @classmethod
    def of(cls, counts: Counts, slices: Slices) -> Side:
        """``counts``: int64 [cells]. A column with a count below zero counts as empty."""
        # Summed as doubles: the int64 sum of counts near 2**63 would wrap round.
        weights = counts.astype(np.float64)
        if len(counts) and counts.min() < 0:
            weights[(np.minimum.reduceat(counts, slices.starts) < 0)[slices.of]] = 0.0
        empty = weights == 0
        totals = slices.sum(weights) if len(counts) else np.empty(0)
        totals[totals == 0] = np.nan
        shares: Floats = weights / totals.take(slices.of)
        return cls(weights, totals, shares, np.sqrt(shares), empty)

    @classmethod
    def joined(cls, each: Sequence[Side]) -> Side:
        """The columns of the first, then of the second, and so on."""
        return cls(
            np.concatenate([side.counts for side in each]),
            np.concatenate([side.totals for side in each]),
            np.concatenate([side.shares for side in each]),
            np.concatenate([side.roots for side in each]),
            np.concatenate([side.empty for side in each]),
        )

    def copy(self) -> Side:
        """The same, with arrays of its own."""
        return Side(
            self.counts.copy(),
            self.totals.copy(),
            self.shares.copy(),
            self.roots.copy(),
            self.empty.copy(),
        )

    def part(self, columns: slice, cells: slice) -> Side:
        """Those of some columns that stand together, with their cells."""
        return Side(
            self.counts[cells],
            self.totals[columns],
            self.shares[cells],
            self.roots[cells],
            self.empty[cells],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Each float64 [columns], NaN where a side is empty; ``chi_square`` also where too few cells
    are left of several. ``dof``: whole numbers. ``change``: observed less expected share,
    float64 [cells]."""

    psi: Floats
    jensen_shannon: Floats
    hellinger: Floats
    chi_square: Floats
    total_variation: Floats
    l_infinity: Floats
    dof: Floats
    change: Floats

    def part(self, columns: slice, cells: slice) -> Distances:
        """Those of some columns that stand together, with their cells."""
        return Distances(
            self.psi[columns],
            self.jensen_shannon[columns],
            self.hellinger[columns],
            self.chi_square[columns],
            self.total_variation[columns],
            self.l_infinity[columns],
            self.dof[columns],
            self.change[cells],
        )


def distances(slices: Slices, usual: Side, now: Side) -> Distances:
    """Every statistic that does not ask for the order of the cells."""
    if not len(slices.starts):
        none = np.empty(0)
        return Distances(none, none, none, none, none, none, none, none)
    p, q, of = usual.shares, now.shares, slices.of
    n, m = usual.totals, now.totals
    cells = usual.counts + now.counts
    flags = np.empty((2, len(of)))
    flags[0] = cells > 0.0
    flags[1] = usual.empty != now.empty
    seen, lonely = slices.sum(flags)
    # For PSI, where one side alone has an empty cell, every cell that occurs gets half an event
    # more on both sides.
    p_full, q_full = p, q
    if lonely.any():
        half = (lonely > 0) * PSEUDO_COUNT
        more = half.take(of) * flags[0]
        p_full = (usual.counts + more) / (n + half * seen).take(of)
        q_full = (now.counts + more) / (m + half * seen).take(of)
    change: Floats = q - p
    size: Floats = np.abs(change)
    middle = p + q
    logs = np.empty((3, len(of)))
    np.divide(p, np.maximum(middle, TINY, out=middle), out=logs[0])
    np.divide(q, middle, out=logs[1])
    logs[:2] *= 2
    np.divide(q_full, np.maximum(p_full, TINY), out=logs[2])
    np.log(np.maximum(logs, TINY, out=logs), out=logs)
    terms = np.empty((5, len(of)))
    terms[0] = size
    np.subtract(now.roots, usual.roots, out=terms[1])
    terms[1] *= terms[1]
    np.multiply(p, logs[0], out=terms[2])
    logs[1] *= q
    terms[2] += logs[1]
    np.multiply(q_full - p_full, logs[2], out=terms[3])
    cross = now.counts * n.take(of) - usual.counts * m.take(of)
    needed = SMALLEST_EXPECTED * (n + m) / np.minimum(n, m)
    sparse = cells < needed.take(of)
    np.divide(cross * cross, np.maximum(cells, 1.0), out=terms[4])
    pool, left, alone = _pool(slices, cells, cross, sparse, needed)
    terms[4] *= alone
    moved, apart, divergence, index, own = slices.sum(terms)
    chi_square = (own + pool) / (n * m)
    dof = left - 1
    chi_square[dof < 1] = np.nan
    # One same cell on both sides: there is nothing in which they could differ.
    chi_square[(seen == 1) & (n * m > 0)] = 0.0
    dof[np.isnan(chi_square)] = 0
    return Distances(
        np.maximum(index, 0.0),
        np.sqrt(np.minimum(np.maximum(divergence / TWO_LOG_2, 0.0), 1.0)),
        np.sqrt(np.minimum(apart / 2, 1.0)),
        chi_square,
        np.minimum(moved / 2, 1.0),
        np.maximum.reduceat(size, slices.starts),
        np.maximum(dof, 0.0),
        change,
    )


def running_shares(slices: Slices, counts: Floats) -> Floats:
    """The distribution function at the upper edge of each cell, exactly 1 at the last. ``counts``:
    those of a :class:`Side`, float64 [cells]."""
    if not len(slices.starts):
        return np.empty(0)
    running = slices.running(counts)
    # Without events 0 / 0, which is NaN.
    shares: Floats = running / running.take(slices.last).take(slices.of)
    return shares


def ordered_distances(
    slices: Slices, usual: Floats, now: Floats, steps: Floats
) -> tuple[Floats, Floats]:
    """Kolmogorov-Smirnov and first Wasserstein distance, float64 [columns] each.

    ``usual`` and ``now``: :func:`running_shares` of both sides. ``steps``: :func:`steps_between`
    of the cells, in the unit wanted.
    """
    if not len(slices.starts):
        return np.empty(0), np.empty(0)
    gaps: Floats = np.abs(now - usual)
    moved = slices.sum(gaps * steps)
    moved[np.isinf(moved)] = np.nan
    return np.maximum.reduceat(gaps, slices.starts), moved


def steps_between(slices: Slices, positions: Floats, unit: Floats) -> Floats:
    """The distance of each cell from the next one of its column: float64 [cells], 0 at its last.

    ``positions``: float64 [cells], not decreasing within a column; ``unit``: float64 [columns], in
    which the steps are told. NaN where the unit is not positive and finite, or a step is not.
    """
    if not len(slices.starts):
        return np.empty(0)
    usable = np.where(np.isfinite(unit) & (unit > 0), unit, np.nan)
    # Divided first: the distance of the largest doubles overflows, their ratio may not.
    scaled = positions / usable[slices.of]
    steps = np.empty_like(scaled)
    np.subtract(scaled[1:], scaled[:-1], out=steps[:-1])
    steps[slices.last] = 0.0 * usable
    steps[np.isinf(steps)] = np.nan
    return steps


def chi_square_p_values(statistic: Floats, dof: Floats) -> Floats:
    """The chance of a statistic as large by luck; 1 where both sides hold one same cell only."""
    chances: Floats = special.chdtrc(np.maximum(dof, 1.0), statistic)
    return np.where((dof > 0) | np.isnan(statistic), chances, 1.0)


def _pool(
    slices: Slices, cells: Floats, cross: Floats, sparse: Flags, needed: Floats
) -> tuple[Floats | float, Floats, Floats | float]:
    """What the pools of sparse cells add to the sums, how many cells are left, and, float64
    [cells], 1 where one stands for itself. What joins a pool that is still too small by itself is
    marked in ``sparse``."""
    if not sparse.any():
        return 0.0, slices.sum(np.ones(len(cells))), 1.0
    (moved, pooled, kept), own = _pooled(slices, cells, cross, sparse)
    short = (pooled > 0) & (pooled < needed)
    if short.any():
        sparse[_smallest(slices, cells, short.take(slices.of) & ~sparse)] = True
        (moved, pooled, kept), own = _pooled(slices, cells, cross, sparse)
    return moved * moved / np.maximum(pooled, 1.0), kept + (pooled > 0), own


def _smallest(slices: Slices, cells: Floats, among: Flags) -> Counts:
    """Where the smallest of the cells in ``among`` stands, the first of equals, of each column that
    has any."""
    places = among.nonzero()[0]
    if not len(places):
        return places
    values, column = cells.take(places), slices.of.take(places)
    first = np.empty(len(places), np.bool_)
    first[0] = True
    np.not_equal(column[1:], column[:-1], out=first[1:])
    smallest = np.minimum.reduceat(values, first.nonzero()[0])
    equal = (values == smallest.take(first.cumsum() - 1)).nonzero()[0]
    column = column.take(equal)
    found: Counts = places.take(equal[np.concatenate(([True], column[1:] != column[:-1]))])
    return found


def _pooled(slices: Slices, cells: Floats, cross: Floats, sparse: Flags) -> tuple[Floats, Floats]:
    """The sums of sparse cells, and how many others there are; and where these are."""
    # Numbers rather than flags: products of these are made cell by cell, with a cast for each.
    among = sparse.astype(np.float64)
    terms = np.empty((3, len(cells)))
    np.multiply(cross, among, out=terms[0])
    np.multiply(cells, among, out=terms[1])
    own = np.subtract(1.0, among, out=terms[2])
    return slices.sum(terms), own
