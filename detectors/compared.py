"""Two summaries compared, all columns at once: see :mod:`detectors.comparison` for which cells.

**Guarantee.** What is found of a column is the same to the last bit whichever other columns stand
beside it, and no answer is NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.cell_statistics import (
    Distances,
    Side,
    Slices,
    distances,
    ordered_distances,
    running_shares,
    steps_between,
)
from detectors.column_directions import (
    Scores,
    category_directions,
    numeric_directions,
    scores_of,
)
from detectors.column_figures import Figures, figures_of
from detectors.comparison_plan import Plan, plan_of
from detectors.layout import Kind
from detectors.loose_cells import deciles, shared_buckets, shared_categories
from detectors.sketch import Sketch
from detectors.summary import Summaries
from detectors.widening import common_layout, lasting_widened, widened

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


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """All columns of two summaries, compared. Arrays by column stand in the order of ``plan``;
    ``kolmogorov_smirnov`` and ``wasserstein`` are NaN for categories. ``names``: of the cells of
    categories without common bins, by the column's place."""

    plan: Plan
    current: Summaries
    usual: Figures
    now: Figures
    slices: Slices
    usual_side: Side
    now_side: Side
    distances: Distances
    kolmogorov_smirnov: Floats
    wasserstein: Floats
    names: Mapping[int, tuple[str, ...]]
    known: Usual


class Pair(NamedTuple):
    """What is compared with what. ``lasting``: the reference will be compared with again and again,
    so that what is worked out of it alone is worth keeping for long."""

    reference: Summaries
    current: Summaries
    lasting: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """Pairs with the same plan, compared. As :class:`Compared`, with the columns (and cells) of the
    first, then of the second, and so on. ``places``: which they are of those that were asked for;
    ``currents`` and ``known``: by pair."""

    plan: Plan
    places: Sequence[int]
    currents: Sequence[Summaries]
    known: Sequence[Usual]
    usual: Figures
    now: Figures
    now_side: Side
    distances: Distances
    kolmogorov_smirnov: Floats
    wasserstein: Floats
    alone: Compared | None = None
    """What these are of, where there is one that has columns without common bins."""

    @classmethod
    def of(cls, place: int, alone: Compared) -> Many:
        return cls(
            alone.plan,
            [place],
            [alone.current],
            [alone.known],
            alone.usual,
            alone.now,
            alone.now_side,
            alone.distances,
            alone.kolmogorov_smirnov,
            alone.wasserstein,
            alone,
        )

    def one(self, at: int) -> Compared:
        """The comparison of one of them."""
        if self.alone is not None:
            return self.alone
        plan, columns, cells = self.plan, len(self.plan.columns), len(self.plan.slices.of)
        known = self.known[at]
        of_columns = slice(at * columns, (at + 1) * columns)
        of_cells = slice(at * cells, (at + 1) * cells)
        return Compared(
            plan,
            self.currents[at],
            known.figures,
            self.now.part(of_columns),
            plan.slices,
            known.side,
            self.now_side.part(of_columns, of_cells),
            self.distances.part(of_columns, of_cells),
            self.kolmogorov_smirnov[of_columns],
            self.wasserstein[of_columns],
            {},
            known,
        )


def compare(reference: Summaries, current: Summaries) -> Compared:
    """Every column that either side has; of summaries on different references, that both have.
    Never raises for what the summaries hold. Call within :func:`detectors.cell_statistics.quiet`.
    """
    (many,) = compare_many([Pair(reference, current)])
    return many.one(0)


def compare_many(pairs: Sequence[Pair]) -> list[Many]:
    """As :func:`compare` for each, with the same result, at a fraction of the cost where pairs have
    their columns in common. A pair that must be compared by itself is one of :class:`Many`."""
    found: list[Many] = []
    together: dict[Plan, list[tuple[int, Summaries, Usual]]] = {}
    for at, pair in enumerate(pairs):
        reference, current, plan = _aligned(pair)
        known = (_lasting_usual if pair.lasting else _passing_usual)(reference, plan)
        if len(plan.columns) == plan.binned:
            together.setdefault(plan, []).append((at, current, known))
        else:
            found.append(Many.of(at, _compare_loose(reference, current, plan, known)))
    found += (_compare_binned(plan, *zip(*some, strict=True)) for plan, some in together.items())
    return found


