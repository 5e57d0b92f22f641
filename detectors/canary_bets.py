"""Which bets are made on the cells of a measure, and what difference they let pass.

Every bet's ratio rises or falls along the cells in the direction of harm, and so does the tilt of
its tolerance: that is what :mod:`detectors.conditional` needs to be exact for all canaries that
differ by the tolerance or less. Bets start where the tolerance ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.upstream import Direction

Floats = NDArray[np.float64]

RATE_FACTORS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
TAIL_LEVELS = (0.5, 0.9, 0.95, 0.99, 0.998)
TAIL_FACTORS = ((1.2, 1.7), (1.2, 2.0), (1.15, 1.5, 2.5), (1.2, 1.5, 2.2, 4.0), (1.5, 3.0))
"""Of the odds of exceeding each level. Few bets, for each costs the others money."""
CATEGORY_FACTORS = (1.25, 2.0)
SHIFTS = tuple(0.8 * 0.5**i for i in range(5))
_END_FACTORS = (2.0, 5.0)
_ENDS = (0.01, 0.05)
_ABOUT = 1.25
_FOR_ENDS = 0.2
"""The part of the money that is bet on the ends of a scale."""
_LEAST_RATE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """``log_ratio``, ``log_tilt``: [J, K]; ``values``: what cells stand for, [K]; ``parts``: of
    the money, [J]; ``up``: whether a bet is on a rise, bool [J]."""

    log_ratio: Floats
    log_tilt: Floats
    values: Floats
    parts: Floats
    up: NDArray[np.bool_]


@lru_cache(maxsize=512)
def rate_bets(harm: Direction, odds: float) -> Bets:
    """On the odds of the second of two cells, beyond ``odds`` times production's."""
    signs = _signs(harm)
    factors = np.log(RATE_FACTORS)
    log_ratio = np.concatenate([sign * np.outer(factors, (0.0, 1.0)) for sign in signs])
    tilt = np.concatenate(
        [sign * np.tile((0.0, math.log(odds)), (len(factors), 1)) for sign in signs]
    )
    up = np.repeat(np.array(signs) > 0, len(factors))
    return Bets(log_ratio, tilt, np.array((0.0, 1.0)), _even(len(log_ratio)), up)


@lru_cache(maxsize=4)
def tail_bets(harm: Direction) -> Bets:
    """On the odds of exceeding each of the levels. What is let pass is in the cells already: the
    canary's values are shrunk by it before they are pooled."""
    cells = np.arange(len(TAIL_LEVELS) + 1)
    rows = np.array(
        [
            math.log(factor) * (cells > level)
            for level, factors in enumerate(TAIL_FACTORS)
            for factor in factors
        ]
    )
    signs = _signs(harm)
    log_ratio = np.concatenate([sign * rows for sign in signs])
    shares = np.diff(np.array((0.0, *TAIL_LEVELS, 1.0)))
    return Bets(
        log_ratio,
        np.zeros_like(log_ratio),
        normal_scores(shares),
        _even(len(log_ratio)),
        np.repeat(np.array(signs) > 0, len(rows)),
    )


@lru_cache(maxsize=4096)
def level_bets(harm: Direction, shares: tuple[float, ...], tolerated: float) -> Bets:
    """On a shift of the normal scores by more than ``tolerated`` standard deviations, and on more
    events at the end of the scale. ``shares``: of the cells when they were fixed."""
    share = np.array(shares)
    scores = normal_scores(share)
    below = np.cumsum(share)
    signs = _signs(harm)
    ratios: list[Floats] = []
    on_end: list[bool] = []
    for sign in signs:
        ratios += [sign * shift * scores for shift in SHIFTS]
        for end in _ENDS:
            # The largest end of cells that holds at most this share, if there is one.
            inside = (1.0 - (below - share) if sign > 0 else below) <= end * _ABOUT
            if inside.any() and not inside.all():
                ratios += [np.log(factor) * inside for factor in _END_FACTORS]
        on_end += [False] * len(SHIFTS) + [True] * (len(ratios) - len(on_end) - len(SHIFTS))
    log_ratio = np.array(ratios)
    ends = sum(on_end)
    on_a_shift = (1.0 - _FOR_ENDS) / (len(on_end) - ends)
    parts = np.array([_FOR_ENDS / ends if at_end else on_a_shift for at_end in on_end])
    # A bet on a rise has more weight on the last cell than on the first.
    up = log_ratio[:, -1] > log_ratio[:, 0]
    tilt = np.where(up, tolerated, -tolerated)[:, None] * scores
    return Bets(log_ratio, tilt, scores, parts, up)


@lru_cache(maxsize=1024)
def category_bets(shares: tuple[float, ...], margin: float, host_effect: float) -> Bets:
    """On the odds of each category, up and down."""
    ratios, tilts = [], []
    for cell, share in enumerate(shares):
        alone = np.zeros(len(shares))
        alone[cell] = 1.0
        tolerated = math.log(tolerated_odds(share, margin, host_effect))
        for factor in CATEGORY_FACTORS:
            for sign in (1.0, -1.0):
                ratios.append(sign * math.log(factor) * alone)
                tilts.append(sign * tolerated * alone)
    log_ratio = np.array(ratios)
    largest = (np.arange(len(shares)) == int(np.argmax(shares))).astype(np.float64)
    return Bets(
        log_ratio, np.array(tilts), largest, _even(len(log_ratio)), log_ratio.sum(axis=1) > 0
    )


def tolerated_odds(rate: float, margin: float, host_effect: float, floor: float = 0.0) -> float:
    """The odds ratio that is let pass at ``rate``: of the margin, of a shift of the normal score by
    ``host_effect``, or of a rise by ``floor``, whichever is largest."""
    q = min(max(rate, _LEAST_RATE), 1.0 - _LEAST_RATE)
    density = math.exp(-0.5 * float(special.ndtri(q)) ** 2) / math.sqrt(2.0 * math.pi)
    by_host = math.exp(min(host_effect * density / (q * (1.0 - q)), 10.0))
    risen = min(q + floor, 1.0 - _LEAST_RATE)
    by_floor = risen / (1.0 - risen) * (1.0 - q) / q
    # Rounded up a little, so that the same bets serve many panes.
    return math.ceil(max(1.0 + margin, by_host, by_floor) * 100.0) / 100.0


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


def _even(bets: int) -> Floats:
    return np.full(bets, 1.0 / bets)


def _signs(harm: Direction) -> tuple[float, ...]:
    match harm:
        case Direction.UP:
            return (1.0,)
        case Direction.DOWN:
            return (-1.0,)
        case Direction.BOTH:
            return (1.0, -1.0)
