"""Who was frozen notices before it writes, whoever wakes up first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streams.changelog import Changelog
from streams.lease import LONGEST_FREEZE_S, SESSION_S, Lease, LeaseLost


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_runs_may_write() -> None:
    clock = Clock()
    lease = Lease(clock)
    for _ in range(1_000):
        clock.now += 0.25
        lease.look()
        lease.check()


def test_after_a_freeze_nothing_is_written_when_the_writer_wakes_up_first() -> None:
    clock = Clock()
    lease = Lease(clock)
    clock.now += LONGEST_FREEZE_S + 0.1
    with pytest.raises(LeaseLost):
        lease.check()


def test_after_a_freeze_nothing_is_written_when_the_watch_wakes_up_first() -> None:
    clock = Clock()
    lease = Lease(clock)
    clock.now += LONGEST_FREEZE_S + 0.1
    lease.look()
    clock.now += 0.25
    lease.look()
    with pytest.raises(LeaseLost, match="frozen"):
        lease.check()


def test_a_short_freeze_is_none() -> None:
    clock = Clock()
    lease = Lease(clock)
    clock.now += LONGEST_FREEZE_S - 0.1
    lease.look()
    lease.check()
    assert LONGEST_FREEZE_S < SESSION_S


class Table:
    """What Changelog uses of a Faust table."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.sent: list[tuple[bytes, bytes | None]] = []

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[None]:
        self.sent.append((key, value))
        return asyncio.sleep(0)


@pytest.mark.parametrize("write", [lambda c: c.put(0, b"k", b"v"), lambda c: c.remove(0, b"k")])
def test_a_changelog_asks_before_each_write(write: Callable[[Changelog], object]) -> None:
    table = Table()
    clock = Clock()
    changelog = Changelog(table, Lease(clock).check)
    clock.now += 60
    with pytest.raises(LeaseLost):
        write(changelog)
    assert table.sent == []
    assert table.data == {}
