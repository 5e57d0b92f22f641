"""All bets of one (release, segment), and what they pay in one slot of the season.

Bets stand in one flat order: the ordered watches' shapes (a block per family, watch by watch),
then the cells' shapes (cell by cell), then the experts (expert by expert). :class:`Payoffs` holds
logarithms of payoffs per row; the experts' are learnt from the stream and computed in each pane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors import season
from detectors.bets import (
    CELL_MOVES,
    Move,
    cell_shapes,
    log_payoffs,
    ordered_moves,
    ordered_shapes,
    share_bounds,
    smallest_bet,
    tolerance,
)
from detectors.cells import Cells, Family
from detectors.drift_settings import BurstBound, DriftSettings

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MEMORIES = (0.5, 0.9, 0.99)
"""What the experts keep of their counts from pane to pane."""
EXPERTS_SHARE = 0.3
EXPERTS_ROWS = 200.0
"""Rows of the reference law that an expert's estimate is shrunk by."""
_EXPERTS_QUANTILE = 1e-6
_NEW_CATEGORY_WEIGHT = 8.0


class Basis(StrEnum):
    """On what the promise about false alarms stands."""

    THEOREM = "theorem"
    """Panes of the reference behaved as independent rows: the proof applies as it stands."""
    REPLAY = "checked by replay"
    """They did not; payoffs are deflated, and a replay of the reference stayed quiet."""
    UNCHECKED = "theorem for independent rows, which could not be checked"
    """The reference came without panes."""


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """The bets on some cells; none of it depends on data. ``watch_of``: int64 [bets], the watch a
    bet is about; ``cell_of``: int64 [bets], the cell, or -1; ``moves``: by bet.
    ``blocks``: (family, watches, first bet) of ordered watches; ``named``: first bet on cells;
    ``experts``: first of the experts' bets; ``bet_cells``: int64, cells that have bets."""

    cells: Cells
    watch_of: Indices
    cell_of: Indices
    moves: tuple[Move, ...]
    blocks: tuple[tuple[Family, Indices, int], ...]
    bet_cells: Indices
    named: int
    experts: int

    @property
    def bets(self) -> int:
        return len(self.watch_of)


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """What drift is measured against. ``counts``: float64 [slots, cells] of the reference;
    ``inflation``: float64 [bets], by how much the evidence of each bet is divided;
    ``pane_rows``: float64 [watches], mean rows of the panes it was learnt from, or infinity;
    ``basis``: by watch; ``unarmed``: watches that the replay could not calm."""

    dictionary: Dictionary
    counts: Floats
    inflation: Floats
    pane_rows: Floats
    basis: tuple[Basis, ...]
    unarmed: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Payoffs:
    """The bets in one slot. ``blocks``: per ordered block the cells of its watches [watches,
    cells] (the last index is padding) and ``ln w`` [watches, cells, shapes]. ``hit``, ``miss``:
    ``ln w`` of the bets on cells. ``law``: float64 [cells]; ``rows``: float64 [watches].
    ``prior``: float64 [bets], sums to 1 over a watch, or to 0 if it is not judged in this slot.
    Of the experts, by watch: ``expert_inflation``, by how much their evidence is divided, and of
    each cell's watch (``expert_inflation_of``); ``expert_rows``: of the reference, divided by it.
    ``bounded``: whether a pane's evidence is bounded, by watch; ``judged``: whether a watch is
    judged in this slot; ``reasons``: why not, "" if it is."""

    normal: Normal
    blocks: tuple[tuple[Indices, Floats], ...]
    hit: Floats
    miss: Floats
    law: Floats
    rows: Floats
    prior: Floats
    expert_effect: float
    expert_z_square: Floats
    expert_inflation: Floats
    expert_inflation_of: Floats
    expert_rows: Floats
    bounded: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    reasons: tuple[str, ...]


