"""A burst finds bounded buffers: what waits in a worker does not depend on what waits in Kafka.

The Worker of summarize runs here as it does in its role, on a consumer that always has as much as
is asked for. Each bound is also looked at with its guard taken away: then it must not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import confluent_kafka
import pytest
from confluent_kafka import Message, TopicPartition

from streams.batches import MOST_BYTES_AT_ONCE, Batches
from streams.cardinality import Limits
from streams.inputs import InputFormat, InputSettings
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import MOST_WAITING_BYTES, Summarizer, SummarizeSettings
from streams.timeline import TimeSettings
from tests.unit.streams.one_partition import OnePartition

TOPIC = "predictions"
NOW_MS = 1_700_000_000_000
SETTINGS = SummarizeSettings(max_buffered_rows=2_000, flush_interval_ms=60_000)
"""Only a full buffer leads to a flush within the time of a test."""


class Backlog(OnePartition):
    """A consumer behind which the same message waits ``count`` times, and a producer that takes
    everything. Remembers the most bytes that one call was given."""

    topic = TOPIC

    def __init__(self, value: bytes, count: int) -> None:
        self.value, self.left = value, count
        self.most_bytes = self.offset = self.flushes = 0

    def get_watermark_offsets(self, place: TopicPartition, **_: Any) -> tuple[int, int]:
        return 0, self.offset + self.left

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, self.offset) for each in places]

    def consume(self, count: int, timeout: float) -> list[Message]:
        taken = min(count, self.left)
        self.left -= taken
        self.most_bytes = max(self.most_bytes, taken * len(self.value))
        first, self.offset = self.offset, self.offset + taken
        return [Message(TOPIC, 0, first + i, value=self.value) for i in range(taken)]

    def produce(self, *_: Any) -> None:
        """Kafka has it."""

    def flush(self, timeout: float) -> int:
        self.flushes += 1
        return super().flush(timeout)


class Watched(Summarizer):
    """Remembers how many rows and bytes waited at most."""

    most_rows = most_bytes = 0

    def take(self, messages: Sequence[Message], now_ms: int) -> None:
        super().take(messages, now_ms)
        self.most_rows = max(self.most_rows, self.accumulator.buffered)
        waiting = (value for each in self._waiting.values() for value in each.values)
        self.most_bytes = max(self.most_bytes, sum(len(value or b"") for value in waiting))


class NeverFull(Watched):
    """The guard taken away: rows wait for the flush interval, however many they are."""

    @property
    def full(self) -> bool:
        return False


class Greedy(Batches):
    """The guard taken away: always the same number of messages."""

    def _learn(self, messages: int, size: int) -> None:
        self.ask = self._most


def line(padding: int = 0) -> bytes:
    return b'{"ts":%d,"model":"m","version":"1","note":"%s"}' % (NOW_MS, b"x" * padding)


def read(
    backlog: Backlog, kind: type[Watched] = Watched, batches: Batches | None = None
) -> Watched:
    """A worker reads the backlog to its end."""
    summarizer = kind(
        (InputSettings(TOPIC, InputFormat.NDJSON),),
        TimeSettings(),
        SETTINGS,
        Limits(),
        SampleSettings(),
        lambda _: None,
        1,
        "worker",
    )
    worker = Worker(
        summarizer,
        SETTINGS,
        cast("confluent_kafka.Consumer", backlog),
        lambda: cast("confluent_kafka.Producer", backlog),
        False,
        [TOPIC],
        lambda name: name,
        clock_ms=lambda: NOW_MS,
    )
    worker._batches = batches or worker._batches
    worker.run(lambda: not backlog.left)
    assert backlog.left == 0
    return summarizer


LINES = b"\n".join([line()] * 100)
MOST_ROWS = SETTINGS.max_buffered_rows + 100 * SETTINGS.batch_messages
"""What is buffered is looked at once a batch."""


@pytest.mark.parametrize("burst", [600, 2_400])
def test_rows_that_wait_are_bounded_however_many_come(burst: int) -> None:
    backlog = Backlog(LINES, burst)
    summarizer = read(backlog)
    assert summarizer.most_rows <= MOST_ROWS
    assert backlog.flushes >= 100 * burst // MOST_ROWS


def test_without_looking_at_what_waits_a_burst_would_fill_the_memory() -> None:
    backlog = Backlog(LINES, 1_000)
    assert read(backlog, NeverFull).most_rows > MOST_ROWS


LARGE = line(1_000_000)
MOST_BYTES = 16 * len(LARGE)
"""Before anything is known of the size of messages, sixteen are asked for."""


def test_large_messages_are_taken_a_few_at_a_time() -> None:
    backlog = Backlog(LARGE, 200)
    summarizer = read(backlog)
    assert backlog.most_bytes <= MOST_BYTES
    assert summarizer.most_bytes <= MOST_WAITING_BYTES + MOST_BYTES_AT_ONCE


def test_without_learning_their_size_all_would_be_taken_at_once() -> None:
    backlog = Backlog(LARGE, 200)
    read(backlog, batches=Greedy(SETTINGS.batch_messages))
    assert backlog.most_bytes > MOST_BYTES


def test_messages_that_wait_for_their_chunk_are_bounded_by_their_bytes() -> None:
    """One event a message: 2,048 of these would be 200 MB."""
    assert read(Backlog(line(100_000), 500)).most_bytes <= MOST_WAITING_BYTES + MOST_BYTES_AT_ONCE
