"""The bet dictionary: ways in which a law may change, and what is paid if it does.

A bet on the ratio ``rho`` of a changed law to the reference law ``q`` pays, per row in cell k,

    w_k = 1 + lambda * (rho_k - 1 - m),   lambda = min(1, .98 / (1 + m - min rho)).

**Guarantee.** ``sum_k p_k w_k <= 1`` for every law p with ``sum_k p_k rho_k <= 1 + m``. With
``m = tolerance(...)`` these are the laws within the minimum effect of the reference (a chi-square
distance of ``minimum_effect**2``: Cauchy-Schwarz), widened by what a reference of n rows cannot
know about its own law: z standard errors along the direction of the bet, as a score interval
(Wilson, JASA 1927); for single cells the exact binomial bounds of :func:`share_bounds`, so that it
also holds for cells that the reference hardly ever filled. The reference itself may still be
further off, with the small chance that z stands for; bets are never smaller than the distance at
which only a reference off by 1.5 z could feed them. Raising a
payoff to a power below one keeps the guarantee (Jensen), so inflation only makes bets safer.

The shapes: location and scale tilts in normal scores, heavier and lighter ends, a Student-t shape
and its opposite, bumps; each named cell up or down; for columns whose tail matters by itself the
odds of lying beyond a quantile. Bets are sized by the *net* effect that is left after the
tolerance: a change near the reference's own error needs a bet smaller than itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LARGEST_EFFECT = 1.6
SMALLEST_EFFECT = 0.0125
_LOCATIONS = 8
_SCALES = 6
_TAIL_FACTORS = (1.6, 3.0, 6.0)
_TAIL_MASS = 0.012
_BUMPS = (0.1, 0.2, 0.4)
_FIFTHS = tuple(tenth / 10 for tenth in range(9))
_RARE = 0.05
"""A rare cell is bet to rise up to this share."""
_CUTS = (0.5, 0.9, 0.95, 0.99, 0.998)
_ODDS = (1.15, 1.5, 2.5, 6.0)
_UPS, _DOWNS = 7, 4
SAFE = 0.98
_SAFETY = 1.5
"""Bets stay so large that only a reference ``_SAFETY * z`` standard errors off could feed one."""


class Move(StrEnum):
    """The way in which a law changed; for cells, which cell is told beside it."""

    UP = "up"
    DOWN = "down"
    WIDER = "wider"
    NARROWER = "narrower"
    HEAVIER_LOWER_TAIL = "heavier lower tail"
    HEAVIER_UPPER_TAIL = "heavier upper tail"
    LIGHTER_UPPER_TAIL = "lighter upper tail"
    HEAVIER_TAILS = "heavier tails"
    LIGHTER_TAILS = "lighter tails"
    BUMP = "another shape"
    CELL_UP = "cell up"
    CELL_DOWN = "cell down"
    LEARNT = "learnt"
    """Of an expert that learns the new law from the stream: the counts say which way."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """``ratio``: float64 [watches, shapes, cells], 1 in padding; ``prior``: float64 [watches,
    shapes], 0 where a shape does not exist, else summing to 1; ``moves``: by shape."""

    ratio: Floats
    prior: Floats
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CellShapes:
    """One cell up or down, all others alike: the law's ratio is ``hit`` in the cell and ``miss``
    elsewhere. All float64 [bets]; ``effect`` is the shape's chi-square distance, ``prior`` is 0
    where a shape does not exist and is not normalised."""

    hit: Floats
    miss: Floats
    effect: Floats
    prior: Floats


CELL_MOVES = (Move.CELL_UP,) * _UPS + (Move.CELL_DOWN,) * _DOWNS
"""The bets on each cell, in their order."""


def tolerance(
    minimum_effect: float, z_square: Floats | float, rows: Floats, variance: Floats, most: Floats
) -> Floats:
    """How far the mean of a direction may lie from the reference's and still be no change.

    ``rows``: what the reference's law stands on; ``variance`` and ``most``: variance and largest
    value of ``rho - 1`` under the reference. All broadcast.

    >>> float(tolerance(0.0, 9.0, np.array(1e6), np.array(1.0), np.array(0.0)))
    0.003
    """
    half = z_square * most / (2 * rows)
    return minimum_effect * np.sqrt(variance) + half + np.sqrt(half**2 + z_square * variance / rows)


def share_bounds(share: Floats, rows: Floats, z: Floats | float) -> tuple[Floats, Floats]:
    """Between which shares the true share of a cell lies, each side missed with the chance that a
    normal variable exceeds z (Clopper and Pearson, Biometrika 1934). A reference that never saw a
    cell bounds it too: by about 6.6 / rows for z = 3. All broadcast."""
    hits = share * rows
    chance = special.ndtr(-np.asarray(z, dtype=np.float64))
    low = special.betaincinv(np.maximum(hits, 1e-9), rows - hits + 1, chance)
    high = special.betainccinv(hits + 1, np.maximum(rows - hits, 1e-9), chance)
    return np.minimum(low, share), np.maximum(high, share)


def smallest_bet(minimum_effect: float, z: float, rows: Floats) -> Floats:
    """The smallest effect worth a bet: smaller ones could be fed by the reference's own error."""
    clearance = 2 * ((_SAFETY - 1) * z / np.sqrt(rows) - minimum_effect)
    return np.clip(clearance, SMALLEST_EFFECT, LARGEST_EFFECT / 2)


