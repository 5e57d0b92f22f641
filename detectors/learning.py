"""Teach a reference from its panes: seasons, dependence between rows, which columns to arm, and by
how much like arms differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.arrow_rows import read_columns
from detectors.canary_aa import learn as learn_arms
from detectors.canary_aa import neighbours
from detectors.canary_rules import CanarySettings
from detectors.cells import cells_of, count
from detectors.drift_settings import DriftSettings
from detectors.inflation import FEWEST_PANES, Panes, learn
from detectors.kernels import summarize
from detectors.learnt import learnt_of
from detectors.payoffs import dictionary_of
from detectors.reference import Reference, moved, named
from detectors.season import Season
from detectors.summary import Summaries

MOST_PANES = 3_000
"""Longer panes are taken where there would be more: learning costs some ms for each of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The reference's data in panes: ``starts_ms``: increasing, of the panes that have events;
    ``panes``: their summaries, in any layout that the reference was learnt from or its own."""

    starts_ms: tuple[int, ...]
    panes: tuple[Summaries, ...]
    length_ms: int


def taught(
    reference: Reference,
    series: Series,
    settings: DriftSettings,
    canary: CanarySettings | None = None,
) -> Reference:
    """The reference with what its panes teach; the same one if they are too few to teach it.

    What it was learnt from is part of its content, so it has another id. Costs up to some seconds
    for thousands of panes, and never raises for what they hold.
    """
    if len(series.panes) < FEWEST_PANES and settings.season is Season.NONE:
        return reference
    dictionary = dictionary_of(cells_of(reference.summaries))
    layout = reference.layout
    own = [pane if pane.layout is layout else moved(pane, layout) for pane in series.panes]
    counts = [count(dictionary.cells, pane) for pane in own]
    if not counts:
        return reference
    panes = Panes(np.stack(counts), np.array(series.starts_ms, np.int64), series.length_ms)
    normal = learn(dictionary, panes, settings)
    arms = neighbours(own, series.length_ms, reference.summaries)
    variance = learn_arms(arms, canary or CanarySettings())
    learnt = learnt_of(normal, len(counts), series.length_ms, settings, variance)
    return named(reference.model, reference.origin, reference.summaries, reference.segments, learnt)


def series_of_table(
    reference: Reference, table: object, ts_ms: NDArray[np.int64], pane_ms: int
) -> Series:
    """The panes of the table that the reference was made of. ``ts_ms``: int64 [rows], the time of
    each row; rows of a negative one are left out. Panes are lengthened, in whole multiples, until
    there are at most MOST_PANES."""
    names = [spec.name for spec in reference.layout.columns]
    found = read_columns(table, names)
    order = np.argsort(ts_ms, kind="stable")
    order = order[np.searchsorted(ts_ms[order], 0) :]
    ordered = ts_ms[order]
    span = int(ordered[-1]) // pane_ms - int(ordered[0]) // pane_ms + 1 if len(ordered) else 0
    length_ms = pane_ms * max(-(-span // MOST_PANES), 1)
    pane = ordered // length_ms
    first = np.flatnonzero(np.diff(pane, prepend=pane[:1] - 1))
    bounds = np.append(first, len(pane)).astype(np.int64)
    summaries = summarize(found.rows_of(bounds, order), reference.layout)
    return Series(tuple((pane[first] * length_ms).tolist()), tuple(summaries), length_ms)
