"""What the measures of canaries say now, with compiled kernels: what is done between them, and what
they need.

The same as :func:`detectors.canary_answers.answers` without them, to the last bit, in a tenth of
the calls. The kernels (:mod:`detectors.compiled_answers`) do all but logarithms, and how long it is
until an interval that is still too wide has narrowed: few are, once there have been some panes.

No numba here: who has kernels hands them on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from detectors.canary_answers import MOST_EVENTS, NEVER, Answers, told_of
from detectors.canary_book import Book
from detectors.canary_ledger import Ledger
from detectors.canary_rules import CanarySettings
from detectors.canary_sequences import events_until
from detectors.canary_shares import held_to, limited
from detectors.kernel_arrays import kernel_arrays


@dataclass(frozen=True, slots=True)
class AnswerKernels:
    """The functions of :mod:`detectors.compiled_answers`, compiled, in its order."""

    look: Callable[..., None]
    answer: Callable[..., None]


class _Tables(NamedTuple):
    """A book as the kernels read it, and ``needed`` as a list."""

    held: tuple[Any, ...]
    levels: Any
    parts: tuple[Any, ...]
    needed: list[float]


@lru_cache(maxsize=512)
def _tables_of(book: Book) -> _Tables:
    cast, of, told, held = book.cast, limited(book.cast), told_of(book), held_to(book)
    starts, sizes = np.zeros((2, len(cast.parts)), np.int64)
    starts[of.parts], sizes[of.parts] = of.starts, of.sizes
    return _Tables(
        kernel_arrays(cast.held_owner, of.tail, of.both, cast.held_beyond, held.margin, held.floor),
        kernel_arrays(cast.levels)[0],
        kernel_arrays(
            *(cast.level_at, starts, sizes, book.margin, told.signs, told.ways),
            *(told.both_ways, cast.needed),
        ),
        cast.needed.tolist(),
    )


def answers_by(
    kernels: AnswerKernels, ledger: Ledger, book: Book, settings: CanarySettings
) -> list[Answers]:
    """:func:`detectors.canary_answers.answers` of releases whose arrays have a row each."""
    tables, tallies, wealth, of = _tables_of(book), ledger.tallies, ledger.wealth, ledger.sequences
    sequences = of.n, of.n_against, of.total, of.variance, of.within, of.r2, of.skipped
    releases, parts = tallies.n.shape
    shares, levels = len(book.cast.held_owner), len(book.cast.levels)
    limits = np.empty((8, releases, shares))
    # Logarithms are taken of all at once.
    flat = np.empty(releases * (2 * shares + levels))
    split = 2 * releases * shares
    logs = flat[:split].reshape(2, releases, shares), flat[split:].reshape(releases, levels)
    figures, told = np.empty((8, releases, parts)), np.empty((5, releases, parts), np.int64)
    open_ = np.empty((releases, parts), np.bool_)
    with np.errstate(all="ignore"):
        factor = ledger.factor(settings)
        kernels.look(
            tables.held,
            tables.levels,
            sequences,
            (ledger.cases, ledger.usual),
            factor,
            limits,
            logs,
        )
        np.log1p(flat, out=flat)
        kernels.answer(
            tables.held,
            tables.parts,
            *kernel_arrays(ledger.bets),
            (2.0 * math.log(settings.alpha), settings.min_events),
            (wealth.log_wealth, wealth.onset_ms, wealth.evidence, wealth.peak),
            (tallies.n, tallies.n_against, tallies.unmatched, tallies.first_ms, tallies.last_ms),
            sequences,
            factor,
            limits,
            logs,
            figures,
            told,
            open_,
        )
        waiting = np.flatnonzero(open_)
        if len(waiting):
            variance, r2, room = figures[4:7].reshape(3, -1).take(waiting, axis=1)
            n, by = of.n.reshape(-1)[waiting], factor.reshape(-1)[waiting]
            events = events_until(variance, r2, n, room, settings.alpha, by)
            to_pass = told[4].reshape(-1)
            wanted = np.minimum(np.maximum(to_pass[waiting], events), MOST_EVENTS)
            to_pass[waiting] = np.where(np.isnan(events), NEVER, wanted)
    answer, way, cases, to_fail, to_pass = told
    estimate, low, high, margin, _, _, _, events_per_ms = figures
    # In the order of :class:`Answers`.
    columns = (
        *(answer, wealth.peak, estimate, low, high, margin, way, tallies.n, tallies.n_against),
        *(wealth.peak_onset_ms, cases, to_fail, to_pass, events_per_ms),
    )
    return [
        Answers(book, settings.min_events, said, evidence, tables.needed, *rest)
        for said, evidence, *rest in zip(*(column.tolist() for column in columns), strict=True)
    ]
