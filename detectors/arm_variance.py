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

    def factors(self, cast: Cast, weight: Floats) -> Floats:
        """By what evidence is to be divided in a pane of these weights, [M]: at least 1. Where a
        pane holds more events than those it was learnt from, the excess grows in proportion, as
        what hosts add does not shrink with the number of events."""
        found = [self.learnt.get(part.key, _NONE) for part in cast.parts]
        factor = np.array([one.factor for one in found])
        usual = np.array([one.weight for one in found])
        more = np.maximum(weight / usual, 1.0)
        return 1.0 + (factor - 1.0) * np.where(np.isfinite(more), more, 1.0)


_NONE = Excess(1.0, 1.0, 0)
