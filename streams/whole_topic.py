"""A small topic that every process reads whole: references, orders for the fleet.

It has one partition and is compacted, so it is read from its beginning, without a group and without
commits, and for as long as the process lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Self

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from streams.errors import UnavailableError

log = structlog.get_logger()

_POLL_S: Final = 0.1
_RETRY_S: Final = 1.0


class WholeTopic:
    """A thread that gives each value of ``topic``, with its offset, to ``take``, in their order and
    once. To be used in a ``with`` block.

    ``make_consumer`` makes a consumer with `streams.kafka.whole_topic_consumer`. ``take`` raises
    ValueError for what it refuses: that is logged with the address of the record, and reading goes
    on. So it does after any other failure, since nobody would notice that a thread has died.
    """

    def __init__(
        self,
        make_consumer: Callable[[], confluent_kafka.Consumer],
        topic: str,
        take: Callable[[bytes, int], None],
    ) -> None:
        self._make_consumer = make_consumer
        self._topic = topic
        self._give = take
        self._next = OFFSET_BEGINNING
        self._at_end = threading.Event()
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name=topic, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    @property
    def read(self) -> bool:
        """True once the end was reached, while the thread lives."""
        return self._at_end.is_set() and self._thread.is_alive()

    def wait_read(self, timeout_s: float = 30) -> None:
        """Wait until the topic has been read to its end once. Raises UnavailableError."""
        if not self._at_end.wait(timeout_s):
            raise UnavailableError(
                "could not be read to its end", self._topic, "is Kafka up and the topic there?"
            )

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read_until_stopped()
            except Exception as error:
                log.exception(
                    "topic_cannot_be_read",
                    topic=self._topic,
                    error=type(error).__name__,
                    exc_info=False,
                )
                self._stop.wait(_RETRY_S)

    def _read_until_stopped(self) -> None:
        consumer = self._make_consumer()
        try:
            consumer.assign([TopicPartition(self._topic, 0, self._next)])
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None:
                    self._take(message)
        finally:
            consumer.close()

    def _take(self, message: confluent_kafka.Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._at_end.set()
            elif error.fatal():
                raise KafkaException(error)
            elif error.name() != self._said:
                # librdkafka goes on trying; the topic may only not be there yet.
                self._said = error.name()
                log.warning("topic_cannot_be_read", topic=self._topic, error=self._said)
            return
        value, offset = message.value(), message.offset() or 0
        self._next = offset + 1
        if value is None:
            return
        try:
            self._give(value, offset)
        except ValueError as refused:
            # Its text may quote what was refused.
            log.warning(
                "record_refused", topic=self._topic, offset=offset, error=type(refused).__name__
            )
