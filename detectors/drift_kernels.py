"""Panes of drift settled with compiled kernels: what is done between them, and what they need.

The same as :func:`detectors.drift.step` without them, to the last bit, in a few calls for however
many panes: of a short array the call costs more than what is done to it. The kernels
(:mod:`detectors.compiled_drift`) do all but logarithms, exponentials and products of matrices.

No numba here: who has kernels hands them on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift_state import DriftState
from detectors.kernel_arrays import kernel_arrays
from detectors.payoffs import Payoffs

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DriftKernels:
    """The functions of :mod:`detectors.compiled_drift`, compiled, in its order."""

    count: Callable[..., None]
    weigh: Callable[..., bool]
    gain: Callable[..., None]
    grow: Callable[..., bool]


@lru_cache(maxsize=256)
def _table_of(paid: Payoffs) -> tuple[Any, ...]:
    """Payoffs as the kernels read them."""
    dictionary = paid.normal.dictionary
    cells = dictionary.cells
    return kernel_arrays(
        *(cells.begins, cells.sizes, dictionary.watch_of, dictionary.cell_of),
        *(paid.hit, paid.miss, paid.law, paid.prior, paid.normal.inflation),
        *(paid.normal.pane_rows, paid.expert_z_square, paid.expert_inflation),
        *(paid.expert_rows, paid.bounded, paid.judged, cells.watch_of),
    )


def settled_by(
    kernels: DriftKernels,
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    brought: Floats,
    bounds: Floats,
    starts_ms: NDArray[np.int64],
    length_ms: int,
    threshold: float,
) -> DriftState | None:
    """The state after panes, in the order of time; None where it takes more than this: a watch has
    more rows than are counted in one of them, or its mass reaches the ``threshold``. ``counts``:
    [panes, cells]; of each pane, [panes]: ``brought``: the mass that it brings to each watch, in
    ms; ``bounds``: of what a bet gains where bursts are bounded.
    """
    dictionary, table = paid.normal.dictionary, _table_of(paid)
    panes, memory = len(counts), state.memory.copy()
    extended, rows = np.empty((panes, counts.shape[1] + 1)), np.empty((panes, len(paid.judged)))
    logs = np.empty((panes, *memory.shape))
    if kernels.weigh(table, paid.expert_effect, counts, memory, extended, rows, logs):
        return None
    np.log1p(logs, out=logs)
    gained = np.empty((panes, dictionary.bets))
    first = 0
    for index, paid_logs in paid.blocks:
        watches, _, shapes = paid_logs.shape
        stop = first + watches * shapes
        # Watch by watch, so that what its bets pay stays at hand from pane to pane.
        into = gained[:, first:stop].reshape(panes, watches, 1, shapes).swapaxes(0, 1)
        held = extended.take(index, axis=1)[:, :, None, :].swapaxes(0, 1)
        np.matmul(held, paid_logs[:, None], out=into)
        first = stop
    kernels.gain(
        table, (dictionary.named, dictionary.experts), bounds, extended, rows, logs, gained
    )
    np.exp(gained, out=gained)
    mass, onset, seen = state.mass.copy(), state.onset.copy(), state.seen.copy()
    if kernels.grow(table, brought, threshold, starts_ms, rows, gained, (mass, onset, seen)):
        return None
    return DriftState(int(starts_ms[-1]) + length_ms, mass, onset, memory, seen, state.alarms)
