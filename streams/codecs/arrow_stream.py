"""Reading an Arrow IPC stream that nobody vouches for.

A few bytes may claim anything: a compressed buffer of terabytes, a null column of 2**60 rows,
string offsets that point outside their buffer. So the claims are read from the metadata first
(its flatbuffer is verified by Arrow when a message is opened), and every batch is validated in
full before its values are touched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import add
from typing import Any, NamedTuple

import pyarrow as pa

from streams.codecs.messages import MAX_ROWS
from streams.codecs.reasons import Reason, Unreadable
from streams.event import Bounds

EXPANSION = 8
"""How many times larger than the largest message its contents may be once decompressed."""

BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, struct.error)
# Positions of fields in the tables of Arrow's Message.fbs.
_MESSAGE_TYPE, _MESSAGE_HEADER, _MESSAGE_BODY = 1, 2, 3
_RECORD_BATCH = 3
_CONTINUES = 0xFFFFFFFF
_DICTIONARY_DATA = 1
_INT, _UINT, _SHORT, _LONG = (struct.Struct(form) for form in ("<i", "<I", "<H", "<q"))
_FRAME = struct.Struct("<II")
_MOST_REMEMBERED = 16_384
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION = range(4)


def read_batches(value: bytes, bounds: Bounds) -> list[Any]:
    """The record batches of one message, validated. Raises ``Unreadable``."""
    try:
        _check_claims(value, bounds)
        batches = open_batches(value)
    except BROKEN:
        raise Unreadable(Reason.NOT_ARROW) from None
    if not any(batch.num_rows for batch in batches):
        raise Unreadable(Reason.EMPTY)
    return batches


def open_batches(value: bytes) -> list[Any]:
    """The record batches of a stream whose claims were checked, validated. Raises ``BROKEN``."""
    with pa.ipc.open_stream(pa.py_buffer(value)) as stream:
        batches = list(stream)
    for batch in batches:
        batch.validate(full=True)
    return batches


def too_much(rows: int, size: int, bounds: Bounds) -> Reason | None:
    """Why a message with such claims is not read; None if it may be."""
    if rows > MAX_ROWS:
        return Reason.TOO_MANY_ROWS
    return Reason.TOO_LARGE if size > EXPANSION * bounds.max_message_bytes else None


def beginning_of(value: bytes) -> tuple[bytes, int]:
    """What stands before the first record batch of a stream that could be read, and the size that
    it claims."""
    at = claimed = 0
    for message in _messages(value):
        if message.type == "record batch":
            break
        body = 0 if message.body is None else message.body.size
        if message.type == "dictionary":
            claimed += _claims(message.metadata.to_pybytes(), message.type, body).size
        at += _FRAME.size + _FRAME.unpack_from(value, at)[1] + body
    return value[:at], claimed


def plain_batch_at(value: bytes, at: int) -> tuple[int, Claims] | None:
    """Where the record batch ends that begins at ``at``, and what it claims; None where the stream
    ends. Raises ``Unreadable`` for anything but a record batch that is not compressed, and what
    struct raises for offsets that point nowhere."""
    if at == len(value):
        return None
    mark, length = _FRAME.unpack_from(value, at)
    if mark != _CONTINUES:
        raise Unreadable(Reason.NOT_ARROW)
    if not length:
        return None
    first = at + _FRAME.size
    metadata = value[first : first + length]
    message = _Table.root(metadata)
    body = message.int64(_MESSAGE_BODY)
    end = first + length + body
    if message.byte(_MESSAGE_TYPE) != _RECORD_BATCH or body < 0 or end > len(value):
        raise Unreadable(Reason.NOT_ARROW)
    claims = _claims(metadata, "record batch", body)
    if claims.compressed:
        raise Unreadable(Reason.NOT_ARROW)
    return end, claims


def _check_claims(value: bytes, bounds: Bounds) -> None:
    rows = size = 0
    for message in _messages(value):
        if message.type not in ("record batch", "dictionary"):
            continue
        body = message.body
        length = 0 if body is None else body.size
        # Dictionaries and many batches come with the same metadata again and again.
        metadata = message.metadata.to_pybytes()
        remember = len(metadata) <= _MOST_REMEMBERED
        claims = (_known_claims if remember else _claims)(metadata, message.type, length)
        rows += claims.rows
        size += claims.size
        if claims.compressed:
            data = b"" if body is None else memoryview(body)
            for offset, stored in claims.buffers:
                if stored >= 8:  # -1: it was not worth it, and the buffer is plain
                    size += max(0, _LONG.unpack_from(data, offset)[0] - stored)
        reason = too_much(rows, size, bounds)
        if reason is not None:
            raise Unreadable(reason)


def _messages(value: bytes) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(value))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


class Claims(NamedTuple):
    """What a record batch or dictionary claims. ``rows``: of a record batch; ``size``: bytes it
    takes in memory, what its buffers claim and a bit for every value, before decompression;
    ``buffers``: where they are in the body, with their lengths, if ``compressed``."""

    rows: int
    size: int
    compressed: bool
    buffers: tuple[tuple[int, int], ...]


def _claims(metadata: bytes, kind: str, body: int) -> Claims:
    """``body``: its length. Raises ``Unreadable`` for claims that cannot be, and what struct raises
    for offsets that point nowhere."""
    table = _Table.root(metadata).table(_MESSAGE_HEADER)
    rows = 0
    if kind == "dictionary":
        table = table.table(_DICTIONARY_DATA)
    else:
        rows = table.int64(_BATCH_LENGTH)
    lengths, _ = table.pairs(_BATCH_NODES)
    if min(lengths, default=0) < 0 or rows < 0 or table.int64(_BATCH_LENGTH) < 0:
        raise Unreadable(Reason.NOT_ARROW)
    offsets, sizes = table.pairs(_BATCH_BUFFERS)
    least = min(min(offsets, default=0), min(sizes, default=0))
    if least < 0 or max(map(add, offsets, sizes), default=0) > body:
        raise Unreadable(Reason.NOT_ARROW)
    size = sum(lengths) // 8 + sum(sizes)
    compressed = table.has(_BATCH_COMPRESSION)
    buffers = tuple(zip(offsets, sizes, strict=True)) if compressed else ()
    return Claims(rows, size, compressed, buffers)


_known_claims = lru_cache(maxsize=256)(_claims)


class _Table:
    """A table of a flatbuffer: just enough to read lengths (flatbuffers.dev, internals)."""

    __slots__ = ("_at", "_data", "_vtable", "_vtable_size")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _INT.unpack_from(data, at)[0]
        self._vtable_size = _SHORT.unpack_from(data, self._vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, _UINT.unpack_from(data, 0)[0])

    def _field(self, number: int) -> int | None:
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_size:
            return None
        offset: int = _SHORT.unpack_from(self._data, self._vtable + slot)[0]
        return self._at + offset if offset else None

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def byte(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else self._data[at]

    def int64(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else int(_LONG.unpack_from(self._data, at)[0])

    def _follow(self, number: int) -> int:
        at = self._field(number)
        if at is None:
            raise Unreadable(Reason.NOT_ARROW)
        return at + int(_UINT.unpack_from(self._data, at)[0])

    def table(self, number: int) -> _Table:
        return _Table(self._data, self._follow(number))

    def pairs(self, number: int) -> tuple[Sequence[int], Sequence[int]]:
        """A vector of structs of two int64: all first ones, and all second ones."""
        if not self.has(number):
            return (), ()
        at = self._follow(number)
        count = int(_UINT.unpack_from(self._data, at)[0])
        if 16 * count > len(self._data):
            raise Unreadable(Reason.NOT_ARROW)
        flat = struct.unpack_from(f"<{2 * count}q", self._data, at + 4)
        return flat[::2], flat[1::2]
