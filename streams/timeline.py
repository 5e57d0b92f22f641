"""Event time: panes, watermarks, lateness. The one place that knows what "late" means.

Time is that of the events; a clock is read only for the idle timeout. A partition's *watermark* is
the newest event time seen in it, less ``out_of_orderness_ms``. A model's watermark is the least of
the watermarks of all partitions of the topics it was seen in; an idle partition is left out. A
window closes when the watermark passes its end. A row is *late* if the watermark of its own
partition had passed the end of its pane by more than ``allowed_lateness_ms`` before its message
came: that depends only on the order of messages in that partition, so any replay agrees about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NEVER = -(2**62)
"""A watermark before any event."""
FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class TimeSettings:
    """Panes and windows, and how long to wait. All in milliseconds of event time, except
    ``idle_timeout_ms``, which is time on the wall."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    pane_ms: int = 10 * SECOND
    windows_ms: tuple[int, ...] = (MINUTE, HOUR, DAY)
    out_of_orderness_ms: int = 2 * SECOND
    allowed_lateness_ms: int = 10 * MINUTE
    idle_timeout_ms: int = 30 * SECOND
    max_ahead_ms: int = DAY
    max_age_ms: int = 400 * DAY

    def __post_init__(self) -> None:
        if not 100 <= self.pane_ms <= DAY:
            raise ValueError(f"time.pane must be between 100 ms and 1 day, not {self.pane_ms} ms")
        if not self.windows_ms:
            raise ValueError("time.windows must name at least one window")
        if list(self.windows_ms) != sorted(set(self.windows_ms)):
            raise ValueError("time.windows must increase and name no window twice")
        for window in self.windows_ms:
            if window < self.pane_ms:
                raise ValueError(
                    f"time.windows: {window} ms is shorter than the pane ({self.pane_ms} ms)"
                )
            if window % self.pane_ms:
                raise ValueError(
                    f"time.windows: {window} ms is not a multiple of the pane ({self.pane_ms} ms)"
                )
            if window > 2**32 - 1:
                raise ValueError(f"time.windows: {window} ms is longer than 49 days")
        for name in ("out_of_orderness_ms", "allowed_lateness_ms", "max_ahead_ms", "max_age_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"time.{name.removesuffix('_ms')} must not be negative")
        if self.idle_timeout_ms < 100:
            raise ValueError("time.idle_timeout must be at least 100 ms")


def aligned(ts_ms: int, length_ms: int) -> int:
    """Start of the interval of ``length_ms`` that holds ``ts_ms``; intervals are half open.

    >>> aligned(61_999, 60_000)
    60000
    """
    return ts_ms - ts_ms % length_ms


def feeder(length_ms: int, settings: TimeSettings) -> int:
    """Of what a window is put together: the longest shorter window that it is a multiple of, or
    panes.

    >>> feeder(HOUR, TimeSettings()) == MINUTE
    True
    """
    shorter = (each for each in settings.windows_ms if each < length_ms and not length_ms % each)
    return max(shorter, default=settings.pane_ms)


def late_rows(
    ts_ms: NDArray[np.int64], message: NDArray[np.int64], newest_ms: int, settings: TimeSettings
) -> tuple[NDArray[np.bool_], int]:
    """Which rows of one partition are late; and its newest event time after them.

    ``message`` numbers the message of each row, not decreasing. ``newest_ms`` is the newest event
    time before all of them (NEVER if none). The rows of one message do not make each other late:
    they are one write of one producer, and a codec may hand them over in any order.
    """
    if not len(ts_ms):
        return np.zeros(0, np.bool_), newest_ms
    running = np.maximum.accumulate(ts_ms)
    first = np.searchsorted(message, message, side="left")
    before = np.concatenate(([newest_ms], np.maximum(running, newest_ms)))[first]
    late = is_late(ts_ms, before, settings)
    return late, max(newest_ms, int(running[-1]))


Times = TypeVar("Times", int, NDArray[np.int64])


def is_late(ts_ms: Times, before_ms: Times, settings: TimeSettings) -> Any:
    """Whether a row is late where the newest event time before its message was ``before_ms``: a
    bool for numbers, bool of the same shape for arrays. An older row is never less late."""
    pane_end = ts_ms - ts_ms % settings.pane_ms + settings.pane_ms
    return pane_end + settings.allowed_lateness_ms <= before_ms - settings.out_of_orderness_ms


@dataclass(frozen=True, slots=True)
class PartitionTime:
    """What is known of the time in one input partition: its newest event time (NEVER if none),
    whether it is idle, and how many partitions its topic has."""

    newest_ms: int
    idle: bool
    partitions: int


def watermark(
    topics: Iterable[str],
    partitions: Mapping[tuple[str, int], PartitionTime],
    settings: TimeSettings,
) -> int:
    """The watermark of a model that was seen in ``topics``: NEVER until every partition of them
    has reported. If all are idle, nothing moves, and NEVER says so: the old watermark stays."""
    lowest: int | None = None
    for topic in topics:
        known = {p: time for (name, p), time in partitions.items() if name == topic}
        expected = max((time.partitions for time in known.values()), default=1)
        if len(known) < expected:
            return NEVER
        for time in known.values():
            if time.idle:
                continue
            mark = time.newest_ms - settings.out_of_orderness_ms
            lowest = mark if lowest is None else min(lowest, mark)
    return NEVER if lowest is None else lowest
