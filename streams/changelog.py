"""A Faust table, written with the partition named and the acknowledgement awaited.

Faust finds the partition of a table entry from the event that is being processed and does not wait
for the changelog. The judge needs to know when an entry is safe, and deliver writes between events
as well, so both go through here.

An entry may be larger than a record: how large is for ``limits`` to say. Such a one is written in
parts under keys of their own, and then as a head, which names them: the head is what commits. All
of them are in one partition, to which the producer writes in order (:mod:`streams.faust_broker`),
so whoever reads the head has the parts. The parts of the next value go where those of the last one
are not (``slot``), so that a crash in between leaves the old value whole; parts that no head names
were left by such a crash, and are removed by the next write to their partition.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple

from streams.errors import UnavailableError
from streams.kafka import MOST_RECORD_BYTES

_LARGE_BYTES = 512 * 1024
"""From here on an entry is stored compressed."""
_PART_BYTES = MOST_RECORD_BYTES - 256 * 1024
"""Of a value in one record: beside it there are the key and what the protocol adds."""
_ZLIB = b"\x78"
"""The first byte of what zlib writes, and of no entry: these are arrays and maps of MessagePack, or
JSON."""
_PARTS = b"\xc1"
"""The first byte of a head, and of the key of a part. No text in UTF-8 has it, nor MessagePack."""
_HEAD = struct.Struct(">cIBHQ")
_PART_KEY = struct.Struct(">cIBH")


class _Head(NamedTuple):
    """``parts`` records hold ``size`` bytes."""

    partition: int
    slot: int
    parts: int
    size: int

    def keys(self, key: bytes) -> list[bytes]:
        return [
            _PART_KEY.pack(_PARTS, self.partition, self.slot, index) + key
            for index in range(self.parts)
        ]

    def encode(self) -> bytes:
        return _HEAD.pack(_PARTS, *self)


def _head_of(value: object) -> _Head | None:
    """None for a value that is whole, or no value."""
    if not isinstance(value, bytes) or not value.startswith(_PARTS):
        return None
    return _Head(*_HEAD.unpack(value)[1:])


def _allowed() -> None:
    """Every write is."""


class Changelog:
    """Bytes by key, kept in a compacted Kafka topic. ``before_write`` may refuse a write by raising
    (streams.lease). ``part_bytes``: what fits a record."""

    def __init__(
        self,
        table: Any,
        before_write: Callable[[], None] = _allowed,
        part_bytes: int = _PART_BYTES,
    ) -> None:
        self._table = table
        self._before_write = before_write
        self._part_bytes = part_bytes
        self._unnamed: dict[int, list[bytes]] = {}
        """Keys of parts that no head names, by partition."""

    def get(self, key: bytes) -> bytes | None:
        value = self._table.data.get(key)
        return self._whole(key, value) if isinstance(value, bytes) else None

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        entries, parts, named = [], [], set[bytes]()
        for key, value in list(self._table.data.items()):
            if not isinstance(key, bytes) or not isinstance(value, bytes):
                continue
            if key.startswith(_PARTS):
                parts.append(key)
                continue
            entries.append((key, value))
            head = _head_of(value)
            if head is not None:
                named.update(head.keys(key))
        self._unnamed = {}
        for part in parts:
            if part not in named:
                self._unnamed.setdefault(_PART_KEY.unpack_from(part)[1], []).append(part)
        return ((key, self._whole(key, value)) for key, value in entries)

    def put(self, partition: int, key: bytes, value: bytes) -> Awaitable[object]:
        """Store an entry; what is returned is done when Kafka has it."""
        self._before_write()
        sent = self._swept(partition)
        known = _head_of(self._table.data.get(key))
        packed, most = _tightened(value), self._part_bytes
        if len(packed) <= most:
            sent.append(self._store(partition, key, packed))
        else:
            slot = 0 if known is None else 1 - known.slot
            head = _Head(partition, slot, -(-len(packed) // most), len(packed))
            for index, part in enumerate(head.keys(key)):
                at = index * most
                sent.append(self._store(partition, part, packed[at : at + most]))
            sent.append(self._store(partition, key, head.encode()))
        if known is not None:
            sent += [self._drop(partition, part) for part in known.keys(key)]
        return sent[0] if len(sent) == 1 else acknowledged(sent)

    def remove(self, partition: int, key: bytes) -> Awaitable[object]:
        """Forget an entry."""
        self._before_write()
        sent = self._swept(partition)
        known = _head_of(self._table.data.get(key))
        sent.append(self._drop(partition, key))
        if known is not None:
            sent += [self._drop(partition, part) for part in known.keys(key)]
        return sent[0] if len(sent) == 1 else acknowledged(sent)

    def _whole(self, key: bytes, value: bytes) -> bytes:
        head = _head_of(value)
        if head is not None:
            parts = [self._table.data.get(part) for part in head.keys(key)]
            value = b"".join(part for part in parts if isinstance(part, bytes))
            if len(value) != head.size:
                raise UnavailableError(
                    f"{len(value)} of {head.size} bytes of an entry are there",
                    str(self._table.changelog_topic_name),
                    "records of the topic were deleted: restore it (docs/operations.md, Back-up)",
                )
        return zlib.decompress(value) if value.startswith(_ZLIB) else value

    def _swept(self, partition: int) -> list[Awaitable[object]]:
        return [self._drop(partition, part) for part in self._unnamed.pop(partition, ())]

    def _store(self, partition: int, key: bytes, value: bytes) -> Awaitable[object]:
        self._table.data[key] = value
        return self._send(partition, key, value)

    def _drop(self, partition: int, key: bytes) -> Awaitable[object]:
        self._table.data.pop(key, None)
        return self._send(partition, key, None)

    def _send(self, partition: int, key: bytes, value: bytes | None) -> Awaitable[object]:
        sent: Awaitable[object] = self._table.send_changelog(
            partition, key, value, key_serializer="raw", value_serializer="raw"
        )
        return sent


def _tightened(value: bytes) -> bytes:
    return value if len(value) < _LARGE_BYTES else zlib.compress(value, 1)


async def acknowledged(pending: Iterable[Awaitable[object]]) -> None:
    """Wait until Kafka has all of them. The first that fails is told of at once, also while others
    are still waited for."""
    # Futures as a rule, which need no task each; nobody waits for one that is done.
    waiting = [each for each in pending if not _had(each)]
    if len(waiting) == 1:
        await waiting[0]
    elif waiting:
        futures = (each if asyncio.isfuture(each) else _one(each) for each in waiting)
        await asyncio.gather(*futures)


async def _one(pending: Awaitable[object]) -> None:
    await pending


def _had(pending: Awaitable[object]) -> bool:
    """Whether Kafka has it already. Raises what it failed with."""
    if not asyncio.isfuture(pending) or not pending.done():
        return False
    pending.result()
    return True