def _aligned(pair: Pair) -> tuple[Summaries, Summaries, Plan]:
    """Both sides in one layout, if they stand on the same reference: a column that one side never
    sent is empty there. And how they are compared."""
    reference, current = pair.reference, pair.current
    if reference.layout.reference != current.layout.reference:
        return reference, current, plan_of(reference.layout, current.layout)
    layout = common_layout(reference.layout, current.layout)
    usual = (lasting_widened if pair.lasting else widened)(reference, layout)
    # One plan for one layout, whichever of two equal ones the sides hold.
    return usual, widened(current, layout), plan_of(layout, layout)


def _compare_binned(
    plan: Plan, places: Sequence[int], currents: Sequence[Summaries], known: Sequence[Usual]
) -> Many:
    """The columns of all stand end to end, as if they were those of one."""
    copies, numbers = len(currents), plan.binned_numbers
    now = Figures.many([figures_of(current) for current in currents], plan.now_columns)
    slices, number_slices = _times(plan, copies)
    counts = _counts_of_all(currents, plan)
    side = Side.of(counts.ravel(), slices)
    of_numbers = side.counts.reshape(counts.shape)[:, : len(plan.number_slices.of)]
    ks, moved = ordered_distances(
        number_slices,
        np.concatenate([each.running for each in known]),
        running_shares(number_slices, of_numbers.ravel()),
        np.concatenate([each.steps for each in known]),
    )
    ordered = np.full((2, copies, len(plan.columns)), np.nan)
    ordered[:, :, :numbers] = np.stack((ks, moved)).reshape(2, copies, numbers)
    usual = Figures.joined([each.figures for each in known])
    return Many(
        plan,
        places,
        currents,
        known,
        usual,
        now,
        side,
        distances(slices, Side.joined([each.side for each in known]), side),
        ordered[0].ravel(),
        _not_less_than_the_shift(ordered[1].ravel(), usual, now),
    )


@functools.lru_cache(maxsize=64)
def _times(plan: Plan, copies: int) -> tuple[Slices, Slices]:
    return plan.slices.times(copies), plan.number_slices.times(copies)


def directions(compared: Compared, numbers: bool = True, texts: bool = True) -> tuple[Ints, Ints]:
    """A :class:`Direction` by column, and the cell that a category's direction is about; NONE for
    the kinds that are not asked for."""
    plan = compared.plan
    columns = len(plan.columns)
    found, at = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    loose = columns > plan.binned
    is_text = np.array([spec.kind is Kind.CATEGORICAL for spec in plan.columns], np.bool_)
    if numbers and not loose and plan.binned_numbers:
        here = _numbers(compared.now_side, plan)
        scores = _scores(compared.known, plan)
        slices = plan.number_slices
        found[: plan.binned_numbers] = numeric_directions(
            slices, compared.known.numbers, here, scores
        )
    elif numbers and loose:
        slices, usual, now = compared.slices, compared.usual_side, compared.now_side
        told = numeric_directions(slices, usual, now, scores_of(slices, usual))
        found[~is_text] = told[~is_text]
    if texts and is_text.any():
        told, cell = category_directions(
            compared.slices, compared.usual_side, compared.now_side, compared.distances.change
        )
        found[is_text], at[is_text] = told[is_text], cell[is_text]
    return found, at


def _compare_loose(reference: Summaries, current: Summaries, plan: Plan, known: Usual) -> Compared:
    """With columns that have no common bins behind those that have."""
    now = figures_of(current).take(plan.now_columns)
    counts = _counts(current, plan, plan.now_cells)
    last = plan.binned + plan.loose_numbers
    names: dict[int, tuple[str, ...]] = {}
    fine: list[tuple[Ints, Ints, Floats]] = []
    cells: list[tuple[Ints, Ints]] = []
    nothing = Sketch.empty()
    for spec in plan.columns[plan.binned : last]:
        sketches = (side.sketches.get(spec.name, nothing) for side in (reference, current))
        fine.append(_not_empty(*shared_buckets(*sketches)))
        cells.append(deciles(*fine[-1][:2]))
    for place, spec in enumerate(plan.columns[last:], last):
        usual_text, now_text = reference.categorical(spec.name), current.categorical(spec.name)
        if usual_text is None or now_text is None:
            raise LookupError(f"column {spec.name!r} is in the plan and not in its layouts")
        names[place], *both = shared_categories(usual_text, now_text)
        cells.append((both[0], both[1]))
    sizes = np.bincount(plan.slices.of, minlength=plan.binned).tolist()
    slices = Slices.of_sizes([*sizes, *(len(expected) for expected, _ in cells)])
    usual = [_counts(reference, plan, plan.usual_cells), *(expected for expected, _ in cells)]
    usual_side = Side.of(np.concatenate(usual), slices)
    side = Side.of(np.concatenate([counts, *(observed for _, observed in cells)]), slices)
    ks, moved = np.full(len(plan.columns), np.nan), np.full(len(plan.columns), np.nan)
    binned = _numbers(Side.of(counts, plan.slices), plan)
    first = plan.binned_numbers
    ks[:first], moved[:first] = ordered_distances(
        plan.number_slices,
        known.running,
        running_shares(plan.number_slices, binned.counts),
        known.steps,
    )
    unit = known.figures.sd[plan.binned : last]
    ks[plan.binned : last], moved[plan.binned : last] = _fine_distances(fine, unit)
    return Compared(
        plan,
        current,
        known.figures,
        now,
        slices,
        usual_side,
        side,
        distances(slices, usual_side, side),
        ks,
        _not_less_than_the_shift(moved, known.figures, now),
        names,
        known,
    )


