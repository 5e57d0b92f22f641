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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.canary_ledger import Ledger
from detectors.confidence_sequence import Interval

Floats = NDArray[np.float64]

LEAST_SHARE = 0.005
"""Of all events: by so much a category's share may always differ."""


@dataclass(frozen=True, slots=True)
class ClosestShare:
    """The share that is nearest to its limit, or farthest beyond. ``difference``: of the canary's
    share from production's; ``margin``: by how much it may differ that way (NaN where that is taken
    off already); ``variance`` and ``r2`` of the sequence that decides, half its interval's length
    and the ``room`` for it; ``inside``: whether *all* shares are inside; ``rarest``: the lowest
    share at a limit."""

    difference: Interval
    margin: float
    variance: float
    r2: float
    half: float
    room: float
    inside: bool
    rarest: float


def closest_shares(
    ledger: Ledger, book: Book, factor: Floats, alpha: float
) -> list[ClosestShare | None]:
    """For each part; None for levels and before the first pane that had both arms. ``factor``: by
    what variances are multiplied, [M]; ``alpha``: of each interval."""
    cast, unit = ledger.cast, ledger.sequences
    found: list[ClosestShare | None] = [None] * len(cast.parts)
    owner = cast.held_owner
    if not len(owner):
        return found
    with np.errstate(all="ignore"):
        n = np.maximum(unit.n, 1).astype(np.float64)[owner]
        limits = _limits(ledger, book, n)
        estimate = (ledger.cases - ledger.usual) / n
        against = np.maximum(unit.variance[owner] - n, 0.0)
        variance = n * limits.ours + against * limits.theirs
        r2 = unit.r2[owner] * limits.ours
        noise = factor[owner] * variance
        half = np.sqrt((noise + r2) * (np.log1p(noise / r2) - 2.0 * math.log(alpha))) / n
        room = limits.room - np.stack((estimate, -estimate))
        slack = np.where(limits.asked, room - half, np.inf)
    # What is not a number is farthest.
    slack = np.where(np.isnan(slack), -np.inf, slack)
    nearer = (slack[1] < slack[0]).astype(np.int64)
    least = slack.min(axis=0)
    parts, starts = np.unique(owner, return_index=True)
    worst = np.minimum.reduceat(least, starts)
    rarest = np.minimum.reduceat(limits.most, starts)
    at = np.flatnonzero(least == np.repeat(worst, np.diff(starts, append=len(owner))))
    at = at[np.searchsorted(owner[at], parts)]
    side = nearer[at]
    known = (unit.n > 0) & (unit.variance > 0) & (unit.r2 > 0)
    tails = np.isfinite(cast.held_beyond[at])
    rows = zip(
        parts.tolist(),
        known[parts].tolist(),
        estimate[at].tolist(),
        half[0, at].tolist(),
        half[1, at].tolist(),
        np.where(tails, np.nan, limits.room[side, at]).tolist(),
        variance[side, at].tolist(),
        r2[side, at].tolist(),
        half[side, at].tolist(),
        room[side, at].tolist(),
        (worst > 0).tolist(),
        rarest.tolist(),
        strict=True,
    )
    for part, there, chosen, up, down, *more in rows:
        if there:
            found[part] = ClosestShare(Interval(chosen, chosen - down, chosen + up), *more)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """Of both ways, up and down, and every share, [2, H]: ``room``: how far it may go; ``ours`` and
    ``theirs``: the variance of one event of either arm, the canary's as it would be at the upper
    limit, so that few cases do not show too little; ``asked``: whether that way is limited.
    ``most``: the share at the upper limit, [H]."""

    room: Floats
    ours: Floats
    theirs: Floats
    asked: NDArray[np.bool_]
    most: Floats


def _limits(ledger: Ledger, book: Book, n: Floats) -> _Limits:
    cast, owner = ledger.cast, ledger.cast.held_owner
    # Half an event more: none seen is not none there.
    usual = np.minimum(ledger.usual / n + 0.5 / (ledger.sequences.n_against[owner] + 1.0), 1.0)
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
        np.stack((np.ones_like(both), both)),
        most,
    )
