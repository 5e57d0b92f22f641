"""Which bets are made on the cells of a cast, and what difference they let pass.

Two families, both such that :mod:`detectors.conditional` makes them exact for all canaries that
differ by the tolerance or less, as every ratio rises or falls along the cells together with the
tilt of its tolerance:

- *ranges*: that the odds of one run of cells (errors; one category; all beyond a quantile) are
  ``factor`` times production's, beyond a tolerated odds ratio;
- *shifts*: that normal scores along the cells of a level are shifted beyond a tolerated shift, and
  that there are more events at an end of the scale than this shift explains.

On a tail both are made: a canary that is slower in all it does shows in every quantile a little,
which the odds of exceeding one quantile do not add up.

All bets of a release stand one after the other in flat arrays, so that a pane is settled in some
operations on arrays, however many columns there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.canary_rules import Judged
from detectors.upstream import Direction

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RATE_FACTORS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
TAIL_LEVELS = (0.2, 0.5, 0.75, 0.9, 0.95, 0.99, 0.998)
"""The quantiles between the cells of tails. The two without odds of their own let cells tell 92% of
what single values tell of a shift of all, in place of 77% (Fisher's information on the mean of a
normal law)."""
TAIL_FACTORS = ((), (1.15, 1.4), (), (1.3,), (1.15, 1.5, 2.5), (1.2, 1.5, 2.2, 4.0), (1.5, 3.0))
"""Of the odds of exceeding each level. Few bets, for each costs the others money."""
CATEGORY_FACTORS = (1.25, 2.0)
SHIFTS = tuple(0.8 * 0.5**i for i in range(5))
TAIL_SHIFTS = (2, 3, 4)
"""Which of the shifts are bet on in tails: small ones. A larger one soon shows in the odds."""
_END_FACTORS = (2.0, 5.0)
_ENDS = (0.01, 0.05)
_ABOUT = 1.25
_FOR_ENDS = 0.2
"""The part of the money that is bet on the ends of a scale."""
LEAST_RATE = 1e-9
MOST_BY_HOST = 10.0
"""Of the logarithm of the odds ratio that hosts may make."""
UP, DOWN = 0, 1
"""Rows of what is computed for both signs."""


@dataclass(frozen=True, slots=True)
class RangeBet:
    """That the cells from ``first`` up to ``stop`` hold ``factor`` times their odds (``sign`` 1) or
    that part of them (-1), beyond the tolerated odds e**``tilt`` that way."""

    first: int
    stop: int
    factor: float
    sign: float
    tilt: float
    part: float


@dataclass(frozen=True, slots=True)
class ShiftBet:
    """A shift of the scores by ``sign * SHIFTS[shift]``."""

    sign: float
    shift: int
    part: float


@dataclass(frozen=True, slots=True)
class EndBet:
    """``factor`` times the odds of the cells from ``first`` up to ``stop``, at the end of the scale
    where ``sign`` points."""

    first: int
    stop: int
    factor: float
    sign: float
    part: float


def rate_bets(harm: Direction) -> list[RangeBet]:
    """On the odds of the second of two cells. Their tilt is that of the rate at the time."""
    signs = signs_of(harm)
    part = 1.0 / (len(signs) * len(RATE_FACTORS))
    return [RangeBet(1, 2, f, sign, 0.0, part) for sign in signs for f in RATE_FACTORS]


def tail_bets(harm: Direction) -> list[RangeBet | ShiftBet]:
    """On the odds of exceeding each of the levels, and on a shift of all. What is let pass is in
    the cells already: the canary's values are shrunk by it before they are pooled."""
    signs = signs_of(harm)
    part = 1.0 / (len(signs) * (len(TAIL_SHIFTS) + sum(map(len, TAIL_FACTORS))))
    cells = len(TAIL_LEVELS) + 1
    return [
        *(ShiftBet(sign, shift, part) for sign in signs for shift in TAIL_SHIFTS),
        *(
            RangeBet(level + 1, cells, factor, sign, 0.0, part)
            for sign in signs
            for level, factors in enumerate(TAIL_FACTORS)
            for factor in factors
        ),
    ]


