"""Compiling the kernels, or loading them from the cache, while the exact path already works.

``warm_up`` does it in the background, and compiles in a process of its own; until it is done, and
for good where numba is not installed, ``ready`` gives None and the codecs read and the accumulator
counts without kernels, with the same result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import structlog

from detectors.kernels import CompiledKernels
from streams.codecs.speculative.arrays import PAD
from streams.codecs.speculative.compiling import compile_apart
from streams.codecs.speculative.output import new_output
from streams.codecs.speculative.template import learn
from streams.codecs.speculative.templates import Templates
from streams.event import Bounds

log = structlog.get_logger()

_EXAMPLE = (
    b'{"ts":"2023-06-13T10:00:00.123Z","model":"m","version":"1","request_id":"r",'
    b'"features":{"a":0.12345678901234567,"b":"x","c":null},"latency_ms":1.5,"host":"h"}'
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """``read_rows`` of ``streams.codecs.speculative.rows``, which takes arrays of exactly the types
    that it was compiled for, and is never compiled again; ``columns``: those that summarise."""

    read_rows: Callable[..., tuple[int, int]]
    columns: CompiledKernels


class Loader:
    """Makes the kernels once, in whatever thread asks first."""

    def __init__(self, make: Callable[[], Kernels], prepare: Callable[[], None]) -> None:
        """``prepare``: what makes ``make`` quick; only the background waits for it."""
        self._make = make
        self._prepare = prepare
        self._lock = threading.Lock()
        self._kernels: Kernels | None = None
        self._thread: threading.Thread | None = None
        self._failed = False

    def ready(self) -> Kernels | None:
        """The kernels, if they can be used by now. Never waits."""
        return self._kernels

    def load(self) -> Kernels | None:
        """The kernels; waits for them. None if they cannot be had here."""
        with self._lock:
            if self._kernels is not None or self._failed:
                return self._kernels
            started = time.perf_counter()
            try:
                self._kernels = self._make()
            except ImportError:
                self._failed = True
                log.info("decoder kernels not installed", hint="pip install driftline[fast]")
            except Exception as error:
                self._failed = True
                log.warning("decoder kernels not usable", error=type(error).__name__)
            else:
                seconds = round(time.perf_counter() - started, 2)
                log.info("decoder kernels ready", seconds=seconds)
            return self._kernels

    def warm_up(self) -> None:
        """Start to load in the background; does nothing the second time."""
        with self._lock:
            if self._thread is None and self._kernels is None:
                self._thread = threading.Thread(target=self._work, name="kernels", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        # What goes wrong here goes wrong again in load, which says so.
        with suppress(Exception):
            self._prepare()
        self.load()


def make_kernels() -> Kernels:
    """Compile for the types in use, by reading an example. Raises ImportError without numba."""
    if sys.byteorder != "little":
        raise ImportError("the kernels read words of little-endian machines")
    from detectors.compiled import compile_all
    from streams.codecs.speculative import machine, rows

    kernels = Kernels(rows.read_rows, compile_all(cache=machine.CACHED))
    _try(kernels)
    rows.read_rows.disable_compile()
    return kernels


def _try(kernels: Kernels) -> None:
    templates = Templates(Bounds(0, 4_102_444_800_000))
    template = learn(_EXAMPLE, templates.bounds)
    if template is None or not templates.add(template):
        raise RuntimeError("the example of the kernels is not readable")
    buffer = np.frombuffer(_EXAMPLE + b"\n" + PAD, dtype=np.uint8)
    starts, sizes = np.zeros(1, dtype=np.int64), np.full(1, len(_EXAMPLE), dtype=np.int64)
    out = new_output(templates, 1, keep_ids=True)
    rows, unread = kernels.read_rows(
        buffer,
        starts,
        sizes,
        False,
        0,
        0,
        templates.plan,
        templates.vocabulary.words,
        out,
        np.zeros(1, dtype=np.int64),
    )
    if (rows, unread) != (1, 0):
        raise RuntimeError("the kernels do not read their example")


_loader = Loader(make_kernels, compile_apart)
ready = _loader.ready
load = _loader.load
warm_up = _loader.warm_up