def dictionary_of(cells: Cells) -> Dictionary:
    """The bets on these cells."""
    watch_of: list[int] = []
    cell_of: list[int] = []
    moves: list[Move] = []
    blocks: list[tuple[Family, Indices, int]] = []
    for family in (Family.ORDERED, Family.TAILED):
        members = [w for w, watch in enumerate(cells.watches) if watch.family is family]
        shapes = ordered_moves(family is Family.TAILED)
        if members:
            blocks.append((family, np.array(members), len(watch_of)))
        for w in members:
            watch_of += [w] * len(shapes)
            cell_of += [-1] * len(shapes)
            moves += shapes
    named = len(watch_of)
    bet_cells: list[int] = []
    for w, watch in enumerate(cells.watches):
        if watch.family in (Family.ORDERED, Family.TAILED):
            continue
        # Of rates the first cell is where nothing is wrong: the others' bets say it all.
        first = int(watch.family is Family.RATES)
        for cell in range(int(cells.starts[w]) + first, int(cells.starts[w + 1])):
            bet_cells.append(cell)
            watch_of += [w] * len(CELL_MOVES)
            cell_of += [cell] * len(CELL_MOVES)
            moves += CELL_MOVES
    experts = len(watch_of)
    for _ in MEMORIES:
        watch_of += range(len(cells.watches))
        cell_of += [-1] * len(cells.watches)
        moves += [Move.LEARNT] * len(cells.watches)
    return Dictionary(
        cells,
        np.array(watch_of, np.int64),
        np.array(cell_of, np.int64),
        tuple(moves),
        tuple(blocks),
        np.array(bet_cells, np.int64),
        named,
        experts,
    )


def normal_without_panes(dictionary: Dictionary, counts: Floats) -> Normal:
    """The reference as one lump, float64 [cells]: independence of rows is assumed, not checked."""
    watches = len(dictionary.cells.watches)
    return Normal(
        dictionary,
        counts[None, :],
        np.ones(dictionary.bets),
        np.full(watches, np.inf),
        (Basis.UNCHECKED,) * watches,
        (False,) * watches,
    )


def payoffs(normal: Normal, slot: int, settings: DriftSettings) -> Payoffs:
    """What the bets pay in a slot. Costs about 0.1 ms a watch; the same until the slot changes."""
    dictionary = normal.dictionary
    cells = dictionary.cells
    law, rows = season.law(normal.counts, cells.starts, slot if len(normal.counts) > 1 else 0)
    reasons = tuple(
        _why_not(int(n), unarmed, settings)
        for n, unarmed in zip(rows.tolist(), normal.unarmed, strict=True)
    )
    # Never judged where there are fewer rows than asked for; the formulas still need some.
    known = np.maximum(rows, 1.0)
    inflation = np.maximum(normal.inflation, 1.0)
    typical = typical_inflation(dictionary, inflation)
    smallest = smallest_bet(settings.minimum_effect, settings.tolerance, known / typical)
    z_square = settings.tolerance**2
    prior = np.zeros(dictionary.bets)
    blocks: list[tuple[Indices, Floats]] = []
    for family, members, first in dictionary.blocks:
        index = padded(cells, members)
        shares = np.append(law, 0.0)[index]
        shapes = ordered_shapes(shares, smallest[members], family is Family.TAILED)
        watches, count, _ = shapes.ratio.shape
        span = slice(first, first + watches * count)
        inflated = known[members, None] / inflation[span].reshape(watches, count)
        excess = shapes.ratio - 1
        variance = np.einsum("wjk,wjk,wk->wj", excess, excess, shares)
        most = np.where(shares[:, None, :] > 0, excess, -1.0).max(axis=2)
        allowed = tolerance(settings.minimum_effect, z_square, inflated, variance, most)
        lowest = np.where(shares[:, None, :] > 0, shapes.ratio, np.inf).min(axis=2)
        logs = log_payoffs(shapes.ratio, lowest[..., None], allowed[..., None])
        logs /= inflation[span].reshape(watches, count, 1)
        logs[np.broadcast_to((shares == 0)[:, None, :], logs.shape)] = 0.0
        winnable = (allowed < most) & (shapes.prior > 0)
        logs[~winnable] = 0.0
        prior[span] = np.where(winnable, shapes.prior, 0.0).ravel()
        blocks.append((index, np.ascontiguousarray(logs.transpose(0, 2, 1))))
    hit, miss = _on_cells(dictionary, law, known, smallest, settings, inflation, prior)
    sizes = cells.sizes
    judged = np.array([not reason for reason in reasons])
    highest = _highest(dictionary, inflation)
    _share_out(prior, dictionary, judged)
    return Payoffs(
        normal,
        tuple(blocks),
        hit,
        miss,
        law,
        known,
        prior,
        settings.minimum_effect,
        special.chdtri(np.maximum(sizes - 1, 1), _EXPERTS_QUANTILE),
        highest,
        highest.repeat(sizes),
        known / highest,
        np.array([_bounded(basis, settings.burst_bound) for basis in normal.basis]),
        judged,
        reasons,
    )


