"""How a pane of drift is settled, for numba: all that lies between logarithms.

**Guarantee.** Every bit is that of the numpy form in :mod:`detectors.drift`, which is what runs
where numba is not installed and says what each line is for; property tests hold the two equal. See
:mod:`detectors.compiled_canary` for how.

W watches, C cells, X experts a watch, B bets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.bets import SAFE
from detectors.cells import LARGEST_EXACT
from detectors.compiled_parts import added, entry, larger, part, smaller, sums_like_numpy
from detectors.drift import LARGEST_STEP, MOST_ROWS
from detectors.drift_kernels import DriftKernels
from detectors.payoffs import EXPERTS_ROWS, MEMORIES


def count(
    vector: Any,
    source: Any,
    target: Any,
    missing: Any,
    expected: Any,
    answered: Any,
    counts: Any,
) -> None:
    """:func:`detectors.cells.count` but for categories beyond the bins; ``counts``: zeros."""
    for i in range(source.size):
        counts[target[i]] += np.float64(min(max(vector[source[i]], 0), LARGEST_EXACT))
    for i in range(missing.size):
        cell = missing[i]
        events = np.float64(min(max(vector[expected[i]], 0), LARGEST_EXACT))
        counts[cell] = larger(events - (counts[cell - 1] + counts[cell + 1]), 0.0)
    for i in range(answered.size):
        cell = answered[i]
        counts[cell] = larger(counts[cell] - counts[cell + 1], 0.0)


@part
def _allowed(effect: Any, z_square: Any, rows: Any, variance: Any, most: Any) -> Any:
    """:func:`detectors.bets.tolerance`."""
    half = z_square * most / (2 * rows)
    root = np.sqrt(half * half + z_square * variance / rows)
    return effect * np.sqrt(variance) + half + root


def weigh(
    table: Any, effect: Any, counts: Any, memory: Any, extended: Any, rows: Any, logs: Any
) -> Any:
    """Clean counts with a zero behind them, [C + 1], the ``rows`` of each watch, and what experts
    take logarithms of, [X, C]. Returns whether there are more rows than are counted."""
    begins, sizes, _, _, _, _, law, _, _, _, z_square, inflation, reference_rows, _, _ = table
    many = False
    for c in range(counts.size):
        found = counts[c]
        extended[c] = larger(found, 0.0) if np.isfinite(found) else 0.0
    extended[counts.size] = 0.0
    room = np.empty(counts.size)
    for w in range(begins.size):
        first, size = begins[w], sizes[w]
        rows[w] = added(extended, first, size)
        many |= rows[w] > MOST_ROWS
        for x in range(memory.shape[0]):
            mine, into = memory[x], logs[x]
            seen = added(mine, first, size) / inflation[w] + EXPERTS_ROWS
            most, lowest = -np.inf, np.inf
            for c in range(first, first + size):
                ratio = (mine[c] / inflation[w] / law[c] + EXPERTS_ROWS) / seen
                excess = ratio - 1
                most, lowest = larger(most, excess), smaller(lowest, ratio)
                into[c] = excess
                room[c] = excess * excess * law[c]
            variance = added(room, first, size)
            most = larger(most, 0.0)
            allowed = _allowed(effect, z_square[w], reference_rows[w], variance, most)
            stake = smaller(1.0, SAFE / larger(1 + allowed - lowest, 1e-12))
            for c in range(first, first + size):
                into[c] = (into[c] - allowed) * stake
    return many


def gain(
    table: Any, begin: Any, bound: Any, extended: Any, rows: Any, logs: Any, gained: Any
) -> None:
    """What bets gain, [B], of which those on ordered cells are there already. ``begin``: the first
    bet on single cells, and of experts; ``logs``: by now logarithms."""
    begins, sizes, watch_of, cell_of, hit, miss, _, _, inflation, pane_rows = table[:10]
    expert_inflation, bounded, judged = table[11], table[13], table[14]
    named, experts = begin
    for b in range(named, experts):
        inside = extended[cell_of[b]]
        outside = rows[watch_of[b]] - inside
        gained[b] = inside * hit[b - named] + outside * miss[b - named]
    room = np.empty(extended.size - 1)
    fullest = 0.0
    for w in range(begins.size):
        fullest = larger(fullest, rows[w] / pane_rows[w])
        for x in range(logs.shape[0]):
            for c in range(begins[w], begins[w] + sizes[w]):
                room[c] = logs[x, c] * extended[c]
            won = added(room, begins[w], sizes[w])
            gained[experts + x * begins.size + w] = won / expert_inflation[w]
    for b in range(gained.size):
        w = watch_of[b]
        if fullest > 1:
            more = larger(rows[w] / pane_rows[w], 1.0)
            by = inflation[b] if b < experts else expert_inflation[w]
            gained[b] *= by / (1 + (by - 1) * more)
        found = gained[b] if judged[w] else 0.0
        gained[b] = smaller(found, bound if bounded[w] else LARGEST_STEP)


def grow(
    table: Any,
    limits: Any,
    start_ms: Any,
    counts: Any,
    rows: Any,
    gained: Any,
    old: Any,
    new: Any,
) -> Any:
    """The masses after the pane, and when their evidence began; memory and rows. ``limits``: the
    mass that the pane brings to a watch, and that which raises an alarm. Returns whether a watch
    has reached it."""
    watch_of, prior = table[2], table[7]
    brought, threshold = limits
    masses, onsets, memories, seen = old
    new_masses, new_onsets, new_memories, new_seen = new
    totals = np.zeros(rows.size)
    for b in range(gained.size):
        w = watch_of[b]
        fresh = (brought if rows[w] > 0 else 0.0) * prior[b]
        mass = masses[b] + fresh
        newer = fresh / (mass if mass > 0 else np.inf)
        new_onsets[b] = (start_ms - onsets[b]) * newer + onsets[b]
        mass *= gained[b]
        new_masses[b] = mass
        totals[w] += mass
    for x in range(memories.shape[0]):
        for c in range(memories.shape[1]):
            new_memories[x, c] = memories[x, c] * MEMORIES[x] + counts[c]
    reached = False
    for w in range(rows.size):
        new_seen[w] = seen[w] + rows[w]
        reached |= totals[w] >= threshold
    return reached


_F1, _F2 = "float64[::1]", "float64[:,::1]"
_TABLE = f"Tuple(({', '.join(['int64[::1]'] * 4 + [_F1] * 9 + ['boolean[::1]'] * 2)}))"
_STATE = f"Tuple(({_F1}, {_F1}, {_F2}, {_F1}))"


def compile_drift(*, cache: bool) -> DriftKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    return DriftKernels(
        entry(count, f"void({', '.join(['int64[::1]'] * 6)}, {_F1})", cache),
        entry(weigh, f"boolean({_TABLE}, float64, {_F1}, {_F2}, {_F1}, {_F1}, {_F2})", cache),
        entry(
            gain,
            f"void({_TABLE}, UniTuple(int64, 2), float64, {_F1}, {_F1}, {_F2}, {_F1})",
            cache,
        ),
        entry(
            grow,
            f"boolean({_TABLE}, UniTuple(float64, 2), int64, {_F1}, {_F1}, {_F1}, {_STATE},"
            f" {_STATE})",
            cache,
        ),
    )
