"""How sketches of equal columns are added up, for numba.

**Guarantee.** Buckets and counts are those of :mod:`detectors.merging` without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectors.compiled_parts import entry


def count_up(
    sketched: Any,
    keys: Any,
    counts: Any,
    lowest: Any,
    table: Any,
    new_keys: Any,
    new_counts: Any,
    ends: Any,
) -> None:
    """``sketched``: the column and the size of each sketch, [2, sketches], whose ``keys`` and
    ``counts`` stand end to end; ``table``: zeros, [columns, buckets from ``lowest`` on]. The new
    ones stand end to end too; ``ends``: where those of each column do."""
    at = 0
    for s in range(sketched.shape[1]):
        row = table[sketched[0, s]]
        stop = at + sketched[1, s]
        while at < stop:
            row[keys[at] - lowest] += counts[at]
            at += 1
    into = 0
    for c in range(table.shape[0]):
        for bucket in range(table.shape[1]):
            if table[c, bucket] != 0:
                new_keys[into] = bucket + lowest
                new_counts[into] = table[c, bucket]
                into += 1
        ends[c] = into


def compile_count_up(*, cache: bool) -> Callable[..., None]:
    """The kernel, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`."""
    i1, i2, keys = "int64[::1]", "int64[:,::1]", "int32[::1]"
    types = f"{i2}, {keys}, {i1}, int64, {i2}, {keys}, {i1}, {i1}"
    compiled: Callable[..., None] = entry(count_up, f"void({types})", cache)
    return compiled
