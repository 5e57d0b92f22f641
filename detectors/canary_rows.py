"""Ledgers of several releases as the rows of one, and the rows as ledgers again.

What is done to all of them at once then costs about as much as it does for one: most of the time
that a small array takes is the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.canary_cast import Cast
from detectors.canary_ledger import Ledger, Tallies
from detectors.canary_sequences import Sequences
from detectors.canary_wealth import Wealth
from detectors.dispersion import Dispersion

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


def together(ledgers: Sequence[Ledger]) -> Ledger:
    """Ledgers of the same cast and bets as one whose arrays have a row for each."""
    columns = zip(*map(_arrays, ledgers), strict=True)
    rows = [np.concatenate(column).reshape(len(ledgers), -1) for column in columns]
    return _ledger(ledgers[0].cast, ledgers[0].bets, rows)


def apart(ledger: Ledger) -> list[Ledger]:
    """The rows of :func:`together`, each by itself: none keeps the others in memory."""
    columns = [[row.copy() for row in rows] for rows in _arrays(ledger)]
    return [_ledger(ledger.cast, ledger.bets, row) for row in zip(*columns, strict=True)]


def _ledger(cast: Cast, bets: NDArray[np.int64], arrays: Sequence[NDArray[Any]]) -> Ledger:
    left = iter(arrays)

    def next_of(group: type[_Group]) -> _Group:
        return group(*islice(left, _SIZES[group]))

    wealth, dispersion = next_of(Wealth), next_of(Dispersion)
    tallies, sequences = next_of(Tallies), next_of(Sequences)
    learnt, cases, usual = left
    return Ledger(cast, bets, wealth, dispersion, learnt, tallies, sequences, cases, usual)
