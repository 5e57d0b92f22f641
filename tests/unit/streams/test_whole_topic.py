"""A topic that is read whole: in order, once, to its end, whatever fails on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import cast

import confluent_kafka
import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.errors import UnavailableError
from streams.whole_topic import WholeTopic

END = Message("t", 0, 0, error=KafkaError(KafkaError._PARTITION_EOF))


class Listed:
    """A consumer of prepared answers, some of them errors to raise; then it has nothing more."""

    def __init__(self, answers: Sequence[Message | Exception], drained: threading.Event) -> None:
        self._answers = list(answers)
        self._drained = drained
        self.assigned: list[TopicPartition] = []
        self.closed = False

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def poll(self, timeout: float) -> Message | None:
        if not self._answers:
            self._drained.set()
            self._drained.wait(timeout)
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


def record(offset: int, value: bytes | None = b"x") -> Message:
    return Message("t", 0, offset, value=value)


def read(
    *lives: Sequence[Message | Exception], take: Callable[[bytes, int], None]
) -> tuple[list[Listed], bool]:
    """A reader whose consumers have these answers, one consumer after the other; what they were,
    and whether the end was reached."""
    drained = threading.Event()
    consumers = [Listed(answers, drained) for answers in lives]
    waiting = iter(consumers)
    reader = WholeTopic(lambda: cast("confluent_kafka.Consumer", next(waiting)), "t", take)
    with reader:
        assert drained.wait(10)
        at_end = reader.read
    return consumers, at_end


def test_every_value_is_given_in_order_and_tombstones_are_not() -> None:
    given: list[tuple[bytes, int]] = []
    answers = [record(3, b"a"), record(4, None), record(9, b"b"), END, record(10, b"c")]
    (consumer,), at_end = read(answers, take=lambda value, offset: given.append((value, offset)))
    assert given == [(b"a", 3), (b"b", 9), (b"c", 10)]
    assert consumer.assigned[0].offset == OFFSET_BEGINNING
    assert consumer.closed
    assert at_end


def test_what_is_refused_is_passed_over() -> None:
    given: list[int] = []

    def take(value: bytes, offset: int) -> None:
        if offset == 1:
            raise ValueError("SECRET")
        given.append(offset)

    _, at_end = read([record(0), record(1), record(2), END], take=take)
    assert given == [0, 2]
    assert at_end


@pytest.mark.parametrize(
    "failure",
    [
        KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)),
        RuntimeError("unforeseen"),
        Message("t", 0, 0, error=KafkaError(KafkaError._FATAL, "fatal", True)),
    ],
    ids=["of Kafka", "unforeseen", "fatal"],
)
def test_after_a_failure_reading_goes_on_behind_the_last_record(
    failure: Message | Exception,
) -> None:
    given: list[int] = []
    (first, second), at_end = read(
        [record(0), record(5), failure],
        [record(6), END],
        take=lambda _, offset: given.append(offset),
    )
    assert given == [0, 5, 6]
    assert second.assigned[0].offset == 6
    assert first.closed
    assert at_end


def test_a_topic_that_is_not_there_yet_is_waited_for_and_has_no_end() -> None:
    missing = Message("t", 0, 0, error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    _, at_end = read([missing, missing], take=lambda _, __: None)
    assert not at_end


def test_waiting_for_the_end_ends_with_what_to_do() -> None:
    drained = threading.Event()
    consumer = cast("confluent_kafka.Consumer", Listed([], drained))
    with (
        WholeTopic(lambda: consumer, "t", lambda _, __: None) as reader,
        pytest.raises(UnavailableError, match="is Kafka up"),
    ):
        reader.wait_read(0.05)
