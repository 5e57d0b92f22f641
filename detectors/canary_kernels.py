"""A pane of canaries entered with compiled kernels: what is done between them, and what they need.

The same as :func:`detectors.canary_ledger.entered` without them, to the last bit, in a seventh of
the calls: where a model has few releases, the calls are most of what a pane costs. The kernels
(:mod:`detectors.compiled_canary`) do all but logarithms and exponentials, which numpy takes here
for all bets of all releases at once.

No numba here: who has kernels hands them on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.answer_kernels import AnswerKernels
from detectors.arm_variance import ArmVariance
from detectors.canary_book import Book
from detectors.canary_bounds import BoundKernels, tight_bounds
from detectors.canary_counts import ArmCounts
from detectors.canary_evidence import ROWS
from detectors.canary_ledger import Ledger, Tallies
from detectors.canary_reading import ReadingKernels
from detectors.canary_rules import CanarySettings
from detectors.canary_sequences import Sequences
from detectors.canary_wealth import Wealth
from detectors.confidence_sequence import best_ratio
from detectors.dispersion import Dispersion
from detectors.e_process import AT_ONCE
from detectors.kernel_arrays import kernel_arrays

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_AT_ONCE = math.log(AT_ONCE)
_NONE = np.zeros(0), np.zeros(0)
"""Taught by no A/A period."""
_UNBOUND = np.zeros((0, 0))
"""Where no canary has much of a pane."""
_dispersion, _tallies, _sequences = (
    attrgetter(*(one.name for one in fields(group))) for group in (Dispersion, Tallies, Sequences)
)


@dataclass(frozen=True, slots=True)
class CanaryKernels:
    """The functions of :mod:`detectors.compiled_canary`, compiled, in its order; ``reading``: what
    comes before them, ``bounds``: what comes between them where a canary has much of a pane,
    ``answers``: what is asked of a ledger that panes were entered in."""

    answers: AnswerKernels
    reading: ReadingKernels
    bounds: BoundKernels
    tell: Callable[..., None]
    excuse: Callable[..., None]
    tolerate: Callable[..., None]
    stake: Callable[..., int]
    earn: Callable[..., None]
    put_in: Callable[..., None]
    settle: Callable[..., None]
    total: Callable[..., None]
    close: Callable[..., bool]


class _Tables(NamedTuple):
    """A book as the kernels read it: plain tuples of arrays cross at the least cost."""

    tell: tuple[Any, ...]
    rates: tuple[Any, ...]
    ranges: tuple[Any, ...]
    levels: tuple[Any, ...]
    largest: Floats
    stakes: tuple[Any, ...]
    shifts: tuple[Any, ...]
    ends: tuple[Any, ...]
    wealth: tuple[Any, ...]


@lru_cache(maxsize=512)
def _tables_of(book: Book) -> _Tables:
    cast, ranges, shifts, ends = book.cast, book.ranges, book.shifts, book.ends
    levels = shifts.owner
    of_ranges = ranges.owner, ranges.first, ranges.stop, ranges.rate_of
    at_ends = levels[ends.level] if len(levels) else ends.level
    return _Tables(
        kernel_arrays(
            *(cast.starts, cast.cells, book.values, book.scores, book.judged, cast.no_rate),
            *(cast.rates, cast.rate_share, cast.held_owner, cast.held_first, cast.held_stop),
            *(cast.level_at, len(cast.levels)),
        ),
        kernel_arrays(book.margin[cast.rates], book.floor[cast.rates]),
        kernel_arrays(*of_ranges, ranges.tilt, ranges.sign, ranges.log_factor, ranges.magnitude),
        kernel_arrays(levels, shifts.cells, shifts.starts, shifts.weights),
        np.maximum(shifts.largest[:ROWS], shifts.largest[ROWS:]),
        kernel_arrays(
            *(ends.level, ends.place, ends.cells, ends.weights, ends.starts, ends.on, ends.gain),
        ),
        kernel_arrays(
            *(shifts.part, shifts.place, shifts.shift, shifts.magnitude, levels, len(levels)),
        ),
        kernel_arrays(ends.on, at_ends, ends.first, ends.stop, ends.log_factor, ends.magnitude),
        kernel_arrays(book.owner, book.log_part, cast.needed, book.betting, book.starts, book.held),
    )


@lru_cache(maxsize=64)
def _narrowest(alpha: float, narrowest_after: int) -> float:
    return narrowest_after / best_ratio(alpha)


def entered_by(
    kernels: CanaryKernels,
    ledger: Ledger,
    book: Book,
    settings: CanarySettings,
    start_ms: int,
    length_ms: int,
    arms: ArmCounts,
    ready: Flags,
    variance: ArmVariance | None,
) -> Ledger:
    """:func:`detectors.canary_ledger.entered` of releases whose arrays have a row each, with a book
    that has bets."""
    tables, old = _tables_of(book), ledger.wealth
    releases, parts = ready.shape
    by_part = releases, parts
    new_ints, new = np.empty((9, *by_part), np.int64), np.empty((10, *by_part))
    shares = np.empty(ledger.cases.shape, np.int64), np.empty(ledger.usual.shape)
    counts = np.empty((2, *by_part), np.int64)
    upto = np.empty((2, releases, book.cast.width + 1), np.int64)
    bet_on, first, factor = np.empty(by_part, np.bool_), np.empty(by_part), np.empty(by_part)
    # Logarithms of sums and of the new money are taken in one go.
    sums = releases * 2 * ROWS * len(book.shifts.owner)
    logs = np.empty(sums + releases * parts)
    fresh = logs[sums:].reshape(by_part)
    rate = np.empty((releases, len(book.cast.rates)))
    with np.errstate(all="ignore"):
        kernels.tell(
            tables.tell,
            (arms.cells, arms.n, arms.mean, arms.sd, ready),
            _dispersion(ledger.dispersion),
            _tallies(ledger.tallies),
            _sequences(ledger.sequences),
            (ledger.cases, ledger.usual),
            ledger.learnt,
            old.panes,
            variance.of_parts(book.cast) if variance is not None and variance.learnt else _NONE,
            (
                float(settings.inflation),
                settings.fix_events,
                _narrowest(settings.alpha, settings.narrowest_after),
            ),
            (start_ms, start_ms + length_ms),
            new_ints,
            new,
            shares,
            (counts, upto, first, bet_on, rate, factor, fresh),
        )
        rate_tilt = _rate_tilt(kernels, tables, rate, float(settings.host_effect))
        log_e = log_e_by(kernels, book, arms.cells, upto, counts, first, rate_tilt, logs)
        wealth = _stepped(
            kernels, tables, book, old, log_e, factor, fresh, bet_on, start_ms, settings.burst
        )
    learnt, weight, weighted, squares, products, last, total, spread, within, r2 = new
    panes, n, n_against, unmatched, first_ms, last_ms, values, against, skipped = new_ints
    return Ledger(
        book.cast,
        book.bets,
        wealth,
        Dispersion(panes, weight, weighted, squares, products, last),
        learnt,
        Tallies(n, n_against, unmatched, first_ms, last_ms),
        Sequences(values, against, total, spread, within, r2, skipped),
        *shares,
    )


def _rate_tilt(kernels: CanaryKernels, tables: _Tables, rate: Floats, host: float) -> Floats:
    """The logarithm of :func:`detectors.canary_bets.tolerated_odds`, at rates that are neither 0
    nor 1."""
    odds: Floats = special.ndtri(rate)
    np.multiply(odds, odds, out=odds)
    np.multiply(odds, -0.5, out=odds)
    np.exp(odds, out=odds)
    kernels.excuse(host, rate, odds)
    np.exp(odds, out=odds)
    kernels.tolerate(tables.rates, rate, odds)
    return np.log(odds, out=odds)


def log_e_by(
    kernels: CanaryKernels,
    book: Book,
    cells: Counts,
    upto: Counts,
    counts: Counts,
    first: Floats,
    rate_tilt: Floats,
    logs: Floats,
) -> Floats:
    """:func:`detectors.canary_evidence.log_e_values` of releases that have a row each, [P, B].
    ``counts``: of both arms, [2, P, M]; ``logs``: room for sums over levels, [P * 2 * ROWS * L],
    and whatever else stands behind it, of which the logarithm is left there. Numpy is not to warn
    of what is infinite or not a number."""
    tables = _tables_of(book)
    releases, ranges = cells.shape[1], len(book.ranges.owner)
    # What ln(1 + x) is taken of stands in one piece.
    bets = 2 * releases * ranges
    terms = np.empty(bets + releases * len(book.ends.on))
    on_ranges = terms[:bets].reshape(2, releases, ranges)
    share, chosen = np.empty((releases, ranges)), np.empty(releases, np.int64)
    many = kernels.stake(
        tables.ranges,
        tables.levels,
        tables.stakes,
        cells,
        upto,
        counts,
        rate_tilt,
        on_ranges,
        terms[bets:],
        share,
        logs,
        chosen,
    )
    np.log(logs, out=logs)
    bounds = _UNBOUND
    if many:
        of = tables.ranges, tables.levels, tables.largest, chosen[:many]
        bounds = tight_bounds(kernels.bounds, *of, cells, upto, counts, on_ranges, logs)
    np.expm1(on_ranges, out=on_ranges)
    on_ranges *= share
    np.log1p(terms, out=terms)
    log_e = np.empty((releases, len(book.owner)))
    kernels.earn(
        tables.ranges,
        tables.shifts,
        tables.ends,
        book.order,
        upto,
        counts,
        first,
        rate_tilt,
        on_ranges,
        terms[bets:],
        logs,
        bounds,
        log_e,
    )
    return log_e


def _stepped(
    kernels: CanaryKernels,
    tables: _Tables,
    book: Book,
    old: Wealth,
    log_e: Floats,
    factor: Floats,
    fresh: Floats,
    bet_on: Flags,
    start_ms: int,
    burst: float,
) -> Wealth:
    """:meth:`detectors.canary_wealth.Wealth.step`."""
    by_part, by_bet = bet_on.shape, log_e.shape
    betting = by_part[0], len(book.betting)
    money, money_on = (old.log_wealth, old.onset_ms), np.empty(by_bet, np.int64)
    wealth, apart = np.empty(by_bet), np.empty(by_bet)
    kernels.put_in(
        tables.wealth,
        (burst, _AT_ONCE),
        start_ms,
        log_e,
        factor,
        fresh,
        old.panes,
        money,
        wealth,
        apart,
        money_on,
    )
    gain = log_e
    np.exp(apart, out=apart)
    np.log1p(apart, out=apart)
    best, totals = np.empty(betting), np.empty(betting)
    kernels.settle(tables.wealth, bet_on, money, apart, gain, wealth, money_on, best)
    np.exp(apart, out=apart)
    kernels.total(tables.wealth, apart, totals)
    np.log(totals, out=totals)
    evidence, peak = np.empty(by_part), np.empty(by_part)
    panes, since = np.empty(by_part, np.int64), np.empty(by_part, np.int64)
    over = kernels.close(
        tables.wealth,
        burst,
        bet_on,
        best,
        totals,
        wealth,
        money_on,
        (old.panes, old.evidence, old.peak, old.peak_onset_ms),
        (panes, evidence, peak, since),
    )
    if over:
        cap = burst * book.cast.needed
        return old.closed(book, wealth, money_on, best, evidence, fresh, bet_on, cap)
    return Wealth(wealth, money_on, panes, evidence, peak, since)