def _fine_distances(fine: list[tuple[Ints, Ints, Floats]], unit: Floats) -> tuple[Floats, Floats]:
    if not fine:
        return np.empty(0), np.empty(0)
    expected, observed, positions = (np.concatenate(part) for part in zip(*fine, strict=True))
    slices = Slices.of_sizes([len(part) for part, _, _ in fine])
    usual, now = (
        running_shares(slices, Side.of(counts, slices).counts) for counts in (expected, observed)
    )
    return ordered_distances(slices, usual, now, steps_between(slices, positions, unit))


def _not_empty(expected: Ints, observed: Ints, middles: Floats) -> tuple[Ints, Ints, Floats]:
    """One empty cell where there is none: a column needs one, and says NaN of it."""
    if len(expected):
        return expected, observed, middles
    return np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)


def _not_less_than_the_shift(distance: Floats, usual: Figures, now: Figures) -> Floats:
    """No transport is shorter than the distance of the means, and those are not cut off at the
    outermost cells as the histogram is."""
    shift = np.abs(now.mean - usual.mean) / usual.sd
    larger = np.isfinite(shift) & (shift > distance)
    return np.where(larger, shift, distance)


def _usual(reference: Summaries, plan: Plan) -> Usual:
    figures = figures_of(reference).take(plan.usual_columns)
    side = Side.of(_counts(reference, plan, plan.usual_cells), plan.slices)
    numbers = _numbers(side, plan)
    slices = plan.number_slices
    steps = steps_between(slices, _positions_of(reference, plan), figures.sd[: plan.binned_numbers])
    return Usual(figures, side, numbers, running_shares(slices, numbers.counts), steps)


_lasting_usual = functools.lru_cache(maxsize=256)(_usual)
_passing_usual = functools.lru_cache(maxsize=16)(_usual)


@functools.lru_cache(maxsize=256)
def _scores(known: Usual, plan: Plan) -> Scores:
    return scores_of(plan.number_slices, known.numbers)


def _counts(summaries: Summaries, plan: Plan, cells: Ints) -> Ints:
    """Counts of the cells of binned columns, int64."""
    texts = plan.columns[plan.binned_numbers : plan.binned]
    if not texts:
        return summaries.vector[cells]
    rests = [_rest(summaries, spec.name) for spec in texts]
    return np.append(summaries.vector, np.array(rests, np.int64))[cells]


def _counts_of_all(currents: Sequence[Summaries], plan: Plan) -> Ints:
    """int64 [summaries, cells]."""
    texts = plan.columns[plan.binned_numbers : plan.binned]
    vectors = np.stack([current.vector for current in currents])
    if not texts:
        return vectors.take(plan.now_cells, axis=1)
    rests = [[_rest(current, spec.name) for spec in texts] for current in currents]
    whole = np.concatenate((vectors, np.array(rests, np.int64)), axis=1)
    return whole.take(plan.now_cells, axis=1)


def _rest(summaries: Summaries, name: str) -> int:
    counts = summaries.categories.get(name)
    return counts.total if counts is not None else 0


def _numbers(side: Side, plan: Plan) -> Side:
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
    return np.delete(bounds[:-1] + bounds[1:], last[:-1]) if len(last) else np.empty(0)
