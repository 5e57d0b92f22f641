"""By how much two like arms differ more than chance, by measure: what an A/A period taught.

Made by :func:`detectors.canary_aa.learn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.canary_cast import Cast
from detectors.canary_rules import Measure

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Excess:
    """``factor``: of the variance of differences between like arms, at least 1, in panes of
    ``weight`` 1 / (1/n + 1/m) events; ``panes``: from so many."""

    factor: float
    weight: float
    panes: int


@dataclass(frozen=True, slots=True)
class ArmVariance:
    """Of each (column, measure) for which there were panes enough."""

    learnt: Mapping[tuple[str, Measure], Excess] = field(default_factory=dict)
    _by_cast: dict[Cast, tuple[Floats, Floats]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def factors(self, cast: Cast, weight: Floats) -> Floats:
        """By what evidence is to be divided in a pane of these weights, [M]: at least 1. Where a
        pane holds more events than those it was learnt from, the excess grows in proportion, as
        what hosts add does not shrink with the number of events."""
        factor, usual = self.of_parts(cast)
        more = np.maximum(weight / usual, 1.0)
        return 1.0 + (factor - 1.0) * np.where(np.isfinite(more), more, 1.0)

    def of_parts(self, cast: Cast) -> tuple[Floats, Floats]:
        """Of each part of a cast the factor and the weight that it was learnt from, [M]; 1 where
        nothing was learnt. Remembered, as every pane asks, of some casts."""
        known = self._by_cast.get(cast)
        if known is None:
            if len(self._by_cast) >= _MOST_CASTS:
                self._by_cast.clear()
            found = [self.learnt.get(part.key, _NONE) for part in cast.parts]
            factors = np.array([one.factor for one in found])
            known = factors, np.array([one.weight for one in found])
            self._by_cast[cast] = known
        return known


_MOST_CASTS = 16
_NONE = Excess(1.0, 1.0, 0)
