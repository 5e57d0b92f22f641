"""The C library's heap of a process that runs for months.

glibc gives free memory back only where it ends its heap. Batches of some megabytes, which come and
go with each backlog, lie between what stays, and leave holes: a worker grew by a fifth of a
megabyte with each rebalance. So holes are given back once a minute. To give each large block a
mapping of its own instead (M_MMAP_THRESHOLD of 1 MB) was as flat, and made Arrow 23% and NDJSON 13%
dearer.
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Final

_EVERY_S: Final = 60.0


def give_back() -> bool:
    """Give free memory back to the system; False where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def keep_flat() -> None:
    """From now on free memory is given back once a minute, by a thread of its own."""

    def work() -> None:
        while give_back():
            time.sleep(_EVERY_S)

    threading.Thread(target=work, name="heap", daemon=True).start()
