"""The store begins with the first record of a topic that was made again, and commits nothing of
the old one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from streams.epochs import NO_EPOCHS, Answer, EpochSource, decode_id, encode_id
from streams.identified_consumer import IdentifiedConsumer

TOPIC = "driftline.windows"
Callback = Callable[[Any, list[TopicPartition]], None]


def nothing(_: Any, __: list[TopicPartition]) -> None:
    """No partition is minded."""


@dataclass
class Group:
    """A broker with one partition, and the client of its only member. ``assigned``: where the
    partition is read from, None as long as that is left to the client."""

    id: str = "one"
    stored: TopicPartition | None = None
    assigned: int | None = None
    subscribed: list[tuple[Callback, Callback]] = field(default_factory=list)
    coming: list[int] = field(default_factory=list)
    sought: list[int] = field(default_factory=list)

    def ask(self, topics: Collection[str]) -> Answer:
        return lambda: dict.fromkeys(topics, self.id)

    def subscribe(self, topics: list[str], *, on_assign: Callback, on_revoke: Callback) -> None:
        self.assigned = None
        self.subscribed.append((on_assign, on_revoke))
        on_assign(self, [TopicPartition(TOPIC, 0)])

    def unsubscribe(self) -> None:
        self.subscribed[-1][1](self, [TopicPartition(TOPIC, 0)])

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions[0].offset

    def seek(self, partition: TopicPartition) -> None:
        self.sought.append(partition.offset)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [self.stored or TopicPartition(TOPIC, 0)]

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        given, self.coming = self.coming, []
        return [Message(TOPIC, 0, offset, value=b"{}") for offset in given]

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        (self.stored,) = offsets
        return offsets

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, 0)]

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Nothing comes anyway."""

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Nothing comes anyway."""

    def close(self) -> None:
        """Nothing is open."""


def started(
    group: Group, said: Callable[[int], None] = lambda _: None, *, ids: bool = True
) -> IdentifiedConsumer:
    source = EpochSource(group.ask) if ids else NO_EPOCHS
    consumer = IdentifiedConsumer(group, source, lambda: False, said)
    consumer.subscribe([TOPIC], on_revoke=nothing)
    return consumer


def commit(consumer: IdentifiedConsumer, offset: int) -> None:
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, offset)], asynchronous=False)


def test_a_committed_offset_carries_the_id_of_its_topic() -> None:
    group = Group()
    commit(started(group), 7)
    assert group.stored is not None
    assert (group.stored.offset, decode_id(group.stored.metadata)) == (7, "one")
    again = Group(stored=group.stored)
    started(again)
    assert again.assigned is None


@pytest.mark.parametrize(
    ("ids", "begins", "told"), [(True, OFFSET_BEGINNING, [1]), (False, None, [])]
)
def test_an_offset_of_another_topic_is_none(ids: bool, begins: int | None, told: list[int]) -> None:
    """Without ids (the guard removed) reading goes on in the middle of the new topic."""
    group = Group("two", TopicPartition(TOPIC, 0, 7, encode_id("one")))
    said: list[int] = []
    started(group, said.append, ids=ids)
    assert (group.assigned, said) == (begins, told)


def test_an_offset_without_an_id_is_taken_as_it_is() -> None:
    """A version that kept none has committed it."""
    group = Group("two", TopicPartition(TOPIC, 0, 7))
    started(group)
    assert group.assigned is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_topic_that_is_made_again_under_a_reader_is_begun_anew(kept: bool) -> None:
    """Whether its offsets are kept or went with it."""
    group = Group()
    said: list[int] = []
    consumer = started(group, said.append)
    commit(consumer, 7)
    group.id = "two"
    before = group.stored
    if not kept:
        group.stored = None
    with pytest.raises(KafkaException):
        commit(consumer, 9)
    assert group.stored is (before if kept else None)
    assert (group.assigned, said) == (OFFSET_BEGINNING, [1])
    commit(consumer, 3)
    assert group.stored is not None
    assert decode_id(group.stored.metadata) == "two"


def consumed(consumer: IdentifiedConsumer, group: Group, *coming: int) -> list[int | None]:
    group.coming = list(coming)
    return [message.offset() for message in consumer.consume(500, 0.1)]


@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "behind the committed one"])
def test_what_a_client_leaves_out_is_asked_for_again(begun: bool) -> None:
    group = Group(stored=TopicPartition(TOPIC, 0, 3))
    consumer = started(group)
    if begun:
        assert consumed(consumer, group, 3, 4) == [3, 4]
    first = 5 if begun else 3
    assert consumed(consumer, group, 7, 8) == []
    assert group.sought == [first]
    assert consumed(consumer, group, *range(first, 9)) == list(range(first, 9))


def test_a_hole_that_is_there_again_is_the_topics_own() -> None:
    group = Group(stored=TopicPartition(TOPIC, 0, 3))
    consumer = started(group)
    assert consumed(consumer, group, 3, 5, 6) == [3]
    assert consumed(consumer, group, 5, 6, 8) == [5, 6, 8]
    assert group.sought == [4]


def test_a_position_that_is_gone_is_left_for_the_first_record() -> None:
    """The client does that by itself, where a topic was made again."""
    group = Group(stored=TopicPartition(TOPIC, 0, 7))
    consumer = started(group)
    assert consumed(consumer, group, 0, 1) == [0, 1]


def test_partitions_that_were_given_up_begin_where_they_are_committed_then() -> None:
    group = Group(stored=TopicPartition(TOPIC, 0, 3))
    consumer = started(group)
    assert consumed(consumer, group, 3, 4) == [3, 4]
    group.unsubscribe()
    group.stored = TopicPartition(TOPIC, 0, 9)
    consumer.subscribe([TOPIC], on_revoke=nothing)
    assert consumed(consumer, group, 9) == [9]
    assert group.sought == []


def test_what_is_no_metadata_of_ours_names_no_topic() -> None:
    assert decode_id(None) == decode_id("") == decode_id("driftline:2:5:one") == ""
    assert encode_id("") == ""