def log_payoffs(ratio: Floats, miss: Floats, allowed: Floats) -> Floats:
    """``ln w`` of cells with this ratio; ``miss`` is the bet's smallest ratio."""
    found: Floats = np.log1p(stake(miss, allowed) * (ratio - 1 - allowed))
    return found


def stake(miss: Floats, allowed: Floats) -> Floats:
    """The part of the money that is put on a bet, ``lambda``: so much that some is always left."""
    found: Floats = np.minimum(1.0, SAFE / np.maximum(1 + allowed - miss, 1e-12))
    return found


def ordered_moves(tailed: bool) -> tuple[Move, ...]:
    """What :func:`ordered_shapes` bets on, in its order."""
    moves = [Move.UP, Move.DOWN] * _LOCATIONS + [Move.WIDER, Move.NARROWER] * _SCALES
    moves += [Move.HEAVIER_LOWER_TAIL, Move.HEAVIER_UPPER_TAIL] * len(_TAIL_FACTORS)
    moves += [Move.HEAVIER_TAILS, Move.HEAVIER_TAILS, Move.LIGHTER_TAILS]
    moves += [Move.BUMP] * (2 * len(_FIFTHS) * len(_BUMPS))
    if tailed:
        moves += [Move.HEAVIER_UPPER_TAIL, Move.LIGHTER_UPPER_TAIL] * (len(_CUTS) * len(_ODDS))
    return tuple(moves)


def ordered_shapes(law: Floats, smallest: Floats, tailed: bool) -> Shapes:
    """Bets on cells in order.

    ``law``: float64 [watches, cells], each row positive and then, as padding, 0;
    ``smallest``: float64 [watches], from :func:`smallest_bet`.
    """
    upto = np.clip(np.cumsum(law, axis=1), 0.0, 1.0)
    parts = [*_tilts(upto, smallest), *_ends(law, upto), *_kurtoses(law, upto)]
    parts += _bumps(law, upto)
    if tailed:
        parts += _tail_odds(law, upto)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.stack([masses for masses, _ in parts], axis=1) / law[:, None, :]
    ratio = np.where((law > 0)[:, None, :], ratio, 1.0)
    # What averages 1 up to rounding is made so exactly: the guarantee is about these numbers.
    ratio /= np.einsum("wjk,wk->wj", ratio, law)[:, :, None]
    ratio = np.where((law > 0)[:, None, :], ratio, 1.0)
    prior = np.stack([np.broadcast_to(p, len(law)) for _, p in parts], axis=1).astype(np.float64)
    return Shapes(ratio, prior / prior.sum(axis=1, keepdims=True), ordered_moves(tailed))


def cell_shapes(share: Floats, smallest: Floats, high: Floats) -> CellShapes:
    """Bets on single cells: float64 [cells * len(CELL_MOVES)], cell by cell.

    ``share``: float64 [cells], the law of each cell; ``smallest``: float64 [cells]; ``high``:
    float64 [cells], what the share may be at most without a change.
    """
    share = np.clip(share, 1e-300, 1 - 1e-12)
    unit = np.sqrt((1 - share) / share)
    most = np.maximum(LARGEST_EFFECT / 2, (_RARE / high - 1) / unit)
    ups = np.stack(_levels(smallest, most, _UPS), axis=1)
    # A cell cannot rise above all rows, nor fall below none.
    ups = np.minimum(ups, ((0.9 / share - 1) / unit)[:, None])
    deepest = np.minimum(0.95 / unit, LARGEST_EFFECT / 2)
    downs = -np.stack(_levels(smallest, np.maximum(deepest, smallest), _DOWNS), axis=1)
    effects = np.concatenate((ups, downs), axis=1)
    exists = np.concatenate((ups >= smallest[:, None], -downs <= deepest[:, None] * 1.001), axis=1)
    effects = np.where(exists, effects, 0.0)
    hit = 1 + effects * unit[:, None]
    miss = 1 - effects / unit[:, None]
    return CellShapes(
        hit.ravel(), miss.ravel(), np.abs(effects).ravel(), exists.astype(np.float64).ravel()
    )


