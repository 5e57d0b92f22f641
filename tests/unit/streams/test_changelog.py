"""Entries of a changelog: large ones are compressed, and one that fits no record is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import msgspec
import pytest

from streams.changelog import Changelog
from streams.errors import UnavailableError
from streams.kafka import MOST_RECORD_BYTES


class Table:
    """What Changelog uses of a Faust table."""

    changelog_topic_name = "judge-intervals-changelog"

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.sent: list[bytes | None] = []

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[object]:
        self.sent.append(value)
        return asyncio.sleep(0)


def put(table: Table, value: bytes) -> None:
    async def all_of_it() -> None:
        await Changelog(table).put(0, b"key", value)

    asyncio.run(all_of_it())


@pytest.mark.parametrize("length", [10, 20_000_000])
def test_what_was_put_is_what_is_got(length: int) -> None:
    table = Table()
    value = msgspec.msgpack.encode(["a" * length])
    put(table, value)
    assert Changelog(table).get(b"key") == value
    assert list(Changelog(table).items()) == [(b"key", value)]
    assert table.sent == [table.data[b"key"]]
    assert len(table.data[b"key"]) < MOST_RECORD_BYTES


def test_an_entry_that_fits_no_record_is_refused_with_words() -> None:
    table = Table()
    rubbish = msgspec.msgpack.encode([random.Random(1).randbytes(MOST_RECORD_BYTES)])
    with pytest.raises(
        UnavailableError, match=r"intervals.*larger than a record.*columns_per_model"
    ):
        put(table, rubbish)
    assert table.data == {}