def padded(cells: Cells, members: Indices) -> Indices:
    """The cells of some watches as a matrix; the index behind the last cell is padding."""
    sizes = cells.sizes[members]
    index = np.arange(sizes.max())[None, :]
    found: Indices = np.where(
        index < sizes[:, None], cells.starts[members][:, None] + index, cells.width
    )
    return found


def directions(
    dictionary: Dictionary, laws: Floats, smallest: Floats
) -> Iterator[tuple[slice, int, Floats]]:
    """The bets' directions, for measuring how pane scores scatter. ``laws``: float64 [slots,
    cells]; ``smallest``: float64 [slots, watches]. Yields (bets, watch, ``rho - 1`` scaled to
    variance 1 under each slot's law, float64 [slots, directions, cells of the watch]): as many
    directions as bets, or one for all."""
    cells = dictionary.cells
    for family, members, first in dictionary.blocks:
        count = len(ordered_moves(family is Family.TAILED))
        for i, w in enumerate(members.tolist()):
            shares = laws[:, cells.starts[w] : cells.starts[w + 1]]
            shapes = ordered_shapes(shares, smallest[:, w], family is Family.TAILED)
            span = slice(first + i * count, first + (i + 1) * count)
            yield span, w, _standard(shapes.ratio, shares)
    for i, cell in enumerate(dictionary.bet_cells.tolist()):
        first = dictionary.named + i * len(CELL_MOVES)
        w = int(dictionary.watch_of[first])
        start, end = int(cells.starts[w]), int(cells.starts[w + 1])
        one = np.zeros((len(laws), 1, end - start))
        one[:, 0, cell - start] = 1.0
        yield slice(first, first + len(CELL_MOVES)), w, _standard(one, laws[:, start:end])


def typical_inflation(dictionary: Dictionary, inflation: Floats) -> Floats:
    """The median over the bets of each watch: float64 [watches]."""
    shown = dictionary.watch_of[: dictionary.experts]
    order = np.argsort(shown, kind="stable")
    values, watches = inflation[: dictionary.experts][order], shown[order]
    starts = np.searchsorted(watches, np.arange(len(dictionary.cells.watches) + 1))
    return np.array(
        [
            float(np.median(values[low:high])) if high > low else 1.0
            for low, high in pairwise(starts.tolist())
        ]
    )


def _standard(ratio: Floats, laws: Floats) -> Floats:
    centred = ratio - (ratio * laws[:, None, :]).sum(axis=2, keepdims=True)
    sd = np.sqrt((centred * centred * laws[:, None, :]).sum(axis=2, keepdims=True))
    found: Floats = np.where(sd > 1e-12, centred / np.maximum(sd, 1e-300), 0.0)
    return found


