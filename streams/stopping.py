"""SIGTERM and SIGINT as a question that a loop can ask."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


def stop_signals() -> Callable[[], bool]:
    """From now on, whether one of them has come. For the main thread of a role."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping.is_set
