"""What a shadow and production said to the same requests, as mergeable counts.

A *half* is one answer to a request, a *pair* is the shadow's half and production's. A score that
comes as an event of its own is a half too, and makes pairs with the same score of the other side
only. Merging is exact, associative and commutative: everything is an integer, and sums of
differences are kept on a grid (:mod:`detectors.fixed_point`), so the order and grouping of pairs
changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point
from detectors.fixed_point import MAX_BATCH, Grid
from detectors.release import Role

LATENCY = "latency_ms"

MeasureKey = tuple[str, float]
"""A column and the scale of the grid that its differences are rounded to. Counts on unlike grids
stand side by side, for a new reference may change the grid in mid-pane."""

HalfKey = tuple[tuple[str, Role], int, str]
"""Whose halves: the release, the start of the pane, and the score that came as an event of its own;
"" for answers."""


def measure_key(column: str, scale: float | None) -> MeasureKey:
    """``scale``: of the reference's grid, None without a reference. Differences of latencies get at
    least 2**10, so that squares of half an hour still fit."""
    usual = 1024.0 if column == LATENCY else 1.0
    if scale is None or not (scale > 0 and math.isfinite(scale)):
        return column, usual
    return column, max(scale, usual) if column == LATENCY else scale


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences (shadow less production) of one column over the pairs that have both values.

    ``higher``/``lower``: pairs in which the shadow's value was above or below production's by more
    than the tolerance; ``first``/``second``: exact sums of the grid steps of d and d**2;
    ``clipped``: steps that lay beyond the grid.
    """

    n: int = 0
    higher: int = 0
    lower: int = 0
    clipped: int = 0
    first: int = 0
    second: int = 0

    @classmethod
    def of(
        cls,
        shadow: NDArray[np.float64],
        production: NDArray[np.float64],
        scale: float,
        tolerance: float,
        *,
        relative: bool,
    ) -> Differences:
        """Of pairs, float64 [n] each; those without both finite values are left out.
        ``tolerance``: in the column's units, or if ``relative`` a part of the smaller value."""
        with np.errstate(over="ignore", invalid="ignore"):
            differences = shadow - production
        both = np.isfinite(differences)
        differences = differences[both]
        limit: float | NDArray[np.float64] = tolerance
        if relative:
            limit = tolerance * np.abs(np.minimum(shadow[both], production[both]))
        first = second = clipped = 0
        grid = Grid(0.0, scale)
        for at in range(0, len(differences), MAX_BATCH):
            steps, squares, cut, cut_squares = grid.steps(differences[at : at + MAX_BATCH])
            first, second = first + int(steps.sum()), second + int(squares.sum())
            clipped += cut + cut_squares
        return cls(
            len(differences),
            int(np.count_nonzero(differences > limit)),
            int(np.count_nonzero(differences < -limit)),
            clipped,
            first,
            second,
        )

    def merge(self, other: Differences) -> Differences:
        return Differences(
            self.n + other.n,
            self.higher + other.higher,
            self.lower + other.lower,
            self.clipped + other.clipped,
            self.first + other.first,
            self.second + other.second,
        )

    def total(self, scale: float) -> float:
        """The sum of the differences."""
        return scale * (self.first / fixed_point.STEPS)

    def squares(self, scale: float) -> float:
        """The sum of their squares."""
        return scale * scale * (self.second / fixed_point.STEPS)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """The pairs of one shadow version with one production version in one pane.

    ``pairs``: of answers; ``labelled``: those with a label on both sides, of which ``differ`` have
    unlike ones; ``shadow_failed``/``production_failed``: those in which only that side failed to
    answer; ``measures``: their differences. ``scored``: differences of scores that came as events
    of their own, which are pairs beside those of answers.
    """

    pairs: int = 0
    labelled: int = 0
    differ: int = 0
    shadow_failed: int = 0
    production_failed: int = 0
    measures: Mapping[MeasureKey, Differences] = field(default_factory=dict)
    scored: Mapping[MeasureKey, Differences] = field(default_factory=dict)

    def merge(self, other: PairCounts) -> PairCounts:
        """Both together; ``PairCounts()`` is the identity."""
        return PairCounts(
            self.pairs + other.pairs,
            self.labelled + other.labelled,
            self.differ + other.differ,
            self.shadow_failed + other.shadow_failed,
            self.production_failed + other.production_failed,
            _together(self.measures, other.measures),
            _together(self.scored, other.scored),
        )


def _together(
    one: Mapping[MeasureKey, Differences], other: Mapping[MeasureKey, Differences]
) -> dict[MeasureKey, Differences]:
    both = dict(one)
    for key, differences in other.items():
        known = both.get(key)
        both[key] = known.merge(differences) if known else differences
    return dict(sorted(both.items()))


@dataclass(frozen=True, slots=True)
class HalfCounts:
    """The halves of one :data:`HalfKey`, whether or not they found a partner.

    ``halves``: the first answer to each request, or its first score; ``repeated``: further ones,
    left out; ``dropped``: halves forgotten while they still waited, because too many did;
    ``without_id``: those without a request id, which cannot be paired. ``halves`` less the
    pairs of the pane is the number of unpaired ones so far: it falls as partners come.
    """

    halves: int = 0
    repeated: int = 0
    dropped: int = 0
    without_id: int = 0

    def merge(self, other: HalfCounts) -> HalfCounts:
        return HalfCounts(
            self.halves + other.halves,
            self.repeated + other.repeated,
            self.dropped + other.dropped,
            self.without_id + other.without_id,
        )
