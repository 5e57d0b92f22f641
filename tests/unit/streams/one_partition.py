"""Stands in for both Kafka clients of a worker of summarize: one partition, read from its start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import TopicPartition


class OnePartition:
    """``topic`` has one partition, which this worker gets and in which nothing is committed yet."""

    topic: str

    def subscribe(self, topics: Sequence[str], on_assign: Any, **_: Any) -> None:
        on_assign(self, [TopicPartition(self.topic, 0)])

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 0) for each in places]

    def list_topics(self, topic: str, timeout: float) -> Any:
        listed: Any = type("Listed", (), {"partitions": {0: None}})()
        return type("Metadata", (), {"topics": {topic: listed}})()

    def assign(self, places: list[TopicPartition]) -> None:
        """There is no other place to begin."""

    def flush(self, timeout: float) -> int:
        return 0

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        return []

    def close(self) -> None:
        """The group is left."""
