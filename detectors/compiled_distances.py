"""How far the columns of a window are from those of another, for numba: all but the logarithms.

**Guarantee.** What :func:`detectors.cell_statistics.distances` makes of the same counts, to the
last bit; that is what runs where numba is not installed, and says what each line is for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.cell_statistics import PSEUDO_COUNT, SMALLEST_EXPECTED, TINY, TWO_LOG_2
from detectors.compiled_parts import added, entry, larger, part, smaller, sums_like_numpy
from detectors.distance_kernels import DistanceKernels


def prepare(starts: Any, usual: Any, now: Any, full: Any, logs: Any) -> None:
    """``usual``, ``now``: counts, totals, shares, roots and empty cells of either side. ``full``:
    their shares for PSI, [2, cells]; ``logs``: what logarithms are taken of, [3, cells]."""
    counts, totals, shares, _, empty = usual
    counts_now, totals_now, shares_now, _, empty_now = now
    for c in range(starts.size):
        first = starts[c]
        stop = starts[c + 1] if c + 1 < starts.size else counts.size
        seen, lonely = 0, False
        for i in range(first, stop):
            seen += counts[i] + counts_now[i] > 0.0
            lonely |= empty[i] != empty_now[i]
        half = PSEUDO_COUNT if lonely else 0.0
        total, total_now = totals[c] + half * seen, totals_now[c] + half * seen
        for i in range(first, stop):
            p, q = shares[i], shares_now[i]
            middle = larger(p + q, TINY)
            logs[0, i] = larger(p / middle * 2, TINY)
            logs[1, i] = larger(q / middle * 2, TINY)
            if lonely:
                more = half if counts[i] + counts_now[i] > 0.0 else 0.0
                p, q = (counts[i] + more) / total, (counts_now[i] + more) / total_now
            full[0, i], full[1, i] = p, q
            logs[2, i] = larger(q / larger(p, TINY), TINY)


@part
def _pool(cells: Any, cross: Any, among: Any, room: Any, first: Any, size: Any) -> Any:
    for i in range(first, first + size):
        room[i] = cross[i] * among[i]
    moved = added(room, first, size)
    kept = 0.0
    for i in range(first, first + size):
        room[i] = cells[i] * among[i]
        kept += 1.0 - among[i]
    return moved, added(room, first, size), kept


@part
def _chi_square(counts: Any, now: Any, n: Any, m: Any, scratch: Any, first: Any, size: Any) -> Any:
    """With its degrees of freedom."""
    cells, cross, among, room = scratch
    needed = SMALLEST_EXPECTED * (n + m) / smaller(n, m)
    seen = 0
    for i in range(first, first + size):
        cells[i] = counts[i] + now[i]
        cross[i] = now[i] * n - counts[i] * m
        among[i] = 1.0 if cells[i] < needed else 0.0
        seen += cells[i] > 0.0
    moved, pooled, kept = _pool(cells, cross, among, room, first, size)
    if 0.0 < pooled < needed and kept > 0.0:
        smallest = -1
        for i in range(first, first + size):
            if among[i] == 0.0 and (smallest < 0 or cells[i] < cells[smallest]):
                smallest = i
        among[smallest] = 1.0
        moved, pooled, kept = _pool(cells, cross, among, room, first, size)
    for i in range(first, first + size):
        room[i] = cross[i] * cross[i] / larger(cells[i], 1.0) * (1.0 - among[i])
    found = (added(room, first, size) + moved * moved / larger(pooled, 1.0)) / (n * m)
    dof = kept + (pooled > 0.0) - 1.0
    if dof < 1.0:
        found = np.nan
    if seen == 1 and n * m > 0.0:
        found = 0.0
    return found, larger(dof, 0.0) if found == found else 0.0


def conclude(
    starts: Any, usual: Any, now: Any, full: Any, logs: Any, found: Any, change: Any
) -> None:
    """``logs``: by now logarithms; ``found``: the statistics of
    :class:`detectors.cell_statistics.Distances` in its order, [7, columns]; ``change``: its last,
    [cells]."""
    counts, totals, shares, roots, _ = usual
    counts_now, totals_now, shares_now, roots_now, _ = now
    scratch = np.empty_like(counts), np.empty_like(counts), np.empty_like(counts), change
    moved, apart = np.empty_like(counts), np.empty_like(counts)
    divergence, index = np.empty_like(counts), np.empty_like(counts)
    for c in range(starts.size):
        first = starts[c]
        size = (starts[c + 1] if c + 1 < starts.size else counts.size) - first
        found[3, c], found[6, c] = _chi_square(
            counts, counts_now, totals[c], totals_now[c], scratch, first, size
        )
        most = 0.0
        for i in range(first, first + size):
            p, q = shares[i], shares_now[i]
            change[i] = q - p
            moved[i] = abs(change[i])
            most = larger(moved[i], most)
            between = roots_now[i] - roots[i]
            apart[i] = between * between
            divergence[i] = p * logs[0, i] + q * logs[1, i]
            index[i] = (full[1, i] - full[0, i]) * logs[2, i]
        found[0, c] = larger(added(index, first, size), 0.0)
        shannon = larger(added(divergence, first, size) / TWO_LOG_2, 0.0)
        found[1, c] = np.sqrt(smaller(shannon, 1.0))
        found[2, c] = np.sqrt(smaller(added(apart, first, size) / 2, 1.0))
        found[4, c] = smaller(added(moved, first, size) / 2, 1.0)
        found[5, c] = most


_F1, _F2 = "float64[::1]", "float64[:,::1]"
_SIDE = f"Tuple(({_F1}, {_F1}, {_F1}, {_F1}, boolean[::1]))"


def compile_distances(*, cache: bool) -> DistanceKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    both = f"int64[::1], {_SIDE}, {_SIDE}, {_F2}, {_F2}"
    return DistanceKernels(
        entry(prepare, f"void({both})", cache),
        entry(conclude, f"void({both}, {_F2}, {_F1})", cache),
    )
