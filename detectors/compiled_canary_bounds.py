"""The tighter bound of what bets on canaries are owed, for numba; see
:mod:`detectors.compiled_canary`. The numpy form, which says what each line is for, is
:mod:`detectors.canary_evidence`; :mod:`detectors.canary_bounds` takes logarithms and exponentials
between one of these functions and the next.

K of the P releases are ``chosen``: their canaries have so much of the pane that the bound is tried.
Parts of theirs that have less, and their levels and ranges, are passed over: what logarithms are
taken of there is harmless. L levels, R ranges, C cells of levels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from detectors.canary_bounds import BoundKernels
from detectors.canary_evidence import CONVERGED, MOST_STEP, ROUNDING, ROWS
from detectors.compiled_parts import added, entry, larger, part, smaller
from detectors.compiled_types import B1, B2, F1, F2, F3, F4, I1, I3, tuple_of
from detectors.conditional import TIGHT_SHARE

_LARGE = 32.0
"""Above it three terms of the error of Stirling's formula are enough, as in the plain form."""
_HALF_LOG = 0.5 * math.log(2.0 * math.pi)


@part
def _events(n: Any, p: Any, i: Any) -> Any:
    """Of the canary, and of both arms."""
    return np.float64(n[0, p, i]), larger(np.float64(n[0, p, i] + n[1, p, i]), 1.0)


@part
def _inside(upto: Any, p: Any, first: Any, stop: Any) -> Any:
    ours, theirs = upto[0, p, stop] - upto[0, p, first], upto[1, p, stop] - upto[1, p, first]
    return np.float64(ours + theirs)


@part
def _two_cells(inside: Any, n: Any, total: Any, w: Any) -> Any:
    """z, w z, the variance of S, and by how much its mean misses n."""
    rest = total - inside
    half = 0.5 * ((rest - n) + w * (inside - n))
    square = w * (total - n)
    root = np.sqrt(half * half + square * n)
    z = n / (half + root) if half > 0 else (root - half) / square
    odds, weighted = z / (1.0 + z), w * z / (1.0 + w * z)
    mean = rest * odds + inside * weighted
    variance = rest * odds * (1.0 - odds) + inside * weighted * (1.0 - weighted)
    return z, w * z, variance, abs(mean - n)


def split(
    ranges: Any, chosen: Any, n: Any, upto: Any, weights: Any, tight: Any, parts: Any, two: Any
) -> Any:
    """What logarithms are taken of: of ``parts``, and of ranges as ``two`` cells. ``weights``: of
    bet and tilt, [2, P, R]; ``tight``: which parts have the bound, [K, M]. Of parts: number of all
    events, of the canary's and of the others, the square in the binomial probability at its mean,
    and the canary's odds, [K, 5, M]; and what the logarithm of the gamma function is taken of,
    [K, 3, M]. Of ranges, with bet and tilt: z, [2, K, R]; z and w z, [2, 2, K, R]; the variance
    with the bet and what the tilt's mean misses, [K, R]. Returns whether the gamma function is
    needed."""
    owner, first, stop, _, _, _, _, _ = ranges
    logs, factorials = parts
    zs, raised, spread, miss = two
    small = False
    for k in range(chosen.size):
        p = chosen[k]
        for i in range(n.shape[2]):
            ours, events = _events(n, p, i)
            tight[k, i] = ours > TIGHT_SHARE * events
            logs[k, :, i] = 1.0
            factorials[k, :, i] = 1.0
            if tight[k, i]:
                rest = events - ours
                logs[k, 0, i], logs[k, 1, i], logs[k, 2, i] = events, ours, rest
                logs[k, 3, i] = 2.0 * math.pi * ours * (rest / events)
                logs[k, 4, i] = ours / rest
                for j in range(3):
                    if not logs[k, j, i] > _LARGE:
                        factorials[k, j, i] = logs[k, j, i] + 1.0
                        small = True
        for r in range(owner.size):
            spread[k, r] = 0.0
            if not tight[k, owner[r]]:
                for bet in range(2):
                    zs[bet, k, r] = 1.0
                    raised[0, bet, k, r] = raised[1, bet, k, r] = 0.0
                continue
            ours, events = _events(n, p, owner[r])
            inside = _inside(upto, p, first[r], stop[r])
            for bet in range(2):
                z, wz, variance, missed = _two_cells(inside, ours, events, weights[bet, p, r])
                zs[bet, k, r] = raised[0, bet, k, r] = z
                raised[1, bet, k, r] = wz
                if bet:
                    miss[k, r] = missed
                else:
                    spread[k, r] = variance
    return small


