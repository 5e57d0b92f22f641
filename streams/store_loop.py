"""The loop of the store role: results from driftline's topics into ClickHouse.

What it keeps:

- Offsets are committed after the rows are stored, never before. Rows may be stored twice, after a
  crash or a rebalance; the tables' keys make that change nothing (sinks/schema.py).
- While ClickHouse is away it holds one batch and no more: the partitions are paused, the consumer
  stays in its group, and the insert is tried again with growing pauses.
- An error that waiting cannot cure (password, schema) ends the role without a commit.
- A message that cannot be read is counted and logged with its place, and holds up nobody.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec
import pyarrow as pa
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from sinks.errors import Permanent, Retryable
from sinks.rows import Row, RowsRefused, to_columns
from sinks.schema import (
    ACTIONS,
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

log = structlog.get_logger()

STORED: Final[Mapping[str, Table]] = {
    internal_topics.WINDOWS: WINDOWS,
    internal_topics.FINDINGS: FINDINGS,
    internal_topics.VERDICTS: VERDICTS,
    internal_topics.ACTIONS: ACTIONS,
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
    """When a batch is stored: after ``flush_ms``, or earlier if it is large."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    flush_ms: int = 1_000
    flush_rows: int = 50_000
    flush_bytes: int = 32 * 1024 * 1024
    first_pause_ms: int = 200
    longest_pause_ms: int = 10_000
    stop_within_ms: int = 3_000
    migrate: bool = True

    def __post_init__(self) -> None:
        if min(self.flush_ms, self.flush_rows, self.flush_bytes, self.first_pause_ms) < 1:
            raise ValueError("flush_ms, flush_rows, flush_bytes and first_pause must be positive")


@dataclass(slots=True)
class StoreCounts:
    """What a store has done since it started. ``refused``: messages that could not be read."""

    messages: int = 0
    rows: int = 0
    refused: int = 0
    flushes: int = 0
    retries: int = 0


class _Envelope(msgspec.Struct):
    """The part of a message that concerns the store; other keys are for other readers."""

    rows: list[dict[str, Any]]


_Place = tuple[str, int]


@dataclass(slots=True)
class _Batch:
    parts: dict[str, list[tuple[_Place, int, list[dict[str, Any]]]]] = field(default_factory=dict)
    offsets: dict[_Place, int] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    began_s: float = 0.0
    refusals: int = 0


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
    ) -> None:
        self.counts = StoreCounts()
        self._consumer = consumer
        self._insert = insert
        self._settings = settings or StoreRoleSettings()
        self._topics = topics
        self._clock = clock
        self._batch = _Batch()
        self._held: deque[Message] = deque()
        self._uncommitted: dict[_Place, int] = {}
        self._decoder = msgspec.json.Decoder(_Envelope)
        self._complained: set[tuple[str, int]] = set()
        self._paused = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Store until ``stop()`` is true, then store and commit what is there and return.

        Raises Permanent for what waiting cannot cure. The consumer is closed in every case.
        """
        try:
            self._consumer.subscribe(list(self._topics), on_revoke=self._on_revoke)
            while not stop():
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
            try:
                rows = self._decoder.decode(value).rows
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._refuse(place, offset, "not JSON with a list of rows")
                continue
            table = self._topics[topic].name
            self._batch.parts.setdefault(table, []).append((place, offset, rows))
            self._batch.rows += len(rows)
            self._batch.bytes += len(value)

    def _is_due(self) -> bool:
        batch, settings = self._batch, self._settings
        if not batch.offsets:
            return bool(self._uncommitted)
        return (
            batch.rows >= settings.flush_rows
            or batch.bytes >= settings.flush_bytes
            or self._clock() - batch.began_s >= settings.flush_ms / 1000
        )

    def _flush(self, stop: Callable[[], bool]) -> None:
        batch, self._batch = self._batch, _Batch()
        pending = deque(self._columns(batch))
        # Noted before the insert, so that a partition that is revoked meanwhile drops out.
        self._uncommitted.update(batch.offsets)
        if not self._store_all(pending, stop):
            self._uncommitted.clear()  # whoever comes next reads it again
            return
        self._commit()
        if batch.offsets:
            self.counts.flushes += 1

    def _columns(self, batch: _Batch) -> list[tuple[Table, pa.Table]]:
        ready = []
        for table in self._topics.values():
            parts = batch.parts.get(table.name, [])
            columns = self._table_columns(table, parts)
            if columns is not None and columns.num_rows:
                ready.append((table, columns))
        return ready

    def _table_columns(
        self, table: Table, parts: list[tuple[_Place, int, list[dict[str, Any]]]]
    ) -> pa.Table | None:
        rows: list[Row] = [row for _, _, rows in parts for row in rows]
        try:
            return to_columns(table, rows)
        except RowsRefused:
            pass
        # Some message is wrong. They are taken one by one, so that it loses no neighbours.
        good = []
        for place, offset, rows_of_one in parts:
            try:
                good.append(to_columns(table, rows_of_one))
            except RowsRefused as error:
                self._refuse(place, offset, str(error))
        return pa.concat_tables(good) if good else None

    def _store_all(self, pending: deque[tuple[Table, pa.Table]], stop: Callable[[], bool]) -> bool:
        pause_ms = self._settings.first_pause_ms
        try:
            while pending:
                table, columns = pending[0]
                try:
                    if not self._insert_once(table, columns, stop):
                        return False
                except Retryable as error:
                    self.counts.retries += 1
                    log.warning(
                        "store_is_away", table=table.name, why=str(error), pause_ms=pause_ms
                    )
                    if stop() or not self._wait(pause_ms / 1000, stop):
                        return False
                    pause_ms = min(2 * pause_ms, self._settings.longest_pause_ms)
                else:
                    pending.popleft()
                    self.counts.rows += columns.num_rows
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

    def _refuse(self, place: _Place, offset: int, why: str) -> None:
        self.counts.refused += 1
        self._batch.refusals += 1
        if self._batch.refusals <= _LOGGED_REFUSALS_PER_BATCH:
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
