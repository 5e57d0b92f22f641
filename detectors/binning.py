"""Where the bins of a reference lie.

Twenty bins at the quantiles of :data:`QUANTILES`: bins by rank make heavy tails harmless, and the
fine ones at the ends see what happens there. Bin i holds ``edges[i-1] <= x < edges[i]``. Columns of
few distinct values get a bin for each, divided half way between neighbours so that a rounding
error does not change bins. A constant gets three: below, the constant, above.

Edges are order statistics or middles of two values, so they do not depend on the platform.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point
from detectors.fixed_point import Grid, grid_for
from detectors.layout import ColumnSpec, Kind
from detectors.release import OTHER
from detectors.sketch import Sketch, bucket_floor, bucket_of

_ENDS = (0.001, 0.005, 0.01, 0.025, 0.05)
_DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUANTILES = (*_ENDS, *_DECILES, 0.95, 0.975, 0.99, 0.995, 0.999)
MOST_DISTINCT = len(QUANTILES) + 1
MOST_CATEGORIES = 100

_WITH_QUANTILES = ("latency_ms", "cost", "tokens_in", "tokens_out")
_CONSTANT_MARGIN = 2.0**-10
_ZERO_MARGIN = 2.0**-30


def keeps_quantiles(column: str) -> bool:
    """Whether a column's quantiles are watched, so that it keeps a sketch beside its histogram."""
    return column in _WITH_QUANTILES or column.startswith("scores.")


def numeric_spec(name: str, values: NDArray[np.float64]) -> ColumnSpec:
    """How to summarise a numeric column whose reference holds ``values`` (float64 [n]).

    Values that are not finite do not count; without any there are no edges.
    """
    ordered = np.sort(values[np.isfinite(values)])
    sketch = keeps_quantiles(name)
    if not len(ordered):
        return ColumnSpec(name, Kind.NUMERIC, sketch=sketch)
    return ColumnSpec(name, Kind.NUMERIC, _edges(ordered), _grid(ordered), sketch)


def sketched_spec(name: str, sketch: Sketch, mean: float, sd: float) -> ColumnSpec:
    """How to summarise a numeric column of which only a sketch is left. Every edge is a bucket's
    smallest value, so the counts of the bins are exact sums of the sketch's counts."""
    kept = keeps_quantiles(name)
    if not len(sketch.keys):
        return ColumnSpec(name, Kind.NUMERIC, sketch=kept)
    keys = sketch.keys
    if len(keys) == 1:
        edges = bucket_floor(np.array([keys[0], keys[0] + 1], np.int32))
    elif len(keys) <= MOST_DISTINCT:
        floors = bucket_floor(keys)
        between = bucket_of(floors[:-1] / 2 + floors[1:] / 2)
        between = np.where(between > keys[:-1], np.minimum(between, keys[1:]), keys[1:])
        edges = bucket_floor(between.astype(np.int32))
    else:
        upto = np.cumsum(sketch.counts)
        ranks = np.array([_rank(q, int(upto[-1])) for q in QUANTILES])
        found = np.unique(np.searchsorted(upto, ranks, side="right"))
        edges = bucket_floor(keys[found[found > 0]])
    return ColumnSpec(name, Kind.NUMERIC, _finite(edges), grid_for(mean, sd), kept)


def categorical_spec(name: str, counts: dict[str, int]) -> ColumnSpec:
    """How to summarise a categorical column: the most frequent categories get bins, in the order
    of their names; equally frequent ones are chosen by name."""
    named = counts.keys() - {OTHER}
    ranked = sorted(named, key=lambda known: (-counts[known], known))
    return ColumnSpec(name, Kind.CATEGORICAL, categories=tuple(sorted(ranked[:MOST_CATEGORIES])))


def recount(sketch: Sketch, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """Counts per bin from a sketch, int64 [len(edges) + 1 or 0]; exact if every edge is a bucket's
    smallest value."""
    if not edges:
        return np.zeros(0, np.int64)
    bins = np.searchsorted(bucket_of(np.array(edges)), sketch.keys, side="right")
    counts = np.zeros(len(edges) + 1, np.int64)
    np.add.at(counts, bins, sketch.counts)
    return counts


def _rank(q: float, n: int) -> int:
    return min(int(q * n), n - 1)


def _edges(ordered: NDArray[np.float64]) -> tuple[float, ...]:
    distinct = ordered[np.flatnonzero(np.concatenate(([True], ordered[1:] > ordered[:-1])))]
    if len(distinct) == 1:
        value = float(distinct[0])
        margin = abs(value) * _CONSTANT_MARGIN or _ZERO_MARGIN
        edges = np.array([value - margin, value + margin])
    elif len(distinct) <= MOST_DISTINCT:
        below, above = distinct[:-1], distinct[1:]
        middle = below / 2 + above / 2
        # Between neighbouring doubles there is no middle.
        edges = np.where((below < middle) & (middle <= above), middle, above)
    else:
        edges = np.unique(ordered[[_rank(q, len(ordered)) for q in QUANTILES]])
        # An edge at the minimum would leave a bin below it that the reference never fills.
        edges = edges[edges > ordered[0]]
    return _finite(edges)


def _finite(edges: NDArray[np.float64]) -> tuple[float, ...]:
    """As floats, each one once: a margin at the largest double is infinite, one at the smallest
    is nothing; and -0.0 is written as 0.0."""
    return tuple((np.unique(edges[np.isfinite(edges)]) + 0.0).tolist())


def _grid(ordered: NDArray[np.float64]) -> Grid:
    """Around the median in units of the standard deviation, which is computed from integers: a
    sum of doubles in another order might round to the next power of two."""
    center = float(ordered[(len(ordered) - 1) // 2]) + 0.0
    with np.errstate(over="ignore"):
        spread = float(ordered[-1] - ordered[0]) / 2048
    coarse = grid_for(center, spread)
    if not math.isfinite(spread) or spread == 0:
        return coarse
    first = second = 0
    for at in range(0, len(ordered), fixed_point.MAX_BATCH):
        steps, squares, _, _ = coarse.steps(ordered[at : at + fixed_point.MAX_BATCH])
        first, second = first + int(steps.sum()), second + int(squares.sum())
    return grid_for(center, fixed_point.standard_deviation(first, second, len(ordered), coarse))