@part
def _stirling_error(x: Any, log: Any, log_factorial: Any) -> Any:
    if x > _LARGE:
        square = x * x
        return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / x
    return log_factorial - ((x + 0.5) * log - x + _HALF_LOG)


def begin(
    ranges: Any,
    levels: Any,
    pane: Any,
    chosen: Any,
    tight: Any,
    parts: Any,
    two: Any,
    bets: Any,
    sums: Any,
    bounds: Any,
    at_mean: Any,
    pooled: Any,
    log_z: Any,
) -> None:
    """The first R of ``bounds``, [P, R + rows * L], which stay infinite where none is found; the
    logarithm of the binomial probability ``at_mean``, [K, M]; and where the search for z begins on
    levels, [K, rows, L], with their ``pooled`` cells, [K, C]. ``parts``, ``two``: by now logarithms
    of what :func:`split` left there, and of the scaled Bessel function of variances; ``bets``:
    logarithms of bet and tilt, [2, P, R]; ``sums``: logarithms of sums over levels."""
    owner, first, stop, _, _, _, _, _ = ranges
    level_of, cells_of, _, weights = levels
    cells, upto, n = pane
    logs, factorials = parts
    zs, raised, spread, miss = two
    rows = weights.shape[0]
    errors = np.empty(3)
    for k in range(chosen.size):
        p = chosen[k]
        for i in range(n.shape[2]):
            if tight[k, i]:
                ours, events = _events(n, p, i)
                for j in range(3):
                    x = events if j == 0 else ours if j == 1 else events - ours
                    errors[j] = _stirling_error(x, logs[k, j, i], factorials[k, j, i])
                at_mean[k, i] = errors[0] - errors[1] - errors[2] - 0.5 * logs[k, 3, i]
        for r in range(owner.size):
            if not tight[k, owner[r]]:
                continue
            ours, events = _events(n, p, owner[r])
            inside = _inside(upto, p, first[r], stop[r])
            rest = events - inside
            upper = rest * raised[0, 0, k, r] + inside * raised[1, 0, k, r] - ours * zs[0, k, r]
            lower = rest * raised[0, 1, k, r] + inside * raised[1, 1, k, r] - ours * zs[1, k, r]
            slack = ROUNDING * events * (1.0 + abs(bets[0, p, r]))
            found = upper + spread[k, r] - lower - at_mean[k, owner[r]] + slack
            if np.isfinite(found) and miss[k, r] <= CONVERGED * ours:
                bounds[p, r] = found
        for c in range(cells_of.size):
            pooled[k, c] = np.float64(cells[0, p, cells_of[c]] + cells[1, p, cells_of[c]])
        for row in range(rows):
            for i in range(level_of.size):
                at = (p * rows + row) * level_of.size + i
                known = tight[k, level_of[i]]
                log_z[k, row, i] = logs[k, 4, level_of[i]] - sums[at] if known else 0.0


@part
def _levels_of_cells(levels: Any) -> Any:
    level_of, _, starts, weights = levels
    found = np.empty(weights.shape[1], np.int64)
    for i in range(level_of.size):
        found[starts[i] : starts[i + 1] if i + 1 < level_of.size else found.size] = i
    return found


@part
def _raise_all(level: Any, powers: Any, weights: Any, odds: Any) -> None:
    """z times the weight of each cell. One long run: the compiler does nothing for short ones."""
    for c in range(odds.size):
        odds[c] = weights[c] * powers[level[c]]


@part
def _draw(odds: Any, pooled: Any, drawn: Any, squares: Any) -> None:
    """How many of each cell, and those times their share."""
    for c in range(odds.size):
        share = odds[c] / (1.0 + odds[c])
        drawn[c] = share * pooled[c]
        squares[c] = drawn[c] * share


