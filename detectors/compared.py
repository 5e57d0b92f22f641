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
from detectors.column_directions import category_directions, numeric_directions, scores_of
from detectors.column_figures import Figures, figures_of
from detectors.comparison_plan import Plan, plan_of
from detectors.layout import Kind
from detectors.loose_cells import deciles, shared_buckets, shared_categories
from detectors.sketch import Sketch
from detectors.summary import Summaries
from detectors.usual_side import (
    Usual,
    counts_of,
    lasting_usual,
    numbers_of,
    passing_usual,
    rest_of,
    scores_against,
    usual_of,
)
from detectors.widening import common_layout, lasting_widened, widened
from detectors.window_kernels import WindowKernels, distances_by

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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


def compare_many(pairs: Sequence[Pair], kernels: WindowKernels | None = None) -> list[Many]:
    """As :func:`compare` for each, with the same result, at a fraction of the cost where pairs have
    their columns in common. A pair that must be compared by itself is one of :class:`Many`.
    ``kernels``: where there are some; without them the result is the same."""
    found: list[Many] = []
    together: dict[Plan, list[tuple[int, Pair]]] = {}
    for at, pair in enumerate(pairs):
        aligned, plan = _aligned(pair)
        if len(plan.columns) == plan.binned:
            together.setdefault(plan, []).append((at, aligned))
        else:
            found.append(Many.of(at, _compare_loose(aligned, plan, kernels)))
    found += (
        _compare_binned(plan, kernels, *zip(*some, strict=True)) for plan, some in together.items()
    )
    return found


def _aligned(pair: Pair) -> tuple[Pair, Plan]:
    """Both sides in one layout, if they stand on the same reference: a column that one side never
    sent is empty there. And how they are compared."""
    reference, current, lasting = pair
    if reference.layout.reference != current.layout.reference:
        return pair, plan_of(reference.layout, current.layout)
    layout = common_layout(reference.layout, current.layout)
    usual = (lasting_widened if lasting else widened)(reference, layout)
    # One plan for one layout, whichever of two equal ones the sides hold.
    return Pair(usual, widened(current, layout), lasting), plan_of(layout, layout)


def _compare_binned(
    plan: Plan, kernels: WindowKernels | None, places: Sequence[int], pairs: Sequence[Pair]
) -> Many:
    """The columns of all stand end to end, as if they were those of one."""
    currents = [pair.current for pair in pairs]
    copies, numbers = len(currents), plan.binned_numbers
    now = _figures_of_all(currents, plan)
    slices, number_slices = _times(plan, copies)
    counts = _counts_of_all(currents, plan)
    side = Side.of(counts.ravel(), slices)
    of_numbers = side.counts.reshape(counts.shape)[:, : len(plan.number_slices.of)]
    running = running_shares(number_slices, of_numbers.ravel())
    known = _known(plan, pairs, now, side, running)
    ks, moved = ordered_distances(
        number_slices,
        np.concatenate([each.running for each in known]),
        running,
        np.concatenate([each.steps for each in known]),
    )
    ordered = np.full((2, copies, len(plan.columns)), np.nan)
    ordered[0, :, :numbers] = ks.reshape(copies, numbers)
    ordered[1, :, :numbers] = moved.reshape(copies, numbers)
    usual = Figures.joined([each.figures for each in known])
    return Many(
        plan,
        places,
        currents,
        known,
        usual,
        now,
        side,
        _distances(kernels, slices, Side.joined([each.side for each in known]), side),
        ordered[0].ravel(),
        _not_less_than_the_shift(ordered[1].ravel(), usual, now),
    )


def _known(
    plan: Plan, pairs: Sequence[Pair], now: Figures, side: Side, running: Floats
) -> list[Usual]:
    """What is worked out of the reference of each pair alone. As a rule that is a lasting one, or
    one that is itself the current side of another pair: production, which all others are held
    against. ``now``, ``side``, ``running``: of the current sides. Copies are taken of them: what is
    usual may be remembered, and must not hold all that it was found with."""
    current = {pair.current: at for at, pair in enumerate(pairs)}
    columns, cells = len(plan.columns), len(plan.slices.of)
    number_cells = len(plan.number_slices.of)
    passing: dict[Summaries, Usual] = {}
    found = []
    for reference, _, lasting in pairs:
        at = current.get(reference)
        if lasting or at is None:
            found.append((lasting_usual if lasting else passing_usual)(reference, plan))
            continue
        known = passing.get(reference)
        if known is None:
            of_columns = slice(at * columns, (at + 1) * columns)
            known = passing[reference] = usual_of(
                reference,
                plan,
                now.part(of_columns).copy(),
                side.part(of_columns, slice(at * cells, (at + 1) * cells)).copy(),
                running[at * number_cells : (at + 1) * number_cells].copy(),
            )
        found.append(known)
    return found


def _counts_of_all(currents: Sequence[Summaries], plan: Plan) -> Ints:
    """int64 [summaries, cells]."""
    texts = plan.columns[plan.binned_numbers : plan.binned]
    vectors = np.concatenate([current.vector for current in currents]).reshape(len(currents), -1)
    if not texts:
        return vectors.take(plan.now_cells, axis=1)
    rests = [[rest_of(current, spec.name) for spec in texts] for current in currents]
    whole = np.concatenate((vectors, np.array(rests, np.int64)), axis=1)
    return whole.take(plan.now_cells, axis=1)


def _figures_of_all(currents: Sequence[Summaries], plan: Plan) -> Figures:
    """Those of the columns of each, in the order of comparison."""
    whole = Figures.joined(figures_of.all(currents))
    width = whole.counts.shape[1] // len(currents)
    each = np.arange(len(currents))[:, None] * width + plan.now_columns
    return whole.take(each.ravel())


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
        here = numbers_of(compared.now_side, plan)
        scores = scores_against(compared.known, plan)
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


def _distances(kernels: WindowKernels | None, slices: Slices, usual: Side, now: Side) -> Distances:
    if kernels is None:
        return distances(slices, usual, now)
    return distances_by(kernels, slices, usual, now)


def _compare_loose(pair: Pair, plan: Plan, kernels: WindowKernels | None) -> Compared:
    """With columns that have no common bins behind those that have."""
    reference, current, lasting = pair
    known = (lasting_usual if lasting else passing_usual)(reference, plan)
    now = figures_of(current).take(plan.now_columns)
    counts = counts_of(current, plan, plan.now_cells)
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
    usual = [counts_of(reference, plan, plan.usual_cells), *(expected for expected, _ in cells)]
    usual_side = Side.of(np.concatenate(usual), slices)
    side = Side.of(np.concatenate([counts, *(observed for _, observed in cells)]), slices)
    ks, moved = np.full(len(plan.columns), np.nan), np.full(len(plan.columns), np.nan)
    binned = numbers_of(Side.of(counts, plan.slices), plan)
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
        _distances(kernels, slices, usual_side, side),
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
