"""From cells to an EventBatch: the one place that decides what a cell is worth.

Every codec and every fast path ends here with raw cells, as pieces: the positions of some rows
and their values of one column. So that a batch does not depend on the path its rows took, it has
one form: rows in the order of their positions, columns by name, categories sorted and all in use,
error rows sorted and named once a column, no negative zero. A column in which no row has a value
is absent: nulls are the rows without a value, to be counted against the rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.release import Role
from streams.codecs.placing import NO_VALUE, Piece, Placing, Positions
from streams.codecs.text import as_text, readable
from streams.event import Bounds, Categorical, EventBatch, EventKind

MAX_NUMBER = 1e300
"""Beyond this a number is an error: sums of squares of such values have no finite answer."""

NOT_NEGATIVE_NUMBERS = frozenset({"latency_ms", "tokens_in", "tokens_out", "cost"})
"""Columns of fixed meaning. Text, a boolean or a negative number there is an error."""

STATUS = "status"
SCALAR_PREDICTION = "prediction"
PREDICTION_VALUE = "prediction.value"
PREDICTION_LABEL = "prediction.label"
"""Where a prediction that is a scalar goes: as a number, or as text (and if it is neither)."""

_SEGMENT_ERRORS = "segments."

WRONG = -2
"""The code of a text that cannot be a value, while its column is being made."""

MAX_CELLS = 4_000_000
"""A batch whose rows times columns is larger is split, so that sparse rows with many different
columns cannot demand memory far beyond their own size."""

_OK_STATUS = frozenset({"ok", "success", "true"})


def status_is_ok(text: str) -> bool:
    """``ok``, ``success``, ``true`` (in any case) and 200 to 299; everything else has failed."""
    if text.isascii() and text.isdigit():
        return len(text) == 3 and text[0] == "2"
    return text.lower() in _OK_STATUS


def form_in(name: str, bounds: Bounds, *, segment: bool = False) -> Callable[[str], str | int]:
    """How a text of this column is read: its one form, or NO_VALUE, or WRONG."""
    return _form_of(_SEGMENT_ERRORS + name if segment else name, bounds)


def _form_of(shown: str, bounds: Bounds) -> Callable[[str], str | int]:
    limit = bounds.max_value_chars
    if shown.startswith(_SEGMENT_ERRORS):
        limit = bounds.max_name_chars
    numbers_only = shown in NOT_NEGATIVE_NUMBERS

    def form(text: str) -> str | int:
        if not text or (text.isspace() and len(text) <= limit and text.isprintable()):
            return NO_VALUE
        clean = None if numbers_only else readable(text, limit)
        return WRONG if clean is None else clean

    return form


def column_of_errors(name: str, *, segment: bool = False) -> str:
    """The name under which errors of a column are counted."""
    return _SEGMENT_ERRORS + name if segment else name


def has_failed(
    rows: int, status: Categorical | None, errors: Positions | None
) -> NDArray[np.bool_]:
    """Of predictions: which did not answer, by their status and the rows where it is an error."""
    failed = np.zeros(rows, dtype=np.bool_)
    if errors is not None:
        failed[errors] = True
    if status is not None:
        bad = [not status_is_ok(text) for text in status.categories]
        if any(bad):
            failed |= np.array([*bad, False])[status.codes]
    return failed


@dataclass(frozen=True, slots=True, eq=False)
class _Heads:
    """What every row has. ``release`` indexes ``releases``."""

    at: Positions
    ts_ms: NDArray[np.int64]
    release: NDArray[np.int32]
    releases: tuple[tuple[str, Role], ...]


@dataclass(slots=True)
class Gathered:
    """The rows of one model and kind while they are being read, as pieces of columns.

    Positions are numbers of rows within one ``decode``; a row gives each column at most one cell.
    """

    bounds: Bounds
    _heads: list[_Heads] = field(default_factory=list)
    _numbers: dict[str, list[tuple[Positions, NDArray[np.float64]]]] = field(default_factory=dict)
    _texts: dict[str, list[Piece]] = field(default_factory=dict)
    _segments: dict[str, list[Piece]] = field(default_factory=dict)
    _errors: dict[str, list[Positions]] = field(default_factory=dict)
    _request_ids: dict[int, str] = field(default_factory=dict)

    def heads(
        self,
        at: Positions,
        ts_ms: NDArray[np.int64],
        release: NDArray[np.int32],
        releases: tuple[tuple[str, Role], ...],
    ) -> None:
        self._heads.append(_Heads(at, ts_ms, release, releases))

    def request_ids(self, at: Positions, values: Iterable[object]) -> None:
        for position, value in zip(at.tolist(), values, strict=True):
            text = as_text(value) if isinstance(value, str | int) else None
            clean = readable(text, self.bounds.max_name_chars) if text is not None else None
            if clean is not None:
                self._request_ids[position] = clean

    def errors(self, name: str, at: Positions) -> None:
        if len(at):
            name = PREDICTION_LABEL if name == SCALAR_PREDICTION else name
            self._errors.setdefault(name, []).append(at)

    def numbers(self, name: str, at: Positions, values: NDArray[np.float64]) -> None:
        """Numbers; NaN where a row has none. Infinite, absurd and misplaced ones are errors."""
        name = PREDICTION_VALUE if name == SCALAR_PREDICTION else name
        size = np.abs(values)
        fits = size <= MAX_NUMBER
        if name in NOT_NEGATIVE_NUMBERS:
            fits &= values >= 0
        if not fits.all():
            wrong = ~fits & ~np.isnan(values)
            if wrong.any():
                self.errors(name, at[wrong])
                values = np.where(wrong, np.nan, values)
            if not fits.any():
                return
        # Adding zero turns -0.0 into 0.0: JSON has both, depending on the type it is read into.
        self._numbers.setdefault(name, []).append((at, values + 0.0))

    def texts(self, name: str, at: Positions, values: Sequence[str | None]) -> None:
        """Texts; None or blank where a row has none."""
        name = PREDICTION_LABEL if name == SCALAR_PREDICTION else name
        self._add_texts(self._texts, name, name, at, values)

    def segment(self, name: str, at: Positions, values: Sequence[str | None]) -> None:
        self._add_texts(self._segments, name, _SEGMENT_ERRORS + name, at, values)

    def mixed(self, name: str, at: Positions, values: Sequence[object]) -> None:
        """Cells of any type: numbers to the numeric column, texts and booleans to the other."""
        numbers_at: list[int] = []
        numbers: list[float] = []
        texts_at: list[int] = []
        texts: list[str | None] = []
        for position, value in zip(at.tolist(), values, strict=True):
            if value is None:
                continue
            if isinstance(value, float | int) and not isinstance(value, bool):
                numbers_at.append(position)
                numbers.append(_to_float(value))
            else:
                texts_at.append(position)
                texts.append(as_text(value))
        if numbers:
            self.numbers(name, np.array(numbers_at, dtype=np.int64), np.array(numbers))
        if texts:
            self.texts(name, np.array(texts_at, dtype=np.int64), texts)

    def coded(
        self,
        name: str,
        at: Positions,
        codes: NDArray[np.int32],
        raw: Sequence[str],
        *,
        segment: bool = False,
    ) -> None:
        """Texts that come dictionary-coded (-1: none). ``raw`` may repeat and be unreadable."""
        name = PREDICTION_LABEL if name == SCALAR_PREDICTION and not segment else name
        where = self._segments if segment else self._texts
        shown = column_of_errors(name, segment=segment)
        used = np.flatnonzero(np.bincount(codes + 1, minlength=1)[1:])
        table: dict[str, int] = {}
        clean = np.full(len(raw) + 1, NO_VALUE, dtype=np.int32)  # the last one is code -1
        keep = _form_of(shown, self.bounds)
        for code in used.tolist():
            form = keep(raw[code])
            clean[code] = form if isinstance(form, int) else table.setdefault(form, len(table))
        self._add_codes(where, name, shown, at, clean[codes], tuple(table))

    def batch(self, batch: EventBatch) -> None:
        """Rows that are columns already. Their ``source`` holds their positions."""
        at = batch.source
        self._heads.append(_Heads(at, batch.ts_ms, batch.release, batch.releases))
        for name, values in batch.numeric.items():
            self._numbers.setdefault(name, []).append((at, values))
        for where, columns in (
            (self._texts, batch.categorical),
            (self._segments, batch.segments),
        ):
            for name, column in columns.items():
                where.setdefault(name, []).append((at, column.codes, column.categories))
        for name, rows in batch.errors.items():
            self._errors.setdefault(name, []).append(at[rows])
        for position, text in zip(at.tolist(), batch.request_ids or (), strict=False):
            if text is not None:
                self._request_ids[position] = text

    def _add_texts(
        self,
        where: dict[str, list[Piece]],
        name: str,
        shown: str,
        at: Positions,
        values: Sequence[str | None],
    ) -> None:
        raw: dict[str | None, int] = dict.fromkeys(values, NO_VALUE)
        table: dict[str, int] = {}
        keep = _form_of(shown, self.bounds)
        for text in raw:
            if text is not None:
                form = keep(text)
                raw[text] = form if isinstance(form, int) else table.setdefault(form, len(table))
        codes = np.fromiter(map(raw.__getitem__, values), dtype=np.int32, count=len(values))
        self._add_codes(where, name, shown, at, codes, tuple(table))

    def _add_codes(
        self,
        where: dict[str, list[Piece]],
        name: str,
        shown: str,
        at: Positions,
        codes: NDArray[np.int32],
        categories: tuple[str, ...],
    ) -> None:
        wrong = codes == WRONG
        if wrong.any():
            self.errors(shown, at[wrong])
            codes = np.where(wrong, np.int32(NO_VALUE), codes)
        if categories:
            where.setdefault(name, []).append((at, codes, categories))

    def batches(
        self, model: str, kind: EventKind, source: NDArray[np.int64], *, request_ids: bool
    ) -> list[EventBatch]:
        """The rows as batches, normally one. ``source``: message index of every position.

        There are more where the rows together have more than ``max_columns`` columns, and none
        where every row was refused in the end.
        """
        if not self._heads:
            return []
        rows = np.sort(np.concatenate([head.at for head in self._heads]))
        return self._within(rows, model, kind, source, request_ids=request_ids)

    def _within(
        self,
        rows: Positions,
        model: str,
        kind: EventKind,
        source: NDArray[np.int64],
        *,
        request_ids: bool,
    ) -> list[EventBatch]:
        width = self._width(rows)
        if len(rows) > 1 and (width > self.bounds.max_columns or width * len(rows) > MAX_CELLS):
            middle = len(rows) // 2
            halves = (rows[:middle], rows[middle:])
            return [
                batch
                for half in halves
                for batch in self._within(half, model, kind, source, request_ids=request_ids)
            ]
        place = Placing(rows)
        ts_ms = np.zeros(len(rows), dtype=np.int64)
        for head in self._heads:
            place.into(ts_ms, head.at, head.ts_ms)
        release, releases = place.codes(
            [(head.at, head.release, head.releases) for head in self._heads]
        )
        texts = place.categoricals(self._texts)
        errors = {
            name: np.unique(place.only(np.concatenate(at)))
            for name, at in sorted(self._errors.items())
        }
        failed = np.zeros(len(rows), dtype=np.bool_)
        if kind is EventKind.PREDICTION:
            failed = has_failed(len(rows), texts.get(STATUS), errors.get(STATUS))
        ids = tuple(self._request_ids.get(row) for row in rows.tolist()) if request_ids else None
        return [
            EventBatch(
                model=model,
                kind=kind,
                rows=len(rows),
                ts_ms=ts_ms,
                source=source[rows],
                releases=releases,
                release=release,
                failed=failed,
                segments=place.categoricals(self._segments),
                numeric=place.numerics(self._numbers),
                categorical=texts,
                errors={name: at for name, at in errors.items() if len(at)},
                request_ids=ids,
            )
        ]

    def _width(self, rows: Positions) -> int:
        """How many columns these rows have; at most (cheaply) counted as if all had a value."""
        width = len(self._numbers) + len(self._texts) + len(self._segments)
        if width <= self.bounds.max_columns and width * len(rows) <= MAX_CELLS:
            return width
        first, last = rows[0], rows[-1]

        def inside(at: Positions) -> NDArray[np.bool_]:
            mask: NDArray[np.bool_] = (at >= first) & (at <= last)
            return mask

        names = {
            (0, name)
            for name, pieces in self._numbers.items()
            if any((inside(at) & ~np.isnan(values)).any() for at, values in pieces)
        }
        for which, columns in ((0, self._texts), (1, self._segments)):
            names |= {
                (which, name)
                for name, codes in columns.items()
                if any((inside(at) & (piece >= 0)).any() for at, piece, _ in codes)
            }
        return len(names)


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
