"""Summaries in a wider layout, with the places remembered."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.layout import Layout
from detectors.summary import Summaries

Ints = NDArray[np.int64]


@functools.lru_cache(maxsize=1_024)
def common_layout(usual: Layout, now: Layout) -> Layout:
    """The layout that holds the columns of both: of equal ones the current side's, so that
    whatever it is compared with has the same plan."""
    return now if usual.same_as(now) else usual.union(now)


@functools.lru_cache(maxsize=1_024)
def _positions(layout: Layout, wider: Layout) -> tuple[Ints, Ints]:
    return layout.positions_in(wider), layout.columns_in(wider)


def widened(summaries: Summaries, layout: Layout) -> Summaries:
    """As :meth:`Summaries.widen`."""
    if layout.same_as(summaries.layout):
        return summaries
    places, columns = _positions(summaries.layout, layout)
    wide = Summaries.empty(layout)
    wide.vector[places] = summaries.vector
    wide.extremes[:, columns] = summaries.extremes
    return replace(wide, sketches=summaries.sketches, categories=summaries.categories)


lasting_widened = functools.lru_cache(maxsize=256)(widened)
"""The same for summaries that are widened again and again: a reference's."""
