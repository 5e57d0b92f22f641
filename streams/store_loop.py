"""The loop of the store role: results from driftline's topics into ClickHouse.

What it keeps:

- Batches are stored a second apart at least, each with one insert a table, however much there is:
  ClickHouse makes a part of every insert. Only what is left when the role stops does not wait.
- While one batch is being stored (streams/store_flight.py) the next is read and made into columns.
  There are never more than these two: when the second is full, the partitions are paused and the
  consumer stays in its group, however long ClickHouse is away. Failed inserts are tried again with
  growing pauses.
- Offsets are committed after the rows are stored, never before, and in their order: no batch is
  sent before the one ahead of it is stored. Rows may be stored twice, after a crash or a rebalance;
  the tables' keys make that change nothing (sinks/schema.py).
- An error that waiting cannot cure (password, schema) ends the role without a commit.
- A message that cannot be read is counted and logged with its place, and holds up nobody.
"""

from __future__ import annotations

import gc
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from sinks.errors import Permanent, Retryable
from sinks.row_messages import RowMessages
from sinks.schema import (
    ACTIONS,
    AUDIT,
    CONFIGURATIONS,
    DEAD_LETTERS,
    EVENTS,
    FINDINGS,
    INTAKE,
    REFERENCES,
    VERDICTS,
    WINDOWS,
)
from sinks.table import Table
from streams import internal_topics
from streams.clock import wall_ms
from streams.failpoints import reached
from streams.identified_consumer import AssignedConsumer
from streams.metrics_store import StoreMetrics
from streams.store_batch import Batch, Place
from streams.store_flight import Flight, Insert, Launch, in_a_thread

log = structlog.get_logger()

STORED: Final[Mapping[str, Table]] = {
    internal_topics.WINDOWS: WINDOWS,
    internal_topics.FINDINGS: FINDINGS,
    internal_topics.VERDICTS: VERDICTS,
    internal_topics.ACTIONS: ACTIONS,
    internal_topics.AUDIT: AUDIT,
    internal_topics.DEADLETTERS: DEAD_LETTERS,
    internal_topics.INTAKE: INTAKE,
    internal_topics.REFERENCES: REFERENCES,
    internal_topics.CONFIGURATIONS: CONFIGURATIONS,
    internal_topics.EVENTS: EVENTS,
}
"""Short names of topics, and the table that each is stored in."""

_MESSAGES_PER_POLL = 500
_LOGGED_REFUSALS_PER_BATCH = 10
_POLL_S = 0.1
_COLLECT_AFTER = 20_000
_FINAL_ERRORS = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's local codes are named like this
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)


