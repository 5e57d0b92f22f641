"""All bets of a cast in flat arrays: worked out once, used in every pane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.canary_bets import (
    DOWN,
    SHIFTS,
    TAIL_LEVELS,
    UP,
    EndBet,
    RangeBet,
    ShiftBet,
    category_bets,
    level_bets,
    normal_scores,
    rate_bets,
    tail_bets,
)
from detectors.canary_cast import Cast, Part, Rulebook, judged_parts
from detectors.canary_rules import Judged, Measure

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
_TAIL_SHARES = np.diff(np.array((0.0, *TAIL_LEVELS, 1.0)))


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Bets on runs of cells, [R]: ``bet``: their places among all bets; ``owner``: the part they
    are on; ``first``, ``stop``: in the flat vector of cells; ``log_factor`` (signed), ``tilt``
    (of the fixed ones; signed); ``magnitude``: the largest logarithm in a bet, for rounding.
    ``on_rate``: which bets are on rates, ``rate_sign``: which way those go, and ``rate_of``: on
    which of the cast's."""

    bet: Indices
    owner: Indices
    first: Indices
    stop: Indices
    log_factor: Floats
    tilt: Floats
    magnitude: Floats
    on_rate: Indices
    rate_sign: Floats
    rate_of: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Shifts:
    """Bets on levels. ``owner``: the parts, [L]; ``cells``: their cells in the flat vector, [C];
    ``starts``: of each part among these, [L]; ``level_of``: [C]; ``weights``: e to the tilt, and to
    the tilt with each shift, [rows, C]; ``largest``: the largest logarithm of those of a part by
    size, [rows, L].

    Of bets on shifts: ``bet``; ``part``: that they are on; ``place``: of their row and level among
    [rows, L]; the signed ``shift``. Of bets on ends: ``end_bet``, ``end_level``; ``end_place``: of
    the row of their tilt and their level; ``end_first`` and ``end_stop``: in the flat vector of
    cells, and ``end_edges``: in both rows of tilts of the cells of levels, one after the other;
    ``end_log``: of the factor. ``magnitude``, ``end_magnitude``: the largest logarithm in a bet,
    for rounding."""

    owner: Indices
    cells: Indices
    starts: Indices
    level_of: Indices
    weights: Floats
    largest: Floats
    bet: Indices
    part: Indices
    place: Indices
    shift: Floats
    magnitude: Floats
    end_bet: Indices
    end_level: Indices
    end_place: Indices
    end_edges: Indices
    end_first: Indices
    end_stop: Indices
    end_log: Floats
    end_magnitude: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """``bets``: how many each part has, [M]; ``owner``, ``log_part``: of each bet, [B];
    ``betting``: the parts that have bets, ``starts``: where those begin, and ``held``: how many
    each of them has; ``values``: what cells stand for when dispersion
    is measured, [C]; ``what``: what each part is held to; ``judged``: whether it still is, [M];
    ``margin``, ``floor``: [M]."""

    cast: Cast
    what: tuple[Judged | None, ...]
    bets: Indices
    owner: Indices
    log_part: Floats
    betting: Indices
    starts: Indices
    held: Indices
    values: Floats
    ranges: Ranges
    shifts: Shifts
    margin: Floats
    floor: Floats
    judged: NDArray[np.bool_]
    host_effect: float


@lru_cache(maxsize=512)
def book_of(cast: Cast, rules: Rulebook) -> Book:
    """The bets of a cast under these rules."""
    return write_book(cast, judged_parts(cast, rules), rules.host_effect)


def write_book(cast: Cast, what: Sequence[Judged | None], host_effect: float) -> Book:
    """The bets of a cast whose parts are held to ``what``."""
    found = [
        _bets(part, held, host_effect) if held is not None else []
        for part, held in zip(cast.parts, what, strict=True)
    ]
    bets = np.array([len(some) for some in found], np.int64)
    owner = np.repeat(np.arange(len(bets)), bets)
    flat = [bet for some in found for bet in some]
    betting = np.flatnonzero(bets)
    tolerated = [max(held.margin, host_effect) if held is not None else 0.0 for held in what]
    scores = [_values(part) for part in cast.parts]
    largest = np.array([np.abs(score).max() for score in scores])
    magnitude = np.array(
        [
            _magnitude(bet, largest[at], tolerated[at])
            for bet, at in zip(flat, owner.tolist(), strict=True)
        ]
    )
    return Book(
        cast,
        tuple(what),
        bets,
        owner,
        np.log(np.array([bet.part for bet in flat])),
        betting,
        (np.cumsum(bets) - bets)[betting],
        bets[betting],
        np.concatenate([*scores, np.zeros(0)]),
        _ranges(cast, flat, owner, magnitude),
        _shifts(cast, flat, owner, magnitude, scores, tolerated),
        np.array([held.margin if held is not None else 0.0 for held in what]),
        np.array([held.floor if held is not None else 0.0 for held in what]),
        np.array([held is not None for held in what], np.bool_),
        host_effect,
    )


def _bets(part: Part, held: Judged, host_effect: float) -> Sequence[RangeBet | ShiftBet | EndBet]:
    if part.basis is None:
        return []
    match part.measure:
        case Measure.ERRORS | Measure.MISSING:
            return rate_bets(held.harm)
        case Measure.TAIL:
            return tail_bets(held.harm)
        case Measure.LEVEL:
            return level_bets(held.harm, part.basis.shares)
        case Measure.CATEGORIES:
            return category_bets(part.basis.shares, held, host_effect)


