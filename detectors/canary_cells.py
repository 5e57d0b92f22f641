"""From summaries of both arms to counts of cells.

Cells are fixed before they are bet on (in the reference, or in a first pane that is then not bet
on), or are a symmetric function of the pooled pane (tails): both leave the evidence exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.binning import recount, sketched_spec
from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_cast import RATE, TAIL_CELLS, Basis, Cast, Rulebook
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.layout import Kind, Layout
from detectors.sketch import MANTISSA_BITS, STRIDE, Sketch, bucket_floor, bucket_middle, bucket_of
from detectors.summary import NumericSummary, Summaries, is_expected

Counts = NDArray[np.int64]
Buckets = NDArray[np.int32]

ERROR = "error"
"""The column of the model's own failures."""
MOST_CATEGORIES = 30
_MOST_SHRINK = 4.0
TAIL_QUANTILES = np.array(TAIL_LEVELS)
MANTISSAS = (1 << MANTISSA_BITS) - 1
FIRST_NORMAL = 64 << MANTISSA_BITS
"""Buckets from here on hold doubles that stay normal when they are divided by any shrink."""


@lru_cache(maxsize=512)
def new_measures(
    cast: Cast, book: Rulebook, canary: Layout, production: Layout
) -> tuple[Judged, ...]:
    """What a rule asks for of the columns of either arm and the cast does not have, once each, in
    the order of columns; failures too."""
    keys: dict[tuple[str, Measure], None] = {(ERROR, Measure.ERRORS): None}
    for spec in (*production.columns, *canary.columns):
        if is_expected(spec.name):
            keys[spec.name, Measure.MISSING] = None
        if spec.kind is Kind.CATEGORICAL:
            keys[spec.name, Measure.CATEGORIES] = None
        else:
            keys[spec.name, Measure.LEVEL] = None
            keys[spec.name, Measure.TAIL] = None
    found = (book.judged(*key) for key in sorted(keys) if key not in cast.known)
    return tuple(one for one in found if one is not None)


def basis_of(
    what: Judged, settings: CanarySettings, known: Summaries, other: Summaries | None = None
) -> Basis | None:
    """Cells fixed by what was seen: ``known``, or both arms of a pane; None if too little."""
    match what.measure:
        case Measure.ERRORS | Measure.MISSING:
            return RATE
        case Measure.CATEGORIES:
            return _category_basis(what.column, settings, known, other)
        case Measure.LEVEL:
            return _level_basis(what.column, settings, known, other)
        case Measure.TAIL:
            return _tail_basis(what, settings, known, other)


def tail_cells(canary: Sequence[Sketch], production: Sequence[Sketch], shrink: float) -> Counts:
    """Counts of both arms of panes between the quantiles TAIL_LEVELS of each pooled pane,
    [2, panes, TAIL_CELLS], the canary's values divided by ``shrink`` first. A value counts as the
    least of its bucket then: it is never made larger."""
    sketches = (*canary, *production)
    keys = np.concatenate([sketch.keys for sketch in sketches])
    panes = len(canary)
    if not len(keys):
        return np.zeros((2, panes, TAIL_CELLS), np.int64)
    counts = np.concatenate([sketch.counts for sketch in sketches])
    sizes = np.array([len(sketch.keys) for sketch in sketches])
    ends = sizes.cumsum()
    # The canary's keys stand before production's; each arm's by pane.
    ours = int(ends[panes - 1])
    if shrink != 1.0:
        keys[:ours] = _shrunk(keys[:ours], shrink)
    # So much is added for each pane before that the keys of an arm increase.
    shift = np.arange(panes) * STRIDE
    joint = keys + np.concatenate((shift, shift)).repeat(sizes)
    order = joint.argsort(kind="stable")
    pooled = _upto(counts[order])
    bounded = np.empty((2, panes, len(TAIL_LEVELS) + 2), np.int64)
    begins, stops = (ends - sizes).reshape(2, panes), ends.reshape(2, panes)
    # Of each pane what is in the ones before it, and with it.
    before, after = pooled[begins.sum(axis=0) - ours], pooled[stops.sum(axis=0) - ours]
    # The last key that is at or below each quantile.
    ranks = before[:, None] + np.ceil(TAIL_QUANTILES * (after - before)[:, None]).astype(np.int64)
    bounds = joint[order[np.minimum(pooled[1:].searchsorted(ranks), len(joint) - 1)]]
    bounded[0, :, 1:-1] = joint[:ours].searchsorted(bounds, side="right")
    bounded[1, :, 1:-1] = joint[ours:].searchsorted(bounds, side="right") + ours
    bounded[..., 0], bounded[..., -1] = begins, stops
    # A pane without keys has no place of its own.
    np.maximum(bounded, begins[..., None], out=bounded)
    np.minimum(bounded, stops[..., None], out=bounded)
    cuts = _upto(counts).take(bounded)
    found: Counts = cuts[..., 1:] - cuts[..., :-1]
    return found


