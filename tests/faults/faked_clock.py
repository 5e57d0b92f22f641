"""Another clock for a process, with libfaketime: from Debian's package faketime, or from the wheel
of that name, which holds the same library for Linux on x86-64. Monotonic clocks stay true: nobody
can set those."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_DEBIAN: Final = "/usr/lib/*/faketime/libfaketime.so.1"
_WHEEL: Final = "vendor/libfaketime/src/libfaketime.so.1"


def library() -> Path | None:
    """Where libfaketime is on this machine; None if it is not there."""
    found = sorted(Path("/").glob(_DEBIAN.removeprefix("/")))
    if found:
        return found[0]
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None or sys.platform != "linux":
        return None
    inside = Path(spec.origin).parent / _WHEEL
    return inside if inside.is_file() and platform.machine() == "x86_64" else None


def environment(loaded: Path, file: Path, zone: str = "UTC") -> Mapping[str, str]:
    """Variables for a process whose clock is told by what stands in ``file``: ``@2023-11-14
    19:13:20`` for a clock that begins there (in its ``zone``), ``+3h`` or ``-3h`` for one that is
    wrong by so much. It is read at every look at the clock, so that a clock can be set."""
    return {
        "LD_PRELOAD": str(loaded),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": zone,
    }
