"""A consumer of driftline's own topics that knows them by their ids (:mod:`streams.epochs`).

Each committed offset carries the id of its topic, and an offset of another id is none: reading
begins with the first record then. Before each commit the ids are compared with those that reading
began in, for librdkafka reads on at its position in a topic that was made again, and says nothing.
Then nothing is committed, and the partitions are taken up anew.

What lies behind a hole in the offsets is kept back, and read again before the hole is believed
(:mod:`streams.holes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from streams.epochs import Epochs, EpochSource, decode_id, encode_id
from streams.holes import Hole, Holes
from streams.patience import patiently

log = structlog.get_logger()

OnPartitions = Callable[[Any, list[TopicPartition]], None]


class AssignedConsumer(Protocol):
    """What is used of ``confluent_kafka.Consumer`` once it has partitions."""

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]: ...
    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]: ...
    def assignment(self) -> list[TopicPartition]: ...
    def pause(self, partitions: list[TopicPartition]) -> None: ...
    def resume(self, partitions: list[TopicPartition]) -> None: ...
    def close(self) -> None: ...


class GroupConsumer(AssignedConsumer, Protocol):
    """And until then."""

    def subscribe(
        self, topics: list[str], *, on_assign: OnPartitions, on_revoke: OnPartitions
    ) -> None: ...
    def unsubscribe(self) -> None: ...
    def assign(self, partitions: list[TopicPartition]) -> None: ...
    def seek(self, partition: TopicPartition) -> None: ...
    def committed(
        self, partitions: list[TopicPartition], timeout: float
    ) -> list[TopicPartition]: ...


class IdentifiedConsumer:
    """``consumer`` with what is said above; ``stop``: whether to give up waiting for a broker;
    ``made_again`` is told how many partitions were found to be of another topic."""

    def __init__(
        self,
        consumer: GroupConsumer,
        source: EpochSource,
        stop: Callable[[], bool],
        made_again: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._consumer = consumer
        self._epochs = Epochs(source, stop)
        self._stop = stop
        self._made_again = made_again
        self._began: dict[str, str] = {}
        self._holes = Holes()
        self._next: dict[tuple[str, int], int] = {}
        self._topics: list[str] = []
        self._on_revoke: OnPartitions = lambda _consumer, _partitions: None

    def subscribe(self, topics: list[str], *, on_revoke: OnPartitions) -> None:
        self._topics, self._on_revoke = topics, on_revoke
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_given_up)

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        """Errors, and the messages that have come; none before those that it comes after."""
        given: list[Message] = []
        back: dict[tuple[str, int], int] = {}
        for message in self._consumer.consume(num_messages, timeout):
            place, offset = (message.topic() or "", message.partition() or 0), message.offset()
            if message.error() is not None or offset is None:
                given.append(message)
                continue
            if place in back:
                continue
            wanted = self._next.get(place, offset)
            if offset > wanted and not self._holes.believes(place, Hole(wanted, offset)):
                back[place] = wanted
                continue
            self._next[place] = offset + 1
            self._holes.passed(place, offset + 1)
            given.append(message)
        for (topic, partition), offset in back.items():
            if (topic, partition) in self._next:  # else it was taken away meanwhile
                self._consumer.seek(TopicPartition(topic, partition, offset))
        return given

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        """Raises KafkaException, as when partitions were taken away, if a topic is another one."""
        began = {each.topic: self._began.get(each.topic, "") for each in offsets}
        if not self._epochs.unchanged({topic: was for topic, was in began.items() if was})():
            self._consumer.unsubscribe()
            self.subscribe(self._topics, on_revoke=self._on_revoke)
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        named = [
            TopicPartition(each.topic, each.partition, each.offset, encode_id(began[each.topic]))
            for each in offsets
        ]
        return self._consumer.commit(offsets=named, asynchronous=asynchronous)

    def assignment(self) -> list[TopicPartition]:
        return self._consumer.assignment()

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._consumer.pause(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._consumer.resume(partitions)

    def close(self) -> None:
        self._consumer.close()

    def _on_given_up(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._next.pop((each.topic, each.partition), None)
        self._on_revoke(consumer, partitions)

    def _on_assign(self, _: Any, partitions: list[TopicPartition]) -> None:
        try:
            self._begin(partitions)
        except KafkaException:
            if not self._stop():
                raise

    def _begin(self, partitions: list[TopicPartition]) -> None:
        ids = self._epochs.of({each.topic for each in partitions})
        found: list[TopicPartition] = []

        def ask(seconds: float) -> None:
            found[:] = self._consumer.committed(partitions, timeout=seconds)

        patiently(ask, self._stop)
        before, self._began = self._began, {topic: now or "" for topic, now in ids.items()}
        starts, others = [], 0
        for each in found:
            now, start = self._began[each.topic], each.offset
            was = decode_id(each.metadata) or before.get(each.topic, "")
            if now and was and was != now:
                log.error("topic made again", topic=each.topic, partition=each.partition)
                others, start = others + 1, OFFSET_BEGINNING
            if start >= 0:
                self._next[each.topic, each.partition] = start
            starts.append(TopicPartition(each.topic, each.partition, start))
        if others:
            self._made_again(others)
            self._consumer.assign(starts)
