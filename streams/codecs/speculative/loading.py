"""Compiling the kernels, or loading them from the cache, while the exact path already works.

``warm_up`` does it in the background, and compiles in a process of its own; until it is done, and
for good where numba is not installed, ``ready`` gives None and the codecs read and the accumulator
counts without kernels, with the same result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.kernels import CompiledKernels
from streams.codecs.speculative.arrays import PAD
from streams.codecs.speculative.compiling import compile_apart
from streams.codecs.speculative.loader import Loader
from streams.codecs.speculative.output import new_output
from streams.codecs.speculative.template import learn
from streams.codecs.speculative.templates import Templates
from streams.event import Bounds

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


_loader = Loader("decoder", make_kernels, compile_apart)
ready = _loader.ready
load = _loader.load
warm_up = _loader.warm_up