def approach(
    levels: Any,
    every: Any,
    within: Any,
    moves: Any,
    pane: Any,
    moving: Any,
    powers: Any,
    log_z: Any,
    variance: Any,
    miss: Any,
) -> Any:
    """A step of Newton's towards the z at which the mean of S is n, in one of ``every`` so many
    rows of [K, rows, L]. ``powers``: e to the ``log_z``. ``moving``: the releases that still do,
    [K], which are those of which a mean misses n by more than ``within`` times n. ``moves``:
    whether a step is taken, or only told how far off they are. Returns whether one still moves."""
    level_of, _, starts, weights = levels
    chosen, n, tight, pooled = pane
    rows, width = weights.shape
    level = _levels_of_cells(levels)
    odds, drawn, squares = np.empty(width), np.empty(width), np.empty(width)
    still = False
    for k in range(chosen.size):
        if not moving[k]:
            continue
        moving[k] = False
        for row in range(0, rows, every):
            _raise_all(level, powers[k, row], weights[row], odds)
            _draw(odds, pooled[k], drawn, squares)
            for i in range(level_of.size):
                if not tight[k, level_of[i]]:
                    continue
                ours = np.float64(n[0, chosen[k], level_of[i]])
                stop = starts[i + 1] if i + 1 < level_of.size else width
                mean = added(drawn, starts[i], stop - starts[i])
                variance[k, row, i] = mean - added(squares, starts[i], stop - starts[i])
                miss[k, row, i] = mean - ours
                moving[k] |= not (abs(mean - ours) <= within * ours)
        if moves and moving[k]:
            for row in range(0, rows, every):
                for i in range(level_of.size):
                    if tight[k, level_of[i]]:
                        step = miss[k, row, i] / larger(variance[k, row, i], 1e-300)
                        log_z[k, row, i] -= smaller(larger(step, -MOST_STEP), MOST_STEP)
        still |= moving[k]
    return still


def weigh(levels: Any, pane: Any, powers: Any, variance: Any, raised: Any) -> None:
    """What ln(1 + x) is taken of: z times the weights, [K, rows, C]; and variances that rounding
    has not made negative."""
    level_of, _, _, weights = levels
    chosen, _, tight, _ = pane
    level = _levels_of_cells(levels)
    for k in range(chosen.size):
        for row in range(weights.shape[0]):
            _raise_all(level, powers[k, row], weights[row], raised[k, row])
            for i in range(level_of.size):
                known = tight[k, level_of[i]]
                variance[k, row, i] = larger(variance[k, row, i], 0.0) if known else 0.0


def bound(
    levels: Any,
    largest: Any,
    pane: Any,
    at_mean: Any,
    log_z: Any,
    spread: Any,
    miss: Any,
    raised: Any,
    bounds: Any,
) -> None:
    """The other ``bounds``. ``largest``: of the logarithms in bets, of either sign, [rows / 2, L];
    ``spread``: by now the logarithm of the scaled Bessel function of variances; ``miss``: by how
    much the tilts' means miss n; ``raised``: by now ln(1 + x)."""
    level_of, _, starts, weights = levels
    chosen, n, tight, pooled = pane
    rows, width = weights.shape
    behind = bounds.shape[1] - rows * level_of.size
    room, lower = np.empty(width), np.empty(level_of.size)
    for k in range(chosen.size):
        p = chosen[k]
        for row in range(rows):
            for c in range(width):
                room[c] = raised[k, row, c] * pooled[k, c]
            for i in range(level_of.size):
                if not tight[k, level_of[i]]:
                    continue
                ours, events = _events(n, p, level_of[i])
                stop = starts[i + 1] if i + 1 < level_of.size else width
                terms = added(room, starts[i], stop - starts[i]) - ours * log_z[k, row, i]
                if row % ROWS == 0:  # a tilt, with which the rows behind it are compared
                    known = abs(miss[k, row, i]) <= CONVERGED * ours
                    lower[i] = terms + at_mean[k, level_of[i]] if known else -np.inf
                    continue
                slack = ROUNDING * events * (1.0 + largest[row % ROWS, i])
                found = terms + spread[k, row, i] - lower[i] + slack
                if np.isfinite(found):
                    bounds[p, behind + row * level_of.size + i] = found


def compile_bounds(*, cache: bool) -> BoundKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    ranges, levels = tuple_of(*[I1] * 4, *[F1] * 4), tuple_of(I1, I1, I1, F2)
    parts, two = tuple_of(F3, F3), tuple_of(F3, F4, F2, F2)
    pane = tuple_of(I1, I3, B2, F2)
    signatures = {
        split: ("boolean", ranges, I1, I3, I3, F3, B2, parts, two),
        begin: (
            *("void", ranges, levels, tuple_of(I3, I3, I3), I1, B2, parts, two),
            *(F3, F1, F2, F2, F2, F3),
        ),
        approach: ("boolean", levels, "int64", "float64", "boolean", pane, B1, *[F3] * 4),
        weigh: ("void", levels, pane, *[F3] * 3),
        bound: ("void", levels, F2, pane, F2, *[F3] * 4, F2),
    }
    return BoundKernels(
        *(
            entry(function, f"{gives}({', '.join(types)})", cache)
            for function, (gives, *types) in signatures.items()
        )
    )
