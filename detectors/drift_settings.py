"""What a user may set about drift: above all, how many false alarms are accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from detectors.release import Role
from detectors.season import Season

DAY_MS = 86_400_000
_LONGEST_MS = 3.2e16


class BurstBound(StrEnum):
    """When the evidence of a single pane is bounded, so that no single pane can alarm."""

    WHEN_NOT_INDEPENDENT = "when_not_independent"
    """Unless the reference's panes have shown that rows are independent."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """At most ``count`` false alarms are expected in each ``period_ms``, of all columns, segments
    and releases of a model together."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    count: float = 1.0
    period_ms: int = 30 * DAY_MS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.count) and self.count > 0) or self.period_ms <= 0:
            raise ValueError("false_alarms needs a count and a period above 0, as in 1 per 30d")
        if not 1.0 <= self.between_ms <= _LONGEST_MS:
            raise ValueError("false_alarms must lie between 1 per ms and 1 per million years")

    @property
    def between_ms(self) -> float:
        """The expected time between two false alarms: the mass at which an alarm is raised."""
        return self.period_ms / self.count


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """``minimum_effect``: changes smaller than this are no drift (its square is about a PSI; .05
    ignores PSI below .0025). ``tolerance``: standard errors granted to a finite reference.
    ``min_reference_rows``: a column (and slot) whose reference has fewer is not judged.
    ``min_events``: before so many values have been seen there is no PASS. ``hold_ms``: an alarm
    stands at least so long, and three times as long as the change took to find. ``idle_after_ms``:
    the share of the budget of a segment that is silent for so long goes to the others.
    ``replay_rounds``: how often the inflation is raised before a column is left unarmed.
    ``enabled``: whether evidence of drift is gathered at all. ``roles``: of which releases; only
    production's decides, as every other release is held against production.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    false_alarms: FalseAlarms = field(default_factory=FalseAlarms)
    minimum_effect: float = 0.05
    tolerance: float = 3.0
    season: Season = Season.NONE
    utc_offset_ms: int = 0
    burst_bound: BurstBound = BurstBound.WHEN_NOT_INDEPENDENT
    min_reference_rows: int = 200
    min_events: int = 200
    hold_ms: int = 600_000
    idle_after_ms: int = 3_600_000
    replay_rounds: int = 10
    enabled: bool = True
    roles: tuple[Role, ...] = (Role.PRODUCTION,)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minimum_effect) and 0 <= self.minimum_effect < 1):
            raise ValueError("minimum_effect must lie between 0 and 1")
        if not (math.isfinite(self.tolerance) and 0 <= self.tolerance <= 100):
            raise ValueError("tolerance must lie between 0 and 100 standard errors")
        if self.min_reference_rows < 1 or self.min_events < 1 or self.replay_rounds < 0:
            raise ValueError("min_reference_rows and min_events are at least 1")
        if self.hold_ms < 0 or self.idle_after_ms <= 0:
            raise ValueError("hold_ms is at least 0, and idle_after_ms more")
