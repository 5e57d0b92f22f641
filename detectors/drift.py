"""Drift against a reference: an e-detector whose false alarms stay within a budget.

In each pane every bet j of a watch is settled: ``l_j = sum_k c_k ln w_jk`` over the counts of its
cells, divided by the bet's inflation. Its mass follows Shiryaev and Roberts,

    R_j <- (R_j + weight * prior_j * pane length) * exp(min(l_j, b)),

and when the masses of a watch sum to ``B = FalseAlarms.between_ms`` an alarm is raised and the
watch starts anew. (E-detectors: Shin, Ramdas and Rinaldo, arXiv 2203.03532.)

**Guarantee.** If the weights of all watches of a model were set before the pane and sum to at most
1 (:mod:`detectors.budget`), the sum of all masses minus the time passed, plus B for each alarm, is
a supermartingale: the expected number of alarms in time t is at most t / B, however many columns,
segments and releases there are and however they depend on one another. The condition is that no
payoff is expected to exceed 1 given the past: rows of a pane are independent, with a law within
the minimum effect and the reference's tolerance (see :mod:`detectors.bets`). Where panes of the
reference contradict independence, evidence is deflated, bounded per pane, and the promise reads
"checked by replay" (:class:`detectors.payoffs.Basis`). Leaving a pane out, deflating evidence and
cutting it at b only lower the masses.

**Replay.** A step is a pure function of state, payoffs and counts, and draws no random number: the
experts learn from earlier panes only. The same panes in the same order give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.bets import stake, tolerance
from detectors.drift_evidence import alarm_of
from detectors.drift_kernels import DriftKernels, settled_by
from detectors.drift_settings import DriftSettings
from detectors.drift_state import Alarm, DriftState, masses
from detectors.flags import all_of, any_of
from detectors.payoffs import EXPERTS_ROWS, MEMORIES, Payoffs

Floats = NDArray[np.float64]

LARGEST_STEP = 300.0
"""Bound of a pane's log evidence where bursts are not bounded: enough for any budget, and the
products stay within the range of doubles."""
MOST_ROWS = 1e12
"""Panes with more rows count as panes of as many: beyond, rounding would matter."""
_DECAYS = np.array(MEMORIES)[:, None]
_NOTHING = np.zeros(1)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The new state, the alarms it raised, and why nothing was settled ("" if it was)."""

    state: DriftState
    alarms: tuple[Alarm, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class WaitingPane:
    """What :func:`step` takes of a pane."""

    counts: Floats
    weight: float
    start_ms: int


def step(
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    weight: float,
    start_ms: int,
    length_ms: int,
    settings: DriftSettings,
    kernels: DriftKernels | None = None,
) -> Step:
    """Settle one pane; with compiled ``kernels`` to the same bits as without.

    ``counts``: float64 [cells] from :func:`detectors.cells.count`; ``weight``: the share of the
    budget of this (release, segment), set before the pane; its watches share it equally. A pane
    that is not newer than the last one is refused: settling it twice would break the guarantee.
    """
    if start_ms < state.upto_ms or length_ms <= 0:
        return Step(state, (), "the pane is not newer than the last one settled")
    threshold = float(settings.false_alarms.between_ms)
    brought, bound = _brought(paid, weight, length_ms, threshold)
    if kernels is not None:
        one = counts[None], np.array([brought]), np.array([bound]), np.array([start_ms])
        found = settled_by(kernels, state, paid, *one, length_ms, threshold)
        if found is not None:
            return Step(found, ())
    settled, counts = _settled(state, paid, counts, brought, bound, start_ms, length_ms)
    over = np.flatnonzero(masses(settled, paid.normal.dictionary) >= threshold)
    if not len(over):
        return Step(settled, ())
    return _raise(settled, paid, counts, over, length_ms, settings)


def steps(
    state: DriftState,
    paid: Payoffs,
    panes: Sequence[WaitingPane],
    length_ms: int,
    settings: DriftSettings,
    kernels: DriftKernels | None = None,
) -> DriftState:
    """The state after :func:`step` of several panes one after the other, to the same bits. With
    ``kernels`` each costs half as much as by itself, as long as no alarm is raised."""
    starts_ms = np.array([pane.start_ms for pane in panes])
    apart = starts_ms[1:] >= starts_ms[:-1] + length_ms
    if kernels is not None and length_ms > 0 and starts_ms[0] >= state.upto_ms and all_of(apart):
        threshold = float(settings.false_alarms.between_ms)
        parts = [_brought(paid, pane.weight, length_ms, threshold) for pane in panes]
        brought, bounds = np.array(parts).T.copy()
        counts = np.array([pane.counts for pane in panes])
        every = counts, brought, bounds, starts_ms
        found = settled_by(kernels, state, paid, *every, length_ms, threshold)
        if found is not None:
            return found
    for pane in panes:
        one = pane.counts, pane.weight, pane.start_ms
        state = step(state, paid, *one, length_ms, settings, kernels).state
    return state


def _brought(paid: Payoffs, weight: float, length_ms: int, threshold: float) -> tuple[float, float]:
    """The mass in ms that a pane brings to each watch, and what a bet may gain in it where bursts
    are bounded."""
    watches = len(paid.judged)
    share = max(weight, 0.0) / watches if watches else 0.0
    if share <= 0:
        return 0.0, LARGEST_STEP
    # Half the way to an alarm, in logarithms, from the mass that one pane brings.
    bound = max(0.5 * float(np.log(threshold / (share * length_ms))), 0.1)
    return share * length_ms, min(bound, LARGEST_STEP)


def _settled(
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    brought: float,
    bound: float,
    start_ms: int,
    length_ms: int,
) -> tuple[DriftState, Floats]:
    """The state after a pane, before any alarm, and the counts that it was settled with; as
    :func:`detectors.drift_kernels.settled_by`, without kernels and whatever counts hold."""
    dictionary = paid.normal.dictionary
    cells = dictionary.cells
    counts = np.where(np.isfinite(counts), np.maximum(counts, 0.0), 0.0)
    rows = np.add.reduceat(counts, cells.begins)
    if rows.max(initial=0.0) > MOST_ROWS:
        scale = MOST_ROWS / np.maximum(rows, MOST_ROWS)
        counts, rows = counts * np.repeat(scale, cells.sizes), rows * scale
    gained = _settle(paid, counts, rows, state.memory)
    if not all_of(paid.judged):
        # In a slot that the reference does not know nothing is fair: evidence stands still.
        gained = np.where(paid.judged.take(dictionary.watch_of), gained, 0.0)
    # In place: there are thousands of bets, and fresh arrays are not in the processor's cache.
    np.exp(np.minimum(gained, _most(paid, bound), out=gained), out=gained)
    fresh = ((rows > 0) * brought).take(dictionary.watch_of)
    fresh *= paid.prior
    mass = state.mass + fresh
    newer = np.divide(fresh, np.where(mass > 0, mass, np.inf), out=fresh)
    onset = start_ms - state.onset
    onset *= newer
    onset += state.onset
    mass *= gained
    memory = state.memory * _DECAYS + counts
    seen = state.seen + rows
    return DriftState(start_ms + length_ms, mass, onset, memory, seen, state.alarms), counts


def _most(paid: Payoffs, bound: float) -> Floats | float:
    """What the bets may gain in one pane, of which bursts are bounded by ``bound``: float64 [bets],
    or one number for all of them."""
    if all_of(paid.bounded):
        return bound
    if not any_of(paid.bounded):
        return LARGEST_STEP
    by_watch = np.where(paid.bounded, bound, LARGEST_STEP)
    return by_watch.take(paid.normal.dictionary.watch_of)


def _settle(paid: Payoffs, counts: Floats, rows: Floats, memory: Floats) -> Floats:
    """The log evidence of every bet in one pane, float64 [bets]."""
    normal = paid.normal
    dictionary = normal.dictionary
    extended = np.concatenate((counts, _NOTHING))
    parts = [
        np.matmul(extended.take(index)[:, None, :], logs).ravel() for index, logs in paid.blocks
    ]
    span = slice(dictionary.named, dictionary.experts)
    inside = counts.take(dictionary.cell_of[span])
    outside = rows.take(dictionary.watch_of[span]) - inside
    parts.append(inside * paid.hit + outside * paid.miss)
    parts.append(_experts(paid, counts, memory).ravel())
    gained = np.concatenate(parts)
    # Effects common to a pane's rows weigh more the more rows there are.
    fuller = rows / normal.pane_rows
    if fuller.max(initial=0.0) > 1:
        inflation = normal.inflation.copy()
        inflation[dictionary.experts :] = np.tile(paid.expert_inflation, len(MEMORIES))
        more = np.maximum(fuller, 1.0)[dictionary.watch_of]
        gained *= inflation / (1 + (inflation - 1) * more)
    return gained


def _experts(paid: Payoffs, counts: Floats, memory: Floats) -> Floats:
    """The log evidence of the experts, float64 [experts, watches]: each bets on the law that its
    memory of earlier panes shows, with the tolerance of all directions at once."""
    cells = paid.normal.dictionary.cells
    starts, each = cells.begins, cells.sizes
    seen = np.add.reduceat(memory, starts, axis=1)
    weighed = paid.expert_inflation
    rows = seen / weighed
    ratio = memory / paid.expert_inflation_of
    ratio /= paid.law
    ratio += EXPERTS_ROWS
    ratio /= (rows + EXPERTS_ROWS).repeat(each, axis=1)
    excess = ratio - 1
    squares = excess * excess
    squares *= paid.law
    variance = np.add.reduceat(squares, starts, axis=1)
    most = np.maximum(np.maximum.reduceat(excess, starts, axis=1), 0.0)
    lowest = np.minimum.reduceat(ratio, starts, axis=1)
    allowed = tolerance(paid.expert_effect, paid.expert_z_square, paid.expert_rows, variance, most)
    # As log_payoffs, with the stake of each watch worked out once for all its cells.
    excess -= allowed.repeat(each, axis=1)
    excess *= stake(lowest, allowed).repeat(each, axis=1)
    logs = np.log1p(excess, out=excess)
    logs *= counts
    gained: Floats = np.add.reduceat(logs, starts, axis=1) / weighed
    return gained


def _raise(
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    over: NDArray[np.intp],
    length_ms: int,
    settings: DriftSettings,
) -> Step:
    """Alarms of the watches over the budget, which start anew."""
    dictionary = paid.normal.dictionary
    raised = tuple(alarm_of(state, paid, counts, w, length_ms, settings) for w in over.tolist())
    fresh = np.isin(dictionary.watch_of, over)
    cells = np.isin(dictionary.cells.watch_of, over)
    kept = tuple(alarm for alarm in state.alarms if alarm.watch not in over)
    cleared = replace(
        state,
        mass=np.where(fresh, 0.0, state.mass),
        onset=np.where(fresh, 0.0, state.onset),
        memory=np.where(cells[None, :], 0.0, state.memory),
        alarms=tuple(sorted((*kept, *raised), key=lambda alarm: alarm.watch)),
    )
    return Step(cleared, raised)
