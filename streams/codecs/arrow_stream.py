"""Reading an Arrow IPC stream that nobody vouches for.

A few bytes may claim anything: a compressed buffer of terabytes, a null column of 2**60 rows,
string offsets that point outside their buffer. So the claims are read from the metadata first
(its flatbuffer is verified by Arrow when a message is opened), and every batch is validated in
full before its values are touched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from streams.codecs.messages import MAX_ROWS
from streams.codecs.reasons import Reason, Unreadable
from streams.event import Bounds

EXPANSION = 8
"""How many times larger than the largest message its contents may be once decompressed."""

_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, struct.error)
# Positions of fields in the tables of Arrow's Message.fbs.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION = range(4)


def read_batches(value: bytes, bounds: Bounds) -> list[Any]:
    """The record batches of one message, validated. Raises ``Unreadable``."""
    try:
        _check_claims(value, bounds)
        with pa.ipc.open_stream(pa.py_buffer(value)) as stream:
            batches = list(stream)
        for batch in batches:
            batch.validate(full=True)
    except _BROKEN:
        raise Unreadable(Reason.NOT_ARROW) from None
    if not any(batch.num_rows for batch in batches):
        raise Unreadable(Reason.EMPTY)
    return batches


def _check_claims(value: bytes, bounds: Bounds) -> None:
    rows = size = 0
    for message in _messages(value):
        if message.type not in ("record batch", "dictionary"):
            continue
        table = _Table.root(memoryview(message.metadata)).table(_MESSAGE_HEADER)
        if message.type == "dictionary":
            table = table.table(_DICTIONARY_DATA)
        else:
            rows += table.int64(_BATCH_LENGTH)
        size += _size_of(table, message.body)
        if rows > MAX_ROWS:
            raise Unreadable(Reason.TOO_MANY_ROWS)
        if size > EXPANSION * bounds.max_message_bytes:
            raise Unreadable(Reason.TOO_LARGE)


def _messages(value: bytes) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(value))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _size_of(batch: _Table, body: Any) -> int:
    """Bytes a batch will take in memory: what its buffers claim, and a bit for every value."""
    lengths = batch.pairs(_BATCH_NODES)[:, 0]
    if (lengths < 0).any() or batch.int64(_BATCH_LENGTH) < 0:
        raise Unreadable(Reason.NOT_ARROW)
    size = sum(lengths.tolist()) // 8
    data = b"" if body is None else memoryview(body)
    for offset, length in batch.pairs(_BATCH_BUFFERS).tolist():
        if length < 0 or offset < 0 or offset + length > len(data):
            raise Unreadable(Reason.NOT_ARROW)
        claimed: int = length
        if batch.has(_BATCH_COMPRESSION) and length >= 8:
            claimed = max(length, int(struct.unpack_from("<q", data, offset)[0]))  # -1: plain
        size += claimed
    return int(size)


class _Table:
    """A table of a flatbuffer: just enough to read lengths (flatbuffers.dev, internals)."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - struct.unpack_from("<i", data, at)[0]
        self._vtable_size = struct.unpack_from("<H", data, self._vtable)[0]

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _field(self, number: int) -> int | None:
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_size:
            return None
        offset: int = struct.unpack_from("<H", self._data, self._vtable + slot)[0]
        return self._at + offset if offset else None

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def int64(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else int(struct.unpack_from("<q", self._data, at)[0])

    def _follow(self, number: int) -> int:
        at = self._field(number)
        if at is None:
            raise Unreadable(Reason.NOT_ARROW)
        return at + int(struct.unpack_from("<I", self._data, at)[0])

    def table(self, number: int) -> _Table:
        return _Table(self._data, self._follow(number))

    def pairs(self, number: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """A vector of structs of two int64, shape (n, 2)."""
        if not self.has(number):
            return np.empty((0, 2), dtype=np.int64)
        at = self._follow(number)
        count = int(struct.unpack_from("<I", self._data, at)[0])
        flat = np.frombuffer(self._data, dtype="<i8", count=2 * count, offset=at + 4)
        return flat.astype(np.int64).reshape(count, 2)
