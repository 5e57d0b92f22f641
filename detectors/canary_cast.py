"""Who is judged: the measures of a release, their parts of alpha and their cells.

A cast changes only when a column turns up or cells are fixed, so all that follows from it (where
counts stand in a summary, which bets are made) is worked out once and shared by all releases that
have an equal one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_rules import CanarySettings, Judged, Measure, Rule, judged_by

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

RATES = (Measure.ERRORS, Measure.MISSING)
HELD_LEVELS = (0.5, 0.95, 0.99)
"""Of a tail: at each of these quantiles a PASS needs the interval inside the margin."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Cells as they were fixed: their ``shares`` then (none is 0), and by measure the ``edges``
    between them, the ``categories`` (and one cell for all others), or by what the canary's values
    are divided (``shrink``)."""

    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    shrink: float = 1.0


RATE = Basis((0.5, 0.5))
"""Of every rate: not, and in error or missing."""
TAIL_CELLS = len(TAIL_LEVELS) + 1


@dataclass(frozen=True, slots=True)
class Part:
    """One measure of one column. ``alpha``: its part of the release's, fixed before its first bet;
    ``basis``: None until its cells are fixed."""

    column: str
    measure: Measure
    alpha: float
    basis: Basis | None = None

    @property
    def key(self) -> tuple[str, Measure]:
        return self.column, self.measure

    @property
    def cells(self) -> int:
        """At least 1, so that every part has a place: without a basis it stays empty."""
        return len(self.basis.shares) if self.basis is not None else 1


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """Parts in the order of (column, measure); make it with :func:`cast_of`. Of each part, [M]:
    ``cells``: how many it has, and ``starts``: where they begin in the flat vector of ``width``
    cells; ``needed``: ln(1/alpha); ``fixed``: whether it has a basis. ``owner``: the part of each
    cell, [C]. Of the shares that are held to a limit, [H]: ``held_owner``, the part, ``held_first``
    and ``held_stop``, its cells; ``held_both``: whether it may not fall either; ``held_beyond``: of
    a tail, the share that lies there, else NaN. ``rates``, ``levels``, ``tails``: the places of the
    parts with such measures; ``no_rate``: which are none, [M]; ``rate_share``: the shares of rates.
    ``level_at``: the place of each part among ``levels``, or behind them, [M]; ``counted_at``: that
    of its events among those of parts, with those of levels behind them, [M].
    ``settled``: all parts have a basis."""

    parts: tuple[Part, ...]
    cells: Indices
    starts: Indices
    width: int
    needed: Floats
    fixed: Flags
    owner: Indices
    held_owner: Indices
    held_first: Indices
    held_stop: Indices
    held_both: Flags
    held_beyond: Floats
    rate_share: Indices
    rates: Indices
    no_rate: Flags
    levels: Indices
    level_at: Indices
    counted_at: Indices
    tails: tuple[int, ...]
    known: frozenset[tuple[str, Measure]]
    settled: bool


@lru_cache(maxsize=512)
def cast_of(parts: tuple[Part, ...]) -> Cast:
    """Equal parts give the same object, so that what follows from it is shared."""
    cells = np.array([part.cells for part in parts], np.int64)
    owner = np.repeat(np.arange(len(parts)), cells)
    starts = np.cumsum(cells) - cells
    held = [
        (at, first + begin, first + stop)
        for at, (part, first) in enumerate(zip(parts, starts.tolist(), strict=True))
        for begin, stop in _held(part)
    ]
    held_owner = np.array([at for at, _, _ in held], np.int64)
    rates = np.array(_of(parts, *RATES), np.int64)
    levels = np.array(_of(parts, Measure.LEVEL), np.int64)
    level_at = np.full(len(parts), len(levels))
    level_at[levels] = np.arange(len(levels))
    counted_at = np.arange(len(parts))
    counted_at[levels] = np.arange(len(levels)) + len(parts)
    return Cast(
        parts,
        cells,
        starts,
        int(cells.sum()),
        -np.log(np.array([part.alpha for part in parts])),
        np.array([part.basis is not None for part in parts], np.bool_),
        owner,
        held_owner,
        np.array([first for _, first, _ in held], np.int64),
        np.array([stop for _, _, stop in held], np.int64),
        np.array([parts[at].measure is Measure.CATEGORIES for at, _, _ in held], np.bool_),
        np.array([_beyond(parts[at], first - int(starts[at])) for at, first, _ in held]),
        np.searchsorted(held_owner, rates),
        rates,
        np.array([part.measure not in RATES for part in parts], np.bool_),
        levels,
        level_at,
        counted_at,
        tuple(_of(parts, Measure.TAIL)),
        frozenset(part.key for part in parts),
        all(part.basis is not None for part in parts),
    )


def _held(part: Part) -> list[tuple[int, int]]:
    """The runs of its cells whose shares are held to a limit."""
    if part.basis is None:
        return []
    match part.measure:
        case Measure.ERRORS | Measure.MISSING:
            return [(1, 2)]
        case Measure.TAIL:
            return [(TAIL_LEVELS.index(level) + 1, TAIL_CELLS) for level in HELD_LEVELS]
        case Measure.CATEGORIES:
            return [(cell, cell + 1) for cell in range(part.cells)]
        case Measure.LEVEL:
            return []


def _beyond(part: Part, cell: int) -> float:
    return 1.0 - TAIL_LEVELS[cell - 1] if part.measure is Measure.TAIL else math.nan


def _of(parts: tuple[Part, ...], *measures: Measure) -> list[int]:
    return [at for at, part in enumerate(parts) if part.measure in measures]


NOBODY = cast_of(())


@dataclass(frozen=True, slots=True, eq=False)
class Rulebook:
    """What of the settings decides who is judged and which bets are made; equal settings give the
    same object. Make it with :func:`rulebook`."""

    rules: tuple[Rule, ...]
    lower_is_better: tuple[str, ...]
    host_effect: float

    def judged(self, column: str, measure: Measure) -> Judged | None:
        return judged_by(self.rules, self.lower_is_better, column, measure)


def rulebook(settings: CanarySettings) -> Rulebook:
    return _rulebook(settings.rules, settings.lower_is_better, settings.host_effect)


@lru_cache(maxsize=256)
def _rulebook(rules: tuple[Rule, ...], lower: tuple[str, ...], host_effect: float) -> Rulebook:
    return Rulebook(rules, lower, host_effect)


@lru_cache(maxsize=512)
def judged_parts(cast: Cast, book: Rulebook) -> tuple[Judged | None, ...]:
    """What each part is held to; None where no rule asks for it any more."""
    return tuple(book.judged(part.column, part.measure) for part in cast.parts)
