"""Pieces of columns into the places of their rows: how batches are put together."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.release import Role
from streams.event import Categorical

NO_VALUE = -1
"""The code of a text cell without a value."""

Positions = NDArray[np.int64]
Piece = tuple[Positions, NDArray[np.int32], tuple[str, ...]]
"""A piece of a categorical column: positions, codes, categories."""

T = TypeVar("T", str, tuple[str, Role])


class Placing:
    """Puts pieces in the places of their rows."""

    def __init__(self, rows: Positions) -> None:
        self._rows = rows
        # Pieces of one origin share one array of positions: look each array up once.
        self._known: dict[int, tuple[Positions, slice | Positions, NDArray[np.bool_] | None]] = {}

    def only(self, at: Positions) -> Positions:
        """Places of those of ``at`` that are among the rows."""
        place = np.searchsorted(self._rows, at)
        place[place == len(self._rows)] = 0
        inside: Positions = place[self._rows[place] == at]
        return inside

    def _find(self, at: Positions) -> tuple[slice | Positions, NDArray[np.bool_] | None]:
        known = self._known.get(id(at))
        if known is None:
            place = np.searchsorted(self._rows, at)
            place[place == len(self._rows)] = 0
            inside: NDArray[np.bool_] | None = self._rows[place] == at
            if inside is not None and inside.all():
                inside = None
            else:
                place = place[inside]
            to: slice | Positions = place
            if len(place) and (np.diff(place) == 1).all():
                to = slice(int(place[0]), int(place[-1]) + 1)
            known = self._known[id(at)] = (at, to, inside)
        return known[1], known[2]

    def into(self, out: NDArray[np.generic], at: Positions, values: NDArray[np.generic]) -> None:
        to, inside = self._find(at)
        out[to] = values if inside is None else values[inside]

    def numerics(
        self, columns: dict[str, list[tuple[Positions, NDArray[np.float64]]]]
    ) -> dict[str, NDArray[np.float64]]:
        out = {}
        for name, pieces in sorted(columns.items()):
            values = np.full(len(self._rows), np.nan)
            for at, piece in pieces:
                self.into(values, at, piece)
            if not np.isnan(values).all():
                out[name] = values
        return out

    def categoricals(self, columns: dict[str, list[Piece]]) -> dict[str, Categorical]:
        out = {}
        for name, pieces in sorted(columns.items()):
            codes, categories = self.codes(pieces)
            if categories:
                out[name] = Categorical(codes, categories)
        return out

    def codes(
        self, pieces: list[tuple[Positions, NDArray[np.int32], tuple[T, ...]]]
    ) -> tuple[NDArray[np.int32], tuple[T, ...]]:
        """One coding for all pieces: categories sorted, and only those that are in use."""
        union: list[T] = sorted({category for _, _, names in pieces for category in names})
        code_of: dict[T, int] = {category: code for code, category in enumerate(union)}
        codes = np.full(len(self._rows), NO_VALUE, dtype=np.int32)
        of_piece: tuple[T, ...]
        for at, piece, of_piece in pieces:
            recode = np.array([*map(code_of.__getitem__, of_piece), NO_VALUE], dtype=np.int32)
            self.into(codes, at, recode[piece])
        used = np.zeros(len(union) + 1, dtype=np.bool_)
        used[codes] = True
        used[-1] = True
        if not used.all():
            codes = (np.cumsum(used, dtype=np.int32) - 1)[codes]
            codes[codes == used.sum() - 1] = NO_VALUE
            union = [category for category, keep in zip(union, used[:-1], strict=True) if keep]
        return codes, tuple(union)
