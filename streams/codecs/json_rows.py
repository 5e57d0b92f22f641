"""JSON rows to columns: fast where the shape is known, exact where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.codecs import fields
from streams.codecs.columns import Gathered
from streams.codecs.loose import LooseRows
from streams.codecs.reasons import Reason, Unreadable
from streams.codecs.shape import Shape, ShapeKey
from streams.event import Bounds, EventBatch, EventKind, Reject

CHUNK = 2000
"""Rows decoded before they are put into columns: more would fall out of the processor's cache."""

MAX_MODELS = 256
SHAPES_PER_MODEL = 4
"""How many shapes are kept; the model that was not read for longest is forgotten first."""

_FREE_LESSONS = 64
_ROWS_PER_LESSON = 64
"""A lesson (walking an event, making a Struct) costs as much as hundreds of rows. So that messages
that are never alike cannot make learning the main work, lessons are earned by rows read."""

_SHORT_RUN = 4
_CAREFUL_ROWS = 64
"""After a run this short, models alternate: look at the model first for so many rows."""

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]*)"')
_BROKEN = (ValueError, RecursionError, OverflowError, MemoryError)
_decode_any = msgspec.json.Decoder().decode


@dataclass(slots=True)
class JsonTexts:
    """JSON texts, each one event. ``row``: its number in its message, -1 if it is the message."""

    raw: list[bytes] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)


