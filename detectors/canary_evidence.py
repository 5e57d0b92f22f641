"""The e-values of all bets of releases on one pane, in some operations on arrays.

The same evidence as :func:`detectors.conditional.log_e_values`, which says why it is exact, for the
two families of :mod:`detectors.canary_bets`:

- a bet on a *range* of cells is one on two cells, the range and the rest. The sum over cells is
  1 + q (e**b - 1) with q the range's share, and the point where the mean of S is n is the root of
  a quadratic equation: nothing is iterated;
- *shifts* of the scores of all levels have weights that are known beforehand, so one sum over the
  cells of all of them is enough.

Where a canary has much of the pane the second, tighter bound is used; its upper part holds at every
z, so two steps towards the best z are enough, and only the tilt's own z must be found exactly. Bets
on the ends of a scale, a fifth of the money, always use the first bound.

Releases with the same book have a row each. What a row comes to depends on that row alone, to the
last bit: sums are taken along the cells of a row, and what is iterated is iterated release by
release.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.canary_bets import SHIFTS
from detectors.canary_book import Book, Ends
from detectors.conditional import TIGHT_SHARE
from detectors.flags import all_of, any_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Indices = NDArray[np.int64]

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Twice that of the plain form: sums are taken in other orders."""
CONVERGED = 1e-9
"""The z of a tilt is found where the mean of S misses n by at most so many times n."""
NEWTON_STEPS = 20
UPPER_STEPS = 2
MOST_STEP = 2.0
ROWS = 1 + len(SHIFTS)


def running(cells: Counts) -> Counts:
    """How many there are before each cell, and in all: [..., C + 1]."""
    upto = np.zeros((*cells.shape[:-1], cells.shape[-1] + 1), np.int64)
    cells.cumsum(axis=-1, out=upto[..., 1:])
    return upto


def log_e_values(
    book: Book,
    cells: Counts,
    upto: Counts,
    n: Counts,
    m: Counts,
    first: Floats,
    rate_tilt: Floats,
) -> Floats:
    """Logarithms of e-values, [..., B].

    ``cells``: counts of all cells, the canary's and production's, [2, ..., C]; ``upto``:
    :func:`running` counts of them; ``n``, ``m``: the canary's and production's of each part,
    [..., M]; ``first``: the sum of the canary's scores, [..., M]; ``rate_tilt``: logarithm of the
    tolerated odds of each rate, [..., Q]. What is said of parts without events of both arms means
    nothing."""
    total = np.maximum((n + m).astype(np.float64), 1.0)
    ours = n.astype(np.float64)
    found = [_on_ranges(book, upto, ours, total, rate_tilt)]
    if len(book.shifts.owner):
        found += _on_levels(book, cells[0] + cells[1], upto[0], ours, total, first)
    return np.concatenate(found, axis=-1).take(book.order, axis=-1)


def _on_ranges(book: Book, upto: Counts, n: Floats, total: Floats, rate_tilt: Floats) -> Floats:
    bets = book.ranges
    none = np.zeros((*rate_tilt.shape[:-1], 1))
    by_rate = np.concatenate((rate_tilt, none), axis=-1).take(bets.rate_of, axis=-1)
    tilt, magnitude = bets.tilt + bets.sign * by_rate, bets.magnitude + by_rate
    bet = tilt + bets.log_factor
    ours, events = n.take(bets.owner, axis=-1), total.take(bets.owner, axis=-1)
    within = upto.take(bets.stop, axis=-1) - upto.take(bets.first, axis=-1)
    drawn, inside = within[0].astype(np.float64), (within[0] + within[1]).astype(np.float64)
    share = inside / events
    # In place where it can be: fresh arrays are not in the processor's cache.
    fair, less = np.expm1(bet), np.expm1(tilt)
    fair *= share
    less *= share
    fair = np.log1p(fair, out=fair)
    fair -= np.log1p(less, out=less)
    fair *= ours
    tight = ours > TIGHT_SHARE * events
    if any_of(tight):
        bet, tilt = np.broadcast_to(bet, tight.shape), np.broadcast_to(tilt, tight.shape)
        bound = _tight_range(inside[tight], ours[tight], events[tight], bet[tight], tilt[tight])
        fair[tight] = np.minimum(fair[tight], bound)
    log_e: Floats = bets.log_factor * drawn
    log_e -= fair
    magnitude *= ROUNDING * ours
    log_e -= magnitude
    return log_e


