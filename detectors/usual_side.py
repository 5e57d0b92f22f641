"""The side of a comparison that says what is usual: what is worked out of it alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.cell_statistics import Side, running_shares, steps_between
from detectors.column_directions import Scores, scores_of
from detectors.column_figures import Figures, figures_of
from detectors.comparison_plan import Plan
from detectors.summary import Summaries

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What does not depend on the current side: worked out once for a reference. ``figures``: of
    the columns in the order of comparison; ``side``: of binned columns; ``numbers``, ``running``,
    ``steps``: of the binned numbers among them."""

    figures: Figures
    side: Side
    numbers: Side
    running: Floats
    steps: Floats


def _usual(reference: Summaries, plan: Plan) -> Usual:
    side = Side.of(counts_of(reference, plan, plan.usual_cells), plan.slices)
    running = running_shares(plan.number_slices, numbers_of(side, plan).counts)
    figures = figures_of(reference).take(plan.usual_columns)
    return usual_of(reference, plan, figures, side, running)


def usual_of(
    reference: Summaries, plan: Plan, figures: Figures, side: Side, running: Floats
) -> Usual:
    """From what is known of it: ``figures``: in the order of comparison; ``side``: of the binned
    columns; ``running``: as in :class:`Usual`."""
    positions, unit = _positions_of(reference, plan), figures.sd[: plan.binned_numbers]
    steps = steps_between(plan.number_slices, positions, unit)
    return Usual(figures, side, numbers_of(side, plan), running, steps)


lasting_usual = functools.lru_cache(maxsize=256)(_usual)
"""Of what will be compared with again and again."""
passing_usual = functools.lru_cache(maxsize=16)(_usual)
"""Of what only this window is compared with."""


@functools.lru_cache(maxsize=256)
def scores_against(known: Usual, plan: Plan) -> Scores:
    """Of the binned numbers."""
    return scores_of(plan.number_slices, known.numbers)


def counts_of(summaries: Summaries, plan: Plan, cells: Ints) -> Ints:
    """Counts of the cells of binned columns, int64."""
    texts = plan.columns[plan.binned_numbers : plan.binned]
    if not texts:
        return summaries.vector[cells]
    rests = [rest_of(summaries, spec.name) for spec in texts]
    return np.append(summaries.vector, np.array(rests, np.int64))[cells]


def rest_of(summaries: Summaries, name: str) -> int:
    """Values of a categorical column that have no bin."""
    counts = summaries.categories.get(name)
    return counts.total if counts is not None else 0


def numbers_of(side: Side, plan: Plan) -> Side:
    """The binned numbers, which stand first."""
    columns = plan.binned_numbers
    if columns == plan.binned:
        return side
    cells = len(plan.number_slices.of)
    return Side(
        side.counts[:cells],
        side.totals[:columns],
        side.shares[:cells],
        side.roots[:cells],
        side.empty[:cells],
    )


def _positions_of(reference: Summaries, plan: Plan) -> Floats:
    """Where each bin's events are taken to stand: between its edges; in the open outer bins,
    between the edge and the reference's minimum or maximum. One far value of the current side
    must not move a whole bin, so its own extremes are not asked."""
    columns = plan.usual_columns[: plan.binned_numbers]
    bounds = plan.bounds.copy()
    first, last = plan.first_bounds, plan.last_bounds
    bounds[first] = np.minimum(reference.extremes[0, columns], bounds[first])
    bounds[last] = np.maximum(reference.extremes[1, columns], bounds[last])
    # Halved before the addition: the sum of two of the largest doubles overflows.
    bounds /= 2
    middles: Floats = bounds.take(plan.lower_bounds) + bounds.take(plan.lower_bounds + 1)
    return middles
