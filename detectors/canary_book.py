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
    TAIL_FACTORS,
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
_WITH_ODDS = tuple(
    level for level, factors in zip(TAIL_LEVELS, TAIL_FACTORS, strict=True) if factors
)
_BET_KINDS: tuple[type, ...] = (RangeBet, ShiftBet, EndBet)


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Bets on runs of cells, [R]: ``owner``: the part they are on; ``first``, ``stop``: in the flat
    vector of cells; ``log_factor`` (signed), ``tilt`` (of the fixed ones; signed); ``magnitude``:
    the largest logarithm in a bet, for rounding. ``sign``: which way they go, and ``rate_of``: on
    which of the cast's rates; beyond the last if on none."""

    owner: Indices
    first: Indices
    stop: Indices
    log_factor: Floats
    tilt: Floats
    magnitude: Floats
    sign: Floats
    rate_of: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Shifts:
    """Bets on levels, and those on shifts of tails. ``owner``: the parts, [L]; ``cells``: their
    cells in the flat vector, [C]; ``starts``: of each part among these, [L]; ``level_of``: [C];
    ``weights``: e to the tilt, and to the tilt with each shift, [rows, C]; ``largest``: the largest
    logarithm of those of a part by size, [rows, L].

    Of bets on shifts: ``part``: that they are on; ``place``: of their row and level among
    [rows, L]; the signed ``shift``; ``magnitude``: the largest logarithm in a bet, for rounding.
    """

    owner: Indices
    cells: Indices
    starts: Indices
    level_of: Indices
    weights: Floats
    largest: Floats
    part: Indices
    place: Indices
    shift: Floats
    magnitude: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Bets on the ends of the scales of levels. Of each end, [D]: ``level``, as in :class:`Shifts`;
    ``place``: of the row of its tilt and its level among [rows, L]; ``first`` and ``stop``: in the
    flat vector of cells; ``cells``: among those of levels, of one end after the other, with their
    ``weights`` in the tilt, [K], and ``starts``: where those of each end begin.

    Of each bet: which end it is ``on``; ``log_factor``, and ``gain``: the factor less 1;
    ``magnitude``: the largest logarithm in it, for rounding."""

    level: Indices
    place: Indices
    first: Indices
    stop: Indices
    cells: Indices
    weights: Floats
    starts: Indices
    on: Indices
    log_factor: Floats
    gain: Floats
    magnitude: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """``bets``: how many each part has, and ``begins``: where they begin, [M]; ``owner``,
    ``log_part``: of each bet, [B]; ``order``: where each stands among those of ``ranges``,
    ``shifts`` and ``ends``, one behind the other; ``betting``: the parts that have bets,
    ``starts``: where those begin, and ``held``: how many each of them has; ``scores``: what cells
    stand for in bets on shifts, and ``values``: when dispersion is measured, [C]; ``what``: what
    each part is held to; ``judged``: whether it still is, [M]; ``margin``, ``floor``: [M]."""

    cast: Cast
    what: tuple[Judged | None, ...]
    bets: Indices
    begins: Indices
    owner: Indices
    log_part: Floats
    order: Indices
    betting: Indices
    starts: Indices
    held: Indices
    scores: Floats
    values: Floats
    ranges: Ranges
    shifts: Shifts
    ends: Ends
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
    betting, begins = np.flatnonzero(bets), np.cumsum(bets) - bets
    tolerated = [
        _tolerated(part, held, host_effect) for part, held in zip(cast.parts, what, strict=True)
    ]
    scores = [_scores(part) for part in cast.parts]
    values = [_values(part, score) for part, score in zip(cast.parts, scores, strict=True)]
    largest = np.array([np.abs(score).max() for score in scores])
    magnitude = np.array(
        [
            _magnitude(bet, largest[at], tolerated[at])
            for bet, at in zip(flat, owner.tolist(), strict=True)
        ]
    )
    kinds = [_BET_KINDS.index(type(bet)) for bet in flat]
    shifts = _shifts(cast, flat, owner, magnitude, scores, tolerated)
    return Book(
        cast,
        tuple(what),
        bets,
        begins,
        owner,
        np.log(np.array([bet.part for bet in flat])),
        np.argsort(np.argsort(kinds, kind="stable"), kind="stable"),
        betting,
        begins[betting],
        bets[betting],
        np.concatenate([*scores, np.zeros(0)]),
        np.concatenate([*values, np.zeros(0)]),
        _ranges(cast, flat, owner, magnitude),
        shifts,
        _ends(cast, flat, owner, magnitude, shifts),
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


def _tolerated(part: Part, held: Judged | None, host_effect: float) -> float:
    """The shift of normal scores that is let pass; that of tails is in their cells already."""
    if held is None or part.measure is Measure.TAIL:
        return 0.0
    return max(held.margin, host_effect)


def _values(part: Part, scores: Floats) -> Floats:
    """Of tails dispersion is measured between the quantiles whose odds are bet on: further cuts
    show more of how hosts lean, and all bets are divided by it, those on few slow events too."""
    if part.measure is not Measure.TAIL or part.basis is None:
        return scores
    coarse = normal_scores(np.diff(np.array((0.0, *_WITH_ODDS, 1.0))))
    found: Floats = coarse[np.searchsorted(_WITH_ODDS, (0.0, *TAIL_LEVELS), side="right")]
    return found


def _scores(part: Part) -> Floats:
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
    sign = np.array([one.sign for _, one in chosen])
    rate_of = np.searchsorted(cast.rates, mine)
    return Ranges(
        mine,
        cast.starts[mine] + np.array([one.first for _, one in chosen], np.int64),
        cast.starts[mine] + np.array([one.stop for _, one in chosen], np.int64),
        sign * np.log(np.array([one.factor for _, one in chosen])),
        sign * np.array([one.tilt for _, one in chosen]),
        magnitude[bet],
        sign,
        np.where(np.isin(mine, cast.rates), rate_of, len(cast.rates)),
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
        owner[bet],
        row * count + level,
        np.array([one.sign * SHIFTS[one.shift] for _, one in shifts]),
        magnitude[bet],
    )


def _ends(
    cast: Cast,
    flat: Sequence[RangeBet | ShiftBet | EndBet],
    owner: Indices,
    magnitude: Floats,
    shifts: Shifts,
) -> Ends:
    place = {part: level for level, part in enumerate(shifts.owner.tolist())}
    ends: dict[tuple[int, int, int, int], int] = {}
    on: list[int] = []
    chosen = [(at, bet) for at, bet in enumerate(flat) if isinstance(bet, EndBet)]
    for at, bet in chosen:
        end = place[int(owner[at])], _row(bet.sign), bet.first, bet.stop
        on.append(ends.setdefault(end, len(ends)))
    level, sign, first, stop = np.array(list(ends), np.int64).reshape(-1, 4).T
    sizes, row = stop - first, sign * (1 + len(SHIFTS))
    starts = np.cumsum(sizes) - sizes
    # Of the end's cells one after the other.
    cells = np.repeat(shifts.starts[level] + first - starts, sizes) + np.arange(int(sizes.sum()))
    log_factor = np.log(np.array([bet.factor for _, bet in chosen]))
    begins = cast.starts[shifts.owner[level]]
    return Ends(
        level,
        row * len(shifts.owner) + level,
        begins + first,
        begins + stop,
        cells,
        shifts.weights[np.repeat(row, sizes), cells],
        starts,
        np.array(on, np.int64),
        log_factor,
        np.expm1(log_factor),
        magnitude[[at for at, _ in chosen]],
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
