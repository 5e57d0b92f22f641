"""All references, as every worker knows them: read from the compacted topic ``references``.

A thread reads the topic from its beginning and goes on reading; the newest reference of a model is
the one in force, and earlier ones stay known by their id, because summaries that stand on them may
still be under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

import confluent_kafka
import msgspec
import structlog

from detectors.reference import Reference, from_json, to_json
from streams.whole_topic import WholeTopic
from streams.wire import Row, encode_rows

log = structlog.get_logger()

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
    try:
        (row,) = msgspec.json.decode(value, type=_Message).rows
        return from_json(row.content.encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a reference: {type(error).__name__}") from None


class ReferenceBook:
    """References by model and by id. Use it in a ``with`` block."""

    def __init__(self, make_consumer: Callable[[], confluent_kafka.Consumer], topic: str) -> None:
        self._topic = WholeTopic(make_consumer, topic, self._enter)
        self._current: dict[str, Reference] = {}
        self._by_id: dict[str, Reference] = {}
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._topic.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._topic.__exit__()

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
        """Wait until the topic has been read to its end once. Raises UnavailableError."""
        self._topic.wait_read(timeout_s)

    def put(self, reference: Reference) -> None:
        """Know a reference at once, before it comes back from the topic."""
        with self._changed:
            self._current[reference.model] = reference
            self._by_id[reference.id] = reference
            while len(self._by_id) > MOST_KNOWN:
                del self._by_id[next(iter(self._by_id))]
            self._changed.notify_all()

    def _enter(self, value: bytes, _offset: int) -> None:
        reference = decode_reference(value)
        if self._by_id.get(reference.id) is None or self.of(reference.model) is None:
            log.info("reference in force", model=reference.model, reference=reference.id)
        self.put(reference)
