"""All references, as every worker knows them: read from the compacted topic ``references``.

A thread reads the topic from its beginning and goes on reading; the newest reference of a model is
the one in force, and earlier ones stay known by their id, because summaries that stand on them may
still be under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import confluent_kafka
import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from detectors.reference import Reference, from_json, to_json
from detectors.reference_file import InvalidReference
from streams.errors import UnavailableError
from streams.wire import Row, encode_rows

log = structlog.get_logger()

_POLL_S = 0.1
MOST_KNOWN = 4_096
"""References kept by id; the oldest go first."""


def encode_reference(reference: Reference, effective_from_ms: int) -> bytes:
    """A message of the topic ``references``."""
    content = to_json(reference)
    row: Row = {
        "model": reference.model,
        "reference": reference.id,
        "origin": reference.origin,
        "rows": reference.summaries.events,
        "columns": len(reference.layout.columns),
        "effective_from": effective_from_ms,
        "content": content.decode(),
    }
    return encode_rows([row])


class _Row(msgspec.Struct):
    content: str


class _Message(msgspec.Struct):
    rows: list[_Row]


def decode_reference(value: bytes) -> Reference:
    """The inverse of :func:`encode_reference`; ValueError if it is not one."""
    return from_json(msgspec.json.decode(value, type=_Message).rows[0].content.encode())


class ReferenceBook:
    """References by model and by id. Use it in a ``with`` block."""

    def __init__(self, make_consumer: Callable[[], confluent_kafka.Consumer], topic: str) -> None:
        self._make_consumer = make_consumer
        self._topic = topic
        self._current: dict[str, Reference] = {}
        self._by_id: dict[str, Reference] = {}
        self._at_end = threading.Event()
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="references", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def of(self, model: str) -> Reference | None:
        """The reference in force for a model."""
        return self._current.get(model)

    def by_id(self, reference: str) -> Reference | None:
        """A reference by its id, also one that has been replaced."""
        return self._by_id.get(reference)

    def wait_for(self, reference: str, timeout_s: float) -> Reference | None:
        """As :meth:`by_id`, waiting for it to be read: the one who used it had read it before."""
        with self._changed:
            self._changed.wait_for(lambda: reference in self._by_id, timeout_s)
        return self._by_id.get(reference)

    def wait_read(self, timeout_s: float = 30) -> None:
        """Wait until the topic has been read to its end once."""
        if not self._at_end.wait(timeout_s):
            raise UnavailableError(
                "the references could not be read", self._topic, "is Kafka up and the topic there?"
            )

    def put(self, reference: Reference) -> None:
        """Know a reference at once, before it comes back from the topic."""
        with self._changed:
            self._current[reference.model] = reference
            self._by_id[reference.id] = reference
            while len(self._by_id) > MOST_KNOWN:
                del self._by_id[next(iter(self._by_id))]
            self._changed.notify_all()

    def _read(self) -> None:
        consumer = self._make_consumer()
        try:
            start = TopicPartition(self._topic, 0, OFFSET_BEGINNING)
            consumer.assign([start])
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    self._enter(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    self._at_end.set()
                else:
                    log.warning("references cannot be read for now", error=error.name())
                    time.sleep(_POLL_S)
        finally:
            consumer.close()

    def _enter(self, message: confluent_kafka.Message) -> None:
        value = message.value()
        if value is None:
            return
        try:
            reference = decode_reference(value)
        except (ValueError, IndexError, InvalidReference, RecursionError) as error:
            log.warning("reference refused", offset=message.offset(), error=type(error).__name__)
            return
        if self._by_id.get(reference.id) is None or self.of(reference.model) is None:
            log.info("reference in force", model=reference.model, reference=reference.id)
        self.put(reference)
