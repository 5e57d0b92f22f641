"""Who is judged from a pane on, in which cells, and what both arms count in them.

Panes of several releases are counted together: those whose parts and cells are the same are rows of
the same arrays, and an arm that several panes share (production) is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book, book_of
from detectors.canary_cast import RATE, RATES, Cast, Part, Rulebook, cast_of, judged_parts, rulebook
from detectors.canary_cells import basis_of, new_measures, tail_cells
from detectors.canary_counts import ArmCounts, read_arms
from detectors.canary_metric import ArmsPane
from detectors.canary_reading import ReadingKernels, read_by
from detectors.canary_rules import CanarySettings, Judged, Measure, first_alphas, later_alpha
from detectors.layout import Header
from detectors.sketch import Sketch


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Panes in the cells of all measures that are judged from now on. ``of``: their places among
    those that were asked for; ``arms``: [2, panes, ...]; ``ready``: the parts whose cells were
    fixed before, [panes, M]; ``late``: how many measures have come late, by pane."""

    of: tuple[int, ...]
    book: Book
    arms: ArmCounts
    ready: NDArray[np.bool_]
    late: tuple[int, ...]

    def alone(self) -> Counted:
        """Of a single pane: the same without the axis of panes."""
        arms = self.arms
        arms = ArmCounts(arms.cells[:, 0], arms.n[:, 0], arms.mean[:, 0], arms.sd[:, 0], arms.lost)
        return replace(self, arms=arms, ready=self.ready[0])


def count(
    known: Sequence[tuple[Cast, int]],
    settings: CanarySettings,
    panes: Sequence[ArmsPane],
    kernels: ReadingKernels | None = None,
) -> list[Counted]:
    """All of ``panes``, in groups that have the book, the time and what is known of arms in common.
    ``known``: of each release who was judged so far, and how many measures have come late."""
    rules = rulebook(settings)
    groups: dict[tuple[Cast, int, int, int], list[_Listed]] = {}
    for at, ((before, so_far), pane) in enumerate(zip(known, panes, strict=True)):
        with_new, late = _with_new(before, so_far, settings, rules, pane)
        cast, fresh = _with_cells(with_new, settings, rules, pane)
        key = cast, pane.start_ms, pane.length_ms, id(pane.variance)
        groups.setdefault(key, []).append(_Listed(at, pane, fresh, late))
    found: list[Counted] = []
    for (cast, *_), listed in groups.items():
        arms = _read(cast, [one.pane for one in listed], kernels)
        if not any(arms.lost):
            found.append(_counted(listed, cast, rules, arms))
            continue
        for place, one in enumerate(listed):
            # These columns are counted in other cells now: go on there with the money that is left.
            lost = arms.lost[place]
            recut = _recut(cast, lost, settings, rules, one.pane) if lost else cast
            alone = replace(one, fresh=one.fresh | lost)
            found.append(_counted([alone], recut, rules, _read(recut, [one.pane])))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """A pane, its place, the parts that cannot be bet on in it, and how many have come late."""

    at: int
    pane: ArmsPane
    fresh: frozenset[int]
    late: int


def _counted(listed: Sequence[_Listed], cast: Cast, rules: Rulebook, arms: ArmCounts) -> Counted:
    ready = cast.fixed[None].repeat(len(listed), axis=0)
    for row, one in enumerate(listed):
        if one.fresh:
            ready[row, sorted(one.fresh)] = False
    of, late = tuple(one.at for one in listed), tuple(one.late for one in listed)
    return Counted(of, book_of(cast, rules), arms, ready, late)


def _with_new(
    cast: Cast, late: int, settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> tuple[Cast, int]:
    """With the measures that this pane is the first to have, and their parts of alpha; and how many
    have come late."""
    new = new_measures(cast, rules, pane.canary.layout, pane.production.layout)
    if new:
        new = tuple(what for what in new if _occurs(what, pane))
    if not new:
        return cast, late
    if cast.parts:
        alphas = [later_alpha(settings, late + i) for i in range(len(new))]
        late += len(new)
    else:
        alphas = first_alphas(settings, list(new))
    added = [
        Part(what.column, what.measure, alpha, RATE if what.measure in RATES else None)
        for what, alpha in zip(new, alphas, strict=True)
    ]
    return cast_of(tuple(sorted((*cast.parts, *added), key=lambda part: part.key))), late


def _occurs(what: Judged, pane: ArmsPane) -> bool:
    """Whether a column has anything in it. Workers send the columns of a whole flush for each of
    its panes, and which panes share a flush is chance: without a value a column is not there."""
    if what.measure is Measure.ERRORS:
        return any(arm.header(Header.PREDICTIONS) for arm in (pane.canary, pane.production))
    return any(
        column is not None and column.n + column.errors > 0
        for arm in (pane.canary, pane.production)
        for column in (arm.numeric(what.column), arm.categorical(what.column))
    )


def _with_cells(
    cast: Cast, settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> tuple[Cast, frozenset[int]]:
    """With cells for the parts that have none yet: those of the reference can be bet on at once;
    ``fresh``: parts whose cells come from this pane and cannot be bet on in it."""
    if cast.settled:
        return cast, frozenset()
    held_to, parts = judged_parts(cast, rules), list(cast.parts)
    fresh: set[int] = set()
    found = False
    for at, (part, what) in enumerate(zip(cast.parts, held_to, strict=True)):
        if part.basis is not None or what is None:
            continue
        basis = basis_of(what, settings, pane.normal) if pane.normal is not None else None
        if basis is None:
            basis = basis_of(what, settings, pane.canary, pane.production)
            fresh.add(at)
        if basis is not None:
            parts[at], found = replace(part, basis=basis), True
    return cast_of(tuple(parts)) if found else cast, frozenset(fresh)


def _recut(
    cast: Cast, lost: frozenset[int], settings: CanarySettings, rules: Rulebook, pane: ArmsPane
) -> Cast:
    held_to, parts = judged_parts(cast, rules), list(cast.parts)
    for at in lost:
        what = held_to[at]
        if what is not None:
            basis = basis_of(what, settings, pane.canary, pane.production)
            parts[at] = replace(parts[at], basis=basis)
    return cast_of(tuple(parts))


def _read(
    cast: Cast, panes: Sequence[ArmsPane], kernels: ReadingKernels | None = None
) -> ArmCounts:
    """Both arms of each pane in the cells of the cast, [2, panes, ...]; those of tails lie at
    quantiles of both together. ``lost``: by pane."""
    found = read_by(kernels, cast, panes) if kernels is not None else None
    if found is not None:
        return found
    arms = {id(arm): arm for pane in panes for arm in (pane.canary, pane.production)}
    place = {known: at for at, known in enumerate(arms)}
    which = np.array(
        [
            [place[id(pane.canary)] for pane in panes],
            [place[id(pane.production)] for pane in panes],
        ]
    )
    read = read_arms(cast, tuple(arms.values()))
    cells = read.cells.take(which, axis=0)
    for at in cast.tails:
        part = cast.parts[at]
        if part.basis is None:
            continue
        first = int(cast.starts[at])
        slow, usual = (
            [arm.sketches.get(part.column) or Sketch.empty() for arm in of]
            for of in zip(*((pane.canary, pane.production) for pane in panes), strict=True)
        )
        cells[..., first : first + part.cells] = tail_cells(slow, usual, part.basis.shrink)
    lost = tuple(read.lost[ours] | read.lost[theirs] for ours, theirs in which.T.tolist())
    return ArmCounts(
        cells,
        read.n.take(which, axis=0),
        read.mean.take(which, axis=0),
        read.sd.take(which, axis=0),
        lost,
    )
