"""From summaries of both arms to counts of cells.

Cells are fixed before they are bet on (in the reference, or in a first pane that is then not bet
on), or are a symmetric function of the pooled pane (tails): both leave the evidence exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.binning import recount, sketched_spec
from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_rules import CanarySettings, Judged, Measure, judged
from detectors.layout import Header, Kind
from detectors.sketch import Sketch, bucket_floor, bucket_middle, bucket_of
from detectors.summary import CategoricalSummary, NumericSummary, Summaries, is_expected

Counts = NDArray[np.int64]

ERROR = "error"
"""The column of the model's own failures."""
MOST_CATEGORIES = 30
_MOST_SHRINK = 4.0


@dataclass(frozen=True, slots=True)
class Basis:
    """Cells as they were fixed: their ``shares`` then (none is 0), and by measure the ``edges``
    between them, the ``categories`` (and one cell for all others), or by what the canary's values
    are divided (``shrink``)."""

    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    shrink: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Counts of one pane: [K] each."""

    canary: Counts
    production: Counts


RATE = Basis((0.5, 0.5))
"""Of every rate: not, and in error or missing."""


def measures_of(
    canary: Summaries, production: Summaries, settings: CanarySettings
) -> Iterator[Judged]:
    """Everything of a pane that a rule asks for, once, in the order of columns."""
    keys: dict[tuple[str, Measure], None] = {}
    if canary.header(Header.PREDICTIONS) or production.header(Header.PREDICTIONS):
        keys[ERROR, Measure.ERRORS] = None
    for spec in (*production.layout.columns, *canary.layout.columns):
        if is_expected(spec.name):
            keys[spec.name, Measure.MISSING] = None
        if spec.kind is Kind.CATEGORICAL:
            keys[spec.name, Measure.CATEGORIES] = None
        else:
            keys[spec.name, Measure.LEVEL] = None
            keys[spec.name, Measure.TAIL] = None
    for column, measure in sorted(keys):
        found = judged(settings, column, measure)
        if found is not None:
            yield found


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


def cells_of(what: Judged, basis: Basis, canary: Summaries, production: Summaries) -> Cells | None:
    """The counts of one pane; None if the arms cannot be counted in these cells."""
    match what.measure:
        case Measure.ERRORS:
            return Cells(_errors(canary), _errors(production))
        case Measure.MISSING:
            return Cells(_missing(canary, what.column), _missing(production, what.column))
        case Measure.CATEGORIES:
            ours, theirs = canary.categorical(what.column), production.categorical(what.column)
            return Cells(_named(ours, basis), _named(theirs, basis))
        case Measure.LEVEL:
            mine = _binned(canary.numeric(what.column), basis)
            usual = _binned(production.numeric(what.column), basis)
            return None if mine is None or usual is None else Cells(mine, usual)
        case Measure.TAIL:
            slow, normal = canary.numeric(what.column), production.numeric(what.column)
            return tail_cells(_sketch(slow), _sketch(normal), basis.shrink)


def tail_cells(canary: Sketch, production: Sketch, shrink: float) -> Cells:
    """Counts between the quantiles TAIL_LEVELS of the pooled pane, the canary's values divided by
    ``shrink`` first. A value counts as the least of its bucket then: it is never made larger."""
    cells = len(TAIL_LEVELS) + 1
    keys = canary.keys
    if shrink != 1.0 and len(keys):
        keys = np.where(keys > 0, bucket_of(bucket_floor(keys) / shrink), keys)
    pooled = np.concatenate((keys, production.keys))
    if not len(pooled):
        return Cells(np.zeros(cells, np.int64), np.zeros(cells, np.int64))
    order = np.argsort(pooled, kind="stable")
    upto = np.cumsum(np.concatenate((canary.counts, production.counts))[order])
    # The last key that is at or below each quantile.
    ranks = np.ceil(np.array(TAIL_LEVELS) * float(upto[-1])).astype(np.int64)
    bounds = pooled[order][np.minimum(np.searchsorted(upto, ranks), len(pooled) - 1)]
    return Cells(
        _between(keys, canary.counts, bounds), _between(production.keys, production.counts, bounds)
    )


def _between(keys: NDArray[np.int32], counts: Counts, bounds: NDArray[np.int32]) -> Counts:
    found = np.zeros(len(bounds) + 1, np.int64)
    np.add.at(found, np.searchsorted(bounds, keys, side="left"), counts)
    return found


def _errors(summaries: Summaries) -> Counts:
    n, failed = summaries.header(Header.PREDICTIONS), summaries.header(Header.FAILED)
    return np.array((max(n - failed, 0), failed), dtype=np.int64)


def _missing(summaries: Summaries, column: str) -> Counts:
    there = nulls = 0
    for found in (summaries.numeric(column), summaries.categorical(column)):
        if found is not None:
            there += found.n + found.errors
            nulls = found.nulls
    if not there and not nulls:
        # The arm never sent the column: all its events lack it.
        nulls = summaries.header(Header.PREDICTIONS) if is_expected(column) else 0
    return np.array((there, nulls), dtype=np.int64)


def _sketch(column: NumericSummary | None) -> Sketch:
    return column.sketch if column is not None else Sketch.empty()


def _binned(column: NumericSummary | None, basis: Basis) -> Counts | None:
    if column is None or column.n == 0:
        return np.zeros(len(basis.shares), np.int64)
    if column.spec.edges == basis.edges:
        return column.bins
    exact = np.array_equal(bucket_floor(bucket_of(np.array(basis.edges))), basis.edges)
    if exact and column.sketch.n == column.n:
        return recount(column.sketch, basis.edges)
    return None


def _named(column: CategoricalSummary | None, basis: Basis) -> Counts:
    if column is None:
        return np.zeros(len(basis.shares), np.int64)
    counts = column.counts()
    named = [counts.get(name, 0) for name in basis.categories]
    return np.array((*named, max(column.n - sum(named), 0)), dtype=np.int64)


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
    total: dict[str, int] = {}
    n = 0
    for part in (known, other):
        found = part.categorical(column) if part is not None else None
        if found is not None:
            n += found.n
            for name, count in found.counts().items():
                total[name] = total.get(name, 0) + count
    if n < settings.fix_events:
        return None
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
