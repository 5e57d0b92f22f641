"""Reads every verdict there is into the verdict board, and goes on reading.

The topic is compacted and small, so it is read whole from its beginning by each process, without a
group and without commits: a restarted process knows all verdicts again within a second or so.
Until the end of every partition was reached once, the board may hold a verdict whose successor is
still unread; `VerdictReader.readiness` says so, and the API then answers ``inconclusive``.

A verdict counts from the time it was written to Kafka, not from when it was read: otherwise a
restart would make an old PASS look new.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, Self

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from detectors.verdict import Verdict
from sinks.api import Readiness
from sinks.verdict_board import VerdictBoard

log = structlog.get_logger()

_POLL_S: Final = 0.2
_RETRY_S: Final = 1.0
_METADATA_TIMEOUT_S: Final = 2.0
_LOOK_FOR_PARTITIONS_S: Final = 30.0


class VerdictConsumer(Protocol):
    """What is used of a ``confluent_kafka.Consumer``."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...
    def assign(self, partitions: list[TopicPartition]) -> None: ...
    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...
    def poll(self, timeout: float = -1) -> Message | None: ...
    def close(self) -> None: ...


class _TopicMissing(Exception):
    """The topic does not exist yet: the judge creates it when it starts."""


class VerdictReader:
    """A thread that reads ``topic`` into ``board``. To be used in a ``with`` block.

    ``make_consumer`` makes a consumer with `streams.kafka.whole_topic_consumer`. ``decode`` turns
    the value of a message into a verdict and raises ValueError for what it cannot read: such a
    message is counted, logged by its address, and passed over.
    """

    def __init__(
        self,
        make_consumer: Callable[[], VerdictConsumer],
        decode: Callable[[bytes], Verdict],
        board: VerdictBoard,
        topic: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._make_consumer = make_consumer
        self._decode = decode
        self._board = board
        self._topic = topic
        self._now_ms = now_ms
        self._stop = threading.Event()
        self._unread: set[int] | None = None
        self._waiting_for = "has not started to read"
        self._unreadable = 0
        self._thread = threading.Thread(target=self._run, name="verdict-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=3.0)

    @property
    def unreadable(self) -> int:
        """Messages passed over since the start."""
        return self._unreadable

    def readiness(self) -> Readiness:
        """Ready once the end of every partition was reached, while the thread is alive."""
        if not self._thread.is_alive():
            return Readiness(False, "the reader of verdicts has stopped")
        unread = self._unread
        if unread is None:
            return Readiness(False, self._waiting_for)
        if unread:
            return Readiness(False, f"still reading {len(unread)} partitions of {self._topic}")
        return Readiness(True, "all verdicts are read")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read_until_stopped()
            except _TopicMissing:
                self._wait(f"topic {self._topic} is not there yet")
            except KafkaException as error:
                self._wait(f"Kafka does not answer ({_name(error)})")
            except Exception as error:
                # Nothing may end this thread while the process lives; a dead reader would leave
                # the API with verdicts that only grow older.
                log.exception("verdict_reader_failed", error=type(error).__name__)
                self._wait(f"the reader failed ({type(error).__name__}) and starts again")

    def _wait(self, reason: str) -> None:
        if reason != self._waiting_for:
            log.warning("waiting_for_verdicts", reason=reason)
        self._waiting_for = reason
        self._unread = None
        self._stop.wait(_RETRY_S)

    def _read_until_stopped(self) -> None:
        consumer = self._make_consumer()
        try:
            known = self._partitions(consumer)
            self._unread = set(known)
            consumer.assign([self._from_beginning(p) for p in sorted(known)])
            look_again = time.monotonic() + _LOOK_FOR_PARTITIONS_S
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None:
                    self._take(message)
                if time.monotonic() >= look_again:
                    look_again = time.monotonic() + _LOOK_FOR_PARTITIONS_S
                    added = self._partitions(consumer) - known
                    if added:
                        known |= added
                        self._unread = self._unread | added
                        consumer.incremental_assign([self._from_beginning(p) for p in added])
        finally:
            consumer.close()

    def _partitions(self, consumer: VerdictConsumer) -> set[int]:
        metadata = consumer.list_topics(self._topic, timeout=_METADATA_TIMEOUT_S)
        topic = metadata.topics.get(self._topic)
        if topic is None or topic.error is not None or not topic.partitions:
            raise _TopicMissing
        return set(topic.partitions)

    def _from_beginning(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition, OFFSET_BEGINNING)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                if self._unread:
                    self._unread = self._unread - {message.partition()}
                return
            if error.fatal() or error.code() in _GONE:
                raise KafkaException(error)
            # All others librdkafka retries by itself; if it cannot, verdicts grow old and say so.
            log.warning("kafka_error", error=error.name())
            return
        value = message.value()
        if value is None:
            # A tombstone: the release is forgotten as its verdict grows old.
            return
        kind, written_ms = message.timestamp()
        now_ms = self._now_ms()
        # Without a time, it is old; from the future, it is as of now.
        received_ms = 0 if kind == TIMESTAMP_NOT_AVAILABLE else min(written_ms, now_ms)
        try:
            verdict = self._decode(value)
        except ValueError as unreadable:
            self._unreadable += 1
            log.warning(
                "verdict_not_readable",
                topic=self._topic,
                partition=message.partition(),
                offset=message.offset(),
                error=type(unreadable).__name__,
            )
            return
        self._board.update(verdict, received_ms)


_GONE: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
)


def _name(error: KafkaException) -> str:
    first = error.args[0] if error.args else None
    return first.name() if isinstance(first, KafkaError) else "unknown error"
