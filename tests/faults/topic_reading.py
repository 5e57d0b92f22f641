"""All committed records of a topic, as any reader of results sees them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.faults.roles import Trouble

_LEADER_S: Final = 10.0
_NO_LEADER: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
)


@dataclass(frozen=True, slots=True)
class Read:
    """One record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def records(servers: str, topic: str, seconds: float = 60.0, committed: bool = True) -> list[Read]:
    """Everything up to the end that the topic has now. A transaction that is open holds a reader
    of committed records back, and is waited for: who was killed in one leaves it to the broker to
    end. Raises `Trouble` if that lasts."""
    to = ends(servers, topic)
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"checker-{uuid.uuid4().hex}",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    try:
        return list(_read(consumer, topic, to, seconds))
    finally:
        consumer.close()


def _read(
    consumer: confluent_kafka.Consumer, topic: str, to: Mapping[int, int], seconds: float
) -> Iterator[Read]:
    consumer.assign([TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for p in to])
    left = {p for p, end in to.items() if end > 0}
    deadline = time.monotonic() + seconds
    while left:
        if time.monotonic() > deadline:
            raise Trouble(f"{topic} cannot be read to its end: is a transaction left open?")
        for message in consumer.consume(1_000, 0.2):
            error, partition = message.error(), message.partition() or 0
            if error is None:
                yield Read(partition, message.offset() or 0, message.key(), message.value())
            elif error.code() != KafkaError._PARTITION_EOF:
                raise Trouble(f"{topic}: {error.name()}")
            elif (message.offset() or 0) >= to[partition]:
                left.discard(partition)


def _end(consumer: confluent_kafka.Consumer, place: TopicPartition) -> int:
    """Where a partition ends. One that was only just made may have no leader for a while, or none
    that this client knows."""
    deadline = time.monotonic() + _LEADER_S
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=10)[1]
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def rows(servers: str, topic: str) -> list[dict[str, Any]]:
    """The rows of a topic of results, in their order in each partition."""
    found: list[dict[str, Any]] = []
    for record in records(servers, topic):
        if record.value is not None:
            found += msgspec.json.decode(record.value)["rows"]
    return found


def ends(servers: str, topic: str, committed: bool = False) -> Mapping[int, int]:
    """The end offset of each partition; ``committed``: of what a reader of committed records can
    read by now."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "ends",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {p: _end(consumer, TopicPartition(topic, p)) for p in partitions}
    finally:
        consumer.close()


class Committed:
    """What a group has committed. One client for many questions."""

    def __init__(self, servers: str, group: str, topic: str, partitions: int) -> None:
        self._places = [TopicPartition(topic, p) for p in range(partitions)]
        self._consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": servers, "group.id": group, "log_level": 0}
        )

    def offsets(self) -> dict[int, int]:
        try:
            found = self._consumer.committed(self._places, timeout=5)
        except confluent_kafka.KafkaException:
            return {}
        return {each.partition: max(each.offset, 0) for each in found}

    def close(self) -> None:
        self._consumer.close()