def category_bets(shares: tuple[float, ...], what: Judged, host_effect: float) -> list[RangeBet]:
    """On the odds of each category, up and down."""
    odds = tolerated_odds(np.array(shares), what.margin, host_effect, what.floor)
    part = 1.0 / (2 * len(CATEGORY_FACTORS) * len(shares))
    return [
        RangeBet(cell, cell + 1, factor, sign, math.log(tolerated), part)
        for cell, tolerated in enumerate(odds.tolist())
        for factor in CATEGORY_FACTORS
        for sign in (1.0, -1.0)
    ]


def level_bets(harm: Direction, shares: tuple[float, ...]) -> list[ShiftBet | EndBet]:
    """On a shift of the normal scores, and on more events at the end of the scale. ``shares``: of
    the cells when they were fixed."""
    share = np.array(shares)
    below = np.cumsum(share)
    signs = signs_of(harm)
    ends: list[tuple[int, int, float]] = []
    for sign in signs:
        for end in _ENDS:
            # The largest end of cells that holds at most this share, if there is one.
            inside = (1.0 - (below - share) if sign > 0 else below) <= end * _ABOUT
            if inside.any() and not inside.all():
                at = np.flatnonzero(inside)
                ends.append((int(at[0]), int(at[-1]) + 1, sign))
    on_a_shift = (1.0 - _FOR_ENDS) / (len(signs) * len(SHIFTS))
    shifts = [ShiftBet(sign, i, on_a_shift) for sign in signs for i in range(len(SHIFTS))]
    at_an_end = _FOR_ENDS / max(len(ends) * len(_END_FACTORS), 1)
    return [
        *shifts,
        *(
            EndBet(first, stop, factor, sign, at_an_end)
            for first, stop, sign in ends
            for factor in _END_FACTORS
        ),
    ]


def tolerated_odds(
    rate: Floats, margin: Floats | float, host: float, floor: Floats | float
) -> Floats:
    """The odds ratio that is let pass at each ``rate``: of the margin, of a shift of the normal
    score by ``host``, or of a rise by ``floor``, whichever is largest. Of the shape of ``rate``."""
    q = np.minimum(np.maximum(rate, LEAST_RATE), 1.0 - LEAST_RATE)
    spread = q * (1.0 - q)
    density = np.exp(-0.5 * special.ndtri(q) ** 2) / math.sqrt(2.0 * math.pi)
    by_host = np.exp(np.minimum(host * density / spread, MOST_BY_HOST))
    risen = np.minimum(q + floor, 1.0 - LEAST_RATE)
    by_floor = risen / (1.0 - risen) * (1.0 - q) / q
    # Rounded up a little, so that a rate that hardly moves is bet on in the same way.
    found: Floats = np.maximum(np.maximum(1.0 + margin, by_host), by_floor)
    return np.ceil(found * 100.0) / 100.0


def normal_scores(shares: Floats) -> Floats:
    """The mean standard normal score of each cell, with mean 0 and variance 1 under ``shares``;
    zeros if all is in one cell."""
    below = np.concatenate(([0.0], np.cumsum(shares)))
    below = np.clip(below / below[-1], 0.0, 1.0)
    edges = special.ndtri(below)
    with np.errstate(over="ignore"):
        density = np.exp(-0.5 * edges**2) / math.sqrt(2.0 * math.pi)
    part = np.diff(below)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(part > 0, -np.diff(density) / part, 0.0)
    scores = scores - (scores * part).sum()
    spread = math.sqrt(float((scores * scores * part).sum()))
    return scores / spread if spread > 0 else np.zeros_like(scores)


def signs_of(harm: Direction) -> tuple[float, ...]:
    match harm:
        case Direction.UP:
            return (1.0,)
        case Direction.DOWN:
            return (-1.0,)
        case Direction.BOTH:
            return (1.0, -1.0)
