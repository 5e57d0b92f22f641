"""Calls of librdkafka that must return.

Its calls of a transaction take a time-out and can still wait for ever: librdkafka 2.16 does in
send_offsets_to_transaction when the connection is reset in the middle of it, or after another call
that timed out. Nothing can be done about such a call from the thread that made it, not even stop.
And it must not be left behind in a process that goes on: it would write when a broker is there
again. So the process ends, and what was not committed is read again by its successor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

NEVER_RETURNS: Final = "a call of the Kafka client does not return"


class NeverReturnedError(Exception):
    """The client is beyond use, and so is this process."""


def bounded(call: Callable[[], object], seconds: float) -> None:
    """Make a call in a thread of its own. Raises `NeverReturnedError` if it has not returned in
    time."""
    outcome: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            call()
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=work, name="kafka-call", daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except Empty:
        raise NeverReturnedError(f"{NEVER_RETURNS} (after {seconds:g} s)") from None
    if error is not None:
        raise error
