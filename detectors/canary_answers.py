"""What the measures of releases say now, all at once: failed, surely fine, or how far from either.

Releases with the same book have a row each, and what is said of one does not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.canary_ledger import Ledger
from detectors.canary_rules import CanarySettings
from detectors.canary_sequences import events_until, half_widths
from detectors.canary_shares import FIGURES, Nearest, limited, nearest_shares
from detectors.finding import Outcome
from detectors.upstream import Direction

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEWEST_CASES = 20
"""Of a rate: expected at the margin before an interval is believed."""
NEVER = -1
"""Further events where none will do, or nothing is known."""
MOST_EVENTS = 1e15
"""That are told of."""
WAYS = tuple(Direction)
"""By place, as :attr:`Answers.way` and :attr:`Told.ways` have them."""


class Answer(IntEnum):
    """Why a measure has the outcome that it has; the first that holds."""

    FAILED = 0
    NO_VALUES = 1
    NO_PAIRS = 2
    CONSTANT = 3
    NO_VARIATION = 4
    FEW_VALUES = 5
    FEW_CASES = 6
    INSIDE = 7
    BEYOND = 8
    OPEN = 9


OUTCOMES = tuple(
    {Answer.FAILED: Outcome.FAIL, Answer.INSIDE: Outcome.PASS}.get(answer, Outcome.INSUFFICIENT)
    for answer in Answer
)
"""By answer."""
SILENT = (int(Answer.NO_VALUES), int(Answer.CONSTANT))
"""Nothing to be judged: no values in either arm, or the same constant in both."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Of one release, a list by measure each, in the order of its book. ``evidence`` and
    ``needed``: natural logarithms; at ``needed`` harm is proven. ``estimate``, ``low``, ``high``:
    canary less production with its interval at level ``alpha`` of the release: of means for a
    level, else of the share that is nearest to its limit (for a tail, of the share beyond a
    quantile once the margin is taken off). ``margin``: the limit of the difference in its units
    (NaN where it has none). ``since_ms``: when the winning evidence began (0: none). ``cases``:
    values until FEWEST_CASES are expected at each limit. ``to_fail``, ``to_pass``: canary values
    that are still needed, or NEVER, if things go on as they have; ``events_per_ms``: how fast they
    come."""

    book: Book
    min_events: int
    answer: list[int]
    evidence: list[float]
    needed: list[float]
    estimate: list[float]
    low: list[float]
    high: list[float]
    margin: list[float]
    way: list[int]
    n: list[int]
    n_against: list[int]
    since_ms: list[int]
    cases: list[int]
    to_fail: list[int]
    to_pass: list[int]
    events_per_ms: list[float]

    def direction(self, at: int) -> Direction:
        """Which way a measure goes."""
        return WAYS[self.way[at]]


def answers(ledger: Ledger, book: Book, settings: CanarySettings) -> list[Answers]:
    """Of each release of a ledger whose arrays have a row for each."""
    with np.errstate(all="ignore"):
        return _answers(ledger, book, settings)


def _answers(ledger: Ledger, book: Book, settings: CanarySettings) -> list[Answers]:
    cast, tallies, wealth, sequences = book.cast, ledger.tallies, ledger.wealth, ledger.sequences
    told = told_of(book)
    factor = ledger.factor(settings)
    nearest = _nearest(ledger, book, settings, factor)
    cases = np.maximum(np.ceil(FEWEST_CASES / nearest.rarest) - tallies.n, 0.0)
    cases[np.isnan(cases)] = 0.0  # of levels
    failed = wealth.peak >= cast.needed
    none = tallies.n == 0
    flat = told.level & ~(sequences.variance > 0)
    still = (sequences.n > 0) & (sequences.skipped == 0) & (sequences.total == 0)
    # In the order of :class:`Answer`, of which the first that holds is given.
    reasons = (
        failed,
        none & (tallies.unmatched == 0),
        none,
        flat & still,
        flat,
        tallies.n < settings.min_events,
        cases > 0,
        nearest.inside,
        ~(nearest.room > 0),
        np.ones(none.shape, np.bool_),
    )
    # Of a level that may go neither way: where it went.
    went = np.where(sequences.total > 0, WAYS.index(Direction.UP), WAYS.index(Direction.DOWN))
    span = tallies.last_ms - tallies.first_ms
    rows = zip(
        *(
            column.tolist()
            for column in (
                np.array(reasons).argmax(axis=0),
                wealth.peak,
                np.broadcast_to(cast.needed, none.shape),
                nearest.estimate,
                nearest.low,
                nearest.high,
                nearest.margin,
                np.where(told.both_ways & (sequences.n > 0), went, told.ways),
                tallies.n,
                tallies.n_against,
                wealth.peak_onset_ms,
                _whole(cases),
                _whole(_to_fail(ledger, book, failed, span)),
                _whole(_to_pass(ledger, settings, nearest, cases, factor, failed)),
                np.where(span > 0, tallies.n / np.maximum(span, 1), 0.0),
            )
        ),
        strict=True,
    )
    return [Answers(book, settings.min_events, *row) for row in rows]


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What of a book shapes its answers. Of each part, [M]: ``level``: whether it is one; ``ways``:
    which way is harm, as places in :class:`Direction`; ``both_ways``: whether it is a level that
    may go neither way. ``signs``: which way is harm to each level, 0 for both, [L]; ``order``:
    where what is :func:`_nearest` of a part stands behind that of levels and of limited shares,
    with nothing known last, [M]."""

    level: Flags
    ways: Counts
    both_ways: Flags
    signs: Floats
    order: Counts


