"""The C library's heap of a process that runs for months.

glibc raises the size from which it asks the system for memory of its own by each such block that is
freed, up to 32 MB. Batches of some megabytes, which come and go with each backlog, then lie in the
heap between what stays, and the holes are never given back: a worker grew by a fifth of a megabyte
with each rebalance. A size that is set stays as it was set.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Of glibc's malloc.h."""
OWN_MAPPING_BYTES: Final = 1 << 20
"""Larger than the arrays of a chunk of events, smaller than a batch of messages."""


def keep_flat() -> bool:
    """Whether blocks from `OWN_MAPPING_BYTES` on are given back when they are freed, from now on;
    False where the C library is another one, which does as it does."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
    return all(mallopt(option, OWN_MAPPING_BYTES) == 1 for option in options)
