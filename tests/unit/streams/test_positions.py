"""Reading begins where it was left, and a gap is never passed over without a word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka import StartAt
from streams.positions import Beginning, Positions
from streams.wire import UNCOUNTED

PLACE = ("predictions", 0)


class Broker:
    """What Positions asks of a consumer. ``silent``: so many calls get no answer, or that the
    client has ``lost`` the partition."""

    def __init__(self, low: int, high: int, silent: int = 0, lost: bool = False) -> None:
        self.low, self.high, self.silent = low, high, silent
        self.error = KafkaError._UNKNOWN_PARTITION if lost else KafkaError._TIMED_OUT

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        if self.silent:
            self.silent -= 1
            raise KafkaException(KafkaError(self.error))
        return self.low, self.high


def positions(broker: Broker, start: StartAt = StartAt.EARLIEST, noted: str = "") -> Positions:
    return Positions(cast("confluent_kafka.Consumer", broker), start, bool, lambda _: noted)


@pytest.mark.parametrize(
    ("committed", "low", "high", "begins", "lost"),
    [
        (7, 0, 20, 7, 0),
        (20, 0, 20, 20, 0),
        (7, 12, 20, 12, 5),
        (7, 0, 3, 0, UNCOUNTED),
        (-1001, 5, 20, 5, 0),
    ],
    ids=["as committed", "at the end", "deleted unread", "topic made again", "never committed"],
)
def test_where_reading_begins(committed: int, low: int, high: int, begins: int, lost: int) -> None:
    assert positions(Broker(low, high)).begin(PLACE, committed) == Beginning(begins, lost)


def test_latest_is_the_end_once_and_then_the_same_offset_until_something_is_committed() -> None:
    broker = Broker(0, 20)
    at = positions(broker, StartAt.LATEST)
    assert at.begin(PLACE, -1001) == Beginning(20)
    broker.high = 50
    assert at.begin(PLACE, -1001) == Beginning(20)


def test_what_is_deleted_before_anything_was_committed_is_said_too() -> None:
    broker = Broker(0, 20)
    at = positions(broker)
    assert at.begin(PLACE, -1001) == Beginning(0)
    broker.low = 12
    for _ in range(2):  # until it is committed
        assert at.begin(PLACE, -1001) == Beginning(12, 12)


def test_a_broker_that_is_away_is_asked_again() -> None:
    assert positions(Broker(0, 20, silent=3)).begin(PLACE, 7) == Beginning(7)


def test_a_partition_the_client_has_lost_sight_of_is_looked_for_again() -> None:
    assert positions(Broker(0, 20, silent=3, lost=True)).begin(PLACE, 7) == Beginning(7)


def test_offsets_that_are_gone_are_those_of_a_topic_that_was_made_again() -> None:
    for start in StartAt:
        at = positions(Broker(0, 20), start)
        assert at.begin(PLACE, 7) == Beginning(7)
        assert at.begin(PLACE, -1001) == Beginning(0, UNCOUNTED)
        assert at.begin(PLACE, -1001) == Beginning(0 if start is StartAt.EARLIEST else 20)
        at.wrote([TopicPartition(*PLACE, 3)])
        assert at.begin(PLACE, -1001) == Beginning(0, UNCOUNTED)


@pytest.mark.parametrize("start", StartAt)
@pytest.mark.parametrize(
    ("committed", "was", "now", "noted", "begins", "lost"),
    [
        (7, "one", "one", "", 7, 0),
        (7, "one", "two", "", 2, UNCOUNTED),
        (7, "", "two", "one", 7, 0),
        (7, "one", "", "", 7, 0),
        (-1001, "", "two", "one", 2, UNCOUNTED),
    ],
    ids=[
        "the same topic",
        "another one, with more messages",
        "committed before ids were",
        "the broker says no id",
        "offsets went with their topic",
    ],
)
def test_a_topic_of_another_id_is_read_from_its_first_message(
    start: StartAt, committed: int, was: str, now: str, noted: str, begins: int, lost: int
) -> None:
    at = positions(Broker(2, 20), start, noted)
    assert at.begin(PLACE, committed, was, now) == Beginning(begins, lost)


def test_a_group_that_is_new_begins_where_it_is_told_to() -> None:
    for noted in ("", "one"):
        at = positions(Broker(2, 20), StartAt.LATEST, noted)
        assert at.begin(PLACE, -1001, "", "one") == Beginning(20)


class Lister:
    """What Positions asks of a client that is not the consumer."""

    def __len__(self) -> int:
        return 0  # as of a client that nothing waits in

    def list_topics(self, topic: str, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None, 1: None})})


def test_the_consumer_is_not_asked_for_the_partitions_of_a_topic_which_would_end_its_own_call() -> (
    None
):
    consumer = cast("confluent_kafka.Consumer", Broker(0, 20))  # has no answer
    lister = cast("AdminClient", Lister())
    assert Positions(consumer, StartAt.EARLIEST, bool, lister=lister).partitions_of("t") == 2