@lru_cache(maxsize=512)
def told_of(book: Book) -> Told:
    """Worked out once for a book."""
    levels, parts = book.cast.levels, limited(book.cast).parts
    level = np.zeros(len(book.what), np.bool_)
    level[levels] = True
    ways = np.array(
        [WAYS.index(what.harm if what else Direction.BOTH) for what in book.what], np.int64
    )
    signs = np.array([_SIGNS[what.harm] if what else 0.0 for what in book.what])
    order = np.full(len(book.what), len(levels) + len(parts))
    order[levels] = np.arange(len(levels))
    order[parts] = np.arange(len(parts)) + len(levels)
    both_ways = level & (ways == WAYS.index(Direction.BOTH))
    return Told(level, ways, both_ways, signs[levels], order)


def _nearest(ledger: Ledger, book: Book, settings: CanarySettings, factor: Floats) -> Nearest:
    """Of every part, [..., M]."""
    levels = _levels(ledger, book, settings, factor)
    shares = nearest_shares(ledger, book, factor, settings.alpha)
    unknown = np.full((FIGURES, *factor.shape[:-1], 1), np.nan)
    order = told_of(book).order
    return Nearest.of(
        np.concatenate((levels.figures, shares.figures, unknown), axis=-1).take(order, axis=-1),
        np.concatenate((levels.inside, shares.inside, unknown[0] > 0), axis=-1).take(
            order, axis=-1
        ),
    )


def _levels(ledger: Ledger, book: Book, settings: CanarySettings, factor: Floats) -> Nearest:
    """The differences of means, [..., L]."""
    parts, of = book.cast.levels, ledger.sequences
    variance, r2 = of.variance.take(parts, axis=-1), of.r2.take(parts, axis=-1)
    n = of.n.take(parts, axis=-1)
    within, against = of.within.take(parts, axis=-1), of.n_against.take(parts, axis=-1)
    estimate = of.total.take(parts, axis=-1) / n
    margin = book.margin[parts] * np.sqrt(within / against)
    half = half_widths(variance, r2, n, settings.alpha, factor.take(parts, axis=-1))
    signs = told_of(book).signs
    room = margin - np.where(signs == 0, np.abs(estimate), signs * estimate)
    no_share = np.full(n.shape, np.nan)
    low, high = estimate - half, estimate + half
    # Where anything is NaN, inside is a no.
    return Nearest.of(
        np.array((estimate, low, high, margin, variance, r2, half, room, no_share)), half < room
    )


_SIGNS = {Direction.UP: 1.0, Direction.DOWN: -1.0, Direction.BOTH: 0.0}


def _to_fail(ledger: Ledger, book: Book, failed: Flags, span: Counts) -> Floats:
    """From how fast the leading bet has won since it was made, if traffic was even."""
    evidence, tallies = ledger.wealth.evidence, ledger.tallies
    since = tallies.last_ms - ledger.wealth.leading_since(ledger.bets)
    events = tallies.n * np.clip(since / np.maximum(span, 1), 0.0, 1.0)
    further = np.ceil((book.cast.needed - evidence) * events / evidence)
    known = (evidence > 0) & (span > 0) & (further < MOST_EVENTS)
    return np.where(failed, 0.0, np.where(known, further, NEVER))


def _to_pass(
    ledger: Ledger,
    settings: CanarySettings,
    nearest: Nearest,
    cases: Floats,
    factor: Floats,
    failed: Flags,
) -> Floats:
    """From how fast the interval narrows, if the difference stays as it is estimated now."""
    n = ledger.tallies.n
    further = np.maximum(np.maximum(settings.min_events - n, cases), 0.0)
    events = events_until(
        nearest.variance, nearest.r2, ledger.sequences.n, nearest.room, settings.alpha, factor
    )
    wanted = np.where(nearest.inside, further, np.maximum(further, events))
    known = nearest.inside | ~np.isnan(events)
    return np.where(known & ~failed & (n > 0), wanted, NEVER)


def _whole(values: Floats) -> Counts:
    return np.minimum(values, MOST_EVENTS).astype(np.int64)
