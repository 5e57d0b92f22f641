"""Two summaries of one column, compared: every classical statistic at once, and which way it went.

``reference`` is what is normal (a historic profile, or production in the same window), ``current``
what is judged. Which cells are compared:

- same specification with bins: those bins;
- numeric without bins: for PSI and its kin the deciles of both sketches together, at bucket
  boundaries, so that their counts are exact; for Kolmogorov-Smirnov and Wasserstein every bucket;
- categories with bins: those and one cell for all others, seen before or not;
- categories without bins: the 30 most frequent of both together by name, and one cell for the rest.

Anything that cannot be computed is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors import statistics as stats
from detectors.categories import CategoryCounts
from detectors.layout import Kind
from detectors.release import OTHER
from detectors.sketch import bucket_middle
from detectors.summary import CategoricalSummary, NumericSummary, Summaries

MOST_CATEGORIES = 30
MOST_DIRECTION_CHARS = 60
_DECILES = np.arange(1, 10) / 10
_NOISE = 2.0
"""Standard errors that a change must reach before it is put in words."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """All classical statistics of one column, in the terms of :mod:`detectors.statistics`.

    ``n``, ``mean``, ``sd``, ``missing_rate`` are the current side's, ``..._against`` the
    reference's; ``cells``: how many cells were compared (0: none could be). ``wasserstein`` is in
    standard deviations of the reference. Statistics that a kind of column does not have are NaN.
    ``direction``: "up", "down", "wider", "narrower" (numeric), "new category: x", "x up",
    "x down" (categorical), or "" where nothing moved beyond noise. A category's name is data:
    cut and printable here, but it belongs to people, not into logs.
    """

    column: str
    kind: Kind
    n: int
    n_against: int
    cells: int
    psi: float
    jensen_shannon: float
    hellinger: float
    kolmogorov_smirnov: float
    wasserstein: float
    chi_square: stats.ChiSquare
    total_variation: float
    l_infinity: float
    missing_rate: float
    missing_rate_against: float
    missing: stats.RateDifference
    mean: float
    mean_against: float
    sd: float
    sd_against: float
    mean_shift: stats.MeanDifference
    direction: str


def compare_numeric(reference: NumericSummary, current: NumericSummary) -> ColumnStatistics:
    """The statistics of a numeric column. Never raises for what the summaries hold."""
    unit = reference.sd
    if reference.spec == current.spec and current.spec.bins:
        expected, observed = reference.bins, current.bins
        fine = expected, observed, _positions(reference)
    else:
        fine = _shared_buckets(reference, current)
        expected, observed = _deciles(fine[0], fine[1])
    distance = stats.wasserstein(*fine, unit)
    shift = abs(current.mean - reference.mean) / unit if unit > 0 else math.nan
    if math.isfinite(distance) and math.isfinite(shift):
        # No transport is shorter than the distance of the means, and those are not cut off at
        # the outermost cells as the histogram is.
        distance = max(distance, shift)
    return _statistics(
        reference,
        current,
        expected,
        observed,
        kolmogorov_smirnov=stats.kolmogorov_smirnov(fine[0], fine[1]),
        wasserstein=distance,
        means=(reference.mean, current.mean),
        sds=(unit, current.sd),
        direction=_numeric_direction(expected, observed),
    )


def compare_categorical(
    reference: CategoricalSummary, current: CategoricalSummary
) -> ColumnStatistics:
    """The statistics of a categorical column. Never raises for what the summaries hold."""
    if reference.spec == current.spec and current.spec.bins:
        expected = np.append(reference.bins, reference.rest.total)
        observed = np.append(current.bins, current.rest.total)
        names: tuple[str, ...] = (*current.spec.categories, OTHER)
    else:
        names, expected, observed = _shared_categories(reference, current)
    return _statistics(
        reference,
        current,
        expected,
        observed,
        kolmogorov_smirnov=math.nan,
        wasserstein=math.nan,
        means=(math.nan, math.nan),
        sds=(math.nan, math.nan),
        direction=_categorical_direction(names, expected, observed, current.rest),
    )


def compare_columns(reference: Summaries, current: Summaries) -> list[ColumnStatistics]:
    """The statistics of every column that either has, in the order of their names. What one side
    does not have is empty there: its statistics are NaN, and its missing rate says why. Only
    between summaries on different references are columns left out that both do not have."""
    if reference.layout.reference == current.layout.reference:
        layout = reference.layout.union(current.layout)
        reference, current = reference.widen(layout), current.widen(layout)
    found: list[ColumnStatistics] = []
    for column in current.columns():
        if isinstance(column, NumericSummary):
            normal = reference.numeric(column.spec.name)
            if normal is not None:
                found.append(compare_numeric(normal, column))
        else:
            usual = reference.categorical(column.spec.name)
            if usual is not None:
                found.append(compare_categorical(usual, column))
    return found


def readable(name: str, most: int = MOST_DIRECTION_CHARS) -> str:
    """A category's name made fit for one line: printable, single spaces, at most ``most`` long."""
    # Cut before looking at each character: a producer may send a very long one.
    shown = "".join(c if c.isprintable() else " " for c in name[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _statistics(
    reference: NumericSummary | CategoricalSummary,
    current: NumericSummary | CategoricalSummary,
    expected: stats.Counts,
    observed: stats.Counts,
    *,
    kolmogorov_smirnov: float,
    wasserstein: float,
    means: tuple[float, float],
    sds: tuple[float, float],
    direction: str,
) -> ColumnStatistics:
    rows = reference.n + reference.nulls + reference.errors
    rows_now = current.n + current.nulls + current.errors
    return ColumnStatistics(
        column=current.spec.name,
        kind=current.spec.kind,
        n=current.n,
        n_against=reference.n,
        cells=len(expected) if len(expected) == len(observed) else 0,
        psi=stats.psi(expected, observed),
        jensen_shannon=stats.jensen_shannon(expected, observed),
        hellinger=stats.hellinger(expected, observed),
        kolmogorov_smirnov=kolmogorov_smirnov,
        wasserstein=wasserstein,
        chi_square=stats.chi_square(expected, observed),
        total_variation=stats.total_variation(expected, observed),
        l_infinity=stats.l_infinity(expected, observed),
        missing_rate=current.nulls / rows_now if rows_now else math.nan,
        missing_rate_against=reference.nulls / rows if rows else math.nan,
        missing=stats.rate_difference(reference.nulls, rows, current.nulls, rows_now),
        mean=means[1],
        mean_against=means[0],
        sd=sds[1],
        sd_against=sds[0],
        mean_shift=stats.mean_difference(
            (reference.n, means[0], sds[0]), (current.n, means[1], sds[1])
        ),
        direction=direction,
    )


def _positions(reference: NumericSummary) -> NDArray[np.float64]:
    """Where each bin's events are taken to stand: between its edges; in the open outer bins,
    between the edge and the reference's minimum or maximum. One far value of the current side
    must not move a whole bin, so its own extremes are not asked."""
    edges = np.array(reference.spec.edges)
    low = min(reference.minimum, float(edges[0]))
    high = max(reference.maximum, float(edges[-1]))
    bounds = np.concatenate(([low], edges, [high]))
    # Halved before the addition: the sum of two of the largest doubles overflows.
    return bounds[:-1] / 2 + bounds[1:] / 2


def _shared_buckets(
    reference: NumericSummary, current: NumericSummary
) -> tuple[stats.Counts, stats.Counts, NDArray[np.float64]]:
    """Counts of both sketches in the buckets that either has, and the buckets' middles."""
    theirs, ours = reference.sketch, current.sketch
    keys = np.union1d(theirs.keys, ours.keys).astype(np.int32)
    expected, observed = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    expected[np.searchsorted(keys, theirs.keys)] = theirs.counts
    observed[np.searchsorted(keys, ours.keys)] = ours.counts
    return expected, observed, bucket_middle(keys)


def _deciles(expected: stats.Counts, observed: stats.Counts) -> tuple[stats.Counts, stats.Counts]:
    """The buckets merged into at most ten cells of about equal weight in both sides together."""
    if not len(expected):
        return expected, observed
    upto = np.cumsum((expected + observed).astype(np.float64))
    cuts = np.searchsorted(upto, _DECILES * upto[-1], side="left")
    firsts = np.unique(np.concatenate(([0], cuts)))
    return np.add.reduceat(expected, firsts), np.add.reduceat(observed, firsts)


def _shared_categories(
    reference: CategoricalSummary, current: CategoricalSummary
) -> tuple[tuple[str, ...], stats.Counts, stats.Counts]:
    """Counts by name. Under the cap each side may keep other names; those that a merge of both
    keeps are exactly those counted exactly on both sides, and only they are told apart."""
    cap = max(reference.rest.cap, current.rest.cap)
    theirs, ours = _all_counts(reference, cap), _all_counts(current, cap)
    both = theirs.merge(ours).counts
    ranked = sorted(both, key=lambda name: (-both[name], name))[:MOST_CATEGORIES]
    names = (*ranked, OTHER)
    expected = [theirs.counts.get(name, 0) for name in ranked]
    observed = [ours.counts.get(name, 0) for name in ranked]
    expected.append(theirs.total - sum(expected))
    observed.append(ours.total - sum(observed))
    return names, np.array(expected, np.int64), np.array(observed, np.int64)


def _all_counts(summary: CategoricalSummary, cap: int) -> CategoryCounts:
    return CategoryCounts.of({**summary.counts(), OTHER: summary.rest.other}, cap)


def _numeric_direction(expected: stats.Counts, observed: stats.Counts) -> str:
    """Location or spread, whichever moved more, in the reference's normal scores: these depend on
    ranks only, so no tail is too heavy for them."""
    n, m = int(expected.sum()), int(observed.sum())
    if len(expected) != len(observed) or n == 0 or m == 0:
        return ""
    p, q = expected / n, observed / m
    ranks = np.clip(np.cumsum(p) - p / 2, 0.5 / (n + 1), 1 - 0.5 / (n + 1))
    scores = special.ndtri(ranks)
    mean, mean_now = float((p * scores).sum()), float((q * scores).sum())
    sd = math.sqrt(float((p * (scores - mean) ** 2).sum()))
    sd_now = math.sqrt(float((q * (scores - mean_now) ** 2).sum()))
    noise = _NOISE * math.sqrt(1 / n + 1 / m)
    if sd == 0:
        # A reference in one cell: whatever left it went up or down, by any measure.
        shift = float((q * np.sign(scores - mean)).sum())
        return ("up" if shift > 0 else "down") if abs(shift) > noise else ""
    shift = (mean_now - mean) / sd
    # A normal sample tells a change of scale by ln s with twice the information of a shift by s.
    # Cut at 1: where all is in one outer cell there is no spread left, but a shift is the news.
    spread = math.sqrt(2) * math.log(max(sd_now / sd, 1e-9))
    spread = min(max(spread, -1.0), 1.0)
    if max(abs(shift), abs(spread)) <= noise:
        return ""
    if abs(shift) >= abs(spread):
        return "up" if shift > 0 else "down"
    return "wider" if spread > 0 else "narrower"


def _categorical_direction(
    names: tuple[str, ...], expected: stats.Counts, observed: stats.Counts, rest: CategoryCounts
) -> str:
    """The category whose share changed most."""
    n, m = int(expected.sum()), int(observed.sum())
    if n == 0 or m == 0:
        return ""
    change = observed / m - expected / n
    size = np.abs(change)
    # Of equal changes the newcomer is the news, then what rose: the rest made room for it.
    most = np.flatnonzero(size >= size.max() * (1 - 1e-9)).tolist()
    at = min(most, key=lambda i: (expected[i] > 0, change[i] < 0, i))
    pooled = (int(expected[at]) + int(observed[at])) / (n + m)
    if abs(change[at]) <= _NOISE * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)):
        return ""
    name = names[at]
    if expected[at] == 0:
        if name == OTHER and rest.counts:
            name = min(rest.counts, key=lambda known: (-rest.counts[known], known))
        prefix = "new category: "
        return prefix + readable(name, MOST_DIRECTION_CHARS - len(prefix))
    suffix = " up" if change[at] > 0 else " down"
    label = "other categories" if name == OTHER else readable(name, MOST_DIRECTION_CHARS - 5)
    return label + suffix
