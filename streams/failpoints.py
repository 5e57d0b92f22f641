"""Places with a name at which a test makes a role die, freeze or wait.

Off unless ``DRIFTLINE_FAILPOINTS`` names them: ``summarize.produced=kill:2,judge.taken=stop`` kills
the process when it comes to ``summarize.produced`` for the second time, and freezes it at the first
``judge.taken``. What can be done: ``kill`` (SIGKILL, as the kernel does to a process that takes too
much memory), ``kill-in-MS`` (the same so much later, in the middle of what comes next), ``stop``
(SIGSTOP, a machine that hangs; SIGCONT ends it), ``hang-MS`` (sleep so long), ``wait-MS`` (sleep
so long each time from then on). While nothing is named, `reached` is a function without a body.

The steps of a role that have a name: `NAMES`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "DRIFTLINE_FAILPOINTS"

NAMES: Final = frozenset(
    {
        "summarize.polled",  # messages have come, nothing was done with them
        "summarize.taken",  # they are entered in the ledger and buffered
        "summarize.drained",  # the records of a flush are made
        "summarize.begun",  # the transaction is open
        "summarize.produced",  # the records are on their way
        "summarize.acknowledged",  # without transactions: Kafka has the records, not the offsets
        "summarize.sent",  # the offsets are in the transaction
        "summarize.committed",  # it is committed, and we have not noted it
        "summarize.revoked",  # partitions are being taken away, nothing is flushed yet
        "judge.taken",  # a record was read
        "judge.published",  # what came of it is published, the state is not written
        "judge.intervals",  # deltas and intervals are written, the state is not
        "judge.written",  # the state is written, the offset is not committed
        "deliver.decided",  # a verdict was taken in, nothing is published
        "deliver.published",  # the actions are published, the state is not written
        "deliver.kept",  # the state is written, nothing is sent
        "deliver.answered",  # a receiver has answered, that is not written
        "faust.restoring",  # judge, deliver: how much there is to restore is about to be asked
        "store.taken",  # a batch is complete, nothing is stored
        "store.inserted",  # one table of it is stored
        "store.stored",  # all of it is stored, the offsets are not committed
    }
)


_ACTION: Final = re.compile(r"kill|stop|(?:kill-in|hang|wait)-[0-9]{1,6}")


@dataclass(slots=True)
class _Failpoint:
    action: str
    left: int


def parse(text: str) -> dict[str, tuple[str, int]]:
    """``NAME=ACTION[:N],...`` to name: (action, at which time). Raises ValueError for what names
    nothing: a test whose failpoint is never met would prove nothing.

    >>> parse("summarize.produced=kill:2")
    {'summarize.produced': ('kill', 2)}
    """
    found: dict[str, tuple[str, int]] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, what = entry.partition("=")
        action, _, count = what.partition(":")
        known = _ACTION.fullmatch(action)
        if name not in NAMES or not known or not (count or "1").isdigit() or count == "0":
            raise ValueError(
                f"{VARIABLE}: {entry!r} is not NAME=kill|kill-in-MS|stop|hang-MS|wait-MS, or that:N"
            )
        found[name] = (action, int(count or "1"))
    return found


def armed(points: Mapping[str, tuple[str, int]]) -> Callable[[str], None]:
    """What to call at each place: does what ``points`` say."""
    left = {name: _Failpoint(action, count) for name, (action, count) in points.items()}

    def reach(name: str) -> None:
        failpoint = left.get(name)
        if failpoint is None:
            return
        failpoint.left -= 1
        if failpoint.left > 0:
            return
        if failpoint.action.startswith("wait-"):
            time.sleep(int(failpoint.action.removeprefix("wait-")) / 1000)
            return
        del left[name]
        sys.stderr.write(f"failpoint {name}: {failpoint.action}\n")
        sys.stderr.flush()
        if failpoint.action.startswith("hang-"):
            time.sleep(int(failpoint.action.removeprefix("hang-")) / 1000)
            return
        number = signal.SIGSTOP if failpoint.action == "stop" else signal.SIGKILL
        if failpoint.action.startswith("kill-in-"):
            seconds = int(failpoint.action.removeprefix("kill-in-")) / 1000
            threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
        else:
            os.kill(os.getpid(), number)

    return reach


def _off(name: str) -> None:
    """Nothing is to happen anywhere."""


reached: Final[Callable[[str], None]] = (
    armed(parse(os.environ[VARIABLE])) if os.environ.get(VARIABLE) else _off
)
"""Called by the roles at each of `NAMES`."""