_Part = tuple[Floats, Floats | float]
"""Masses of changed laws, float64 [watches, cells], and their prior weight."""


def _tilts(upto: Floats, smallest: Floats) -> Iterator[_Part]:
    """Location and scale, in normal scores."""
    scores = special.ndtri(upto[:, :-1])
    for effect in _levels(smallest, LARGEST_EFFECT, _LOCATIONS):
        for sign in (1, -1):
            yield _masses(special.ndtr(scores - sign * effect[:, None])), 1.0
    for effect in _levels(1.4 * smallest, LARGEST_EFFECT / 2, _SCALES):
        for sign in (1, -1):
            # A normal law tells a change of scale by ln s with 1.4 times the effect of a shift.
            yield _masses(special.ndtr(scores / np.exp(sign * effect / 1.4)[:, None])), 0.5


def _ends(law: Floats, upto: Floats) -> Iterator[_Part]:
    from_above = np.cumsum(law[:, ::-1], axis=1)
    low, high = _end(law, upto), _end(law[:, ::-1], from_above)[:, ::-1]
    for factor in _TAIL_FACTORS:
        for end in (low, high):
            yield _lifted(law, end, factor, 0.5)


def _kurtoses(law: Floats, upto: Floats) -> Iterator[_Part]:
    """Towards Student's t with 3 degrees of freedom (standardised), and away from it."""
    student = _masses(special.stdtr(3, special.ndtri(upto[:, :-1]) * np.sqrt(3.0)))
    yield 0.65 * law + 0.35 * student, 0.5
    yield student, 0.5
    yield np.maximum(0.2 * law, law - 0.5 * (student - law)), 1.0


def _bumps(law: Floats, upto: Floats) -> Iterator[_Part]:
    """Each fifth of the reference up or down."""
    middle = upto - law / 2
    for start in _FIFTHS:
        fifth = (middle > start) & (middle < start + 0.2) & (law > 0)
        mass = (law * fifth).sum(axis=1)
        per_unit = np.sqrt((1 - mass) / np.maximum(mass, 1e-300))
        for effect in _BUMPS:
            for sign in (1, -1):
                yield _lifted(law, fifth, 1 + sign * effect * per_unit, 0.125)


def _tail_odds(law: Floats, upto: Floats) -> Iterator[_Part]:
    """The odds of lying beyond a quantile, times a factor."""
    for cut in _CUTS:
        away = np.where(law[:, 1:] > 0, np.abs(upto[:, :-1] - cut), np.inf)
        nearest = away.argmin(axis=1)
        tail = (np.arange(upto.shape[1]) > nearest[:, None]) & (law > 0)
        mass = (law * tail).sum(axis=1)
        for odds in _ODDS:
            for times in (odds, 1 / odds):
                yield _lifted(law, tail, times / (1 + mass * (times - 1)), 0.4)


def _levels(smallest: Floats, largest: Floats | float, steps: int) -> list[Floats]:
    """Effects from ``smallest`` to ``largest`` in equal ratios."""
    ratio = np.log(np.maximum(largest, smallest) / smallest)
    return [smallest * np.exp(ratio * step / (steps - 1)) for step in range(steps)]


def _masses(upto: Floats) -> Floats:
    """Cell masses of a law given at the inner edges: float64 [watches, cells]."""
    zero, one = np.zeros((len(upto), 1)), np.ones((len(upto), 1))
    return np.diff(np.concatenate((zero, upto, one), axis=1), axis=1)


def _end(law: Floats, upto: Floats) -> NDArray[np.bool_]:
    """The outermost cells that hold about one percent; the outermost alone if it holds more."""
    inside = (upto <= _TAIL_MASS) & (law > 0)
    first = np.cumsum(law > 0, axis=1) == 1
    found: NDArray[np.bool_] = inside | (first & (law > 0) & ~inside.any(axis=1, keepdims=True))
    return found


def _lifted(
    law: Floats, where: NDArray[np.bool_], factor: Floats | float, prior: float
) -> tuple[Floats, Floats]:
    """Masses with some cells multiplied and the rest scaled to make room; prior 0 if there is no
    such cell or no room."""
    mass = (law * where).sum(axis=1)
    factor = np.broadcast_to(np.asarray(factor, dtype=np.float64), mass.shape)
    possible = (mass > 0) & (mass < 1 - 1e-9) & (factor > 0.05) & (factor * mass < 0.95)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = (1 - factor * mass) / (1 - mass)
    ratio = np.where(where, factor[:, None], rest[:, None])
    return np.where(possible[:, None], ratio * law, law), np.where(possible, prior, 0.0)
