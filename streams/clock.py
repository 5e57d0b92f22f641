"""The clock on the wall, in one place. Everything that decides takes the time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_STEP_MS: Final = 1_000


def wall_ms() -> int:
    """Milliseconds since 1970 by the machine's clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds by a clock that nobody sets: for how long something lasted."""
    return time.monotonic_ns() // 1_000_000


class ClockSteps:
    """Notices that the machine's clock was set while we were running."""

    def __init__(
        self, wall: Callable[[], int] = wall_ms, steady: Callable[[], int] = steady_ms
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._apart_ms = wall() - steady()

    def look(self) -> int:
        """By how many milliseconds the clock was set forward (or back: below 0) since the last
        look; 0 for less than a second, which is what keeping time does."""
        apart_ms = self._wall() - self._steady()
        step_ms = apart_ms - self._apart_ms
        if abs(step_ms) < _STEP_MS:
            return 0
        self._apart_ms = apart_ms
        return step_ms
