"""The clock on the wall, in one place. Everything that decides takes the time as an argument."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Milliseconds since 1970 by the machine's clock."""
    return time.time_ns() // 1_000_000
