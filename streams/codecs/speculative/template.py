"""Learning a template: the literal bytes of one message, and what the values between them are for.

A template is learnt only from a message that is an event, and only if the exact path
(streams/codecs/fields.py) would make the same cells of every other message with the same literal
bytes. So whatever decides about a row beyond its values (its kind, which fields are objects, the
names of its columns) lies in the literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from streams.codecs import fields
from streams.codecs.columns import NOT_NEGATIVE_NUMBERS, PREDICTION_LABEL, PREDICTION_VALUE
from streams.codecs.columns import SCALAR_PREDICTION as SCALAR
from streams.codecs.fields import Place
from streams.codecs.reasons import Unreadable
from streams.codecs.speculative.arrays import Allow, Use
from streams.event import Bounds, EventKind

MAX_SLOTS = 512
MAX_BYTES = 65_536
"""Messages with more values or bytes are not learnt."""

NOTHING_ELSE = Allow(0)

_MAX_NESTING = 16
_TOKEN = re.compile(rb'[ \t\n\r]*("(?:[^"\\]|\\.)*"|[{}\[\],:]|[^ \t\n\r{}\[\],:"]+)')
_NO_VERSION = frozenset({EventKind.LABEL, EventKind.OUTCOME})


@dataclass(frozen=True, slots=True, order=True)
class TextColumn:
    """Where a text goes: ``place`` is ``model``, ``version``, ``role``, ``cells`` or
    ``segments``; ``name`` is empty for the first three."""

    place: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a scalar value. ``number``, ``text``: the columns it fills by type, if any."""

    use: Use
    number: str | None = None
    text: TextColumn | None = None
    allow: Allow = NOTHING_ELSE


@dataclass(frozen=True, slots=True)
class Template:
    """``literals``: the bytes before each slot, and those after the last one."""

    kind: EventKind
    literals: tuple[bytes, ...]
    slots: tuple[Slot, ...]
    has_ts: bool

    def widened(self, other: Template) -> Template:
        """A template with the same literals that takes what either takes."""
        both = zip(self.slots, other.slots, strict=True)
        slots = (
            replace(a, number=a.number or b.number, text=a.text or b.text, allow=a.allow | b.allow)
            for a, b in both
        )
        return replace(self, slots=tuple(slots))


class _Unfit(Exception):
    """No template can stand for messages like this one."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A scalar of a message: its keys from the top, with None for being in an array."""

    path: tuple[str | None, ...]
    start: int
    stop: int


