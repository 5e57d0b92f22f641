"""Compiling the kernels into the cache, in a process of its own that gives way to others.

Compiling takes half a minute or more of a core, and much of it holds the interpreter's lock: in a
thread of the worker it would halve the rate of the first events. So a worker that finds nothing in
the cache has a child compile (``python -m streams.codecs.speculative``), reads without
kernels meanwhile, and then loads what the child left in less than a second. Of several workers
that start together one child compiles and the others wait for it. An image runs the same command
when it is built, and then no worker compiles at all.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from streams.codecs.speculative import cache
from streams.tied_process import tied

_DONE = "compiled"
_GIVE_UP_S = 900


def compile_apart() -> None:
    """Have the kernels compiled into the cache, and wait for it. Where that cannot be, nothing
    happens: whoever asks for the kernels next compiles them. Raises ImportError without numba."""
    folder = cache.in_use()
    if folder is None or (folder / _DONE).exists():
        return
    command = tied([sys.executable, "-m", "streams.codecs.speculative"])
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_GIVE_UP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def compile_into(folder: Path, compile_them: Callable[[], object]) -> None:
    """Compile the kernels, unless another process has or does so now: then wait for it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            compile_them()
            (folder / _DONE).touch()
