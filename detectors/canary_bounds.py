"""The tighter bound of what bets on canaries are owed, with compiled kernels: what is done between
them, and what they need.

As :mod:`detectors.canary_kernels`, to the last bit the same as :mod:`detectors.canary_evidence`
without them; for all releases of a pane whose canaries have much of it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.canary_evidence import CONVERGED, NEWTON_STEPS, ROWS, UPPER_STEPS

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Indices = NDArray[np.int64]

_UNBOUND = -1.0
"""No mean is as near as that: all of them move."""


@dataclass(frozen=True, slots=True)
class BoundKernels:
    """The functions of :mod:`detectors.compiled_canary_bounds`, compiled, in its order."""

    split: Callable[..., bool]
    begin: Callable[..., None]
    approach: Callable[..., bool]
    weigh: Callable[..., None]
    bound: Callable[..., None]


def tight_bounds(
    kernels: BoundKernels,
    ranges: tuple[Any, ...],
    levels: tuple[Any, ...],
    largest: Floats,
    chosen: Indices,
    cells: Counts,
    upto: Counts,
    counts: Counts,
    bets: Floats,
    sums: Floats,
) -> Floats:
    """Upper bounds of what is owed for bets on ranges and, behind them, for the shifts of levels,
    [P, R + rows * L]; infinity where none was found.

    ``ranges``, ``levels``: of the book, as kernels read it; ``largest``: of the logarithms in its
    shifts, of either sign, [rows / 2, L]; ``chosen``: the releases that have bounds, [K];
    ``cells``, ``upto``, ``counts``: of both arms, as in
    :func:`detectors.canary_evidence.log_e_values`; ``bets``: logarithms of bet and of tilt on
    ranges, [2, P, R]; ``sums``: logarithms of sums over levels, [P * rows * L] and more. Numpy is
    not to warn of what is infinite or not a number."""
    many, (_, releases, parts) = len(chosen), counts.shape
    by_range = many, bets.shape[2]
    # What logarithms are taken of stands in one piece.
    logs = np.empty(many * 5 * parts + 2 * many * bets.shape[2])
    of_parts = logs[: many * 5 * parts].reshape(many, 5, parts), np.empty((many, 3, parts))
    zs = logs[many * 5 * parts :].reshape(2, *by_range)
    two = zs, np.empty((2, 2, *by_range)), np.empty(by_range), np.empty(by_range)
    tight = np.empty((many, parts), np.bool_)
    if kernels.split(ranges, chosen, counts, upto, np.exp(bets), tight, of_parts, two):
        special.gammaln(of_parts[1], out=of_parts[1])
    np.log(logs, out=logs)
    np.log1p(two[1], out=two[1])
    np.log(special.i0e(two[2], out=two[2]), out=two[2])
    rows, width = levels[3].shape
    by_level = many, rows, len(levels[0])
    bounds = np.empty((releases, bets.shape[2] + rows * by_level[2]))
    bounds.fill(np.inf)
    at_mean, pooled, log_z = np.empty((many, parts)), np.empty((many, width)), np.empty(by_level)
    kernels.begin(
        ranges,
        levels,
        (cells, upto, counts),
        chosen,
        tight,
        of_parts,
        two,
        bets,
        sums,
        bounds,
        at_mean,
        pooled,
        log_z,
    )
    if by_level[2]:
        pane = chosen, counts, tight, pooled
        _bound_shifts(kernels, levels, largest, pane, at_mean, log_z, bounds)
    return bounds


def _bound_shifts(
    kernels: BoundKernels,
    levels: tuple[Any, ...],
    largest: Floats,
    pane: tuple[Any, ...],
    at_mean: Floats,
    log_z: Floats,
    bounds: Floats,
) -> None:
    moving = np.ones(len(log_z), np.bool_)
    powers, variance, miss = np.empty((3, *log_z.shape))
    for step in range(UPPER_STEPS + 1):
        np.exp(log_z, out=powers)
        moves = step < UPPER_STEPS
        kernels.approach(
            *(levels, 1, _UNBOUND, moves, pane, moving, powers, log_z, variance, miss),
        )
    # The tilts go on until they are there. Their exponentials go to a fresh array first, as in the
    # plain form: numpy promises nothing of the last bit where elements are not adjacent.
    for step in range(NEWTON_STEPS + 1):
        powers[:, ::ROWS] = np.exp(log_z[:, ::ROWS])
        moves = step < NEWTON_STEPS
        if not kernels.approach(
            *(levels, ROWS, CONVERGED, moves, pane, moving, powers, log_z, variance, miss),
        ):
            break
    raised = np.empty((len(log_z), *levels[3].shape))
    kernels.weigh(levels, pane, powers, variance, raised)
    np.log1p(raised, out=raised)
    np.log(special.i0e(variance, out=variance), out=variance)
    kernels.bound(levels, largest, pane, at_mean, log_z, variance, miss, raised, bounds)
