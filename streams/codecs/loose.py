"""Rows read one by one, before they become pieces of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detectors.release import Role
from streams.codecs.columns import Gathered
from streams.codecs.fields import Cells, Head


@dataclass(slots=True)
class LooseRows:
    """Rows of one model and kind that took the exact path: per column, positions and values."""

    _at: list[int] = field(default_factory=list)
    _ts_ms: list[int] = field(default_factory=list)
    _releases: list[tuple[str, Role]] = field(default_factory=list)
    _request_ids: list[object] = field(default_factory=list)
    _columns: dict[str, tuple[list[int], list[object]]] = field(default_factory=dict)
    _segments: dict[str, tuple[list[int], list[str | None]]] = field(default_factory=dict)
    _errors: dict[str, list[int]] = field(default_factory=dict)

    def add(self, at: int, head: Head, cells: Cells, request_id: object) -> None:
        self._at.append(at)
        self._ts_ms.append(head.ts_ms)
        self._releases.append((head.version, head.role))
        self._request_ids.append(request_id)
        for name, value in cells.columns.items():
            where, values = self._columns.setdefault(name, ([], []))
            where.append(at)
            values.append(value)
        for name, text in cells.segments.items():
            where, texts = self._segments.setdefault(name, ([], []))
            where.append(at)
            texts.append(text)
        for name in cells.errors:
            self._errors.setdefault(name, []).append(at)

    def pour(self, into: Gathered, *, request_ids: bool) -> None:
        """Add all rows to the pieces of their model and kind."""
        at = _positions(self._at)
        code_of = {release: code for code, release in enumerate(dict.fromkeys(self._releases))}
        codes = np.array([code_of[release] for release in self._releases], dtype=np.int32)
        into.heads(at, np.array(self._ts_ms, dtype=np.int64), codes, tuple(code_of))
        if request_ids:
            into.request_ids(at, self._request_ids)
        for name, (where, values) in self._columns.items():
            into.mixed(name, _positions(where), values)
        for name, (where, texts) in self._segments.items():
            into.segment(name, _positions(where), texts)
        for name, where in self._errors.items():
            into.errors(name, _positions(where))


def _positions(at: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(at, dtype=np.int64)
