import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from sinks.errors import Permanent, Retryable
from sinks.schema import DEAD_LETTERS, INTAKE, TABLES
from sinks.table import Table
from streams import internal_topics
from streams.store_loop import STORED, Store, StoreRoleSettings
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


def run(consumer: FakeConsumer, stored: Stored, settings: StoreRoleSettings = QUICK) -> Store:
    stop = threading.Event()
    consumer.drained = stop.set
    store = Store(consumer, stored.insert, settings)
    store.run(stop.is_set)
    return store


def test_every_table_has_a_topic() -> None:
    assert {t.name for t in STORED.values()} == {t.name for t in TABLES}
    assert STORED[DEAD] is DEAD_LETTERS
    assert STORED[TAKEN] is INTAKE


def test_rows_are_stored_and_then_committed() -> None:
    consumer = FakeConsumer([[message(5, rows(dead_letter(1), dead_letter(2)))]])
    stored = Stored()
    store = run(consumer, stored)
    assert stored.offsets() == [1, 2]
    assert consumer.commits == [{(DEAD, 0): 6}]
    assert consumer.closed
    assert (store.counts.messages, store.counts.rows, store.counts.refused) == (1, 2, 0)


def test_a_flush_is_one_insert_a_table() -> None:
    polls = [
        [message(i, rows(dead_letter(i))) for i in range(50)]
        + [message(0, rows(intake_row()), TAKEN)]
    ]
    stored = Stored()
    run(FakeConsumer(polls), stored)
    assert sorted(name for name, _ in stored.tables) == ["dead_letters", "intake"]
    assert stored.offsets() == list(range(50))


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"rows": {"a": 1}}',
        b'{"rows": [1]}',
        b"[" * 5000,
        rows({"surplus": 1}),
        rows({**dead_letter(1), "surplus": 1}),
        rows({**dead_letter(1), "bytes": -1}),
        rows({**dead_letter(1), "bytes": 10**30}),
        rows({**dead_letter(1), "seen_at": 10**16}),
        b"",
    ],
)
def test_a_message_that_cannot_be_read_loses_none_of_its_neighbours(bad: bytes) -> None:
    polls = [
        [
            message(0, rows(dead_letter(10))),
            message(1, bad),
            message(2, rows(dead_letter(12))),
        ]
    ]
    consumer, stored = FakeConsumer(polls), Stored()
    store = run(consumer, stored)
    assert stored.offsets() == [10, 12]
    assert store.counts.refused == 1
    assert consumer.commits == [{(DEAD, 0): 3}]


def test_deleted_keys_are_passed_over() -> None:
    consumer, stored = FakeConsumer([[message(0, None)]]), Stored()
    assert run(consumer, stored).counts.refused == 0
    assert consumer.commits == [{(DEAD, 0): 1}]


def test_while_the_store_is_away_nothing_is_committed() -> None:
    consumer = FakeConsumer(
        [[message(0, rows(dead_letter(1)))], [message(1, rows(dead_letter(2)))]]
    )
    stored = Stored(failures=[Retryable("away")] * 3)
    store = run(consumer, stored)
    assert stored.offsets() == [1, 2]
    assert store.counts.retries == 3
    assert consumer.paused[0] == "pause"
    assert consumer.paused[-1] == "resume"
    assert consumer.commits == [{(DEAD, 0): 1}, {(DEAD, 0): 2}]


def test_a_table_that_is_stored_is_not_stored_again_with_the_next_try() -> None:
    polls = [
        [message(0, rows(dead_letter(1))), message(0, rows(intake_row()), TAKEN)],
    ]
    stored = Stored()
    calls: list[str] = []

    def insert(table: Table, columns: pa.Table) -> None:
        calls.append(table.name)
        if calls == ["dead_letters", "intake"]:
            raise Retryable("away")
        stored.insert(table, columns)

    consumer = FakeConsumer(polls)
    Store(consumer, insert, QUICK).run(lambda: bool(consumer.commits))
    assert calls == ["dead_letters", "intake", "intake"]


def test_an_error_that_waiting_cannot_cure_ends_it_without_a_commit() -> None:
    consumer = FakeConsumer([[message(0, rows(dead_letter(1)))]])
    with pytest.raises(Permanent, match="wrong password"):
        run(consumer, Stored(failures=[Permanent("wrong password")]))
    assert consumer.commits == []
    assert consumer.closed


def test_stopping_while_the_store_is_away_commits_nothing() -> None:
    consumer = FakeConsumer([[message(0, rows(dead_letter(1)))]])
    stop = threading.Event()

    def insert(table: Table, columns: pa.Table) -> None:
        stop.set()
        raise Retryable("away")

    Store(consumer, insert, QUICK).run(stop.is_set)
    assert consumer.commits == []
    assert consumer.closed


