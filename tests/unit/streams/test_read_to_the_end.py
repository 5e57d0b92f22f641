"""When a worker calls a partition idle: when it was read to its end, which transactions hide."""

from __future__ import annotations

from typing import Any, cast

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import CollectorRegistry

from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.metrics_summarize import SummarizeMetrics
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import DAY, TimeSettings
from streams.wire import PartitionProgress, Progress, decode
from tests.unit.streams.one_partition import OnePartition

TOPIC = "in"
NOW_MS = 1_700_000_000_000
SETTINGS = SummarizeSettings(flush_interval_ms=50)
TIME = TimeSettings(idle_timeout_ms=100, max_age_ms=10_000 * DAY)


class OneMessage(OnePartition):
    """A consumer that gives one message, offset 0, and then stands at ``stands`` of a partition
    that ends at ``end``; and a producer that keeps what it is given."""

    topic = TOPIC

    def __init__(self, stands: int, end: int) -> None:
        self._stands, self._end = stands, end
        body = b'{"ts":%d,"model":"m","version":"1"}' % NOW_MS
        self._waiting = [Message(TOPIC, 0, 0, value=body)]
        self.progress: list[PartitionProgress] = []

    def get_watermark_offsets(self, place: TopicPartition, **_: Any) -> tuple[int, int]:
        return 0, self._end

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, self._stands) for each in places]

    def consume(self, count: int, timeout: float) -> list[Message]:
        taken, self._waiting = self._waiting, []
        return taken

    def produce(self, topic: str, value: bytes, *_: Any) -> None:
        found = decode(value) if topic == SUMMARIES else None
        if isinstance(found, Progress):
            self.progress += found.partitions


def worker(kafka: OneMessage, registry: CollectorRegistry) -> Worker:
    return Worker(
        Summarizer(
            (InputSettings(TOPIC),),
            TIME,
            SETTINGS,
            Limits(),
            SampleSettings(),
            lambda _: None,
            1,
            "w",
        ),
        SETTINGS,
        cast("confluent_kafka.Consumer", kafka),
        lambda: cast("confluent_kafka.Producer", kafka),
        False,
        [TOPIC],
        lambda name: name,
        metrics=SummarizeMetrics(registry),
    )


@pytest.mark.parametrize(
    ("stands", "end", "idle", "lag"),
    [(1, 1, True, 0), (2, 2, True, 0), (1, 3, False, 2)],
    ids=["read", "the-mark-of-a-commit-behind-it", "an-open-transaction-behind-it"],
)
def test_a_partition_is_idle_when_its_client_stands_at_its_end(
    stands: int, end: int, idle: bool, lag: int
) -> None:
    kafka = OneMessage(stands, end)
    registry = CollectorRegistry()
    worker(kafka, registry).run(lambda: len(kafka.progress) > 20)
    assert kafka.progress[-1].idle is idle
    labels = {"topic": TOPIC, "partition": "0"}
    assert registry.get_sample_value("driftline_input_lag_messages", labels) == lag


class NeverAnswers(OneMessage):
    """Gives partitions whose offsets it never tells."""

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places


def test_who_is_told_to_stop_before_offsets_are_known_ends_well_and_owns_nothing() -> None:
    kafka = NeverAnswers(0, 1)
    asked = iter([False, True])
    worker(kafka, CollectorRegistry()).run(lambda: next(asked, True))
    assert kafka.assigned == []
    assert kafka.progress == []