class Consumer(AssignedConsumer, Protocol):
    """What the store needs of ``confluent_kafka.Consumer``, or of one that knows topics by ids."""

    def subscribe(
        self, topics: list[str], *, on_revoke: Callable[[Any, list[TopicPartition]], None]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreRoleSettings:
    """When a batch is stored: after ``flush_ms``, or earlier if it is large, but never sooner than
    ``insert_apart_ms`` after the last one began. ``flush_rows``, ``flush_bytes``: a batch is full
    then; two of them are in memory at most. ``stop_within_ms``: for what is being stored when the
    role is told to stop."""

    flush_ms: int = 1_000
    insert_apart_ms: int = 1_000
    flush_rows: int = 1_000_000
    flush_bytes: int = 128 * 1024 * 1024
    first_pause_ms: int = 200
    longest_pause_ms: int = 10_000
    stop_within_ms: int = 3_000

    def __post_init__(self) -> None:
        if min(self.flush_ms, self.flush_rows, self.flush_bytes, self.first_pause_ms) < 1:
            raise ValueError("flush_ms, flush_rows, flush_bytes and first_pause must be positive")
        if self.insert_apart_ms < 0:
            raise ValueError("insert_apart_ms must not be negative")


@dataclass(slots=True)
class StoreCounts:
    """What a store has done since it started. ``refused``: messages that could not be read."""

    messages: int = 0
    rows: int = 0
    refused: int = 0
    flushes: int = 0
    retries: int = 0


class Store:
    """The consumer loop. ``consumer`` and ``insert`` come from outside; ``clock`` in seconds;
    ``launch`` has a batch stored.

    ``topics``: full names of topics and their tables. The consumer must not commit by itself.
    """

    def __init__(
        self,
        consumer: Consumer,
        insert: Insert,
        settings: StoreRoleSettings | None = None,
        *,
        topics: Mapping[str, Table] = STORED,
        clock: Callable[[], float] = time.monotonic,
        metrics: StoreMetrics | None = None,
        launch: Launch = in_a_thread,
    ) -> None:
        self._metrics = metrics
        self.counts = StoreCounts()
        self._consumer = consumer
        self._insert = insert
        self._settings = settings or StoreRoleSettings()
        self._topics = topics
        self._clock = clock
        self._launch = launch
        self._held: deque[Message] = deque()
        self._uncommitted: dict[Place, int] = {}
        self._read = {table.name: RowMessages(table) for table in topics.values()}
        self._batch = self._new_batch()
        self._flight: Flight | None = None
        self._refusals = 0
        self._inserted_s = -math.inf
        self._complained: set[tuple[str, int]] = set()
        self._paused = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Store until ``stop()`` is true, then store and commit what is there and return.

        Raises Permanent for what waiting cannot cure. The consumer is closed in every case.
        """
        try:
            self._consumer.subscribe(list(self._topics), on_revoke=self._on_revoke)
            with rare_collections():
                while not stop():
                    if self._is_full():
                        self._wait_for_room()
                    else:
                        self._take(self._next_messages())
                    self._go_on()
                self._end()
        finally:
            if self._flight is not None:
                self._flight.last_try()
            self._consumer.close()

    def _next_messages(self) -> Iterable[Message]:
        if self._held:
            held, self._held = self._held, deque()
            return held
        waited = self._clock() - self._batch.began_s if self._batch.offsets else 0.0
        left = max(0.0, self._settings.flush_ms / 1000 - waited)
        return self._consumer.consume(_MESSAGES_PER_POLL, min(left, _POLL_S))

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                self._complain(message, error)
                continue
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if topic is None or partition is None or offset is None:
                continue
            if not self._batch.offsets:
                self._batch.began_s = self._clock()
            place = (topic, partition)
            self._batch.offsets[place] = offset + 1
            self.counts.messages += 1
            value = message.value()
            if value is None:  # a deleted key of a compacted topic
                continue
            self._batch.enter(self._topics[topic].name, place, offset, value)

    def _new_batch(self) -> Batch:
        return Batch(self._read, self._refuse)

    def _is_full(self) -> bool:
        settings = self._settings
        return self._batch.rows >= settings.flush_rows or self._batch.bytes >= settings.flush_bytes

    def _is_due(self) -> bool:
        batch, settings = self._batch, self._settings
        if not batch.offsets or self._apart_s() > 0:
            return False
        return self._is_full() or self._clock() - batch.began_s >= settings.flush_ms / 1000

    def _apart_s(self) -> float:
        """How long the next insert has to wait."""
        apart = self._settings.insert_apart_ms / 1000
        return max(0.0, self._inserted_s + apart - self._clock())

    def _go_on(self) -> None:
        if self._flight is not None and self._flight.wait(0):
            self._land(self._flight)
        if self._flight is not None:
            return
        if self._is_due():
            self._flush()
        elif not self._batch.offsets:
            self._commit()

    def _flush(self) -> None:
        """Send what was read on its way, and begin the next batch."""
        batch, self._batch = self._batch, self._new_batch()
        found = [(table, batch.columns(table)) for table in self._topics.values()]
        tables = [(table, columns) for table, columns in found if columns is not None]
        self._refusals = 0
        if tables:
            reached("store.taken")
            self._inserted_s = self._clock()
        pauses_ms = self._settings.first_pause_ms, self._settings.longest_pause_ms
        self._flight = Flight(batch.offsets, tables, self._insert, self, pauses_ms)
        self._launch(self._flight.fly)
        self._resume()

    def _land(self, flight: Flight) -> bool:
        """Commit what a flight that is over has stored; False if it was given up."""
        self._flight = None
        if not flight.landed():
            return False
        if flight.offsets:
            reached("store.stored")
            self.counts.flushes += 1
        self._uncommitted.update(flight.offsets)
        self._commit()
        return True

    def _end(self) -> None:
        """Store and commit what is there. Who comes next reads again what is not stored in time,
        and all that was read after it."""
        until = self._clock() + self._settings.stop_within_ms / 1000
        if self._ends(until):
            self._flush()
            self._ends(until)

    def _ends(self, until: float) -> bool:
        """Whether what is on its way arrives."""
        flight = self._flight
        if flight is None:
            return True
        flight.last_try()
        while not flight.wait(_POLL_S):
            if self._clock() >= until:
                return False
            self._stay_in_group(0)
        return self._land(flight)

    def inserted(self, table: Table, rows: int, seconds: float) -> None:
        """Said by a flight."""
        self.counts.rows += rows
        if self._metrics is not None:
            self._metrics.inserted(table.name, rows, seconds)

    def retrying(self, table: Table, why: Retryable, pause_ms: int) -> None:
        """Said by a flight."""
        self.counts.retries += 1
        if self._metrics is not None:
            self._metrics.retried()
        log.warning("store_is_away", table=table.name, why=str(why), pause_ms=pause_ms)

    def _wait_for_room(self) -> None:
        if self._flight is None:
            self._stay_in_group(min(_POLL_S, self._apart_s()))
        else:
            self._flight.wait(_POLL_S)
            self._stay_in_group(0)

    def _stay_in_group(self, timeout: float) -> None:
        """Poll without taking anything in. Partitions that are new are paused as well."""
        self._paused = True
        self._consumer.pause(self._consumer.assignment())
        self._held.extend(self._consumer.consume(1, timeout))

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())

    def _commit(self) -> None:
        if not self._uncommitted:
            return
        offsets = [TopicPartition(t, p, offset) for (t, p), offset in self._uncommitted.items()]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The rows are stored. At worst they are read and stored again, which changes nothing.
            log.warning("commit_failed", code=error.args[0].name())
            return
        self._uncommitted.clear()
        if self._metrics is not None:
            self._metrics.stored(wall_ms())
        for answer in answers:
            if answer.error is not None:
                log.warning("commit_failed", topic=answer.topic, code=answer.error.name())
                self._uncommitted[answer.topic, answer.partition] = answer.offset

    def _on_revoke(self, _: Any, partitions: list[TopicPartition]) -> None:
        # Their new owner reads them from the last commit. The rows already here stay: storing
        # them twice changes nothing.
        gone = {(p.topic, p.partition) for p in partitions}
        flying = {} if self._flight is None else self._flight.offsets
        for place in gone:
            for offsets in (self._batch.offsets, flying, self._uncommitted):
                offsets.pop(place, None)
        self._held = deque(m for m in self._held if (m.topic(), m.partition()) not in gone)

    def _refuse(self, place: Place, offset: int, why: str) -> None:
        self.counts.refused += 1
        if self._metrics is not None:
            self._metrics.refused()
        self._refusals += 1
        if self._refusals <= _LOGGED_REFUSALS_PER_BATCH:
            log.error("message_refused", topic=place[0], partition=place[1], offset=offset, why=why)

    def _complain(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return
        if error.fatal() or error.code() in _FINAL_ERRORS:
            raise Permanent(
                f"Kafka refused the store: {error.name()}. Check kafka in the configuration."
            )
        seen = (message.topic() or "", error.code())
        if seen not in self._complained:  # topics appear when something is first written to them
            self._complained.add(seen)
            log.warning("kafka_complains", topic=seen[0], code=error.name())


@contextmanager
def rare_collections() -> Iterator[None]:
    """Two thousand rows as tuples set the garbage collector off three times, and nothing of a row
    is ever cyclic: a quarter of the time from messages to columns was its own (measured)."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
