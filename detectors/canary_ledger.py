"""Everything that is remembered of a canary, in flat arrays, and how a pane is entered.

A pane costs some operations on arrays whatever the number of columns, and of releases: those with
the same book are entered together, as rows (:mod:`detectors.canary_rows`). Two questions are asked
of each part (a measure of a column), and both may stay open:

- *Is it worse than its margin?* The wealth of exact conditional bets
  (:mod:`detectors.conditional`); proven, it fails the canary. Exact given the pooled panes as long
  as nothing makes panes vary more than their events do; where something does, the tolerance for
  host effects, the factor of :mod:`detectors.dispersion` and what an A/A period taught
  (:mod:`detectors.arm_variance`) hold against it, and that is tested by simulation, not proven.
- *Is it surely not?* The confidence sequence of the difference lies inside the margin. Asymptotic,
  hence only with ``min_events`` values and twenty expected cases of a rate.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.arm_variance import ArmVariance
from detectors.canary_bets import tolerated_odds
from detectors.canary_book import Book
from detectors.canary_cast import NOBODY, Cast
from detectors.canary_counts import ArmCounts
from detectors.canary_evidence import log_e_values, running
from detectors.canary_rules import CanarySettings
from detectors.canary_sequences import PaneValues, Sequences
from detectors.canary_wealth import Wealth
from detectors.dispersion import Differences, Dispersion, differences
from detectors.flags import all_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Tallies:
    """By part, [..., M]. ``n``, ``n_against``: events of both arms in all panes that had both;
    ``unmatched``: events in panes that lacked the other arm; ``first_ms``, ``last_ms``: of the
    panes that had both."""

    n: Counts
    n_against: Counts
    unmatched: Counts
    first_ms: Counts
    last_ms: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """``bets``: how many each part has, [M]; ``learnt``: the largest factor that an A/A period
    taught for a pane so far, [M]; ``sequences``: of the means of levels; of others their variances
    per unit, as those of shares follow from the shares, [M]; ``cases``: the canary's events in each
    share that is held to a limit, and ``usual``: how many they would be with production's shares of
    the same panes, [H].

    Of releases together all but ``bets`` have a row for each: [releases, ...]."""

    cast: Cast
    bets: Counts
    wealth: Wealth
    dispersion: Dispersion
    learnt: Floats
    tallies: Tallies
    sequences: Sequences
    cases: Counts
    usual: Floats

    def factor(self, settings: CanarySettings) -> Floats:
        """By what evidence is divided and variance multiplied, from earlier panes alone,
        [..., M]."""
        return settings.inflation * np.maximum(self.dispersion.factor, self.learnt)


def _blank() -> Ledger:
    none, no = np.zeros(0, np.int64), np.zeros(0)
    return Ledger(
        NOBODY,
        none,
        Wealth(no, none, none, no, no, none),
        Dispersion.start(0),
        no,
        Tallies(none, none, none, none, none),
        Sequences(none, none, no, no, no, no, none),
        none,
        no,
    )


BLANK = _blank()
_Group = TypeVar("_Group", Dispersion, Tallies, Sequences)


def fits(ledger: Ledger, book: Book) -> bool:
    """Whether it has this cast and these bets."""
    bets = ledger.bets
    return ledger.cast is book.cast and (bets is book.bets or np.array_equal(bets, book.bets))


def fitted(ledger: Ledger, book: Book) -> Ledger:
    """The ledger of this cast and these bets. What is known of a part stays; where its bets or
    cells changed, the money that is left is spread over the new ones."""
    if fits(ledger, book):
        return ledger
    cast, old = book.cast, ledger.cast
    place = {part.key: at for at, part in enumerate(old.parts)}
    parts = [place.get(part.key, -1) for part in cast.parts]
    recut = [
        at >= 0 and old.parts[at].basis not in (None, part.basis)
        for at, part in zip(parts, cast.parts, strict=True)
    ]
    at = np.array(parts, np.int64)
    same_bets = [
        where >= 0 and not cut and ledger.bets[where] == bets
        for where, cut, bets in zip(parts, recut, book.bets.tolist(), strict=True)
    ]
    from_bets = _places(at, np.array(same_bets, np.bool_), ledger.bets, book.bets)
    held = np.bincount(old.held_owner, minlength=len(old.parts))
    shares = np.bincount(cast.held_owner, minlength=len(parts))
    kept = (at >= 0) & ~np.array(recut, np.bool_) & (np.append(held, 0)[at] == shares)
    from_shares = _places(at, kept, held, shares)
    uncut = np.where(np.array(recut, np.bool_), -1, at)
    wealth = Wealth(
        _taken(ledger.wealth.log_wealth, from_bets, -np.inf),
        _taken(ledger.wealth.onset_ms, from_bets, 0),
        _taken(ledger.wealth.panes, at, 0),
        _taken(ledger.wealth.evidence, at, -np.inf),
        _taken(ledger.wealth.peak, at, -np.inf),
        _taken(ledger.wealth.peak_onset_ms, at, 0),
    )
    spread = ~np.array(same_bets, np.bool_) & (wealth.panes > 0)
    moved = spread[book.owner]
    wealth.log_wealth[moved] = (wealth.evidence[book.owner] + book.log_part)[moved]
    wealth.onset_ms[moved] = wealth.peak_onset_ms[book.owner][moved]
    return Ledger(
        cast,
        book.bets,
        wealth,
        _each(ledger.dispersion, uncut),
        _taken(ledger.learnt, at, 1.0),
        _each(ledger.tallies, at),
        _each(ledger.sequences, at),
        _taken(ledger.cases, from_shares, 0),
        _taken(ledger.usual, from_shares, 0.0),
    )


def _places(parts: Counts, kept: Flags, before: Counts, after: Counts) -> Counts:
    """For each element after, its place before, or -1. ``parts``: the places of parts before;
    ``before``, ``after``: how many elements each part has."""
    starts = np.append(np.cumsum(before) - before, 0)[parts]
    within = np.arange(int(after.sum())) - np.repeat(np.cumsum(after) - after, after)
    return np.where(np.repeat(kept, after), np.repeat(starts, after) + within, -1)


def _taken(values: NDArray[Any], places: Counts, fill: float) -> NDArray[Any]:
    # The last element is the one that -1 takes.
    return np.append(values, np.array(fill, values.dtype))[places]


def _each(group: _Group, places: Counts) -> _Group:
    taken = {f.name: _taken(getattr(group, f.name), places, 0) for f in fields(group)}
    return replace(group, **taken)


def entered(
    ledger: Ledger,
    book: Book,
    settings: CanarySettings,
    start_ms: int,
    length_ms: int,
    arms: ArmCounts,
    ready: Flags,
    variance: ArmVariance | None = None,
) -> Ledger:
    """The ledger after a pane. ``ready``: the parts whose cells were fixed before it, [..., M]; of
    them only those with events in both arms learn something. Never raises for what the counts hold.

    What becomes of a release is the same, bit for bit, whichever others are entered with it."""
    with np.errstate(all="ignore"):
        return _entered(ledger, book, settings, start_ms, length_ms, arms, ready, variance)


def _entered(
    ledger: Ledger,
    book: Book,
    settings: CanarySettings,
    start_ms: int,
    length_ms: int,
    arms: ArmCounts,
    ready: Flags,
    variance: ArmVariance | None,
) -> Ledger:
    cast, old = book.cast, ledger.tallies
    if not len(cast.parts):
        return ledger
    pane = differences(arms.cells, book.values, cast.starts, cast.owner)
    asked = ready & book.judged
    seen = asked & (pane.n > 0) & (pane.m > 0)
    learnt = ledger.learnt
    if variance is not None and variance.learnt:
        learnt = np.maximum(learnt, variance.factors(cast, pane.weight))
    rates = cast.rates
    # Bets on a rate need to know about where it lies.
    bet_on = seen & (cast.no_rate | (old.n + old.n_against >= settings.fix_events))
    n = old.n.take(rates, axis=-1).astype(np.float64)
    m = old.n_against.take(rates, axis=-1).astype(np.float64)
    cases = ledger.cases.take(cast.rate_share, axis=-1)
    usual = ledger.usual.take(cast.rate_share, axis=-1)
    pooled = (cases + usual * (m / np.maximum(n, 1.0)) + 0.5) / (n + m + 1.0)
    odds = tolerated_odds(pooled, book.margin[rates], settings.host_effect, book.floor[rates])
    upto = running(arms.cells)
    scored = arms.cells[0].astype(np.float64) * book.scores
    first = np.add.reduceat(scored, cast.starts, axis=-1)
    log_e = log_e_values(book, arms.cells, upto, pane.n, pane.m, first, np.log(odds))
    # From earlier panes alone: an e-value to a power of at most 1 is still one.
    factor = settings.inflation * np.maximum(ledger.dispersion.factor, learnt)
    by_bet = factor.take(book.owner, axis=-1)
    wealth = ledger.wealth.step(
        book,
        np.divide(log_e, by_bet, out=by_bet),
        bet_on,
        start_ms,
        settings.burst * cast.needed,
    )
    values = _values(cast, arms, pane)
    sequences = ledger.sequences.step(values, seen, settings.alpha, settings.narrowest_after)
    owner = cast.held_owner
    held = upto.take(cast.held_stop, axis=-1) - upto.take(cast.held_first, axis=-1)
    add = seen.take(owner, axis=-1)
    # What production's share of this pane would be of the canary's events.
    scaled = held[1] * (pane.n / np.maximum(pane.m, 1)).take(owner, axis=-1)
    return Ledger(
        cast,
        book.bets,
        wealth,
        ledger.dispersion.step(pane, bet_on),
        learnt,
        _told(old, pane, asked, seen, start_ms, start_ms + length_ms),
        sequences,
        ledger.cases + held[0] * add,
        ledger.usual + scaled * add,
    )


def _told(
    old: Tallies, pane: Differences, asked: Flags, seen: Flags, start_ms: int, end_ms: int
) -> Tallies:
    latest = np.maximum(old.last_ms, end_ms)
    n, m = pane.n, pane.m
    if all_of(seen) and all_of(old.n):
        return Tallies(old.n + n, old.n_against + m, old.unmatched, old.first_ms, latest)
    return Tallies(
        old.n + n * seen,
        old.n_against + m * seen,
        old.unmatched + (n + m) * (asked & ~seen),
        np.where(seen & (old.n == 0), start_ms, old.first_ms),
        np.where(seen, latest, old.last_ms),
    )


def _values(cast: Cast, arms: ArmCounts, pane: Differences) -> PaneValues:
    """What the sequences compare in this pane: means of levels, and of others a unit."""
    n = np.concatenate((np.array((pane.n, pane.m)), arms.n), axis=-1)
    nothing = np.zeros((*arms.mean.shape[:-1], 1))
    mean = np.concatenate((arms.mean, nothing), axis=-1)
    sd = np.concatenate((arms.sd, nothing + 1.0), axis=-1)
    # Taken, as writing to some places costs several times as much.
    return PaneValues(
        n.take(cast.counted_at, axis=-1),
        mean.take(cast.level_at, axis=-1),
        sd.take(cast.level_at, axis=-1),
    )
