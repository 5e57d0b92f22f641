"""A record batch whose rows are all events of one model and kind, made a batch of events at once.

That is what producers send, as a rule. Nothing here decides what a cell is worth: where a cell
would be an error, or a row is refused, the answer is None and ``Gathered`` does it all, with the
same result (a property test holds the two together).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.release import Role
from streams.codecs import fields
from streams.codecs.arrow_heads import KINDS
from streams.codecs.arrow_rows import FINE, BatchRows, Cell, Content
from streams.codecs.arrow_values import CodedTexts
from streams.codecs.columns import (
    MAX_CELLS,
    MAX_NUMBER,
    NOT_NEGATIVE_NUMBERS,
    PREDICTION_LABEL,
    PREDICTION_VALUE,
    SCALAR_PREDICTION,
    STATUS,
    WRONG,
    form_in,
    has_failed,
)
from streams.codecs.fields import Place
from streams.codecs.placing import NO_VALUE
from streams.event import Bounds, Categorical, EventBatch, EventKind


def whole_batch(rows: BatchRows, source: NDArray[np.int64], bounds: Bounds) -> EventBatch | None:
    """The batch; None if it is not that simple. ``source``: message of every row. Without request
    ids."""
    model, kind = rows.model[0], rows.kind[0]
    if (rows.reason != FINE).any() or (rows.model != model).any() or (rows.kind != kind).any():
        return None
    if len(rows.cells) > bounds.max_columns or len(rows.cells) * len(source) > MAX_CELLS:
        return None
    columns = _Columns(bounds)
    known = fields.PLACES[KINDS[kind]]
    if not all(columns.take(cell) for cell in rows.cells if cell.top in known):
        return None
    release, releases = _releases(rows)
    failed = np.zeros(len(source), dtype=np.bool_)
    if KINDS[kind] is EventKind.PREDICTION:
        failed = has_failed(len(source), columns.texts.get(STATUS), None)
    return EventBatch(
        model=rows.models[model],
        kind=KINDS[kind],
        rows=len(source),
        ts_ms=rows.ts_ms,
        source=source,
        releases=releases,
        release=release,
        failed=failed,
        segments=dict(sorted(columns.segments.items())),
        numeric=dict(sorted(columns.numeric.items())),
        categorical=dict(sorted(columns.texts.items())),
    )


class _Columns:
    """The columns of the batch, as long as nothing in them is an error."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.numeric: dict[str, NDArray[np.float64]] = {}
        self.texts: dict[str, Categorical] = {}
        self.segments: dict[str, Categorical] = {}

    def take(self, cell: Cell) -> bool:
        """Add a column; False if it needs more than that."""
        if cell.content is Content.NOTHING:
            return True
        if cell.name is None or cell.rows is not None:
            return False
        if cell.content is Content.NUMBERS:
            name = PREDICTION_VALUE if cell.name == SCALAR_PREDICTION else cell.name
            return self._add_numbers(name, cell.numbers)
        if cell.content is Content.TEXTS:
            return self._add_texts(cell.name, cell.texts, segment=cell.place is Place.SEGMENTS)
        return not cell.present.any()

    def _add_numbers(self, name: str, numbers: NDArray[np.float64]) -> bool:
        # A comparison with NaN is false, and NaN is no error but no value.
        least = 0.0 if name in NOT_NEGATIVE_NUMBERS else -MAX_NUMBER
        if (numbers > MAX_NUMBER).any() or (numbers < least).any():
            return False
        if not (np.isnan(numbers[0]) and np.isnan(numbers).all()):
            # No negative zeros. What was made of an array with nulls is ours, and warm.
            own = numbers if numbers.flags.writeable and numbers.base is None else None
            self.numeric[name] = np.add(numbers, 0.0, out=own)
        return True

    def _add_texts(self, name: str, texts: CodedTexts, *, segment: bool) -> bool:
        """Categories sorted and all in use."""
        if name == SCALAR_PREDICTION and not segment:
            name = PREDICTION_LABEL
        used = np.bincount(texts.codes + 1, minlength=len(texts.raw) + 1)[1:].tolist()
        form = form_in(name, self._bounds, segment=segment)
        forms = [
            form(raw) if count else NO_VALUE for raw, count in zip(texts.raw, used, strict=True)
        ]
        if WRONG in forms:
            return False
        categories = sorted({text for text in forms if isinstance(text, str)})
        code_of: dict[str | int, int] = {text: code for code, text in enumerate(categories)}
        recode = [*(code_of.get(text, NO_VALUE) for text in forms), NO_VALUE]
        if categories:
            column = Categorical(np.array(recode, np.int32)[texts.codes], tuple(categories))
            (self.segments if segment else self.texts)[name] = column
        return True


def _releases(rows: BatchRows) -> tuple[NDArray[np.int32], tuple[tuple[str, Role], ...]]:
    releases = sorted(set(rows.releases))
    code_of = {release: code for code, release in enumerate(releases)}
    recode = np.array([code_of[release] for release in rows.releases], np.int32)
    return recode[rows.release], tuple(releases)
