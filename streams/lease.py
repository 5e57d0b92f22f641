"""Whether this process was frozen for so long that others may have taken its work over.

A virtual machine that is paused, or a process that gets SIGSTOP, does not know of it. When it wakes
up, it goes on in the middle of a record, and what it then writes to a changelog would stand behind
what its successor has written meanwhile: the next process to load that state would find it older
than the offsets that are committed, and lose what lies between. Kafka fences writers only within
transactions, which Faust's tables are not written in (docs/decisions.md).

So a thread looks at the clock four times a second, and nothing is written any more once two looks
were further apart than `LONGEST_FREEZE_S`, which is less than a session in the consumer group
lasts: before that, the broker gives nothing away. A busy event loop is no freeze; the thread goes
on beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

SESSION_S: Final = 10.0
"""How long the broker waits for the next heartbeat of a Faust app (streams.faust_app)."""
LONGEST_FREEZE_S: Final = SESSION_S - 2.5
"""The last heartbeat may be a second old when the freeze begins; the rest is for the write."""
_LOOK_EVERY_S = 0.25


def steady_s() -> float:
    """Seconds of a clock that goes on while a machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class LeaseLost(Exception):
    """This process was frozen and must not write; the one that is started next reads again."""


class Lease:
    """``clock``: in seconds, steady, and not stopped by a freeze."""

    def __init__(self, clock: Callable[[], float] = steady_s) -> None:
        self._clock = clock
        self._seen = clock()
        self._longest = 0.0

    @classmethod
    def watched(cls) -> Lease:
        """One whose clock is looked at from now on, in a thread that ends with the process."""
        lease = cls()
        threading.Thread(target=lease.watch, name="lease", daemon=True).start()
        return lease

    def look(self) -> None:
        """Note the time since the last look."""
        now = self._clock()
        self._longest = max(self._longest, now - self._seen)
        self._seen = now

    def check(self) -> None:
        """Called before each write. Raises LeaseLost, now and ever after, once there was a freeze.

        Whether the thread or the writer wakes up first, one of them finds the gap.
        """
        frozen_s = max(self._longest, self._clock() - self._seen)
        if frozen_s > LONGEST_FREEZE_S:
            raise LeaseLost(
                f"the process was frozen for {frozen_s:.1f} s, longer than a session lasts:"
                " others may have taken over, so it writes nothing more and has to start again"
            )

    def watch(self) -> None:
        """Look at the clock for ever."""
        while True:
            self.look()
            time.sleep(_LOOK_EVERY_S)
