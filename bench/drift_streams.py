"""Synthetic streams of pane counts, and the drift detector watching many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from detectors.binning import QUANTILES
from detectors.cells import Aspect, Cells, Family, Watch
from detectors.drift import step
from detectors.drift_settings import BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import Alarm, empty_state
from detectors.layout import Kind
from detectors.payoffs import Dictionary, dictionary_of, normal_without_panes, payoffs

Floats = NDArray[np.float64]
PANE_MS = 10_000


@dataclass(frozen=True, slots=True)
class Law:
    """A law of cells before a change. ``mass``: float64 [cells]."""

    name: str
    family: Family
    mass: Floats


@dataclass(frozen=True, slots=True)
class Change:
    """``after``: float64 [cells]; ``divergence``: Kullback-Leibler, of the values themselves where
    they are known, so that what the cells lose counts against the detector."""

    name: str
    law: Law
    after: Floats
    divergence: float


def _cells(upto: Floats) -> Floats:
    return np.diff(np.concatenate(([0.0], upto, [1.0])))


_QUANTILES = np.array(QUANTILES)
_SCORES = stats.norm.ppf(_QUANTILES)
_ZIPF = 1 / np.arange(1, 31)
NORMAL = Law("continuous", Family.ORDERED, _cells(_QUANTILES))
TAILED = Law("latency", Family.TAILED, NORMAL.mass)
ZIPF = Law("zipf-30", Family.NAMED, _ZIPF / _ZIPF.sum())
RATE = Law("rate 1%", Family.RATES, np.array([0.99, 0.01]))
RARE = Law("rate .01%", Family.RATES, np.array([0.9999, 0.0001]))
LAWS = (NORMAL, TAILED, ZIPF, RATE, RARE)


def shifted(mean: float, sd: float) -> Floats:
    """Cells of a normal law other than the standard one that made the bins."""
    return _cells(stats.norm.cdf((_SCORES - mean) / sd))


def raised(mass: Floats, cell: int | slice, factor: float) -> Floats:
    """One cell (or more) times a factor, the others making room."""
    where = np.zeros(len(mass), np.bool_)
    where[cell] = True
    held = float(mass[where].sum())
    return np.where(where, mass * factor, mass * (1 - factor * held) / (1 - held))


def changes() -> list[Change]:
    """The changes that delays are measured on."""
    found = [
        Change(f"mean {m:g} sd", NORMAL, shifted(m, 1), m * m / 2) for m in (0.05, 0.1, 0.2, 0.5, 1)
    ]
    found += [
        Change(f"sd x{s:g}", NORMAL, shifted(0, s), -float(np.log(s)) + (s * s - 1) / 2)
        for s in (1.1, 1.25, 1.5)
    ]
    found.append(_of_cells("top 1% x3", NORMAL, raised(NORMAL.mass, slice(17, 20), 3.0)))
    found.append(_of_cells("t3 shape", NORMAL, _cells(stats.t.cdf(_SCORES * np.sqrt(3), 3))))
    bump = 0.8 * NORMAL.mass + 0.2 * shifted(0.8, 0.2)
    found.append(_of_cells("20% bump", NORMAL, bump))
    found.append(_of_cells("category x1.5", ZIPF, raised(ZIPF.mass, 4, 1.5)))
    found.append(_of_cells("category -20%", ZIPF, raised(ZIPF.mass, 2, 0.8)))
    unseen = Law("zipf-30 and new", Family.NAMED, np.append(ZIPF.mass * (1 - 1e-6), 1e-6))
    found.append(_of_cells("new category 1%", unseen, np.append(ZIPF.mass * 0.99, 0.01)))
    for rate in (0.012, 0.02, 0.05):
        found.append(_of_cells(f"nulls 1 to {rate:.1%}", RATE, np.array([1 - rate, rate])))
    return found


def _of_cells(name: str, law: Law, after: Floats) -> Change:
    there = after > 0
    return Change(
        name, law, after, float((after[there] * np.log(after[there] / law.mass[there])).sum())
    )


def watched(law: Law, streams: int) -> Dictionary:
    """The bets on as many watches of the same law."""
    cells = len(law.mass)
    ordered = law.family in (Family.ORDERED, Family.TAILED)
    names = () if ordered else tuple(f"c{k}" for k in range(cells))
    watches = tuple(
        Watch(f"stream{i}", Kind.NUMERIC, Aspect.VALUES, law.family, cells, names)
        for i in range(streams)
    )
    return dictionary_of(Cells.of("", watches, ()))


class Watching:
    """The detector over independent streams, each with a reference of its own drawing.

    ``panes``: the budget of each stream alone, in panes between false alarms.
    """

    def __init__(
        self,
        law: Law,
        streams: int,
        reference_rows: int,
        panes: float,
        minimum_effect: float,
        rng: np.random.Generator,
        burst_bound: BurstBound = BurstBound.WHEN_NOT_INDEPENDENT,
    ) -> None:
        self.streams = streams
        self.settings = DriftSettings(
            FalseAlarms(1.0, max(int(PANE_MS * panes / streams), 1)),
            minimum_effect,
            burst_bound=burst_bound,
        )
        self.counts = rng.multinomial(reference_rows, law.mass, size=streams)
        normal = normal_without_panes(watched(law, streams), self.counts.astype(np.float64).ravel())
        self._paid = payoffs(normal, 0, self.settings)
        self._state = empty_state(normal.dictionary)
        self._now = 0

    def see(self, counts: NDArray[np.int64]) -> tuple[Alarm, ...]:
        """One pane: int64 [streams, cells]."""
        flat = counts.astype(np.float64).ravel()
        took = step(self._state, self._paid, flat, 1.0, self._now, PANE_MS, self.settings)
        self._state = took.state
        self._now += PANE_MS
        return took.alarms


def panes_of(
    mass: Floats, rows: int, streams: int, panes: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Panes of independent rows: int64 [streams, cells] each."""
    for _ in range(panes):
        yield rng.multinomial(rows, mass, size=streams)