def _values(part: Part) -> Floats:
    if part.basis is None:
        return np.zeros(1)
    match part.measure:
        case Measure.ERRORS | Measure.MISSING:
            return np.array((0.0, 1.0))
        case Measure.TAIL:
            return normal_scores(_TAIL_SHARES)
        case Measure.LEVEL:
            return normal_scores(np.array(part.basis.shares))
        case Measure.CATEGORIES:
            share = np.array(part.basis.shares)
            largest: Floats = (np.arange(len(share)) == int(share.argmax())).astype(np.float64)
            return largest


def _magnitude(bet: RangeBet | ShiftBet | EndBet, largest: float, tolerated: float) -> float:
    match bet:
        case RangeBet():
            # The tilt of a rate is added when it is known.
            return 2.0 * math.log(bet.factor) + bet.tilt + 1.0
        case ShiftBet():
            return (2.0 * SHIFTS[bet.shift] + tolerated) * largest + 1.0
        case EndBet():
            return 2.0 * math.log(bet.factor) + tolerated * largest + 1.0


def _ranges(
    cast: Cast,
    flat: Sequence[RangeBet | ShiftBet | EndBet],
    owner: Indices,
    magnitude: Floats,
) -> Ranges:
    chosen = [(at, bet) for at, bet in enumerate(flat) if isinstance(bet, RangeBet)]
    bet = np.array([at for at, _ in chosen], np.int64)
    mine = owner[bet]
    on_rate = np.flatnonzero(np.isin(mine, cast.rates))
    sign = np.array([one.sign for _, one in chosen])
    return Ranges(
        bet,
        mine,
        cast.starts[mine] + np.array([one.first for _, one in chosen], np.int64),
        cast.starts[mine] + np.array([one.stop for _, one in chosen], np.int64),
        sign * np.log(np.array([one.factor for _, one in chosen])),
        sign * np.array([one.tilt for _, one in chosen]),
        magnitude[bet],
        on_rate,
        sign[on_rate],
        np.searchsorted(cast.rates, mine[on_rate]),
    )


def _shifts(
    cast: Cast,
    flat: Sequence[RangeBet | ShiftBet | EndBet],
    owner: Indices,
    magnitude: Floats,
    scores: Sequence[Floats],
    tolerated: Sequence[float],
) -> Shifts:
    shifts = [(at, bet) for at, bet in enumerate(flat) if isinstance(bet, ShiftBet)]
    ends = [(at, bet) for at, bet in enumerate(flat) if isinstance(bet, EndBet)]
    levels = sorted({int(owner[at]) for at, _ in shifts})
    sizes = cast.cells[levels] if levels else np.zeros(0, np.int64)
    starts = np.cumsum(sizes) - sizes
    place = {level: i for i, level in enumerate(levels)}
    score = np.concatenate([*(scores[level] for level in levels), np.zeros(0)])
    tolerance = np.repeat(np.array([tolerated[level] for level in levels]), sizes)
    weights = _weights(score, tolerance)
    rows, count = 1 + len(SHIFTS), len(levels)
    bet = np.array([at for at, _ in shifts], np.int64)
    level = np.array([place[int(owner[at])] for at, _ in shifts], np.int64)
    row = np.array([_row(one.sign) * rows + 1 + one.shift for _, one in shifts], np.int64)
    end_bet = np.array([at for at, _ in ends], np.int64)
    end_level = np.array([place[int(owner[at])] for at, _ in ends], np.int64)
    end_sign = np.array([_row(one.sign) for _, one in ends], np.int64)
    end = np.array([(one.first, one.stop) for _, one in ends], np.int64).reshape(-1, 2).T
    among = end + starts[end_level] if ends else end
    in_cast = end + cast.starts[owner[end_bet]]
    return Shifts(
        np.array(levels, np.int64),
        np.concatenate(
            [
                *(np.arange(cast.cells[one]) + cast.starts[one] for one in levels),
                np.zeros(0, np.int64),
            ]
        ),
        starts,
        np.repeat(np.arange(count), sizes),
        weights,
        _largest(weights, starts),
        bet,
        owner[bet],
        row * count + level,
        np.array([one.sign * SHIFTS[one.shift] for _, one in shifts]),
        magnitude[bet],
        end_bet,
        end_level,
        end_sign * rows * count + end_level,
        # A cell without weight stands between both rows, and one at the end.
        (among + end_sign * (len(score) + 1)).T.ravel(),
        in_cast[0],
        in_cast[1],
        np.log(np.array([one.factor for _, one in ends])),
        magnitude[end_bet],
    )


def _largest(weights: Floats, starts: Indices) -> Floats:
    if not len(starts):
        return np.zeros((len(weights), 0))
    found: Floats = np.abs(np.log(np.maximum.reduceat(weights, starts, axis=1)))
    return found


def _weights(scores: Floats, tolerated: Floats) -> Floats:
    """For both signs that of the tilt, and of the tilt with each shift: [rows, cells]."""
    shifts = np.array((0.0, *SHIFTS))[:, None]
    return np.concatenate([np.exp(sign * (tolerated + shifts) * scores) for sign in (1.0, -1.0)])


def _row(sign: float) -> int:
    return UP if sign > 0 else DOWN
