"""The loop of the store role: results from driftline's topics into ClickHouse.

What it keeps:

- Batches are stored a second apart at least, each with one insert a table, however much there is:
  ClickHouse makes a part of every insert. While a full batch has to wait, the partitions are
  paused. Only the batch that is left when the role stops does not wait.
- Offsets are committed after the rows are stored, never before. Rows may be stored twice, after a
  crash or a rebalance; the tables' keys make that change nothing (sinks/schema.py).
- While ClickHouse is away it holds one batch and no more: the partitions are paused, the consumer
  stays in its group, and the insert is tried again with growing pauses.
- An error that waiting cannot cure (password, schema) ends the role without a commit.
- A message that cannot be read is counted and logged with its place, and holds up nobody.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol

import pyarrow as pa
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from sinks.errors import Permanent, Retryable
from sinks.row_messages import RowMessages
from sinks.schema import (
    ACTIONS,
    AUDIT,
    DEAD_LETTERS,
    EVENTS,
    FINDINGS,
    INTAKE,
    REFERENCES,
    VERDICTS,
    WINDOWS,
    Table,
)
from streams import internal_topics
from streams.clock import wall_ms
from streams.failpoints import reached
from streams.metrics_store import StoreMetrics
from streams.store_batch import Batch, Place

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
    internal_topics.EVENTS: EVENTS,
}
"""Short names of topics, and the table that each is stored in."""

_MESSAGES_PER_POLL = 500
_LOGGED_REFUSALS_PER_BATCH = 10
_QUIET_INSERT_S = 1.0
_POLL_S = 0.1
_FINAL_ERRORS = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's local codes are named like this
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)


class Message(Protocol):
    """What the store reads of a Kafka message."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def value(self) -> bytes | None: ...
    def error(self) -> KafkaError | None: ...


class Consumer(Protocol):
    """What the store needs of ``confluent_kafka.Consumer``."""

    def subscribe(
        self, topics: list[str], *, on_revoke: Callable[[Any, list[TopicPartition]], None]
    ) -> None: ...
    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]: ...
    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]: ...
    def assignment(self) -> list[TopicPartition]: ...
    def pause(self, partitions: list[TopicPartition]) -> None: ...
    def resume(self, partitions: list[TopicPartition]) -> None: ...
    def close(self) -> None: ...


Insert = Callable[[Table, pa.Table], object]
"""Stores the columns of one table; raises Retryable or Permanent."""


@dataclass(frozen=True, slots=True)
class StoreRoleSettings:
    """When a batch is stored: after ``flush_ms``, or earlier if it is large, but never sooner than
    ``insert_apart_ms`` after the last one began. ``flush_bytes``: of what is held in memory."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    flush_ms: int = 1_000
    insert_apart_ms: int = 1_000
    flush_rows: int = 1_000_000
    flush_bytes: int = 128 * 1024 * 1024
    first_pause_ms: int = 200
    longest_pause_ms: int = 10_000
    stop_within_ms: int = 3_000
    migrate: bool = True

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
    """The consumer loop. ``consumer`` and ``insert`` come from outside; ``clock`` in seconds.

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
    ) -> None:
        self._metrics = metrics
        self.counts = StoreCounts()
        self._consumer = consumer
        self._insert = insert
        self._settings = settings or StoreRoleSettings()
        self._topics = topics
        self._clock = clock
        self._held: deque[Message] = deque()
        self._uncommitted: dict[Place, int] = {}
        self._read = {table.name: RowMessages(table) for table in topics.values()}
        self._batch = self._new_batch()
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
            while not stop():
                if self._is_full():
                    self._stay_in_group(min(_POLL_S, self._apart_s()))
                else:
                    self._take(self._next_messages())
                if self._is_due():
                    self._flush(stop)
            self._flush(stop)
        finally:
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
        if not batch.offsets:
            return bool(self._uncommitted)
        if self._apart_s() > 0:
            return False
        return self._is_full() or self._clock() - batch.began_s >= settings.flush_ms / 1000

    def _apart_s(self) -> float:
        """How long the next insert has to wait."""
        apart = self._settings.insert_apart_ms / 1000
        return max(0.0, self._inserted_s + apart - self._clock())

    def _flush(self, stop: Callable[[], bool]) -> None:
        batch, self._batch = self._batch, self._new_batch()
        pending = deque(
            (table, columns)
            for table in self._topics.values()
            if (columns := batch.columns(table)) is not None
        )
        self._refusals = 0
        if pending:
            reached("store.taken")
        # Noted before the insert, so that a partition that is revoked meanwhile drops out.
        self._uncommitted.update(batch.offsets)
        if not self._store_all(pending, stop):
            self._uncommitted.clear()  # whoever comes next reads it again
            return
        if batch.offsets:
            reached("store.stored")
        self._commit()
        if batch.offsets:
            self.counts.flushes += 1

    def _store_all(self, pending: deque[tuple[Table, pa.Table]], stop: Callable[[], bool]) -> bool:
        pause_ms = self._settings.first_pause_ms
        if pending:
            self._inserted_s = self._clock()
        try:
            while pending:
                table, columns = pending[0]
                began = time.monotonic()
                try:
                    if not self._insert_once(table, columns, stop):
                        return False
                except Retryable as error:
                    self.counts.retries += 1
                    if self._metrics is not None:
                        self._metrics.retried()
                    log.warning(
                        "store_is_away", table=table.name, why=str(error), pause_ms=pause_ms
                    )
                    if stop() or not self._wait(pause_ms / 1000, stop):
                        return False
                    pause_ms = min(2 * pause_ms, self._settings.longest_pause_ms)
                else:
                    pending.popleft()
                    reached("store.inserted")
                    self.counts.rows += columns.num_rows
                    if self._metrics is not None:
                        seconds = time.monotonic() - began
                        self._metrics.inserted(table.name, columns.num_rows, seconds)
                    pause_ms = self._settings.first_pause_ms
        finally:
            self._resume()
        return True

    def _insert_once(self, table: Table, columns: pa.Table, stop: Callable[[], bool]) -> bool:
        """False if it was given up because of ``stop``; the insert may then still happen."""
        errors: list[Exception] = []

        def work() -> None:
            try:
                self._insert(table, columns)
            except Exception as error:  # raised again by the thread of the loop
                errors.append(error)

        # A thread of its own, so that a server that hangs keeps us neither from answering the
        # broker nor from stopping in time.
        thread = threading.Thread(target=work, name="store-insert", daemon=True)
        thread.start()
        thread.join(_QUIET_INSERT_S)
        stopping_since: float | None = None
        while thread.is_alive():
            if stop():
                stopping_since = stopping_since or self._clock()
                if self._clock() - stopping_since > self._settings.stop_within_ms / 1000:
                    return False
            self._stay_in_group(_POLL_S)
        if errors:
            raise errors[0]
        return True

    def _wait(self, seconds: float, stop: Callable[[], bool]) -> bool:
        until = self._clock() + seconds
        while self._clock() < until:
            if stop():
                return False
            self._stay_in_group(min(_POLL_S, max(0.0, until - self._clock())))
        return True

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
        for place in gone:
            self._batch.offsets.pop(place, None)
            self._uncommitted.pop(place, None)
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