def _shrunk(keys: Buckets, shrink: float) -> Buckets:
    """The buckets of the smallest values of these buckets, divided by ``shrink``; values that are
    not positive stay."""
    if len(keys) and keys.min() >= FIRST_NORMAL:
        # The bucket moves by the same number wherever the mantissa is the same.
        moved: Buckets = keys + bucket_moves(shrink).take(keys & MANTISSAS)
        return moved
    return np.where(keys > 0, bucket_of(bucket_floor(keys) / shrink), keys)


@lru_cache(maxsize=1024)
def bucket_moves(shrink: float) -> Buckets:
    """By how many buckets values of each mantissa move."""
    keys = (1023 << MANTISSA_BITS) + np.arange(MANTISSAS + 1, dtype=np.int32)
    return bucket_of(bucket_floor(keys) / shrink) - keys


def _upto(counts: Counts) -> Counts:
    """Sums of all before each, and of all: [len + 1]."""
    found = np.zeros(len(counts) + 1, np.int64)
    counts.cumsum(out=found[1:])
    return found


def _sketch(column: NumericSummary | None) -> Sketch:
    return column.sketch if column is not None else Sketch.empty()


def _level_basis(
    column: str, settings: CanarySettings, known: Summaries, other: Summaries | None
) -> Basis | None:
    parts = [part for part in (known, other) if part is not None]
    found = [one for one in (part.numeric(column) for part in parts) if one is not None and one.n]
    if sum(one.n for one in found) < settings.fix_events:
        return None
    edges = found[0].spec.edges
    if edges and all(one.spec.edges == edges for one in found):
        counts = np.sum([one.bins for one in found], axis=0)
    else:
        sketch = Sketch.empty()
        for one in found:
            sketch = sketch.merge(one.sketch)
        largest = max(found, key=lambda one: one.n)
        edges = sketched_spec(column, sketch, largest.mean, largest.sd).edges
        counts = recount(sketch, edges)
    return Basis(_smooth(counts), edges) if len(counts) > 1 else None


def _category_basis(
    column: str, settings: CanarySettings, known: Summaries, other: Summaries | None
) -> Basis | None:
    parts = [part for part in (known, other) if part is not None]
    found = [one for one in (part.categorical(column) for part in parts) if one is not None]
    n = sum(one.n for one in found)
    if n < settings.fix_events:
        return None
    total: dict[str, int] = {}
    for one in found:
        for name, count in one.counts().items():
            total[name] = total.get(name, 0) + count
    names = sorted(sorted(total), key=lambda name: -total[name])[:MOST_CATEGORIES]
    counts = [total[name] for name in names]
    return Basis(_smooth(np.array((*counts, n - sum(counts)))), categories=tuple(names))


def _tail_basis(
    what: Judged, settings: CanarySettings, known: Summaries, other: Summaries | None
) -> Basis | None:
    sketch = _sketch(known.numeric(what.column))
    if other is not None:
        sketch = sketch.merge(_sketch(other.numeric(what.column)))
    above = sketch.keys > 0
    weights = sketch.counts[above].astype(np.float64)
    if weights.sum() < settings.fix_events:
        return None
    logs = np.log(bucket_middle(sketch.keys[above]))
    mean = float((logs * weights).sum() / weights.sum())
    spread = math.sqrt(float(((logs - mean) ** 2 * weights).sum() / weights.sum()))
    by_host = math.exp(min(settings.host_effect * spread, math.log(_MOST_SHRINK)))
    shares = np.diff(np.array((0.0, *TAIL_LEVELS, 1.0)))
    return Basis(tuple(shares.tolist()), shrink=max(1.0 + what.margin, by_host))


def _smooth(counts: Counts) -> tuple[float, ...]:
    """Shares with half an event more in each cell: none is 0."""
    more = np.asarray(counts, np.float64) + 0.5
    return tuple((more / more.sum()).tolist())
