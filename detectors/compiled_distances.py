"""How far the columns of a window are from those of another, for numba: all but the logarithms.

**Guarantee.** What :func:`detectors.cell_statistics.distances` makes of the same counts, to the
last bit; that is what runs where numba is not installed, and says what each line is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.cell_statistics import PSEUDO_COUNT, SMALLEST_EXPECTED, TINY, TWO_LOG_2
from detectors.compiled_parts import added, entry, larger, part, smaller, sums_like_numpy
from detectors.compiled_types import B1, F1, F2, I1, tuple_of


def prepare(starts: Any, usual: Any, now: Any, full: Any, logs: Any) -> None:
    """``usual``, ``now``: counts, totals, shares, roots and empty cells of either side. ``full``:
    their shares for PSI, [2, cells]; ``logs``: what logarithms are taken of, [3, cells]."""
    counts, totals, shares, _, empty = usual
    counts_now, totals_now, shares_now, _, empty_now = now
    any_lonely = False
    for i in range(counts.size):
        p, q = shares[i], shares_now[i]
        middle = larger(p + q, TINY)
        logs[0, i] = larger(p / middle * 2, TINY)
        logs[1, i] = larger(q / middle * 2, TINY)
        logs[2, i] = larger(q / larger(p, TINY), TINY)
        full[0, i], full[1, i] = p, q
        any_lonely |= empty[i] != empty_now[i]
    if not any_lonely:
        return
    for c in range(starts.size):
        first, stop = starts[c], starts[c + 1] if c + 1 < starts.size else counts.size
        seen, lonely = 0, False
        for i in range(first, stop):
            seen += counts[i] + counts_now[i] > 0.0
            lonely |= empty[i] != empty_now[i]
        if lonely:
            total = totals[c] + PSEUDO_COUNT * seen
            total_now = totals_now[c] + PSEUDO_COUNT * seen
            for i in range(first, stop):
                more = PSEUDO_COUNT if counts[i] + counts_now[i] > 0.0 else 0.0
                p, q = (counts[i] + more) / total, (counts_now[i] + more) / total_now
                full[0, i], full[1, i] = p, q
                logs[2, i] = larger(q / larger(p, TINY), TINY)


@part
def _pool(cells: Any, cross: Any, sparse: Any, room: Any, first: Any, size: Any) -> Any:
    """What is moved and how many there are in sparse cells, and how many other cells there are."""
    left = 0
    for i in range(first, first + size):
        room[i] = cross[i] * sparse[i]
        left += sparse[i] == 0.0
    moved = added(room, first, size)
    for i in range(first, first + size):
        room[i] = cells[i] * sparse[i]
    return moved, added(room, first, size), left


@part
def _chi_square(cells: Any, cross: Any, sparse: Any, room: Any, both: Any, where: Any) -> Any:
    """With its degrees of freedom. ``both``: the totals of either side; ``where``: the first cell
    and how many."""
    n, m = both
    first, size = where
    needed = SMALLEST_EXPECTED * (n + m) / smaller(n, m)
    seen, left = 0, 0
    for i in range(first, first + size):
        sparse[i] = 1.0 if cells[i] < needed else 0.0
        seen += cells[i] > 0.0
        left += sparse[i] == 0.0
    moved, pooled = 0.0, 0.0
    if left < size:
        moved, pooled, left = _pool(cells, cross, sparse, room, first, size)
        if 0.0 < pooled < needed and left > 0:
            smallest = -1
            for i in range(first, first + size):
                if sparse[i] == 0.0 and (smallest < 0 or cells[i] < cells[smallest]):
                    smallest = i
            sparse[smallest] = 1.0
            moved, pooled, left = _pool(cells, cross, sparse, room, first, size)
    for i in range(first, first + size):
        room[i] = cross[i] * cross[i] / larger(cells[i], 1.0) * (1.0 - sparse[i])
    found = (added(room, first, size) + moved * moved / larger(pooled, 1.0)) / (n * m)
    dof = left + (pooled > 0.0) - 1
    if dof < 1:
        found = np.nan
    if seen == 1 and n * m > 0.0:
        found = 0.0
    return found, dof if dof > 0 and found == found else 0


def conclude(
    starts: Any, usual: Any, now: Any, full: Any, logs: Any, found: Any, change: Any
) -> None:
    """``logs``: by now logarithms; ``found``: the statistics of
    :class:`detectors.cell_statistics.Distances` in its order, [7, columns]; ``change``: its last,
    [cells]."""
    counts, totals, shares, roots, _ = usual
    counts_now, totals_now, shares_now, roots_now, _ = now
    terms = np.empty((8, counts.size))
    moved, apart, divergence, index = terms[0], terms[1], terms[2], terms[3]
    cells, cross, sparse, room = terms[4], terms[5], terms[6], terms[7]
    for i in range(counts.size):
        p, q = shares[i], shares_now[i]
        change[i] = q - p
        moved[i] = abs(q - p)
        between = roots_now[i] - roots[i]
        apart[i] = between * between
        divergence[i] = p * logs[0, i] + q * logs[1, i]
        index[i] = (full[1, i] - full[0, i]) * logs[2, i]
        cells[i] = counts[i] + counts_now[i]
    for c in range(starts.size):
        first = starts[c]
        size = (starts[c + 1] if c + 1 < starts.size else counts.size) - first
        n, m = totals[c], totals_now[c]
        most = 0.0
        for i in range(first, first + size):
            cross[i] = counts_now[i] * n - counts[i] * m
            most = larger(moved[i], most)
        found[0, c] = larger(added(index, first, size), 0.0)
        shannon = larger(added(divergence, first, size) / TWO_LOG_2, 0.0)
        found[1, c] = np.sqrt(smaller(shannon, 1.0))
        found[2, c] = np.sqrt(smaller(added(apart, first, size) / 2, 1.0))
        found[3, c], found[6, c] = _chi_square(cells, cross, sparse, room, (n, m), (first, size))
        found[4, c] = smaller(added(moved, first, size) / 2, 1.0)
        found[5, c] = most


_SIDE = tuple_of(F1, F1, F1, F1, B1)


def compile_distances(*, cache: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    both = f"{I1}, {_SIDE}, {_SIDE}, {F2}, {F2}"
    return (
        entry(prepare, f"void({both})", cache),
        entry(conclude, f"void({both}, {F2}, {F1})", cache),
    )
