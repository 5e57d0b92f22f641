"""Which way a column went, for many columns at once.

A number goes up or down, or gets wider or narrower, whichever moved more, in the reference's normal
scores: these depend on ranks only, so no tail is too heavy for them. Of categories the one is told
whose share changed most. What is within noise has no direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.cell_statistics import Side, Slices, running_shares

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_NOISE = 2.0
"""Standard errors that a change must reach before it is put in words."""
_LEAST_RATIO = 1e-9


class Direction(IntEnum):
    """The first five are of numbers, or none; the rest of categories."""

    NONE = 0
    UP = 1
    DOWN = 2
    WIDER = 3
    NARROWER = 4
    NEW_CATEGORY = 5
    CATEGORY_UP = 6
    CATEGORY_DOWN = 7


# As plain numbers: numpy asks an enumeration for its type again and again.
_UP, _DOWN = Direction.UP.value, Direction.DOWN.value
_WIDER, _NARROWER = Direction.WIDER.value, Direction.NARROWER.value
_NEW_CATEGORY = Direction.NEW_CATEGORY.value
_CATEGORY_UP, _CATEGORY_DOWN = Direction.CATEGORY_UP.value, Direction.CATEGORY_DOWN.value


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Normal scores of the usual side's cells, float64 [cells], with their mean and standard
    deviation by column."""

    of_cells: Floats
    mean: Floats
    sd: Floats


def scores_of(slices: Slices, usual: Side) -> Scores:
    """The scores of cells in their order."""
    p = usual.shares
    least = (0.5 / (usual.totals + 1))[slices.of]
    ranks = running_shares(slices, usual.counts) - p / 2
    scores = special.ndtri(np.minimum(np.maximum(ranks, least), 1 - least))
    mean = slices.sum(p * scores)
    centred = scores - mean[slices.of]
    return Scores(scores, mean, np.sqrt(slices.sum(p * centred * centred)))


def numeric_directions(slices: Slices, usual: Side, now: Side, scores: Scores) -> Ints:
    """A :class:`Direction` by column."""
    q, of = now.shares, slices.of
    mean_now = slices.sum(q * scores.of_cells)
    centred = scores.of_cells - mean_now[of]
    sd_now = np.sqrt(slices.sum(q * centred * centred))
    noise = _NOISE * np.sqrt(1 / usual.totals + 1 / now.totals)
    constant = scores.sd == 0
    sd = np.where(constant, 1.0, scores.sd)
    shift = (mean_now - scores.mean) / sd
    # A normal sample tells a change of scale by ln s with twice the information of a shift by s.
    # Cut at 1: where all is in one outer cell there is no spread left, but a shift is the news.
    spread = np.sqrt(2) * np.log(np.maximum(sd_now / sd, _LEAST_RATIO))
    spread = np.minimum(np.maximum(spread, -1.0), 1.0)
    if constant.any():
        # A reference in one cell: whatever left it went up or down, by any measure.
        sides = np.sign(scores.of_cells - scores.mean[of])
        shift = np.where(constant, slices.sum(q * sides), shift)
        spread = np.where(constant, 0.0, spread)
    moved, widened = np.abs(shift), np.abs(spread)
    # Comparisons with NaN are false: a column without events on a side has no direction.
    told = np.maximum(moved, widened) > noise
    shifted = np.where(shift > 0, _UP, _DOWN)
    scaled = np.where(spread > 0, _WIDER, _NARROWER)
    found: Ints = np.where(moved >= widened, shifted, scaled) * told
    return found


def category_directions(
    slices: Slices, usual: Side, now: Side, change: Floats
) -> tuple[Ints, Ints]:
    """A :class:`Direction` by column, and the cell it is about. ``change``: as in
    :class:`detectors.cell_statistics.Distances`."""
    of = slices.of
    size = np.abs(change)
    greatest = np.maximum.reduceat(size, slices.starts)
    # Of equal changes the newcomer is the news, then what rose: the rest made room for it.
    cells = len(of)
    rank = (~usual.empty * 2 + (change < 0)) * cells + np.arange(cells)
    candidates = np.where(size >= (greatest * (1 - 1e-9))[of], rank, 4 * cells)
    at: Ints = np.minimum.reduceat(candidates, slices.starts) % cells
    n, m = usual.totals, now.totals
    pooled = (usual.counts[at] + now.counts[at]) / (n + m)
    noise = _NOISE * np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    told = size[at] > noise
    moved = np.where(change[at] > 0, _CATEGORY_UP, _CATEGORY_DOWN)
    found: Ints = np.where(usual.empty[at], _NEW_CATEGORY, moved) * told
    return found, at
