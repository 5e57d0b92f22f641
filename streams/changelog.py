"""A Faust table, written with the partition named and the acknowledgement awaited.

Faust finds the partition of a table entry from the event that is being processed and does not wait
for the changelog. The judge needs to know when an entry is safe, and deliver writes between events
as well, so both go through here.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from streams.errors import UnavailableError
from streams.kafka import MOST_RECORD_BYTES

_LARGE_BYTES = 512 * 1024
"""From here on an entry is stored compressed."""
_RECORD_OVERHEAD = 4 * 1024
"""Of a record beside its value: the key and what the protocol adds."""
_ZLIB = b"\x78"
"""The first byte of what zlib writes, and of no entry: these are arrays and maps of MessagePack, or
JSON."""


def _allowed() -> None:
    """Every write is."""


class Changelog:
    """Bytes by key, kept in a compacted Kafka topic. ``before_write`` may refuse a write by raising
    (streams.lease)."""

    def __init__(self, table: Any, before_write: Callable[[], None] = _allowed) -> None:
        self._table = table
        self._before_write = before_write

    def get(self, key: bytes) -> bytes | None:
        value = self._table.data.get(key)
        return _loosened(value) if isinstance(value, bytes) else None

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in list(self._table.data.items()):
            if isinstance(key, bytes) and isinstance(value, bytes):
                yield key, _loosened(value)

    def put(self, partition: int, key: bytes, value: bytes) -> Awaitable[object]:
        """Store an entry; what is returned is done when Kafka has it. Raises UnavailableError for
        one that no record can hold."""
        self._before_write()
        value = self._packed(value)
        self._table.data[key] = value
        return self._send(partition, key, value)

    def remove(self, partition: int, key: bytes) -> Awaitable[object]:
        """Forget an entry."""
        self._before_write()
        self._table.data.pop(key, None)
        return self._send(partition, key, None)

    def _packed(self, value: bytes) -> bytes:
        if len(value) < _LARGE_BYTES:
            return value
        packed = zlib.compress(value, 1)
        if len(packed) > MOST_RECORD_BYTES - _RECORD_OVERHEAD:
            raise UnavailableError(
                f"an entry of {len(value)} bytes ({len(packed)} compressed) is larger than a record"
                " may be",
                str(self._table.changelog_topic_name),
                "a model has very many columns of long values: lower limits.columns_per_model",
            )
        return packed

    def _send(self, partition: int, key: bytes, value: bytes | None) -> Awaitable[object]:
        sent: Awaitable[object] = self._table.send_changelog(
            partition, key, value, key_serializer="raw", value_serializer="raw"
        )
        return sent


def _loosened(value: bytes) -> bytes:
    return zlib.decompress(value) if value.startswith(_ZLIB) else value


async def acknowledged(pending: Iterable[Awaitable[object]]) -> None:
    """Wait until Kafka has all of them."""
    waiting = list(pending)
    if waiting:
        await asyncio.gather(*(_one(each) for each in waiting))


async def _one(pending: Awaitable[object]) -> None:
    await pending
