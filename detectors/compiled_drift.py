"""How panes of drift are settled, for numba: all that lies between logarithms.

**Guarantee.** Every bit is that of the numpy form in :mod:`detectors.drift`, which is what runs
where numba is not installed and says what each line is for; property tests hold the two equal. See
:mod:`detectors.compiled_canary` for how.

P panes, W watches, C cells, X experts a watch, B bets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.bets import SAFE
from detectors.cells import LARGEST_EXACT
from detectors.compiled_parts import added, entry, larger, part, smaller, sums_like_numpy
from detectors.compiled_types import B1, F1, F2, F3, I1, tuple_of
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
    """Of each pane clean counts with a zero behind them, [P, C + 1], the ``rows`` of each watch,
    [P, W], and what experts take logarithms of, [P, X, C]; their ``memory``, [X, C], after the
    last. Returns whether there are more rows than are counted."""
    begins, sizes, _, _, _, _, law, _, _, _, z_square, inflation, reference_rows = table[:13]
    of = table[15]
    many = False
    room, ratios = np.empty(law.size), np.empty(law.size)
    seen, allowed, stake = np.empty((3, begins.size))
    for p in range(counts.shape[0]):
        clean = extended[p]
        for c in range(law.size):
            found = counts[p, c]
            clean[c] = larger(found, 0.0) if np.isfinite(found) else 0.0
        clean[law.size] = 0.0
        for w in range(begins.size):
            rows[p, w] = added(clean, begins[w], sizes[w])
            many |= rows[p, w] > MOST_ROWS
        # Loops over all cells do several at once, which those over one watch's are too short for.
        for x in range(memory.shape[0]):
            mine, into = memory[x], logs[p, x]
            for w in range(begins.size):
                seen[w] = added(mine, begins[w], sizes[w]) / inflation[w] + EXPERTS_ROWS
            for c in range(law.size):
                ratios[c] = (mine[c] / inflation[of[c]] / law[c] + EXPERTS_ROWS) / seen[of[c]]
                into[c] = ratios[c] - 1
                room[c] = into[c] * into[c] * law[c]
                mine[c] = mine[c] * MEMORIES[x] + clean[c]
            for w in range(begins.size):
                first, size = begins[w], sizes[w]
                most, lowest = -np.inf, np.inf
                for c in range(first, first + size):
                    most, lowest = larger(most, into[c]), smaller(lowest, ratios[c])
                variance = added(room, first, size)
                most = larger(most, 0.0)
                allowed[w] = _allowed(effect, z_square[w], reference_rows[w], variance, most)
                stake[w] = smaller(1.0, SAFE / larger(1 + allowed[w] - lowest, 1e-12))
            for c in range(law.size):
                into[c] = (into[c] - allowed[of[c]]) * stake[of[c]]
    return many


def gain(
    table: Any, begin: Any, bounds: Any, extended: Any, rows: Any, logs: Any, gained: Any
) -> None:
    """What bets gain in each pane, [P, B], of which those on ordered cells are there already.
    ``begin``: the first bet on single cells, and of experts; ``bounds``: of what a bet gains in a
    pane where bursts are bounded, [P]; ``logs``: by now logarithms."""
    begins, sizes, watch_of, cell_of, hit, miss, law, _, inflation, pane_rows = table[:10]
    expert_inflation, bounded, judged = table[11], table[13], table[14]
    named, experts = begin
    room, most = np.empty(law.size), np.empty(begins.size)
    for p in range(gained.shape[0]):
        clean, mine, into = extended[p], rows[p], gained[p]
        for b in range(named, experts):
            inside = clean[cell_of[b]]
            outside = mine[watch_of[b]] - inside
            into[b] = inside * hit[b - named] + outside * miss[b - named]
        fullest = 0.0
        for w in range(begins.size):
            most[w] = bounds[p] if bounded[w] else LARGEST_STEP
            fullest = larger(fullest, mine[w] / pane_rows[w])
            for x in range(logs.shape[1]):
                for c in range(begins[w], begins[w] + sizes[w]):
                    room[c] = logs[p, x, c] * clean[c]
                won = added(room, begins[w], sizes[w])
                into[experts + x * begins.size + w] = won / expert_inflation[w]
        if fullest > 1:
            for b in range(into.size):
                w = watch_of[b]
                more = larger(mine[w] / pane_rows[w], 1.0)
                by = inflation[b] if b < experts else expert_inflation[w]
                into[b] *= by / (1 + (by - 1) * more)
        for b in range(into.size):
            w = watch_of[b]
            found = into[b] if judged[w] else 0.0
            into[b] = smaller(found, most[w])


def grow(
    table: Any, brought: Any, threshold: Any, starts_ms: Any, rows: Any, gained: Any, state: Any
) -> Any:
    """Brings ``state`` up to date: masses and when their evidence began, [B] each, and rows seen,
    [W]. ``brought``: the mass that each pane brings to a watch; ``threshold``: that which raises an
    alarm. Returns whether a watch has reached it: then the state is of no use."""
    watch_of, prior = table[2], table[7]
    masses, onsets, seen = state
    fresh_to, totals = np.empty(seen.size), np.empty(seen.size)
    for p in range(gained.shape[0]):
        for w in range(seen.size):
            fresh_to[w] = brought[p] if rows[p, w] > 0 else 0.0
            seen[w] += rows[p, w]
            totals[w] = 0.0
        for b in range(masses.size):
            fresh = fresh_to[watch_of[b]] * prior[b]
            mass = masses[b] + fresh
            newer = fresh / (mass if mass > 0 else np.inf)
            onsets[b] = (starts_ms[p] - onsets[b]) * newer + onsets[b]
            masses[b] = mass * gained[p, b]
        # A watch's bets mostly follow one another: its total stays where it is added to.
        last, total = 0, 0.0
        for b in range(masses.size):
            if watch_of[b] != last:
                totals[last] = total
                last = watch_of[b]
                total = totals[last]
            total += masses[b]
        totals[last] = total
        for w in range(seen.size):
            if totals[w] >= threshold:
                return True
    return False


_TABLE = tuple_of(*[I1] * 4, *[F1] * 9, B1, B1, I1)


def compile_drift(*, cache: bool) -> DriftKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    return DriftKernels(
        entry(count, f"void({', '.join([I1] * 6)}, {F1})", cache),
        entry(weigh, f"boolean({_TABLE}, float64, {F2}, {F2}, {F2}, {F2}, {F3})", cache),
        entry(gain, f"void({_TABLE}, UniTuple(int64, 2), {F1}, {F2}, {F2}, {F3}, {F2})", cache),
        entry(
            grow,
            f"boolean({_TABLE}, {F1}, float64, {I1}, {F2}, {F2}, UniTuple({F1}, 3))",
            cache,
        ),
    )
