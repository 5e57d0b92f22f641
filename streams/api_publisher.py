"""Writes what the API was told to Kafka, and returns when Kafka has it."""

from __future__ import annotations

import threading
import time
from typing import Final

import confluent_kafka
import structlog

from sinks.commands import Command, encode_command
from sinks.control import ControlRecord, control_key, encode_control
from sinks.errors import Retryable
from streams.internal_topics import COMMANDS, CONTROL
from streams.kafka import KafkaSettings, producer
from streams.wire import partition_for

log = structlog.get_logger()

_WAIT_S: Final = 5.0
_POLL_S: Final = 0.02


class KafkaPublisher:
    """A `sinks.operations.Publisher`. The connection is made when there is something to write.
    Safe to use from several threads."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: confluent_kafka.Producer | None = None
        self._lock = threading.Lock()

    def command(self, command: Command) -> None:
        """Raises Retryable if Kafka has not confirmed it in time."""
        partition = partition_for(command.model, self._settings.partitions)
        key = command.model.encode("utf-8", "replace")
        self._write(COMMANDS, partition, key, encode_command(command))

    def control(self, record: ControlRecord) -> None:
        """Raises Retryable if Kafka has not confirmed it in time."""
        self._write(CONTROL, 0, control_key(record), encode_control(record))

    def _write(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        done = threading.Event()
        failed: list[str] = []

        def written(error: confluent_kafka.KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error.name())
            done.set()

        with self._lock:
            if self._producer is None:
                properties = producer(self._settings, "api") | {"linger.ms": 0}
                self._producer = confluent_kafka.Producer(properties)
            held = self._producer
        try:
            held.produce(self._settings.topic(topic), value, key, partition, on_delivery=written)
        except (BufferError, confluent_kafka.KafkaException) as error:
            raise Retryable(f"not written to {topic}: {type(error).__name__}") from None
        end_s = time.monotonic() + _WAIT_S
        while not done.is_set() and time.monotonic() < end_s:
            held.poll(_POLL_S)
        if failed or not done.is_set():
            raise Retryable(f"not written to {topic}: {failed[0] if failed else 'no answer'}")
