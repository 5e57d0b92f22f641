"""A topic as a recording: every partition from its beginning to where it ends now.

Nothing is committed and no group is joined, so reading a topic that others read disturbs no one.
Partitions take turns by event time; each turn reads on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.codecs import make_codec
from streams.errors import UnavailableError
from streams.event import Bounds
from streams.inputs import InputSettings
from streams.recorded import Block, Recording, Stream, Written, message_clock

MESSAGES_AT_ONCE: Final = 2_000
BYTES_AT_ONCE: Final = 8 * 1024 * 1024
_CONSUME_AT_ONCE: Final = 200
_PATIENCE_S: Final = 30.0
_WAIT_S: Final = 0.2

CONSUMER_SETTINGS: Final[dict[str, Any]] = {
    # Markers of transactions have offsets and are never delivered: only this says "the end".
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    # Each partition has a consumer of its own.
    "queued.max.messages.kbytes": 8_192,
}
"""What the consumer needs beside `streams.kafka.input_consumer`."""


class TopicConsumer(Protocol):
    """What is used of a ``confluent_kafka.Consumer``."""

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = ...
    ) -> tuple[int, int] | None: ...
    def assign(self, partitions: list[TopicPartition]) -> None: ...
    def consume(self, num_messages: int = ..., timeout: float = ...) -> list[Message]: ...
    def close(self) -> None: ...


def open_topic(
    make_consumer: Callable[[], TopicConsumer],
    settings: InputSettings,
    partitions: int,
    latest_ms: int,
) -> Recording:
    """The recording of a topic that exists. Raises UnavailableError if it cannot be read."""
    bounds = Bounds(
        min_ts_ms=0,
        max_ts_ms=latest_ms,
        kafka_ts_fallback=settings.kafka_ts_fallback,
        kind=settings.event_kind,
    )
    ends: dict[int, tuple[int, int]] = {}
    with closing(make_consumer()) as consumer:
        for partition in range(partitions):
            place = TopicPartition(settings.topic, partition)
            try:
                found = consumer.get_watermark_offsets(place, timeout=10)
            except KafkaException as error:
                raise _unavailable(settings.topic, error.args[0]) from None
            if found is None:
                raise _unavailable(settings.topic, None)
            if found[1] > found[0]:
                ends[partition] = found

    def stream(partition: int) -> Stream:
        low, high = ends[partition]
        name = f"{settings.topic}[{partition}]"
        return Stream(name, lambda: _read(make_consumer, settings, partition, low, high, bounds))

    size = sum(high - low for low, high in ends.values())
    return Recording(settings.topic, settings, tuple(map(stream, sorted(ends))), size)


def _read(
    make_consumer: Callable[[], TopicConsumer],
    settings: InputSettings,
    partition: int,
    low: int,
    high: int,
    bounds: Bounds,
) -> Generator[Block]:
    codec = make_codec(settings.format.value)
    at = low
    with closing(make_consumer()) as consumer:
        consumer.assign([TopicPartition(settings.topic, partition, low)])
        ended = False
        while not ended:
            messages, ended = _fetch(consumer, settings.topic, high)
            if not messages:
                continue
            values = [message.value() for message in messages]
            stamps = [message.timestamp()[1] for message in messages]
            kafka_ms = stamps if settings.kafka_ts_fallback else None
            size, at = (messages[-1].offset() or 0) + 1 - at, (messages[-1].offset() or 0) + 1
            clock = message_clock(codec, values, kafka_ms, bounds)
            yield Block(clock, _written(messages), size)


def _fetch(consumer: TopicConsumer, topic: str, high: int) -> tuple[list[Message], bool]:
    """The next messages below ``high``, and whether they are the last."""
    kept: list[Message] = []
    held, waited = 0, 0.0
    while len(kept) < MESSAGES_AT_ONCE and held < BYTES_AT_ONCE:
        found = consumer.consume(_CONSUME_AT_ONCE, timeout=_WAIT_S)
        for message in found:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    return kept, True
                raise _unavailable(topic, error)
            if (message.offset() or 0) >= high:
                return kept, True
            kept.append(message)
            held += len(message.value() or b"")
        if kept and (kept[-1].offset() or 0) + 1 >= high:
            return kept, True
        waited = 0.0 if found else waited + _WAIT_S
        if waited >= _PATIENCE_S:
            raise _unavailable(topic, None)
    return kept, False


def _written(messages: list[Message]) -> Callable[[int, int], list[Written]]:
    def written(low: int, high: int) -> list[Written]:
        return [
            Written(message.value(), message.timestamp()[1], _headers(message))
            for message in messages[low:high]
        ]

    return written


def _headers(message: Message) -> list[tuple[str, bytes]] | None:
    found: Any = message.headers()
    pairs = [(name, value) for name, value in found or () if isinstance(value, bytes)]
    return pairs or None


def _unavailable(topic: str, error: KafkaError | None) -> UnavailableError:
    why = "no answer" if error is None else error.name()
    return UnavailableError(f"the topic cannot be read: {why}", topic, "is Kafka up?")