def _on_cells(
    dictionary: Dictionary,
    law: Floats,
    rows: Floats,
    smallest: Floats,
    settings: DriftSettings,
    inflation: Floats,
    prior: Floats,
) -> tuple[Floats, Floats]:
    """``ln w`` in and outside the cell of each bet on cells; fills in their priors."""
    span = slice(dictionary.named, dictionary.experts)
    watch, cell = dictionary.watch_of[span], dictionary.cell_of[span]
    z = _z_of_cells(dictionary.cells, settings.tolerance)[watch]
    low, high = share_bounds(law[cell], rows[watch] / inflation[span], z)
    each = dictionary.cells.watch_of[dictionary.bet_cells]
    shapes = cell_shapes(law[dictionary.bet_cells], smallest[each], high[:: len(CELL_MOVES)])
    most = np.maximum(shapes.hit, shapes.miss) - 1
    lowest = np.minimum(shapes.hit, shapes.miss)
    # The ratio has two values, so its mean depends on the cell's share alone.
    off = np.where(shapes.hit > shapes.miss, high - law[cell], low - law[cell])
    allowed = settings.minimum_effect * shapes.effect + (shapes.hit - shapes.miss) * off
    winnable = (allowed < most) & (shapes.prior > 0)
    hit, miss = (
        np.where(winnable, log_payoffs(ratio, lowest, allowed) / inflation[span], 0.0)
        for ratio in (shapes.hit, shapes.miss)
    )
    # A category that the reference does not name is the most telling single cell.
    last = dictionary.cells.starts[1:][watch] - 1
    named = np.array([w.family is Family.NAMED for w in dictionary.cells.watches])[watch]
    new = named & (dictionary.cell_of[span] == last)
    weight = np.where(new, _NEW_CATEGORY_WEIGHT, 1.0)
    prior[span] = np.where(winnable, shapes.prior * weight, 0.0)
    return hit, miss


def _z_of_cells(cells: Cells, z: float) -> Floats:
    """The tolerance of single cells by watch. Among many categories one is off by more than z by
    luck alone: the chance that z stands for is shared by all of them."""
    ways = np.array([watch.cells if watch.family is Family.NAMED else 1 for watch in cells.watches])
    shared: Floats = np.maximum(-special.ndtri(special.ndtr(-z) / ways), z)
    return shared


def _share_out(prior: Floats, dictionary: Dictionary, judged: NDArray[np.bool_]) -> None:
    """Make the priors of each watch sum to 1: the dictionary's part and the experts'."""
    shown = dictionary.watch_of[: dictionary.experts]
    watches = len(dictionary.cells.watches)
    total = np.bincount(shown, weights=prior[: dictionary.experts], minlength=watches)
    part = np.where(total > 0, (1 - EXPERTS_SHARE) / np.maximum(total, 1e-300), 0.0)
    prior[: dictionary.experts] *= part[shown]
    prior[dictionary.experts :] = EXPERTS_SHARE / len(MEMORIES)
    prior *= judged[dictionary.watch_of]


def _highest(dictionary: Dictionary, inflation: Floats) -> Floats:
    highest = np.ones(len(dictionary.cells.watches))
    shown = dictionary.watch_of[: dictionary.experts]
    np.maximum.at(highest, shown, inflation[: dictionary.experts])
    return highest


def _bounded(basis: Basis, bound: BurstBound) -> bool:
    if bound is BurstBound.WHEN_NOT_INDEPENDENT:
        return basis is not Basis.THEOREM
    return bound is BurstBound.ALWAYS


def _why_not(rows: int, unarmed: bool, settings: DriftSettings) -> str:
    if rows < settings.min_reference_rows:
        return (
            f"the reference has {rows} rows for this column and time of the season, "
            f"{settings.min_reference_rows} needed"
        )
    if unarmed:
        return "a replay of the reference raised alarms whatever its evidence was divided by"
    return ""
