"""Ledgers of several releases as the rows of one.

What is done to all of them at once then costs about as much as it does for one: most of the time
that a small array takes is the call. As long as the same releases have panes together, their rows
stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.canary_book import Book
from detectors.canary_cast import Cast
from detectors.canary_ledger import BLANK, Ledger, Tallies, fits, fitted
from detectors.canary_sequences import Sequences
from detectors.canary_wealth import Wealth
from detectors.dispersion import Dispersion
from detectors.flags import any_of

_GROUPS = {
    "wealth": Wealth,
    "dispersion": Dispersion,
    "tallies": Tallies,
    "sequences": Sequences,
}
_SIZES = {group: len(fields(group)) for group in _GROUPS.values()}
_arrays = attrgetter(
    *(f"{name}.{one.name}" for name, group in _GROUPS.items() for one in fields(group)),
    "learnt",
    "cases",
    "usual",
)
_Group = TypeVar("_Group", Wealth, Dispersion, Tallies, Sequences)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A release's ledger: row ``at`` of arrays that hold those of others too, or (None) arrays of
    its own, without an axis for releases: small arrays of one axis are the quickest."""

    rows: Ledger
    at: int | None = None

    @property
    def ledger(self) -> Ledger:
        """As of this release alone: a look at the shared arrays."""
        if self.at is None:
            return self.rows
        row = [rows[self.at] for rows in _arrays(self.rows)]
        return _ledger(self.rows.cast, self.rows.bets, row)

    @property
    def shared(self) -> bool:
        """Whether keeping this row keeps others in memory."""
        return self.at is not None

    def alone(self) -> Row:
        """The same, in arrays of its own."""
        if self.at is None:
            return self
        row = [rows[self.at].copy() for rows in _arrays(self.rows)]
        return Row(_ledger(self.rows.cast, self.rows.bets, row))

    @property
    def failed(self) -> bool:
        """Whether any measure has failed."""
        peak = self.rows.wealth.peak
        return any_of((peak if self.at is None else peak[self.at]) >= self.rows.cast.needed)


def together(ledgers: Sequence[Ledger]) -> Ledger:
    """Ledgers of the same cast and bets as one whose arrays have a row for each."""
    columns = zip(*map(_arrays, ledgers), strict=True)
    rows = [np.concatenate(column).reshape(len(ledgers), -1) for column in columns]
    return _ledger(ledgers[0].cast, ledgers[0].bets, rows)


def rows_of(some: Sequence[Row], book: Book | None = None) -> Ledger:
    """Rows of the same cast and bets as one ledger in their order, each fitted to ``book`` first,
    if there is one. Rows that are together already are not copied."""
    first = some[0].rows
    if (
        len(first.learnt) == len(some)
        and all(row.rows is first and row.at == at for at, row in enumerate(some))
        and (book is None or fits(first, book))
    ):
        return first
    if book is None:
        return together([row.ledger for row in some])
    return together([fitted(row.ledger, book) for row in some])


def _ledger(cast: Cast, bets: NDArray[np.int64], arrays: Sequence[NDArray[Any]]) -> Ledger:
    left = iter(arrays)

    def next_of(group: type[_Group]) -> _Group:
        return group(*islice(left, _SIZES[group]))

    wealth, dispersion = next_of(Wealth), next_of(Dispersion)
    tallies, sequences = next_of(Tallies), next_of(Sequences)
    learnt, cases, usual = left
    return Ledger(cast, bets, wealth, dispersion, learnt, tallies, sequences, cases, usual)


BLANK_ROW = Row(BLANK)
