"""Reads the topic ``control`` into a `ControlBoard`, and goes on reading.

The topic is small and compacted, so each process reads it whole from its beginning, without a group
and without commits. Nobody may act before its end was reached once: an order to stop may be the
last record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Self

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from sinks.control import ControlBoard, decode_control
from streams.errors import UnavailableError

log = structlog.get_logger()

_POLL_S: Final = 0.2
_RETRY_S: Final = 1.0


class ControlReader:
    """A thread that reads ``topic`` (one partition) into ``board``. Use it in a ``with`` block.

    ``make_consumer`` makes a consumer with `streams.verdict_reader.READER_SETTINGS`.
    """

    def __init__(
        self,
        make_consumer: Callable[[], confluent_kafka.Consumer],
        board: ControlBoard,
        topic: str,
    ) -> None:
        self._make_consumer = make_consumer
        self._board = board
        self._topic = topic
        self._at_end = threading.Event()
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

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
                "the control records could not be read", self._topic, "is Kafka up?"
            )

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read_until_stopped()
            except KafkaException as error:
                log.warning("control_cannot_be_read", error=type(error).__name__)
                self._stop.wait(_RETRY_S)
            except Exception as error:
                # A dead reader would leave deliver with orders that were taken back.
                log.exception("control_reader_failed", error=type(error).__name__, exc_info=False)
                self._stop.wait(_RETRY_S)

    def _read_until_stopped(self) -> None:
        consumer = self._make_consumer()
        try:
            consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
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
                log.warning("control_cannot_be_read", error=self._said)
            return
        value = message.value()
        if value is None:
            return
        try:
            self._board.take(decode_control(value))
        except ValueError as refused:
            log.warning("control_record_refused", offset=message.offset(), why=str(refused))
