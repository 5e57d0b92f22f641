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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detectors import statistics as stats
from detectors.cell_statistics import chi_square_p_values, quiet
from detectors.column_directions import Direction
from detectors.compared import Compared, compare, directions
from detectors.differences import mean_differences, rate_differences
from detectors.layout import Kind
from detectors.loose_cells import MOST_CATEGORIES
from detectors.release import OTHER
from detectors.summary import Summaries

__all__ = [
    "MOST_CATEGORIES",
    "MOST_DIRECTION_CHARS",
    "ColumnStatistics",
    "compare_columns",
    "readable",
]

MOST_DIRECTION_CHARS = 60
_WORDS = {
    Direction.NONE: "",
    Direction.UP: "up",
    Direction.DOWN: "down",
    Direction.WIDER: "wider",
    Direction.NARROWER: "narrower",
}


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


def compare_columns(reference: Summaries, current: Summaries) -> list[ColumnStatistics]:
    """The statistics of every column that either has, in the order of their names. What one side
    does not have is empty there: its statistics are NaN, and its missing rate says why. Only
    between summaries on different references are columns left out that both do not have."""
    with quiet():
        compared = compare(reference, current)
        return list(_statistics(compared)) if compared.plan.columns else []


def readable(name: str, most: int = MOST_DIRECTION_CHARS) -> str:
    """A category's name made fit for one line: printable, single spaces, at most ``most`` long."""
    # Cut before looking at each character: a producer may send a very long one.
    shown = "".join(c if c.isprintable() else " " for c in name[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _statistics(compared: Compared) -> Iterator[ColumnStatistics]:
    plan, found, usual, now = compared.plan, compared.distances, compared.usual, compared.now
    told, at = directions(compared)
    p_values = chi_square_p_values(found.chi_square, found.dof)
    missing = rate_differences(usual.nulls, usual.rows, now.nulls, now.rows)
    means = mean_differences(usual.n, usual.mean, usual.sd, now.n, now.mean, now.sd)
    sizes = np.bincount(compared.slices.of, minlength=len(plan.columns))
    # A number without bins or values has one cell all the same, which compares nothing.
    loose = slice(plan.binned, plan.binned + plan.loose_numbers)
    empty = np.isnan(compared.usual_side.totals) & np.isnan(compared.now_side.totals)
    sizes[loose][empty[loose]] = 0
    for i in plan.by_name.tolist():
        yield ColumnStatistics(
            column=plan.columns[i].name,
            kind=plan.columns[i].kind,
            n=int(now.n[i]),
            n_against=int(usual.n[i]),
            cells=int(sizes[i]),
            psi=float(found.psi[i]),
            jensen_shannon=float(found.jensen_shannon[i]),
            hellinger=float(found.hellinger[i]),
            kolmogorov_smirnov=float(compared.kolmogorov_smirnov[i]),
            wasserstein=float(compared.wasserstein[i]),
            chi_square=stats.ChiSquare(
                float(found.chi_square[i]), int(found.dof[i]), float(p_values[i])
            ),
            total_variation=float(found.total_variation[i]),
            l_infinity=float(found.l_infinity[i]),
            missing_rate=float(now.missing[i]),
            missing_rate_against=float(usual.missing[i]),
            missing=stats.RateDifference(
                float(missing.difference[i]), float(missing.z[i]), float(missing.p_value[i])
            ),
            mean=float(now.mean[i]),
            mean_against=float(usual.mean[i]),
            sd=float(now.sd[i]),
            sd_against=float(usual.sd[i]),
            mean_shift=stats.MeanDifference(
                float(means.difference[i]),
                float(means.standard_error[i]),
                float(means.t[i]),
                float(means.dof[i]),
                float(means.p_value[i]),
            ),
            direction=_in_words(compared, i, Direction(told[i]), int(at[i])),
        )


def _in_words(compared: Compared, place: int, direction: Direction, cell: int) -> str:
    if direction in _WORDS:
        return _WORDS[direction]
    spec = compared.plan.columns[place]
    names = compared.names.get(place, (*spec.categories, OTHER))
    name = names[cell - int(compared.slices.starts[place])]
    if direction is Direction.NEW_CATEGORY:
        rest = compared.current.categories.get(spec.name)
        if name == OTHER and rest is not None and rest.counts:
            counts = rest.counts
            name = min(counts, key=lambda known: (-counts[known], known))
        prefix = "new category: "
        return prefix + readable(name, MOST_DIRECTION_CHARS - len(prefix))
    suffix = " up" if direction is Direction.CATEGORY_UP else " down"
    label = "other categories" if name == OTHER else readable(name, MOST_DIRECTION_CHARS - 5)
    return label + suffix
