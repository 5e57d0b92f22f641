"""One batch is stored while the next is read: what is committed, when, and what is in memory."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest
from confluent_kafka import Message, TopicPartition

from sinks.errors import Permanent, Retryable
from sinks.schema import DEAD_LETTERS
from sinks.table import Table
from streams.store_loop import Store
from tests.unit.streams.store_stand_ins import (
    DEAD,
    QUICK,
    TAKEN,
    FakeConsumer,
    Stored,
    dead_letter,
    intake_row,
    message,
    rows,
)

LONG_S = 5.0
"""Nothing waits so long unless the test fails."""


def letters(count: int) -> list[list[Message]]:
    """Polls of one message each, of one row each."""
    return [[message(at, rows(dead_letter(at)))] for at in range(count)]


@dataclass
class Held(Stored):
    """A store whose inserts do not return before ``go`` is set; ``busy``: one has begun."""

    go: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)

    def insert(self, table: Table, columns: pa.Table) -> None:
        self.busy.set()
        self.go.wait(LONG_S)
        super().insert(table, columns)


@dataclass
class Scripted(FakeConsumer):
    """Before the poll of a number something happens."""

    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    polled: int = 0

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        self.before.pop(self.polled, bool)()
        self.polled += 1
        found = super().consume(num_messages, timeout)
        if not found:
            time.sleep(0.001)
        return found


def stored_all(consumer: FakeConsumer, offset: int) -> Callable[[], bool]:
    """Whether the dead letters are committed up to an offset, or it took too long."""
    until = time.monotonic() + LONG_S

    def stop() -> bool:
        done = any(commit.get((DEAD, 0)) == offset for commit in consumer.commits)
        return done or time.monotonic() > until

    return stop


def test_the_next_batch_is_read_while_one_is_being_stored() -> None:
    stored = Held()
    consumer = Scripted(letters(2))
    consumer.before = {1: lambda: stored.busy.wait(LONG_S), 2: stored.go.set}
    began = time.monotonic()
    Store(consumer, stored.insert, QUICK).run(stored_all(consumer, 2))
    assert time.monotonic() - began < LONG_S
    assert stored.offsets() == [0, 1]
    assert consumer.commits == [{(DEAD, 0): 1}, {(DEAD, 0): 2}]


def test_batches_are_stored_and_committed_one_after_the_other() -> None:
    inside: list[int] = []
    most: list[int] = []
    stored = Stored()
    consumer = Scripted(letters(30))

    def insert(table: Table, columns: pa.Table) -> None:
        inside.append(1)
        most.append(len(inside))
        # What is committed is stored, and nothing else is.
        committed = consumer.commits[-1][DEAD, 0] if consumer.commits else 0
        assert stored.offsets() == list(range(committed))
        stored.insert(table, columns)
        inside.pop()

    Store(consumer, insert, QUICK).run(stored_all(consumer, 30))
    assert max(most) == 1
    assert stored.offsets() == list(range(30))
    ends = [commit[DEAD, 0] for commit in consumer.commits]
    assert ends == sorted(ends)
    assert ends[-1] == 30


def test_an_insert_that_fails_while_the_next_batch_is_read_is_made_again_before_it() -> None:
    stored = Held(failures=[Retryable("away")] * 3)
    consumer = Scripted(letters(2))
    consumer.before = {1: lambda: stored.busy.wait(LONG_S), 2: stored.go.set}
    store = Store(consumer, stored.insert, QUICK)
    store.run(stored_all(consumer, 2))
    assert store.counts.retries == 3
    assert stored.offsets() == [0, 1]
    assert consumer.commits == [{(DEAD, 0): 1}, {(DEAD, 0): 2}]


def test_an_insert_that_cannot_be_cured_takes_the_next_batch_with_it() -> None:
    stored = Held(failures=[Permanent("wrong password")])
    consumer = Scripted(letters(2))
    consumer.before = {1: lambda: stored.busy.wait(LONG_S), 2: stored.go.set}
    with pytest.raises(Permanent, match="wrong password"):
        Store(consumer, stored.insert, QUICK).run(stored_all(consumer, 2))
    assert (stored.offsets(), consumer.commits) == ([], [])
    assert consumer.closed


def test_while_an_insert_hangs_two_batches_are_in_memory_and_no_more() -> None:
    stored = Held()
    consumer = Scripted(letters(20))
    consumer.before = {10: stored.go.set}
    read: list[int] = []

    def insert(table: Table, columns: pa.Table) -> None:
        stored.insert(table, columns)
        read.append(store.counts.messages)

    store = Store(consumer, insert, replace(QUICK, flush_rows=3))
    store.run(stored_all(consumer, 18))
    assert read[0] == 6
    assert "pause" in consumer.paused
    assert stored.offsets()[:18] == list(range(18))


class ForgetsFlights(Store):
    """Without the guard: a partition that is taken away stays among what is being stored."""

    def _on_revoke(self, given: object, partitions: list[TopicPartition]) -> None:
        flight, self._flight = self._flight, None
        super()._on_revoke(given, partitions)
        self._flight = flight


@pytest.mark.parametrize("store_type", [Store, ForgetsFlights])
def test_a_partition_taken_away_while_its_rows_are_stored_is_not_committed(
    store_type: type[Store],
) -> None:
    stored = Held()
    both = [message(0, rows(dead_letter(0))), message(7, rows(intake_row()), TAKEN)]
    consumer = Scripted([both])

    def revoke() -> None:
        stored.busy.wait(LONG_S)
        consumer.on_revoke(consumer, [TopicPartition(DEAD, 0)])
        stored.go.set()

    consumer.before = {1: revoke}
    until = time.monotonic() + LONG_S
    store = store_type(consumer, stored.insert, QUICK)
    store.run(lambda: bool(consumer.commits) or time.monotonic() > until)
    guarded = store_type is Store
    assert consumer.commits == [{(TAKEN, 0): 8} if guarded else {(DEAD, 0): 1, (TAKEN, 0): 8}]


def test_a_partition_that_comes_back_while_its_rows_are_stored_is_read_again() -> None:
    stored = Held()
    consumer = Scripted(letters(1) * 2)

    def revoke() -> None:
        stored.busy.wait(LONG_S)
        consumer.on_revoke(consumer, [TopicPartition(DEAD, 0)])

    consumer.before = {1: revoke, 2: stored.go.set}
    Store(consumer, stored.insert, QUICK).run(stored_all(consumer, 1))
    # Twice: the table's key makes them one.
    assert stored.offsets() == [0, 0]
    assert consumer.commits == [{(DEAD, 0): 1}]


def test_who_stops_stores_and_commits_what_is_on_its_way_and_what_was_read_after_it() -> None:
    stored, stop = Held(), threading.Event()
    consumer = Scripted(letters(2))

    def end() -> None:
        stop.set()
        threading.Timer(0.02, stored.go.set).start()

    consumer.before = {1: lambda: stored.busy.wait(LONG_S), 2: end}
    Store(consumer, stored.insert, replace(QUICK, stop_within_ms=2_000)).run(stop.is_set)
    assert stored.offsets() == [0, 1]
    assert consumer.commits == [{(DEAD, 0): 1}, {(DEAD, 0): 2}]


class NeverMindsTheFirst(Store):
    """Without the guard: what was read last is stored and committed whatever became of what was
    read before."""

    def _ends(self, until: float) -> bool:
        if not super()._ends(until):
            self._flight = None
        return True


@pytest.mark.parametrize("store_type", [Store, NeverMindsTheFirst])
@pytest.mark.parametrize("failing", [True, False], ids=["failing", "hanging"])
def test_who_stops_commits_nothing_that_was_read_after_what_could_not_be_stored(
    store_type: type[Store], failing: bool
) -> None:
    stop, release, busy = threading.Event(), threading.Event(), threading.Event()
    stored = Stored()
    consumer = Scripted(letters(2))
    tries: list[int] = []

    def insert(table: Table, columns: pa.Table) -> None:
        first = columns.column("offset")[0].as_py() == 0
        if first:
            busy.set()
            tries.append(1)
            stop.wait(LONG_S)
            if failing:
                raise Retryable("away")
            release.wait(LONG_S)
        stored.insert(table, columns)

    consumer.before = {1: lambda: busy.wait(LONG_S), 2: stop.set}
    # Pauses that who stops must cut short: no second try, and no waiting for one.
    slow = replace(QUICK, first_pause_ms=60_000, longest_pause_ms=60_000)
    store_type(consumer, insert, slow).run(stop.is_set)
    committed, kept = list(consumer.commits), stored.offsets()
    release.set()
    assert len(tries) == 1
    if store_type is Store:
        assert (committed, kept) == ([], [])
    else:
        assert (committed, kept) == ([{(DEAD, 0): 2}], [1])


def test_rows_beyond_one_table_are_all_stored_before_anything_is_committed() -> None:
    both = [message(0, rows(dead_letter(0))), message(7, rows(intake_row()), TAKEN)]
    consumer, stored = Scripted([both]), Stored()
    seen: list[tuple[str, int]] = []

    def insert(table: Table, columns: pa.Table) -> None:
        seen.append((table.name, len(consumer.commits)))
        stored.insert(table, columns)

    until = time.monotonic() + LONG_S
    Store(consumer, insert, QUICK).run(lambda: bool(consumer.commits) or time.monotonic() > until)
    assert seen == [(DEAD_LETTERS.name, 0), ("intake", 0)]
