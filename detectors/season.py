"""Seasons: what is normal at three in the morning is not what is normal at noon.

A reference is cut into *slots* by hour of the day or of the week, and each pane is compared with
its own slot. Slots that hold few rows borrow from the whole: a slot's law is
``(counts + 50 * law of all) / (n + 50)``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

BORROWED_ROWS = 50.0
HALF = 0.5
"""Added to every cell of the whole reference: a cell it never filled is rare, not impossible."""
_HOUR_MS = 3_600_000
_EPOCH_WEEKDAY_HOURS = 72
"""1970-01-01 was a Thursday: hours from the Monday before it."""


class Season(StrEnum):
    """What the slots of a reference are."""

    NONE = "none"
    HOUR_OF_DAY = "hour_of_day"
    HOUR_OF_WEEK = "hour_of_week"


def slots(season: Season) -> int:
    """How many slots a season has."""
    match season:
        case Season.NONE:
            return 1
        case Season.HOUR_OF_DAY:
            return 24
        case Season.HOUR_OF_WEEK:
            return 168
        case _:
            assert_never(season)


def slot_of(season: Season, start_ms: int, utc_offset_ms: int = 0) -> int:
    """The slot in which an interval starts. Hours are those of UTC plus the offset; the hour of
    the week counts from Monday 0:00.

    >>> slot_of(Season.HOUR_OF_DAY, 3 * 3_600_000 + 1)
    3
    >>> slot_of(Season.HOUR_OF_WEEK, 0)  # the epoch began on a Thursday
    72
    """
    hour = (start_ms + utc_offset_ms) // _HOUR_MS
    match season:
        case Season.NONE:
            return 0
        case Season.HOUR_OF_DAY:
            return hour % 24
        case Season.HOUR_OF_WEEK:
            return (hour + _EPOCH_WEEKDAY_HOURS) % 168
        case _:
            assert_never(season)


def law(
    counts: NDArray[np.float64], starts: NDArray[np.int64], slot: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The law of each watch in one slot, and how many rows it stands on.

    ``counts``: float64 [slots, cells]; ``starts``: int64 [watches + 1]. Returns float64 [cells],
    positive, summing to 1 over each watch, and float64 [watches]: the slot's own rows. Beyond
    1e12 rows a reference counts as one of 1e12: nothing real is measured more finely.
    """
    sizes = np.diff(starts)
    pooled = counts.sum(axis=0) + HALF
    pooled = pooled / np.repeat(np.add.reduceat(pooled, starts[:-1]), sizes)
    own = counts[slot]
    rows = np.add.reduceat(own, starts[:-1])
    smooth = own + (HALF if len(counts) == 1 else BORROWED_ROWS * pooled)
    shares = smooth / np.repeat(np.add.reduceat(smooth, starts[:-1]), sizes)
    return shares, np.minimum(rows, 1e12)
