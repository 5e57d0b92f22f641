"""SIGTERM and SIGINT as a question that a loop can ask, and an end that comes in any case."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

STOPS_WITHIN_S: Final = 9.0
"""A role stops within 10 s of SIGTERM: that is promised."""


def end_within(seconds: float) -> None:
    """From now on this process has so long to end by itself; then it ends with exit code 1,
    whatever it waits for. Only for roles that lose nothing when they are killed."""

    def end() -> None:
        print(
            f"driftline: still not stopped after {seconds:g} s (is Kafka away?), so it ends here;"
            " what was not committed is read again",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def stop_signals() -> Callable[[], bool]:
    """From now on, whether one of them has come. For the main thread of a role."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping.is_set
