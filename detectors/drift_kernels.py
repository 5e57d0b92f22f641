"""A pane of drift settled with compiled kernels: what is done between them, and what they need.

The same as :func:`detectors.drift.step` without them, to the last bit, in a few calls. The kernels
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
        *(paid.expert_rows, paid.bounded, paid.judged),
    )


def settled_by(
    kernels: DriftKernels,
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    brought: float,
    bound: float,
    start_ms: int,
    length_ms: int,
    threshold: float,
) -> tuple[DriftState, Floats, bool] | None:
    """The state after a pane, the counts that it was settled with, and whether a watch has reached
    the ``threshold``; None where a watch has more rows than are counted. ``brought``: the mass that
    the pane brings to each watch, in ms; ``bound``: of what a bet gains where bursts are bounded.
    """
    dictionary, table = paid.normal.dictionary, _table_of(paid)
    extended, rows = np.empty(len(counts) + 1), np.empty(len(paid.judged))
    logs = np.empty_like(state.memory)
    if kernels.weigh(table, paid.expert_effect, counts, state.memory, extended, rows, logs):
        return None
    np.log1p(logs, out=logs)
    gained = np.empty(dictionary.bets)
    first = 0
    for index, paid_logs in paid.blocks:
        shape = len(paid_logs), 1, paid_logs.shape[2]
        stop = first + shape[0] * shape[2]
        into = gained[first:stop].reshape(shape)
        np.matmul(extended.take(index)[:, None, :], paid_logs, out=into)
        first = stop
    kernels.gain(table, (dictionary.named, dictionary.experts), bound, extended, rows, logs, gained)
    np.exp(gained, out=gained)
    mass, onset = np.empty((2, dictionary.bets))
    memory, seen = np.empty_like(state.memory), np.empty_like(state.seen)
    reached = kernels.grow(
        table,
        (brought, threshold),
        start_ms,
        extended,
        rows,
        gained,
        (state.mass, state.onset, state.memory, state.seen),
        (mass, onset, memory, seen),
    )
    settled = DriftState(start_ms + length_ms, mass, onset, memory, seen, state.alarms)
    return settled, extended[:-1], reached
