"""Whether and how shadow and production are paired by request id."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from streams.timeline import MINUTE


class Enabled(StrEnum):
    """When halves are kept and joined."""

    AUTO = "auto"
    """For models of which a shadow has been seen lately, by any worker."""
    ON = "on"
    """For all models: also production's answers from before a shadow's first one are there."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PairSettings:
    """``wait_ms``: how long a half waits for its partner, on the wall, from when it was read; it is
    remembered for twice as long, so that a repeated request is not counted twice. ``max_halves``:
    how many are remembered in each partition of the topic ``pairs``; the oldest are forgotten
    first. ``share``: the part of all requests that are paired, chosen by a hash of their ids, so
    both sides choose the same. ``measures``: patterns of numeric columns whose differences are
    taken, ``max_measures`` of a model at most. ``tolerance``: a difference of at most this counts
    as none; ``latency_tolerance``: the same for latency, as a part of the quicker one."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    enabled: Enabled = Enabled.AUTO
    wait_ms: int = 5 * MINUTE
    max_halves: int = 250_000
    share: float = 1.0
    measures: tuple[str, ...] = ("latency_ms", "prediction.value", "scores.*")
    max_measures: int = 16
    tolerance: float = 1e-9
    latency_tolerance: float = 0.1

    def __post_init__(self) -> None:
        if not 1_000 <= self.wait_ms <= 24 * 60 * MINUTE:
            raise ValueError("pairing.wait must be between 1s and 24h")
        if not 1 <= self.max_halves <= 50_000_000:
            raise ValueError("pairing.max_halves must be between 1 and 50000000")
        if not 0 < self.share <= 1:
            raise ValueError("pairing.share must be above 0 and at most 1")
        if not 0 <= self.max_measures <= 64:
            raise ValueError("pairing.max_measures must be between 0 and 64")
        for name in ("tolerance", "latency_tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"pairing.{name} must be at least 0 and finite")
