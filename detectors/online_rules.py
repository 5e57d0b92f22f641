"""Which of the online detectors that people know watch what. By default none does.

They are offered because people trust what they know, and they are **without a budget**: each is
calibrated for one comparison and compares again at every value. So what they find is shown, and
decides only where ``decides`` says so; it never causes a rollback.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from detectors.online_adwin import Memory, Parameters
from detectors.online_adwin import readable as adwin_readable
from detectors.online_adwin import update as adwin
from detectors.online_bounds import (
    MOST_WINDOW,
    hddm_a,
    hddm_a_readable,
    hddm_w,
    hddm_w_readable,
    kswin,
    kswin_readable,
)
from detectors.online_charts import (
    ddm,
    ddm_readable,
    eddm,
    eddm_readable,
    page_hinkley,
    page_hinkley_readable,
)

MOST_WATCHES = 100
MOST_SAMPLE = 1000
_MOST_BUCKETS = 50


class Method(StrEnum):
    """The online detectors."""

    ADWIN = "adwin"
    PAGE_HINKLEY = "page_hinkley"
    KSWIN = "kswin"
    DDM = "ddm"
    EDDM = "eddm"
    HDDM_A = "hddm_a"
    HDDM_W = "hddm_w"


class Quantity(StrEnum):
    """What of a column is watched."""

    MEAN = "mean"
    NULL_RATE = "null_rate"
    ERROR_RATE = "error_rate"
    """Of the model itself: its failures among its predictions."""
    SHARE = "share"
    """Of one category."""
    P95 = "p95"


class Feed(StrEnum):
    """What a detector is given of a pane."""

    PANES = "panes"
    """One number: the pane's mean or rate."""
    SAMPLE = "sample"
    """Values drawn from the pane's summary, as if they came one by one."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """``update``: (memory, value, parameters) to (memory, alarm, way to the next alarm);
    ``readable``: whether numbers from outside can be a memory, so that no update raises or grows
    without bound; ``defaults``: the parameters, river's; ``warm``: the one of them that says how
    many values come before the first alarm; ``unit``: values must lie between 0 and 1; ``bits``:
    they must be 0 or 1."""

    update: Callable[[Memory, float, Parameters], tuple[Memory, bool, float]]
    readable: Callable[[Memory], bool]
    defaults: Mapping[str, float]
    warm: str = ""
    unit: bool = False
    bits: bool = False


ALGORITHMS: Mapping[Method, Algorithm] = {
    Method.ADWIN: Algorithm(
        adwin,
        adwin_readable,
        {
            "delta": 0.002,
            "clock": 32.0,
            "max_buckets": 5.0,
            "min_window_length": 5.0,
            "grace_period": 10.0,
        },
        "grace_period",
    ),
    Method.PAGE_HINKLEY: Algorithm(
        page_hinkley,
        page_hinkley_readable,
        {"min_instances": 30.0, "delta": 0.005, "threshold": 50.0, "alpha": 0.9999},
        "min_instances",
    ),
    Method.KSWIN: Algorithm(
        kswin,
        kswin_readable,
        {"alpha": 0.005, "window_size": 100.0, "stat_size": 30.0},
        "window_size",
    ),
    Method.DDM: Algorithm(
        ddm, ddm_readable, {"warm_start": 30.0, "drift_threshold": 3.0}, "warm_start", unit=True
    ),
    Method.EDDM: Algorithm(
        eddm,
        eddm_readable,
        {"warm_start": 30.0, "beta": 0.9},
        "warm_start",
        unit=True,
        bits=True,
    ),
    Method.HDDM_A: Algorithm(
        hddm_a, hddm_a_readable, {"drift_confidence": 0.001, "two_sided_test": 0.0}, unit=True
    ),
    Method.HDDM_W: Algorithm(
        hddm_w,
        hddm_w_readable,
        {"drift_confidence": 0.001, "lambda_val": 0.05, "two_sided_test": 0.0},
        unit=True,
    ),
}

_BELOW_ONE = frozenset({"delta", "alpha", "beta", "drift_confidence", "lambda_val"})
"""Parameters that lie strictly between 0 and 1; all others are at least 0."""
_COUNTS = frozenset(
    {
        "clock",
        "max_buckets",
        "min_window_length",
        "grace_period",
        "min_instances",
        "window_size",
        "stat_size",
        "warm_start",
    }
)


@dataclass(frozen=True, slots=True)
class OnlineWatch:
    """``method`` watches a ``quantity`` of the columns that match ``columns``; of several watches
    with equal method, quantity and feed the first that matches a column has it.

    ``category``: of a share; without one it is the reference's most frequent. ``decides``: whether
    an alarm fails production (people are told; of canaries it is only shown, so that nothing is
    ever rolled back for it). ``parameters``: river's names; what is not given has river's default,
    except that ADWIN looks at every value where it is given one a pane.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    method: Method
    quantity: Quantity = Quantity.MEAN
    columns: str = "*"
    feed: Feed = Feed.PANES
    category: str = ""
    decides: bool = False
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        algorithm, where = ALGORITHMS[self.method], f"online.watches: {self.method}"
        if algorithm.unit and self.quantity is Quantity.MEAN:
            raise ValueError(
                f"{where} watches rates (null_rate, error_rate, share, p95), not means"
            )
        if algorithm.bits and self.feed is Feed.PANES:
            raise ValueError(f"{where} counts single errors, so it needs feed: sample")
        if self.category and self.quantity is not Quantity.SHARE:
            raise ValueError(f"{where}: only a share has a category")
        for name, value in self.parameters.items():
            if name not in algorithm.defaults:
                known = ", ".join(algorithm.defaults)
                raise ValueError(f"{where} has no parameter {name[:50]!r}; it has {known}")
            if not _allowed(name, value):
                raise ValueError(f"{where}: {name} cannot be {value:g}")
        used = self.used
        if "window_size" in used and not used["stat_size"] <= used["window_size"] / 2:
            raise ValueError(f"{where}: stat_size may be at most half of window_size")

    @property
    def used(self) -> dict[str, float]:
        """All parameters, as they are used."""
        chosen = dict(ALGORITHMS[self.method].defaults)
        if self.method is Method.ADWIN and self.feed is Feed.PANES:
            chosen["clock"] = 1.0
        return chosen | dict(self.parameters)

    @property
    def warm(self) -> int:
        """How many values it must have had before it can alarm."""
        name = ALGORITHMS[self.method].warm
        return int(self.used[name]) if name else 1

    @property
    def name(self) -> str:
        """In findings: ``adwin_mean``, ``ddm_error_rate_sample``."""
        return f"{self.method}_{self.quantity}" + ("_sample" if self.feed is Feed.SAMPLE else "")


@dataclass(frozen=True, slots=True)
class OnlineSettings:
    """``sample``: values drawn from each pane for ``feed: sample``; ``min_events``: a pane with
    fewer values is passed over; ``hold_ms``: an alarm stands so long."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    watches: tuple[OnlineWatch, ...] = ()
    sample: int = 32
    min_events: int = 20
    hold_ms: int = 600_000

    def __post_init__(self) -> None:
        if len(self.watches) > MOST_WATCHES:
            raise ValueError(f"online.watches may be {MOST_WATCHES} at most")
        if not 1 <= self.sample <= MOST_SAMPLE:
            raise ValueError(f"online.sample must be from 1 to {MOST_SAMPLE}")
        if self.min_events < 1 or self.hold_ms < 0:
            raise ValueError("online.min_events is at least 1, and online.hold_ms 0")


def _allowed(name: str, value: float) -> bool:
    if not math.isfinite(value):
        return False
    if name in _BELOW_ONE:
        return 0 < value < 1
    if name in _COUNTS:
        most = _MOST_BUCKETS if name == "max_buckets" else MOST_WINDOW
        return value == int(value) and 1 <= value <= most
    if name == "two_sided_test":
        return value in (0.0, 1.0)
    return value > 0