def test_stopping_does_not_wait_for_an_insert_that_hangs() -> None:
    consumer = FakeConsumer([[message(0, rows(dead_letter(1)))]])
    stop, release = threading.Event(), threading.Event()

    def insert(table: Table, columns: pa.Table) -> None:
        stop.set()
        release.wait(20)

    runner = threading.Thread(target=Store(consumer, insert, QUICK).run, args=(stop.is_set,))
    runner.start()
    runner.join(5)
    alive = runner.is_alive()
    release.set()
    runner.join(5)
    assert not alive
    assert consumer.commits == []


def test_offsets_whose_commit_failed_are_committed_later() -> None:
    consumer = FakeConsumer(
        [[message(0, rows(dead_letter(1)))], [], []],
        commit_error=KafkaError(KafkaError.REBALANCE_IN_PROGRESS),
    )
    stored = Stored()
    run(consumer, stored)
    assert stored.offsets() == [1]
    assert consumer.commits == [{(DEAD, 0): 1}]


def test_partitions_that_were_taken_away_are_not_committed() -> None:
    consumer = FakeConsumer([[message(0, rows(dead_letter(1)))]])
    stored = Stored()

    def insert(table: Table, columns: pa.Table) -> None:
        consumer.on_revoke(consumer, [TopicPartition(DEAD, 0)])
        stored.insert(table, columns)

    stop = threading.Event()
    consumer.drained = stop.set
    Store(consumer, insert, QUICK).run(stop.is_set)
    assert stored.offsets() == [1]
    assert consumer.commits == []


def test_a_batch_is_stored_early_when_it_is_large() -> None:
    polls = [[message(i, rows(dead_letter(i)))] for i in range(6)]
    settings = StoreRoleSettings(flush_ms=60_000, flush_rows=3, insert_apart_ms=0)
    stored = Stored()
    run(FakeConsumer(polls), stored, settings)
    assert [len(r) for _, r in stored.tables] == [3, 3]


@dataclass
class Timed(FakeConsumer):
    """One message a poll, a clock that each poll moves on by ``poll_s``, and when inserts began."""

    messages: int = 0
    poll_s: float = 0.0
    now_s: float = 1_000.0
    taken: int = 0
    inserts: list[tuple[float, int]] = field(default_factory=list)

    def store(self, settings: StoreRoleSettings) -> None:
        clock, at_once = lambda: self.now_s, lambda work: work()
        store = Store(self, self.insert, settings, clock=clock, launch=at_once)
        store.run(lambda: self.taken == self.messages)

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        if self.paused and self.paused[-1] == "pause":
            self.now_s += timeout
            return []
        self.now_s += self.poll_s
        self.taken += 1
        return [message(self.taken, rows(dead_letter(self.taken)))]

    def insert(self, table: Table, columns: pa.Table) -> None:
        self.inserts.append((self.now_s, columns.num_rows))


def test_inserts_are_a_second_apart_however_much_there_is() -> None:
    timed = Timed([], messages=500, poll_s=0.01)
    timed.store(StoreRoleSettings(flush_ms=1, flush_rows=1_000))
    times = [at for at, _ in timed.inserts[:-1]]  # the last one is the one at the end
    assert len(times) >= 4
    assert min(b - a for a, b in pairwise(times)) >= 1.0
    assert sum(count for _, count in timed.inserts) == 500
    assert not timed.paused


def test_while_a_full_batch_waits_for_its_second_nothing_is_taken_in() -> None:
    timed = Timed([], messages=40, poll_s=0.01)
    timed.store(StoreRoleSettings(flush_ms=60_000, flush_rows=10))
    assert [count for _, count in timed.inserts] == [10] * 4
    times = [at for at, _ in timed.inserts[:-1]]
    assert all(1.0 <= b - a <= 1.01 for a, b in pairwise(times))
    assert timed.paused


def test_a_batch_is_bounded_by_its_bytes_before_and_after_rows_are_columns() -> None:
    timed = Timed([], messages=60, poll_s=0.001)
    timed.store(StoreRoleSettings(flush_ms=60_000, flush_bytes=2_000, insert_apart_ms=0))
    assert max(count for _, count in timed.inserts) < 60


def test_a_number_beyond_its_type_refuses_its_message_only() -> None:
    beyond = {**dead_letter(2), "bytes": 2**64}
    polls = [[message(i, rows(r)) for i, r in enumerate((dead_letter(1), beyond))]]
    polls[0].append(message(2, rows(dead_letter(3), dead_letter(4))))
    consumer, stored = FakeConsumer(polls), Stored()
    store = run(consumer, stored)
    assert stored.offsets() == [1, 3, 4]
    assert (store.counts.refused, store.counts.rows) == (1, 3)
    assert consumer.commits == [{(DEAD, 0): 3}]


def test_a_topic_that_is_not_there_yet_is_waited_for() -> None:
    missing = message(0, b"", internal_topics.EVENTS, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    stored = Stored()
    run(FakeConsumer([[missing], [message(0, rows(dead_letter(1)))]]), stored)
    assert stored.offsets() == [1]


def test_a_broker_that_refuses_us_ends_it() -> None:
    refused = message(0, b"", DEAD, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(Permanent, match="TOPIC_AUTHORIZATION_FAILED"):
        run(FakeConsumer([[refused]]), Stored())
