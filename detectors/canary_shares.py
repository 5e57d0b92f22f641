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
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.canary_cast import Cast
from detectors.canary_ledger import Ledger

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

LEAST_SHARE = 0.005
"""Of all events: by so much a category's share may always differ."""
FIGURES = 9
"""Of a :class:`Nearest`."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Of each part the difference that is nearest to its limit, or farthest beyond; [..., parts].
    Build with :meth:`of`.

    ``figures``: [FIGURES, ..., parts], with the rows ``estimate``, ``low``, ``high``: canary less
    production, with its interval; ``margin``: by how much it may differ that way (NaN where that is
    taken off already); ``variance`` and ``r2`` of the sequence that decides, ``half`` its
    interval's length and the ``room`` for it; ``rarest``: the lowest share at a limit (NaN: no
    shares). NaN where nothing is known. ``inside``: whether all that is limited lies inside."""

    figures: Floats
    inside: Flags
    estimate: Floats
    low: Floats
    high: Floats
    margin: Floats
    variance: Floats
    r2: Floats
    half: Floats
    room: Floats
    rarest: Floats

    @classmethod
    def of(cls, figures: Floats, inside: Flags) -> Nearest:
        """From the array with all rows."""
        return cls(figures, inside, *figures)


@dataclass(frozen=True, slots=True, eq=False)
class Limited:
    """The ``parts`` of a cast that have shares with limits, [P]: where their shares begin among
    all, ``starts``, and their ``sizes``. Of each share, [H]: whether it is of a ``tail``; of a
    category, it may go neither way (``both``)."""

    parts: Indices
    starts: Indices
    sizes: Indices
    tail: Flags
    both: Flags


@lru_cache(maxsize=512)
def limited(cast: Cast) -> Limited:
    """Worked out once for a cast."""
    parts, starts, sizes = np.unique(cast.held_owner, return_index=True, return_counts=True)
    return Limited(parts, starts, sizes, np.isfinite(cast.held_beyond), cast.held_both)


def nearest_shares(ledger: Ledger, book: Book, factor: Floats, alpha: float) -> Nearest:
    """Of each part that is :class:`Limited` the share that is nearest to its own limit.
    ``factor``: by what variances are multiplied, [..., M]; ``alpha``: of each interval."""
    cast, unit, owner = ledger.cast, ledger.sequences, ledger.cast.held_owner
    of = limited(cast)
    parts, starts, sizes = of.parts, of.starts, of.sizes
    if not len(parts):
        none = np.empty((FIGURES, *unit.n.shape[:-1], 0))
        return Nearest.of(none, none[0] > 0)
    with np.errstate(all="ignore"):
        n = np.maximum(unit.n, 1).astype(np.float64).take(owner, axis=-1)
        limits = _limits(ledger, book, n)
        estimate = (ledger.cases - ledger.usual) / n
        against = np.maximum(unit.variance.take(owner, axis=-1) - n, 0.0)
        variance = n * limits.ours + against * limits.theirs
        r2 = unit.r2.take(owner, axis=-1) * limits.ours
        noise = factor.take(owner, axis=-1) * variance
        half = np.sqrt((noise + r2) * (np.log1p(noise / r2) - 2.0 * math.log(alpha))) / n
        room = limits.room - np.array((estimate, -estimate))
        slack = room - half
        slack[1] = np.where(of.both, slack[1], np.inf)
    # What is not a number is farthest.
    slack = np.where(np.isnan(slack), -np.inf, slack)
    least = np.minimum(slack[0], slack[1])
    worst = np.minimum.reduceat(least, starts, axis=-1)
    # The first of each part, among those of all rows.
    nearest = np.flatnonzero(least == worst.repeat(sizes, axis=-1))
    rows = np.arange(least.size // len(owner)) * len(owner)
    at = nearest[nearest.searchsorted((rows[:, None] + starts).ravel())].reshape(worst.shape)
    down = (slack[1] < slack[0]).reshape(-1)[at]
    both_ways = (
        np.array((limits.room, variance, r2, half, room)).reshape(5, 2, -1).take(at, axis=-1)
    )
    margin, spread, unit_r2, width, left = np.where(down, both_ways[:, 1], both_ways[:, 0])
    up_to, down_to = both_ways[3]
    share = estimate.reshape(-1)[at]
    known = ((unit.n > 0) & (unit.variance > 0) & (unit.r2 > 0)).take(parts, axis=-1)
    figures = np.array(
        (
            share,
            share - down_to,
            share + up_to,
            np.where(of.tail[at % len(owner)], np.nan, margin),
            spread,
            unit_r2,
            width,
            left,
            np.minimum.reduceat(limits.most, starts, axis=-1),
        )
    )
    return Nearest.of(np.where(known, figures, np.nan), known & (worst > 0))


@dataclass(frozen=True, slots=True, eq=False)
class HeldTo:
    """By how much each share may differ: its odds by ``margin``, and itself by ``floor``, [H]; of
    tails both are taken off already."""

    margin: Floats
    floor: Floats


@lru_cache(maxsize=512)
def held_to(book: Book) -> HeldTo:
    """Worked out once for a book."""
    owner, tail, both = book.cast.held_owner, limited(book.cast).tail, book.cast.held_both
    floor = np.where(tail, 0.0, book.floor[owner])
    floor = np.where(both, np.maximum(floor, LEAST_SHARE), floor)
    return HeldTo(np.where(tail, 0.0, book.margin[owner]), floor)


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """Of both ways, up and down, and every share, [2, ..., H]: ``room``: how far it may go;
    ``ours`` and ``theirs``: the variance of one event of either arm, the canary's as it would be at
    the upper limit, so that few cases do not show too little. ``most``: the share at the upper
    limit, [..., H]."""

    room: Floats
    ours: Floats
    theirs: Floats
    most: Floats


def _limits(ledger: Ledger, book: Book, n: Floats) -> _Limits:
    cast, owner = ledger.cast, ledger.cast.held_owner
    # Half an event more: none seen is not none there.
    against = ledger.sequences.n_against.take(owner, axis=-1)
    usual = np.minimum(ledger.usual / n + 0.5 / (against + 1.0), 1.0)
    tail, held = limited(cast).tail, held_to(book)
    usual = np.where(tail, cast.held_beyond, usual)
    margin, floor = held.margin, held.floor
    spread = usual * (1.0 - usual)
    odds, at = 1.0 + margin, 1.0 + margin * usual
    by_odds, by_floor = odds * usual / at, np.minimum(usual + floor, 1.0)
    most = np.maximum(by_odds, by_floor)
    up = np.where(by_odds >= by_floor, odds / at**2, 1.0)
    at = odds - margin * usual
    fall = usual - usual / at
    down = np.where(fall >= floor, odds / at**2, 1.0)
    # What a tail may rise by is taken off the canary's values already.
    room = np.where(tail, 0.0, np.array((most - usual, np.maximum(fall, floor))))
    return _Limits(
        room,
        np.array((most * (1.0 - most), spread)),
        np.array((up, down)) ** 2 * spread,
        most,
    )
