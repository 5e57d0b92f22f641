"""How much like arms differ: learnt from an A/A period, or from panes of one arm alone.

Two arms that run the same version differ by chance, and by what hosts, caches and returning users
add. The variance of their standardised differences is measured over panes and over batches of 2, 4,
8, ... panes, which sees dependence of every length up to a twentieth of the period; where one is
beyond chance, the largest (times 1.1) is what a canary's evidence is divided by from its first pane
on. Nothing is subtracted first, as like arms have no difference: a lean that lasts counts too.

- :func:`learn`, from an A/A period, sees what unlike hosts add.
- :func:`neighbours` makes an A/A period of panes of a single arm (a reference): each third pane is
  held against the two after it. That sees storms, bursts and returning users that make events of a
  pane alike; what unlike hosts add it cannot see, and slow seasons cancel.

A factor is at least 1 and fixed before the panes it is used on, so dividing by it keeps evidence
what it was (Jensen); it is a protection, learnt and not proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from detectors.arm_variance import ArmVariance, Excess
from detectors.canary_cast import NOBODY
from detectors.canary_metric import ArmsPane
from detectors.canary_pane import count
from detectors.canary_rules import CanarySettings, Measure
from detectors.dispersion import differences
from detectors.summary import Summaries

Floats = NDArray[np.float64]

FEWEST_PANES = 40
_FEWEST_BATCHES = 20
_MARGIN = 1.1
_BEYOND_CHANCE = 4.0


def learn(panes: Iterable[ArmsPane], settings: CanarySettings) -> ArmVariance:
    """From panes in the order of time in which both arms run the same. A measure with fewer than
    ``FEWEST_PANES`` panes of both arms is left out: nothing is known of it. Costs about as much as
    judging the panes; never raises for what they hold."""
    cast, late = NOBODY, 0
    found: dict[tuple[str, Measure], list[tuple[float, float]]] = {}
    for pane in panes:
        if not pane.canary.events or not pane.production.events:
            continue
        (counted,) = count([(cast, late)], settings, [pane])
        # Only who is judged and in which cells is carried on.
        book, cast, (late,) = counted.book, counted.book.cast, counted.late
        with np.errstate(all="ignore"):
            seen = differences(counted.arms.cells[:, 0], book.values, cast.starts, cast.owner)
        for at in np.flatnonzero(seen.known & counted.ready[0]).tolist():
            pairs = found.setdefault(cast.parts[at].key, [])
            pairs.append((float(seen.gap[at]), float(seen.weight[at])))
    return ArmVariance(
        {key: _excess(pairs) for key, pairs in found.items() if len(pairs) >= FEWEST_PANES}
    )


def neighbours(
    panes: Sequence[Summaries], length_ms: int, normal: Summaries | None = None
) -> Iterator[ArmsPane]:
    """An A/A period from panes of one arm in the order of time, none left out: each third is the
    canary, the two after it are production."""
    for at in islice(range(len(panes) - 2), 0, None, 3):
        beside = panes[at + 1].merge(panes[at + 2])
        yield ArmsPane(at * length_ms, length_ms, panes[at], beside, normal)


def _excess(pairs: list[tuple[float, float]]) -> Excess:
    """By how much gaps vary more than chance, at the batch length where it is most."""
    gap, weight = np.array(pairs).T
    largest, length = 1.0, 1
    while len(gap) // length >= _FEWEST_BATCHES:
        batches = len(gap) // length
        used = batches * length
        total = weight[:used].reshape(batches, length).sum(axis=1)
        sums = (gap * weight)[:used].reshape(batches, length).sum(axis=1)
        variance = float((sums * sums / total).mean())
        # A normal's mean of squares varies by 2 / batches.
        if variance > 1.0 + _BEYOND_CHANCE * math.sqrt(2.0 / batches):
            largest = max(largest, variance * _MARGIN)
        length *= 2
    return Excess(largest, float(weight.mean()), len(gap))