class JsonRows:
    """Reads JSON rows; keeps the shapes it learnt, and nothing else, from call to call."""

    def __init__(self, *, keep_request_ids: bool) -> None:
        self.keep_request_ids = keep_request_ids
        self._shapes: dict[bytes, list[Shape]] = {}
        self._depends_on: tuple[object, ...] = ()
        self._lessons = float(_FREE_LESSONS)

    def read(
        self, texts: JsonTexts, kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> tuple[list[EventBatch], list[Reject]]:
        """``kafka_ts_ms``: by message. Batches by model and kind; rejects in the order of rows."""
        depends_on = (
            bounds.kind,
            bounds.max_name_chars,
            bounds.max_columns,
            bounds.kafka_ts_fallback,
        )
        if depends_on != self._depends_on:
            self._shapes.clear()
            self._depends_on = depends_on
        self._lessons += len(texts.raw) / _ROWS_PER_LESSON
        return _Reading(self, texts, kafka_ts_ms, bounds).run()

    def shapes_of(self, raw: bytes) -> list[Shape]:
        """The shapes to try, most recently used first. A wrong guess costs time only."""
        found = _MODEL.search(raw)
        return [] if found is None else self._shapes.get(found[1], [])

    def used(self, raw: bytes, shape: Shape) -> None:
        """Keep the shape's model, and try this shape first."""
        found = _MODEL.search(raw)
        shapes = None if found is None else self._shapes.pop(found[1], None)
        if found is None or shapes is None:
            return
        self._shapes[found[1]] = shapes
        if shape in shapes and shapes[0] is not shape:
            shapes.remove(shape)
            shapes.insert(0, shape)

    def learn(
        self,
        raw: bytes,
        event: dict[str, object],
        kind: EventKind,
        bounds: Bounds,
        before: Callable[[Shape], None],
    ) -> None:
        """Make or widen a shape for an event, if lessons are left."""
        found = _MODEL.search(raw)
        key = ShapeKey.of(event, kind, bounds)
        if self._lessons < 1 or found is None or key is None:
            return
        self._lessons -= 1
        shapes = self._shapes.setdefault(found[1], [])
        shape = next((known for known in shapes if known.key == key), None)
        if shape is None:
            shape = Shape(key, bounds)
            shapes.insert(0, shape)
            del shapes[SHAPES_PER_MODEL:]
        while len(self._shapes) > MAX_MODELS:
            del self._shapes[next(iter(self._shapes))]
        learning = shape
        shape.learn(event, lambda: before(learning))


@dataclass(slots=True)
class _Held:
    """Rows decoded by a shape and not yet in columns."""

    rows: list[Any] = field(default_factory=list)
    at: list[int] = field(default_factory=list)


class _Reading:
    """One call: where the rows are that have been read so far."""

    def __init__(
        self,
        memory: JsonRows,
        texts: JsonTexts,
        kafka_ts_ms: Sequence[int] | None,
        bounds: Bounds,
    ) -> None:
        self._memory = memory
        self._texts = texts
        self._bounds = bounds
        self._source = np.array(texts.source, dtype=np.int64)
        self._kafka_ts_ms: NDArray[np.int64] | None = None
        if kafka_ts_ms is not None:
            self._kafka_ts_ms = np.array(kafka_ts_ms, dtype=np.int64)[self._source]
        self._held: dict[Shape, _Held] = {}
        self._gathered: dict[tuple[str, EventKind], Gathered] = {}
        self._loose: dict[tuple[str, EventKind], LooseRows] = {}
        self._rejects: list[tuple[int, Reject]] = []

    def run(self) -> tuple[list[EventBatch], list[Reject]]:
        self._read_all()
        for shape in self._held:
            self._flush(shape)
        keep_ids = self._memory.keep_request_ids
        for key, loose in self._loose.items():
            loose.pour(self._into(*key), request_ids=keep_ids)
        batches = [
            batch
            for (model, kind), gathered in sorted(self._gathered.items())
            for batch in gathered.batches(model, kind, self._source, request_ids=keep_ids)
        ]
        return batches, [reject for _, reject in sorted(self._rejects, key=lambda r: r[0])]

    def _read_all(self) -> None:
        """Decode runs of rows of one shape in one go; find out about a row that breaks the run."""
        raw = self._texts.raw
        shape: Shape | None = None
        at = careful = 0
        while at < len(raw):
            if shape is not None and shape.decode is not None and careful <= 0:
                held = self._held.setdefault(shape, _Held())
                before = len(held.rows)
                stop = min(len(raw), at + CHUNK - before)
                # If a row does not fit, the rows before it have been added.
                with suppress(*_BROKEN):
                    held.rows.extend(map(shape.decode, raw[at:stop]))
                run = len(held.rows) - before
                held.at.extend(range(at, at + run))
                at += run
                if len(held.rows) >= CHUNK:
                    self._flush(shape)
                if at == stop:
                    continue
                careful = _CAREFUL_ROWS if run < _SHORT_RUN else 0
            shape = self._read_one(at, shape if careful <= 0 else None)
            careful -= 1
            at += 1

    def _read_one(self, at: int, tried: Shape | None) -> Shape | None:
        """Read a row by any shape that fits, or exactly; returns the shape to go on with."""
        raw = self._texts.raw[at]
        shapes = self._memory.shapes_of(raw)
        for shape in shapes:
            if shape is tried or shape.decode is None:
                continue
            try:
                row = shape.decode(raw)
            except _BROKEN:
                continue
            held = self._held.setdefault(shape, _Held())
            held.rows.append(row)
            held.at.append(at)
            if shape is not shapes[0]:
                self._memory.used(raw, shape)
            if len(held.rows) >= CHUNK:
                self._flush(shape)
            return shape
        self._read_exactly(at, learn=True)
        shapes = self._memory.shapes_of(raw)
        return shapes[0] if shapes else tried

    def _into(self, model: str, kind: EventKind) -> Gathered:
        gathered = self._gathered.get((model, kind))
        if gathered is None:
            gathered = self._gathered[model, kind] = Gathered(self._bounds)
        return gathered

    def _flush(self, shape: Shape) -> None:
        held = self._held.get(shape)
        if held is None or not held.rows:
            return
        model = fields.read_name(shape.key.model, self._bounds.max_name_chars)
        assert model is not None  # noqa: S101 - a shape is learnt from accepted events
        at = np.array(held.at, dtype=np.int64)
        again = shape.take(
            held.rows,
            at,
            self._kafka_ts_ms,
            self._into(model, shape.key.kind),
            request_ids=self._memory.keep_request_ids,
        )
        self._memory.used(self._texts.raw[held.at[-1]], shape)
        held.rows.clear()
        held.at.clear()
        for row in again.tolist():
            self._read_exactly(row, learn=False)

    def _read_exactly(self, at: int, *, learn: bool) -> None:
        """The path that defines what a row is: an event, or a reject with its reason."""
        raw = self._texts.raw[at]
        try:
            event = _decode_object(raw)
            kafka_ts_ms = None if self._kafka_ts_ms is None else int(self._kafka_ts_ms[at])
            head = fields.read_head(event, kafka_ts_ms, self._bounds)
        except Unreadable as unreadable:
            texts = self._texts
            reject = Reject(texts.source[at], texts.row[at], unreadable.reason, raw)
            self._rejects.append((at, reject))
            return
        cells = fields.read_cells(event, head.kind, self._bounds)
        loose = self._loose.setdefault((head.model, head.kind), LooseRows())
        loose.add(at, head, cells, event.get("request_id"))
        if learn:
            self._memory.learn(raw, event, head.kind, self._bounds, self._flush)


_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


def _decode_object(raw: bytes) -> dict[str, object]:
    try:
        event = _decode_any(raw)
    except UnicodeDecodeError:
        raise Unreadable(Reason.NOT_UTF8) from None
    except msgspec.ValidationError:
        raise Unreadable(Reason.NUMBER_RANGE) from None
    except msgspec.DecodeError as error:
        # Of half a surrogate pair it says the same, though only the pair is cut off.
        cut = "truncated" in str(error) and not _HALF_PAIR.search(raw)
        raise Unreadable(Reason.TRUNCATED_JSON if cut else Reason.NOT_JSON) from None
    except RecursionError:
        raise Unreadable(Reason.TOO_DEEP) from None
    except (ValueError, OverflowError, MemoryError):
        raise Unreadable(Reason.NOT_JSON) from None
    if not isinstance(event, dict):
        raise Unreadable(Reason.NOT_OBJECT)
    return event
