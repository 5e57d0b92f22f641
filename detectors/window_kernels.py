"""What windows are compared with where there are compiled kernels.

All comes to the same as without them, to the last bit, in a few calls.

No numba here: who has kernels hands them on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.cell_statistics import Distances, Side, Slices


@dataclass(frozen=True, slots=True)
class WindowKernels:
    """The functions of :mod:`detectors.compiled_distances` and :mod:`detectors.compiled_figures`,
    compiled."""

    prepare: Callable[..., None]
    conclude: Callable[..., None]
    figures: Callable[..., None]


def distances_by(kernels: WindowKernels, slices: Slices, usual: Side, now: Side) -> Distances:
    """As :func:`detectors.cell_statistics.distances`: the logarithms between the kernels."""
    sides = tuple(
        (side.counts, side.totals, side.shares, side.roots, side.empty) for side in (usual, now)
    )
    room = np.empty((6, len(slices.of)))
    full, logs, change = room[:2], room[2:5], room[5]
    kernels.prepare(slices.starts, *sides, full, logs)
    np.log(logs, out=logs)
    found = np.empty((7, len(slices.starts)))
    kernels.conclude(slices.starts, *sides, full, logs, found, change)
    return Distances(*[*found, change])
