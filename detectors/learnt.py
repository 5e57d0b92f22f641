"""What panes of a reference taught about drift, as it is kept in the reference.

It holds for the settings it was learnt with: other seasons need other slots, other effects are
other bets. With other settings the reference is used as one lump, and findings say that the
independence of its rows was not checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.arm_variance import ArmVariance, Excess
from detectors.canary_rules import Measure
from detectors.drift_settings import DriftSettings
from detectors.payoffs import Basis, Dictionary, Normal
from detectors.plural import plural

Floats = NDArray[np.float64]

_DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """``settings``: those that shaped it, in words; ``panes``: how many, of ``pane_ms`` each.
    ``counts``: float64 [slots, cells], whole numbers; ``inflation``: float64 [bets];
    ``pane_rows``: float64 [watches], infinity where there were too few panes; ``basis`` and
    ``unarmed``: by watch. See :class:`detectors.payoffs.Normal`. ``arms``: by how much like arms
    differ more than chance, for canaries; it holds for any settings, as a factor of at least 1 that
    is fixed beforehand."""

    settings: str
    panes: int
    pane_ms: int
    counts: Floats
    inflation: Floats
    pane_rows: Floats
    basis: tuple[Basis, ...]
    unarmed: tuple[bool, ...]
    arms: ArmVariance = field(default_factory=ArmVariance)

    def normal(self, dictionary: Dictionary, settings: DriftSettings) -> Normal | None:
        """What is normal for these bets; None if it was learnt with other settings or bets."""
        watches = len(dictionary.cells.watches)
        fits = (
            self.settings == shaping(settings)
            and self.counts.shape[1:] == (dictionary.cells.width,)
            and self.inflation.shape == (dictionary.bets,)
            and len(self.basis) == watches
        )
        if not fits:
            return None
        return Normal(
            dictionary, self.counts, self.inflation, self.pane_rows, self.basis, self.unarmed
        )


def learnt_of(
    normal: Normal, panes: int, pane_ms: int, settings: DriftSettings, arms: ArmVariance
) -> Learnt:
    """To be kept in a reference. Inflation is rounded up to six digits: dividing evidence by a
    little more keeps every promise, and the file small."""
    inflation = [_rounded_up(value) for value in normal.inflation.tolist()]
    excess = {
        key: Excess(_rounded_up(one.factor), float(f"{one.weight:.{_DIGITS}g}"), one.panes)
        for key, one in sorted(arms.learnt.items())
        if one.factor > 1
    }
    return Learnt(
        shaping(settings),
        panes,
        pane_ms,
        normal.counts,
        np.array(inflation),
        normal.pane_rows,
        normal.basis,
        normal.unarmed,
        ArmVariance(excess),
    )


def shaping(settings: DriftSettings) -> str:
    """The settings that what is learnt depends on. Those about budgets and display are not."""
    parts = {
        "season": settings.season.value,
        "utc_offset_ms": settings.utc_offset_ms,
        "minimum_effect": settings.minimum_effect,
        "tolerance": settings.tolerance,
        "burst_bound": settings.burst_bound.value,
        "min_reference_rows": settings.min_reference_rows,
        "replay_rounds": settings.replay_rounds,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def _rounded_up(value: float) -> float:
    rounded = float(f"{value:.{_DIGITS}g}")
    if rounded < value:
        rounded = float(f"{value * (1 + 10 ** (1 - _DIGITS)):.{_DIGITS}g}")
    return rounded


_MOST_CELLS = 2_000_000
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]


class LearntFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is written in a reference file. A ``pane_rows`` of null is infinity."""

    settings: Annotated[str, msgspec.Meta(max_length=1000)]
    panes: _Count
    pane_ms: Annotated[int, msgspec.Meta(ge=1)]
    counts: Annotated[list[list[_Count]], msgspec.Meta(min_length=1, max_length=168)]
    inflation: Annotated[list[float], msgspec.Meta(max_length=_MOST_CELLS)]
    pane_rows: list[float | None]
    basis: list[Basis]
    unarmed: list[bool]
    arms: list[tuple[str, Measure, float, float, _Count]] = []


def written(learnt: Learnt) -> dict[str, Any]:
    """As plain JSON values."""
    return {
        "settings": learnt.settings,
        "panes": learnt.panes,
        "pane_ms": learnt.pane_ms,
        "counts": [[int(n) for n in slot] for slot in learnt.counts.tolist()],
        "inflation": learnt.inflation.tolist(),
        "pane_rows": [n if math.isfinite(n) else None for n in learnt.pane_rows.tolist()],
        "basis": [basis.value for basis in learnt.basis],
        "unarmed": list(learnt.unarmed),
        "arms": [
            [column, measure.value, one.factor, one.weight, one.panes]
            for (column, measure), one in learnt.arms.learnt.items()
        ],
    }


def from_file(file: LearntFile) -> Learnt:
    """The inverse; ValueError says what cannot be."""
    widths = {len(slot) for slot in file.counts}
    if len(widths) != 1 or widths.pop() * len(file.counts) > _MOST_CELLS:
        raise ValueError("the slots of what was learnt do not have the same cells, or too many")
    if not len(file.basis) == len(file.unarmed) == len(file.pane_rows):
        raise ValueError("what was learnt names unlike numbers of watches")
    if not all(1 <= value < math.inf for value in file.inflation):
        raise ValueError("an inflation is not a number of at least 1")
    if not all(1 <= f < math.inf and 0 < w < math.inf for _, _, f, w, _ in file.arms):
        raise ValueError("the variance of arms is not a factor of at least 1 with a weight above 0")
    rows = [math.inf if n is None else n for n in file.pane_rows]
    if not all(n > 0 for n in rows):
        raise ValueError("the rows of a pane are not a number above 0")
    return Learnt(
        file.settings,
        file.panes,
        file.pane_ms,
        np.array(file.counts, np.float64),
        np.array(file.inflation, np.float64),
        np.array(rows),
        tuple(file.basis),
        tuple(file.unarmed),
        ArmVariance({(name, m): Excess(factor, w, n) for name, m, factor, w, n in file.arms}),
    )


def description(learnt: Learnt | None) -> str:
    """For people, in a line."""
    if learnt is None:
        return "no panes: the independence of rows is not checked"
    shares = {basis: learnt.basis.count(basis) for basis in Basis}
    said = ", ".join(f"{n} {basis.value}" for basis, n in shares.items() if n)
    unarmed = sum(learnt.unarmed)
    more = f"; {unarmed} cannot be armed" if unarmed else ""
    if learnt.arms.learnt:
        vary = plural(len(learnt.arms.learnt), "measure varies", "measures vary")
        more += f"; canaries: {vary} more than chance"
    return f"{plural(learnt.panes, 'pane')}; watches: {said}{more}"
