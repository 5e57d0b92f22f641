"""Limits that are put on a column's statistics, and which limit holds for which."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

ERROR = "error"
"""The column of the model's own failures: a rate over its predictions."""
LATENCY = "latency_ms"


class Detector(StrEnum):
    """The statistics that can be given a limit."""

    PSI = "psi"
    JENSEN_SHANNON = "jensen_shannon"
    HELLINGER = "hellinger"
    KOLMOGOROV_SMIRNOV = "kolmogorov_smirnov"
    WASSERSTEIN = "wasserstein"
    CHI_SQUARE = "chi_square"
    TOTAL_VARIATION = "total_variation"
    L_INFINITY = "l_infinity"
    MISSING_RATE = "missing_rate"
    MEAN_SHIFT = "mean_shift"
    MEAN_WORSE = "mean_worse"
    ERROR_RATE = "error_rate"
    P95_RATIO = "p95_ratio"
    P99_RATIO = "p99_ratio"


class Against(StrEnum):
    """What a limit compares with."""

    REFERENCE = "reference"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Limit:
    """``detector`` of the columns that match ``columns`` must not exceed ``above``.

    ``critical``: a failing canary is rolled back for it; otherwise people are told. ``z``: how many
    standard errors a difference must also have. In the units of the detector: psi and its kin as
    defined, ``mean_*`` in standard deviations, ``*_rate`` as a difference of rates, ``*_ratio`` as
    a ratio.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    detector: Detector
    above: float
    columns: str = "*"
    against: Against = Against.REFERENCE
    critical: bool = False
    z: float = 4.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.above) or self.above < 0:
            raise ValueError(f"a limit on {self.detector} needs a number of at least 0")
        if not math.isfinite(self.z) or self.z < 0:
            raise ValueError("z must be a number of at least 0")


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """``min_events``: with fewer values on either side a limit does not decide.
    ``lower_is_better``: scores whose rise is bad, not their fall (patterns)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    min_events: int = 200
    limits: tuple[Limit, ...] = ()
    lower_is_better: tuple[str, ...] = ("scores.toxicity",)

    def __post_init__(self) -> None:
        if self.min_events < 2:
            raise ValueError("detect.min_events must be at least 2")


def limit_of(
    settings: ThresholdSettings, kind: Against, detector: Detector, column: str
) -> Limit | None:
    """The first limit that names the detector and the column."""
    for limit in settings.limits:
        named = limit.detector is detector and limit.against is kind
        if named and fnmatch.fnmatchcase(column, limit.columns):
            return limit
    return None
