"""How sketches are read from the wire, for numba.

**Guarantee.** Keys and counts are those of :mod:`streams.sketch_bytes` without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.compiled_parts import entry


def unpack(written: Any, sizes: Any, keys: Any, counts: Any) -> None:
    """``written``: sketches of so many buckets each, at least one, end to end."""
    at = into = 0
    for size in sizes:
        key = np.int64(0)
        for weight in range(4):
            key |= np.int64(written[at + weight]) << (8 * weight)
        at += 4
        # The first stands as it is, whatever its step.
        keys[into] = np.int32(key)
        steps = written[at : at + 3 * size]
        for i in range(1, size):
            key += (
                np.int64(steps[i])
                | np.int64(steps[i + size]) << 8
                | np.int64(steps[i + 2 * size]) << 16
            )
            keys[into + i] = np.int32(key)
        at += 3 * size
        # Apart from the keys, each of which stands on the one before: so several at once.
        low, high = written[at : at + size], written[at + size : at + 2 * size]
        for i in range(size):
            counts[into + i] = np.int64(low[i]) | np.int64(high[i]) << 8
        into += size
        at += 2 * size


def compile_unpack(*, cache: bool) -> Callable[..., None]:
    """The kernel, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`."""
    types = "uint8[::1], int64[::1], int32[::1], int64[::1]"
    compiled: Callable[..., None] = entry(unpack, f"void({types})", cache)
    return compiled
