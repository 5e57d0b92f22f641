"""Entries of a changelog: large ones are compressed, and those beyond a record are in parts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.changelog import Changelog, acknowledged
from streams.errors import UnavailableError
from streams.kafka import MOST_RECORD_BYTES

Sent = tuple[bytes, bytes | None]
"""A key and its value, None to forget it."""


class Table:
    """What Changelog uses of a Faust table. ``sent``: what went to Kafka, in its order, as
    (key, value)."""

    changelog_topic_name = "judge-intervals-changelog"

    def __init__(self, sent: Sequence[Sent] = ()) -> None:
        self.data: dict[bytes, bytes] = {}
        self.sent: list[Sent] = []
        for key, value in sent:  # as a table is restored
            self.send_changelog(0, key, value)
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[object]:
        self.sent.append((key, value))
        return Done()


class Done:
    """An acknowledgement."""

    def __await__(self):  # type: ignore[no-untyped-def]
        return iter(())


def wait(pending: Awaitable[object]) -> None:
    async def done() -> None:
        await pending

    asyncio.run(done())


def rubbish(length: int, seed: int = 1) -> bytes:
    """An entry that cannot be compressed."""
    return msgspec.msgpack.encode([random.Random(seed).randbytes(length)])


@pytest.mark.parametrize("length", [10, 20_000_000])
def test_what_was_put_is_what_is_got(length: int) -> None:
    table = Table()
    value = msgspec.msgpack.encode(["a" * length])
    wait(Changelog(table).put(0, b"key", value))
    assert Changelog(table).get(b"key") == value
    assert list(Changelog(table).items()) == [(b"key", value)]
    assert table.sent == [(b"key", table.data[b"key"])]
    assert len(table.data[b"key"]) < MOST_RECORD_BYTES


def test_an_entry_larger_than_a_record_is_in_parts_that_fit_and_is_one_entry_to_who_reads_it() -> (
    None
):
    table = Table()
    value = rubbish(3 * MOST_RECORD_BYTES)
    wait(Changelog(table).put(3, b"key", value))
    assert max(len(key) + len(part or b"") for key, part in table.sent) < MOST_RECORD_BYTES
    restored = Changelog(Table(table.sent))
    assert restored.get(b"key") == value
    assert list(restored.items()) == [(b"key", value)]
    assert list(restored) == [b"key"]
    wait(restored.remove(3, b"key"))
    assert restored.get(b"key") is None


def test_nothing_of_an_entry_in_parts_is_left_when_it_is_removed_or_small_again() -> None:
    for ending in ("remove", "put"):
        table = Table()
        changelog = Changelog(table, part_bytes=10)
        for seed in range(3):
            wait(changelog.put(0, b"key", rubbish(95, seed)))
        if ending == "remove":
            wait(changelog.remove(0, b"key"))
            assert table.data == {}
        else:
            wait(changelog.put(0, b"key", b"\x90"))
            assert table.data == {b"key": b"\x90"}
        assert Table(table.sent).data == table.data


def test_an_entry_of_which_a_part_is_gone_is_refused_with_words() -> None:
    table = Table()
    wait(Changelog(table, part_bytes=10).put(0, b"key", rubbish(50)))
    del table.data[table.sent[1][0]]
    with pytest.raises(UnavailableError, match=r"intervals.*43 of 53 bytes"):
        Changelog(table).get(b"key")


KEYS = st.sampled_from([b"a", b"b", b"\x92\xa1m\x01"])
WRITES = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 60)), min_size=1, max_size=8)


@given(WRITES, st.data())
def test_wherever_a_crash_comes_an_entry_is_as_before_a_write_or_as_after_it(
    writes: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    table = Table()
    changelog = Changelog(table, part_bytes=10)
    states: list[dict[bytes, bytes]] = [{}]
    ends = [0]
    for number, (key, length) in enumerate(writes):
        now = dict(states[-1])
        if length is None:
            wait(changelog.remove(0, key))
            now.pop(key, None)
        else:
            now[key] = rubbish(length, number)
            wait(changelog.put(0, key, now[key]))
        states.append(now)
        ends.append(len(table.sent))
    assert dict(changelog.items()) == states[-1]
    crash = data.draw(st.integers(0, len(table.sent)), label="records that Kafka had")
    restored = Table(table.sent[:crash])
    heir = Changelog(restored, part_bytes=10)
    done = max(number for number, end in enumerate(ends) if end <= crash)
    found = dict(heir.items())
    assert found in states[done : done + 2]
    # The next write takes away what the crash has left.
    wait(heir.put(0, b"z", b"\x90"))
    assert dict(heir.items()) == {**found, b"z": b"\x90"}
    for key in list(dict(heir.items())):
        wait(heir.remove(0, key))
    assert restored.data == {} == Table(restored.sent).data


def test_what_a_crash_left_in_partitions_of_others_is_theirs_to_remove() -> None:
    table = Table()
    wait(Changelog(table, part_bytes=10).put(5, b"key", rubbish(30)))
    torn = [(key, value) for key, value in table.sent if key != b"key"]
    restored = Table(torn)
    heir = Changelog(restored, part_bytes=10)
    assert list(heir.items()) == []
    wait(heir.put(4, b"other", b"\x90"))
    assert len(restored.data) == 1 + len(torn)
    wait(heir.put(5, b"other", b"\x90"))
    assert restored.data == {b"other": b"\x90"}


def test_what_kafka_has_had_is_not_waited_for() -> None:
    loop = asyncio.new_event_loop()
    futures = [loop.create_future() for _ in range(3)]
    for future in futures:
        future.set_result(None)
    with pytest.raises(StopIteration):  # it ends where it would have waited
        acknowledged(futures).send(None)
    loop.close()


def test_all_that_kafka_has_not_had_yet_is_waited_for_and_no_task_is_made() -> None:
    async def story() -> list[int]:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]
        futures[1].set_result(None)
        waiting = asyncio.create_task(acknowledged(futures))
        seen = []
        for future in (futures[0], futures[2]):
            await asyncio.sleep(0)
            assert not waiting.done()
            seen.append(len(asyncio.all_tasks()))
            future.set_result(None)
        await waiting
        return seen

    assert asyncio.run(story()) == [2, 2]


@pytest.mark.parametrize("before", [True, False])
def test_a_failure_is_told_of_although_others_are_waited_for(before: bool) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]
        if before:
            futures[2].set_exception(UnavailableError("no", "topic", "wait"))
        else:
            loop.call_soon(futures[2].set_exception, UnavailableError("no", "topic", "wait"))
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(acknowledged(futures), 10)

    asyncio.run(story())
