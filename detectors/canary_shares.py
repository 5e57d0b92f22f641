"""Are shares surely within their limits? What a PASS of rates, tails and categories is decided by.

Held to limits are: the share of failed events and of missing values, which may not rise by more
than the margin; of a tail the shares beyond three quantiles, which may not rise at all once the
margin is taken off the canary's values; and every category's share, which may neither rise nor fall
by more than its margin.

A PASS needs *every* interval inside, so it is wrong with at most the probability that one interval
is: no part of alpha has to be divided (an intersection-union test, Berger 1982). As a relative
margin says nothing of a category that hardly occurs, every category's share may differ by
:data:`LEAST_SHARE` of all events.

Variances of shares follow from the shares, so of each two numbers are kept: the canary's events,
and how many they would be with production's shares of the same panes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.canary_ledger import Ledger

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

LEAST_SHARE = 0.005
"""Of all events: by so much a category's share may always differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Of each part the difference that is nearest to its limit, or farthest beyond; [..., parts].

    ``estimate``, ``low``, ``high``: canary less production, with its interval; ``margin``: by how
    much it may differ that way (NaN where that is taken off already); ``variance`` and ``r2`` of
    the sequence that decides, half its interval's length and the ``room`` for it; ``inside``:
    whether all that is limited lies inside; ``rarest``: the lowest share at a limit (NaN: no
    shares). NaN where nothing is known."""

    estimate: Floats
    low: Floats
    high: Floats
    margin: Floats
    variance: Floats
    r2: Floats
    half: Floats
    room: Floats
    inside: Flags
    rarest: Floats


def unknown(shape: tuple[int, ...]) -> Nearest:
    """Where nothing is known."""
    found = [np.full(shape, np.nan) for _ in fields(Nearest)]
    return replace(Nearest(*found), inside=np.zeros(shape, np.bool_))


def nearest_shares(
    ledger: Ledger, book: Book, factor: Floats, alpha: float
) -> tuple[Indices, Nearest]:
    """The parts that have shares with limits, and of each the share that is nearest to its own.
    ``factor``: by what variances are multiplied, [..., M]; ``alpha``: of each interval."""
    cast, unit, owner = ledger.cast, ledger.sequences, ledger.cast.held_owner
    parts, starts, sizes = np.unique(owner, return_index=True, return_counts=True)
    if not len(parts):
        return parts, unknown((*unit.n.shape[:-1], 0))
    with np.errstate(all="ignore"):
        n = np.maximum(unit.n, 1).astype(np.float64).take(owner, axis=-1)
        limits = _limits(ledger, book, n)
        estimate = (ledger.cases - ledger.usual) / n
        against = np.maximum(unit.variance.take(owner, axis=-1) - n, 0.0)
        variance = n * limits.ours + against * limits.theirs
        r2 = unit.r2.take(owner, axis=-1) * limits.ours
        noise = factor.take(owner, axis=-1) * variance
        half = np.sqrt((noise + r2) * (np.log1p(noise / r2) - 2.0 * math.log(alpha))) / n
        room = limits.room - np.stack((estimate, -estimate))
        slack = np.where(limits.asked, room - half, np.inf)
    # What is not a number is farthest.
    slack = np.where(np.isnan(slack), -np.inf, slack)
    least = slack.min(axis=0)
    worst = np.minimum.reduceat(least, starts, axis=-1)
    # The first of each part, among those of all rows.
    nearest = np.flatnonzero(least == worst.repeat(sizes, axis=-1))
    rows = np.arange(least.size // len(owner)) * len(owner)
    at = nearest[nearest.searchsorted((rows[:, None] + starts).ravel())].reshape(worst.shape)
    down = (slack[1] < slack[0]).reshape(-1)[at]

    def chosen(values: Floats) -> Floats:
        return values.reshape(-1)[at]

    def that_way(values: Floats) -> Floats:
        return np.where(down, chosen(values[1]), chosen(values[0]))

    up_to, down_to = chosen(half[0]), chosen(half[1])
    tails = np.isfinite(cast.held_beyond)[at % len(owner)]
    known = ((unit.n > 0) & (unit.variance > 0) & (unit.r2 > 0)).take(parts, axis=-1)
    share = chosen(estimate)
    rarest = np.minimum.reduceat(limits.most, starts, axis=-1)

    def where_known(values: Floats) -> Floats:
        return np.where(known, values, np.nan)

    return parts, Nearest(
        where_known(share),
        where_known(share - down_to),
        where_known(share + up_to),
        where_known(np.where(tails, np.nan, that_way(limits.room))),
        where_known(that_way(variance)),
        where_known(that_way(r2)),
        where_known(that_way(half)),
        where_known(that_way(room)),
        known & (worst > 0),
        where_known(rarest),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """Of both ways, up and down, and every share, [2, ..., H]: ``room``: how far it may go;
    ``ours`` and ``theirs``: the variance of one event of either arm, the canary's as it would be at
    the upper limit, so that few cases do not show too little; ``asked``: whether that way is
    limited. ``most``: the share at the upper limit, [..., H]."""

    room: Floats
    ours: Floats
    theirs: Floats
    asked: NDArray[np.bool_]
    most: Floats


def _limits(ledger: Ledger, book: Book, n: Floats) -> _Limits:
    cast, owner = ledger.cast, ledger.cast.held_owner
    # Half an event more: none seen is not none there.
    against = ledger.sequences.n_against.take(owner, axis=-1)
    usual = np.minimum(ledger.usual / n + 0.5 / (against + 1.0), 1.0)
    both, tail = cast.held_both, np.isfinite(cast.held_beyond)
    usual = np.where(tail, cast.held_beyond, usual)
    margin = np.where(tail, 0.0, book.margin[owner])
    floor = np.where(tail, 0.0, book.floor[owner])
    floor = np.where(both, np.maximum(floor, LEAST_SHARE), floor)
    spread = usual * (1.0 - usual)
    odds, at = 1.0 + margin, 1.0 + margin * usual
    by_odds, by_floor = odds * usual / at, np.minimum(usual + floor, 1.0)
    most = np.maximum(by_odds, by_floor)
    up = np.where(by_odds >= by_floor, odds / at**2, 1.0)
    at = odds - margin * usual
    fall = usual - usual / at
    down = np.where(fall >= floor, odds / at**2, 1.0)
    # What a tail may rise by is taken off the canary's values already.
    room = np.where(tail, 0.0, np.stack((most - usual, np.maximum(fall, floor))))
    return _Limits(
        room,
        np.stack((most * (1.0 - most), spread)),
        np.stack((up, down)) ** 2 * spread,
        np.stack(np.broadcast_arrays(np.ones(usual.shape, np.bool_), both)),
        most,
    )
