"""Rows are not independent: by how much evidence must be divided, learnt from the reference.

Storms, retries, hosts and hours make rows of a pane alike and neighbouring panes lean one way. Then
a direction's pane scores vary more than independent rows would, and a detector that assumes
independence raises hundreds of times its budget. Two guards, both from the reference alone:

- **Inflation.** The variance of each bet's standardised scores is measured over panes and over
  batches of 2, 4, 8, ... panes, which sees dependence of every length up to a twentieth of the
  reference. Where one is beyond chance, the evidence of that bet is divided by the largest (times
  1.1). Where a pane holds more rows than the reference's did, the excess grows in proportion.
- **Replay.** Each half of the reference is judged against the other, at one expected alarm in
  twice its length. A watch that raises one gets its inflation raised by half and is replayed again;
  one that cannot be calmed stays unarmed: it is INSUFFICIENT, never PASS.

Dividing evidence keeps the theorem where it held. Where dependence was found the promise is
"checked by replay", and every finding says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors import season
from detectors.bets import smallest_bet
from detectors.drift import step
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.drift_state import empty_state
from detectors.payoffs import (
    Basis,
    Dictionary,
    Normal,
    Payoffs,
    directions,
    normal_without_panes,
    payoffs,
    typical_inflation,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FEWEST_PANES = 40
"""Panes with rows from which dependence can be judged."""
_FEWEST_BATCHES = 20
_MARGIN = 1.1
_BEYOND_CHANCE = 4.0
_RAISE = 1.5
_REPLAY_LENGTHS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Panes:
    """The reference in panes as long as those that will be judged, in the order of time.
    ``counts``: float64 [panes, cells]; ``starts_ms``: int64 [panes], increasing."""

    counts: Floats
    starts_ms: Indices
    length_ms: int

    def part(self, low: int, high: int) -> Panes:
        return Panes(self.counts[low:high], self.starts_ms[low:high], self.length_ms)


def learn(dictionary: Dictionary, panes: Panes, settings: DriftSettings) -> Normal:
    """What is normal, from panes of the reference: slots, inflation, and whether each watch may be
    armed. With too few panes the rows' independence stays unchecked.

    Costs about 0.2 ms a pane and round; never raises for what the counts hold.
    """
    normal = measure(dictionary, panes, settings)
    if not any(basis is not Basis.UNCHECKED for basis in normal.basis):
        return normal
    factors, unarmed = replay(dictionary, panes, settings)
    raised = factors > 1
    basis = tuple(
        Basis.REPLAY if up and known is not Basis.UNCHECKED else known
        for known, up in zip(normal.basis, raised.tolist(), strict=True)
    )
    return replace(
        normal,
        inflation=normal.inflation * factors[dictionary.watch_of],
        basis=basis,
        unarmed=tuple(unarmed.tolist()),
    )


def measure(dictionary: Dictionary, panes: Panes, settings: DriftSettings) -> Normal:
    """Slots and inflation from the panes, without a replay."""
    cells = dictionary.cells
    count = season.slots(settings.season)
    slot = np.array(
        [
            season.slot_of(settings.season, start, settings.utc_offset_ms)
            for start in panes.starts_ms.tolist()
        ],
        np.int64,
    )
    counts = np.zeros((count, cells.width))
    np.add.at(counts, slot, panes.counts)
    normal = replace(
        normal_without_panes(dictionary, counts.sum(axis=0)),
        counts=counts,
    )
    rows = np.add.reduceat(panes.counts, cells.begins, axis=1)
    filled = (rows > 0).sum(axis=0)
    if not (filled >= FEWEST_PANES).any():
        return normal
    laws, known = (
        np.stack(found)
        for found in zip(*(season.law(counts, cells.starts, s) for s in range(count)), strict=True)
    )
    inflation = normal.inflation
    # Twice: which bets there are depends on how much the reference is worth.
    for _ in range(2):
        typical = typical_inflation(dictionary, inflation)
        smallest = smallest_bet(
            settings.minimum_effect, settings.tolerance, np.maximum(known, 1.0) / typical
        )
        inflation = _inflation(dictionary, panes.counts, rows, slot, laws, smallest)
    learnt = filled >= FEWEST_PANES
    inflation = np.where(learnt[dictionary.watch_of], inflation, 1.0)
    inflated = np.zeros(len(cells.watches), np.bool_)
    np.logical_or.at(inflated, dictionary.watch_of, inflation > 1)
    return replace(
        normal,
        inflation=inflation,
        pane_rows=np.where(learnt, rows.sum(axis=0) / np.maximum(filled, 1), np.inf),
        basis=tuple(
            _basis(known_, up)
            for known_, up in zip(learnt.tolist(), inflated.tolist(), strict=True)
        ),
    )


def replay(
    dictionary: Dictionary, panes: Panes, settings: DriftSettings
) -> tuple[Floats, NDArray[np.bool_]]:
    """Judge each half of the panes against the other. Returns by what each watch's inflation must
    be multiplied, float64 [watches], and which watches could not be calmed, bool [watches]."""
    half = len(panes.counts) // 2
    watches = len(dictionary.cells.watches)
    first, second = panes.part(0, half), panes.part(half, len(panes.counts))
    trial = replace(
        settings,
        # One alarm of each watch, alone, in twice the length of the replay.
        false_alarms=FalseAlarms(watches, _REPLAY_LENGTHS * 2 * half * panes.length_ms),
        min_reference_rows=max(settings.min_reference_rows // 2, 1),
    )
    runs = [
        (first, measure(dictionary, second, trial)),
        (second, measure(dictionary, first, trial)),
    ]
    factors = np.ones(watches)
    for _ in range(settings.replay_rounds + 1):
        crossed = np.zeros(watches, np.bool_)
        for played, normal in runs:
            raised = normal.inflation * factors[dictionary.watch_of]
            crossed |= _crossings(played, replace(normal, inflation=raised), trial)
        if not crossed.any():
            return factors, crossed
        factors[crossed] *= _RAISE
    return factors, crossed


def _crossings(panes: Panes, normal: Normal, settings: DriftSettings) -> NDArray[np.bool_]:
    paid: dict[int, Payoffs] = {}
    state = empty_state(normal.dictionary)
    crossed = np.zeros(len(normal.dictionary.cells.watches), np.bool_)
    for counts, start_ms in zip(panes.counts, panes.starts_ms.tolist(), strict=True):
        slot = season.slot_of(settings.season, start_ms, settings.utc_offset_ms)
        if slot not in paid:
            paid[slot] = payoffs(normal, slot, settings)
        took = step(state, paid[slot], counts, 1.0, start_ms, panes.length_ms, settings)
        state = took.state
        for alarm in took.alarms:
            crossed[alarm.watch] = True
    return crossed


def _inflation(
    dictionary: Dictionary,
    counts: Floats,
    rows: Floats,
    slot: Indices,
    laws: Floats,
    smallest: Floats,
) -> Floats:
    cells = dictionary.cells
    inflation = np.ones(dictionary.bets)
    for span, w, standard in directions(dictionary, laws, smallest):
        own = counts[:, cells.starts[w] : cells.starts[w + 1]]
        if standard.shape[0] == 1:
            scores = own @ standard[0].T
        else:
            scores = np.einsum("pk,pjk->pj", own, standard[slot])
        law = laws.mean(axis=0)[cells.starts[w] : cells.starts[w + 1]]
        kurtosis = (standard.mean(axis=0) ** 4 * law).sum(axis=1) - 3
        inflation[span] = _scatter(scores, rows[:, w], kurtosis)
    return inflation


def _scatter(scores: Floats, rows: Floats, kurtosis: Floats) -> Floats:
    """By how much scores vary more than independent rows would, at the batch length where it is
    most: float64 [directions], at least 1. ``scores``: float64 [panes, directions], sums of
    values with mean 0 and variance 1 a row; ``rows``: float64 [panes]."""
    filled = rows > 0
    scores, rows = scores[filled], rows[filled]
    found = np.ones(scores.shape[1])
    length = 1
    while len(rows) // length >= _FEWEST_BATCHES:
        batches = len(rows) // length
        used = batches * length
        total = rows[:used].reshape(batches, length).sum(axis=1)
        sums = scores[:used].reshape(batches, length, -1).sum(axis=1)
        variance = (sums * sums / total[:, None]).mean(axis=0)
        # What chance does to this mean of squares: a normal's 2, and the rows' own kurtosis.
        noise = np.sqrt(np.maximum(2 + kurtosis * (1 / total).mean(), 2) / batches)
        beyond = variance > 1 + _BEYOND_CHANCE * noise
        found = np.maximum(found, np.where(beyond, variance * _MARGIN, 1.0))
        length *= 2
    return found


def _basis(learnt: bool, inflated: bool) -> Basis:
    if not learnt:
        return Basis.UNCHECKED
    return Basis.REPLAY if inflated else Basis.THEOREM