def _tight_range(inside: Floats, n: Floats, total: Floats, bet: Floats, tilt: Floats) -> Floats:
    """An upper bound of ln(Z(g rho) / Z(g)) for two cells; infinity where none was found."""
    upper, variance, _ = _two_cells(inside, n, total, bet)
    lower, _, miss = _two_cells(inside, n, total, tilt)
    found = (
        upper
        + np.log(special.i0e(variance))
        - lower
        - _log_binomial_at_mean(n, total)
        + ROUNDING * total * (1.0 + np.abs(bet))
    )
    return np.where(np.isfinite(found) & (miss <= CONVERGED * n), found, np.inf)


def _two_cells(
    inside: Floats, n: Floats, total: Floats, log_weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """ln Z without its probability, the variance of S, and by how much its mean misses n."""
    w, rest = np.exp(log_weight), total - inside
    half = 0.5 * ((rest - n) + w * (inside - n))
    square = w * (total - n)
    root = np.sqrt(half * half + square * n)
    # Whichever form of the root does not cancel.
    positive = half > 0
    z = np.where(positive, n, root - half) / np.where(positive, half + root, square)
    odds, weighted = z / (1.0 + z), w * z / (1.0 + w * z)
    mean = rest * odds + inside * weighted
    variance = rest * odds * (1.0 - odds) + inside * weighted * (1.0 - weighted)
    terms = rest * np.log1p(z) + inside * np.log1p(w * z) - n * np.log(z)
    return terms, variance, np.abs(mean - n)


def _on_levels(
    book: Book, pooled: Counts, upto: Counts, n: Floats, total: Floats, first: Floats
) -> list[Floats]:
    """Of bets on shifts, and of those on ends."""
    bets, weights = book.shifts, book.shifts.weights
    levels, width = len(bets.owner), len(bets.cells)
    ours, events = n.take(bets.owner, axis=-1), total.take(bets.owner, axis=-1)
    counts = pooled.take(bets.cells, axis=-1).astype(np.float64)
    shares = counts / events.take(bets.level_of, axis=-1)
    sums = np.empty((*n.shape[:-1], len(weights), levels))
    # A release after the other: what is multiplied and summed stays in the processor's cache.
    shared = np.empty(weights.shape)
    for row, into in zip(shares.reshape(-1, width), _rows(sums), strict=True):
        np.multiply(weights, row, out=shared)
        np.add.reduceat(shared, bets.starts, axis=1, out=into)
    logs = np.log(sums)
    fair = logs.reshape(*n.shape[:-1], 2, ROWS, levels)
    fair = fair - fair[..., :1, :]
    fair *= ours[..., None, None, :]
    fair = fair.reshape(logs.shape)
    tight = ours > TIGHT_SHARE * events
    if any_of(tight):
        by_row = zip(
            *(one.reshape(-1, one.shape[-1]) for one in (counts, ours, events, tight)),
            *map(_rows, (logs, fair)),
            strict=True,
        )
        for cells, some, of, chosen, log, into in by_row:
            if any_of(chosen):
                bound = _tight_shifts(book, weights, cells, some, of, log, chosen)
                into[:, chosen] = np.minimum(into[:, chosen], bound)
    owed = fair.reshape(*n.shape[:-1], -1).take(bets.place, axis=-1)
    on_shifts = (
        bets.shift * first.take(bets.part, axis=-1)
        - owed
        - ROUNDING * bets.magnitude * n.take(bets.part, axis=-1)
    )
    return [on_shifts, _on_ends(book.ends, shares, upto, ours, sums)]


def _on_ends(bets: Ends, shares: Floats, upto: Counts, n: Floats, sums: Floats) -> Floats:
    """``shares``: of the cells of levels, [..., C]; ``n``: the canary's of each level; ``sums``: of
    all that is shared out in each row's law, [..., rows, levels]."""
    if not len(bets.on):
        return np.zeros((*n.shape[:-1], 0))
    inside = np.add.reduceat(shares.take(bets.cells, axis=-1) * bets.weights, bets.starts, axis=-1)
    share = inside / sums.reshape(*n.shape[:-1], -1).take(bets.place, axis=-1)
    drawn = (upto.take(bets.stop, axis=-1) - upto.take(bets.first, axis=-1)).astype(np.float64)
    at_end = n.take(bets.level, axis=-1).take(bets.on, axis=-1)
    found: Floats = (
        bets.log_factor * drawn.take(bets.on, axis=-1)
        - at_end * np.log1p(bets.gain * share.take(bets.on, axis=-1))
        - ROUNDING * bets.magnitude * at_end
    )
    return found


def _rows(values: Floats) -> Floats:
    """The last two axes of each release."""
    return values.reshape(-1, *values.shape[-2:])


def _tight_shifts(
    book: Book,
    weights: Floats,
    counts: Floats,
    n: Floats,
    total: Floats,
    logs: Floats,
    chosen: NDArray[np.bool_],
) -> Floats:
    """Upper bounds of ln(Z(g rho) / Z(g)), [rows, chosen levels]; infinity where none was found."""
    bets = book.shifts
    n, total, logs = n[chosen], total[chosen], logs[:, chosen]
    keep = chosen[bets.level_of]
    if not all_of(keep):
        weights, counts = np.ascontiguousarray(weights[:, keep]), counts[keep]
    sizes = np.add.reduceat(np.ones(len(keep)), bets.starts).astype(np.int64)[chosen]
    starts, level_of = np.cumsum(sizes) - sizes, np.repeat(np.arange(len(sizes)), sizes)

    def towards(log_z: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """By how much the mean of S misses n, and its variance."""
        odds = rows * np.exp(log_z).take(level_of, axis=1)
        odds /= 1.0 + odds
        part = odds * counts
        mean = np.add.reduceat(part, starts, axis=1)
        return mean - n, mean - np.add.reduceat(part * odds, starts, axis=1)

    def moved(log_z: Floats, miss: Floats, variance: Floats) -> Floats:
        step = miss / np.maximum(variance, 1e-300)
        return log_z - np.minimum(np.maximum(step, -MOST_STEP), MOST_STEP)

    def terms(log_z: Floats, rows: Floats) -> Floats:
        weighed = np.log1p(rows * np.exp(log_z).take(level_of, axis=1)) * counts
        return np.add.reduceat(weighed, starts, axis=1) - n * log_z

    log_z = np.log(n / (total - n)) - logs
    for _ in range(UPPER_STEPS):
        log_z = moved(log_z, *towards(log_z, weights))
    _, variance = towards(log_z, weights)
    upper = terms(log_z, weights) + np.log(special.i0e(np.maximum(variance, 0.0)))
    tilts, tilt_z = weights[::ROWS], log_z[::ROWS]
    miss, variance = towards(tilt_z, tilts)
    for _ in range(NEWTON_STEPS):
        if bool((np.abs(miss) <= CONVERGED * n).all()):
            break
        tilt_z = moved(tilt_z, miss, variance)
        miss, variance = towards(tilt_z, tilts)
    lower = terms(tilt_z, tilts) + _log_binomial_at_mean(n, total)
    lower = np.where(np.abs(miss) <= CONVERGED * n, lower, -np.inf)
    largest = bets.largest[:, chosen]
    largest = np.maximum(largest[:ROWS], largest[ROWS:])
    slack = ROUNDING * total * (1.0 + np.concatenate((largest, largest)))
    with np.errstate(invalid="ignore"):
        found: Floats = upper - np.repeat(lower, ROWS, axis=0) + slack
    return np.where(np.isfinite(found), found, np.inf)


def _log_binomial_at_mean(n: Floats, total: Floats) -> Floats:
    """ln P(Binomial(N, n/N) = n), after Loader (2000): nothing large cancels."""
    rest = total - n
    errors = _stirling_error(total) - _stirling_error(n) - _stirling_error(rest)
    found: Floats = errors - 0.5 * np.log(2.0 * math.pi * n * (rest / total))
    return found


def _stirling_error(x: Floats) -> Floats:
    """ln x! less Stirling's formula."""
    square = x * x
    large = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / x
    if float(x.min()) > 32.0:
        return large
    direct = special.gammaln(x + 1.0) - ((x + 0.5) * np.log(x) - x + 0.5 * math.log(2.0 * math.pi))
    return np.where(x > 32.0, large, direct)