def learn(raw: bytes, bounds: Bounds) -> Template | None:
    """The template of a message, or None if it has none. ``raw`` may be anything."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        event = msgspec.json.decode(raw)
        if not isinstance(event, dict):
            return None
        kind = fields.read_kind(event, bounds)
        return _Lesson(raw, event, kind, bounds).template()
    except (_Unfit, Unreadable, ValueError, RecursionError, OverflowError, MemoryError):
        return None


class _Lesson:
    """One message while it is being learnt from."""

    def __init__(
        self, raw: bytes, event: dict[str, object], kind: EventKind, bounds: Bounds
    ) -> None:
        self._raw = raw
        self._event = event
        self._kind = kind
        self._bounds = bounds
        self._at = 0
        told = event.get("type") is not None or bounds.kind is not None
        self._decides = None if told else fields.deciding_field(event)
        self._must_be_null: tuple[str, ...] = ()
        if not told:
            until = None if self._decides is None else fields.DECIDING.index(self._decides)
            self._must_be_null = fields.DECIDING[:until]
        self._columns: set[tuple[bool, str]] = set()

    def template(self) -> Template:
        self._check_head()
        literals: list[bytes] = []
        slots: list[Slot] = []
        literal_from = 0
        for leaf in self._walk((), self._next(), 0):
            slot = self._slot(leaf)
            if slot is not None:
                literals.append(self._raw[literal_from : leaf.start])
                slots.append(slot)
                literal_from = leaf.stop
        literals.append(self._raw[literal_from:])
        cells = sum(not segment for segment, _ in self._columns)
        segments = len(self._columns) - cells
        if max(cells, segments) > self._bounds.max_columns or len(slots) > MAX_SLOTS:
            raise _Unfit
        has_ts = self._event.get("ts") is not None
        return Template(self._kind, tuple(literals), tuple(slots), has_ts)

    def _check_head(self) -> None:
        event = self._event
        if not _is_name(event.get("model")):
            raise _Unfit
        if not _is_name(event.get("version")) and not (
            "version" not in event and self._kind in _NO_VERSION
        ):
            raise _Unfit
        if not isinstance(event.get("role", ""), str | None):
            raise _Unfit
        ts = event.get("ts")
        readable = isinstance(ts, str | int | float) and not isinstance(ts, bool)
        if not readable and ("ts" in event or not self._bounds.kafka_ts_fallback):
            raise _Unfit

    def _next(self) -> re.Match[bytes]:
        token = _TOKEN.match(self._raw, self._at)
        if token is None:
            raise _Unfit
        self._at = token.end()
        return token

    def _walk(
        self, path: tuple[str | None, ...], token: re.Match[bytes], depth: int
    ) -> Iterator[_Leaf]:
        """The scalars of the value that begins with ``token``, which is valid JSON."""
        first = token[1]
        if depth > _MAX_NESTING:
            raise _Unfit
        if first == b"{":
            self._check_container(path, is_object=True)
            seen: set[str] = set()
            token = self._next()
            while token[1] != b"}":
                if token[1] == b",":
                    token = self._next()
                key = msgspec.json.decode(token[1], type=str)
                if key in seen:  # the last of equal keys counts, so the others would mislead
                    raise _Unfit
                seen.add(key)
                self._next()
                yield from self._walk((*path, key), self._next(), depth + 1)
                token = self._next()
        elif first == b"[":
            self._check_container(path, is_object=False)
            token = self._next()
            while token[1] != b"]":
                if token[1] == b",":
                    token = self._next()
                yield from self._walk((*path, None), token, depth + 1)
                token = self._next()
        else:
            yield _Leaf(path, token.start(1), token.end(1))

    def _place(self, top: str | None) -> Place | None:
        return None if top is None else fields.PLACES[self._kind].get(top)

    def _check_container(self, path: tuple[str | None, ...], *, is_object: bool) -> None:
        if not path:
            return
        top = path[0]
        if top in ("ts", "model", "version", "role", "type"):
            raise _Unfit
        place = self._place(top)
        if place is None:
            return
        if not is_object or (top not in fields.GROUPS and top not in fields.GROUP_OR_SCALAR):
            raise _Unfit
        if len(path) > (1 if place is Place.SEGMENTS else fields.MAX_DEPTH):
            raise _Unfit

    def _slot(self, leaf: _Leaf) -> Slot | None:
        """What to do with a scalar; None if it stays part of the literal."""
        top = leaf.path[0] if leaf.path else None
        alone = len(leaf.path) == 1
        null = self._raw[leaf.start : leaf.start + 1] == b"n"
        if alone and top == "type":
            return None
        if alone and top in self._must_be_null and top != self._decides:
            return None  # null, or it would have decided
        if alone and top in ("ts", "model", "version", "role", "request_id"):
            return self._head_slot(str(top))
        place = self._place(top)
        if place is None or top is None:
            return Slot(Use.SKIP)
        if alone and top in fields.GROUPS:
            if null:
                return None
            raise _Unfit
        name = top
        for key in leaf.path[1:]:
            name = self._name(name, key, place)
        return self._cell(leaf, name, place)

    def _head_slot(self, top: str) -> Slot:
        if top == "ts":
            return Slot(Use.TIME)
        if top == "request_id":
            return Slot(Use.REQUEST_ID)
        if top == "role":
            return Slot(Use.VALUE, text=TextColumn(top), allow=Allow.NAME | Allow.NULL)
        allow = Allow.NAME | Allow.WHOLE_AS_TEXT
        if top == "version" and self._kind in _NO_VERSION:
            allow |= Allow.NULL
        return Slot(Use.VALUE, text=TextColumn(top), allow=allow)

    def _name(self, parent: str, key: str | None, place: Place) -> str:
        limit = self._bounds.max_name_chars
        if key is None:
            raise _Unfit
        if place is Place.SEGMENTS:
            name = fields.segment_name(key, limit)
        else:
            name = fields.column_name(parent, key, limit)
        if name is None:
            raise _Unfit
        return name

    def _cell(self, leaf: _Leaf, name: str, place: Place) -> Slot:
        segment = place is Place.SEGMENTS
        if (segment, name) in self._columns:  # two fields of one column: the exact path merges
            raise _Unfit
        self._columns.add((segment, name))
        first = self._raw[leaf.start : leaf.start + 1]
        allow = NOTHING_ELSE if leaf.path == (self._decides,) else Allow.NULL
        if place is not Place.CELLS:
            where = TextColumn("segments" if segment else "cells", name)
            return Slot(Use.VALUE, text=where, allow=allow | Allow.WHOLE_AS_TEXT)
        if name in NOT_NEGATIVE_NUMBERS:
            allow |= Allow.NOT_NEGATIVE
        if first == b"n":
            return Slot(Use.VALUE, allow=allow)
        if first in b'"tf':
            shown = PREDICTION_LABEL if name == SCALAR else name
            return Slot(Use.VALUE, text=TextColumn("cells", shown), allow=allow)
        number = PREDICTION_VALUE if name == SCALAR else name
        return Slot(Use.VALUE, number=number, allow=allow)


def _is_name(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
