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
        for i in range(at, at + size):
            # The first stands as it is, whatever its step.
            if i > at:
                key += (
                    np.int64(written[i])
                    | np.int64(written[i + size]) << 8
                    | np.int64(written[i + 2 * size]) << 16
                )
            low, high = written[i + 3 * size], written[i + 4 * size]
            keys[into] = np.int32(key)
            counts[into] = np.int64(low) | np.int64(high) << 8
            into += 1
        at += 5 * size


def compile_unpack(*, cache: bool) -> Callable[..., None]:
    """The kernel, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`."""
    types = "uint8[::1], int64[::1], int32[::1], int64[::1]"
    compiled: Callable[..., None] = entry(unpack, f"void({types})", cache)
    return compiled
