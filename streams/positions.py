"""Where a worker of summarize reads an input partition from; nothing is skipped without a word.

A committed offset that the topic no longer has is not silently replaced by another
(``auto.offset.reset`` is ``error``): what was deleted before it was read becomes a dead letter with
the number of messages, and a gap in the ledger. A topic that was deleted and made again is read
from its first message.
"""

from __future__ import annotations

from collections.abc import Callable

import confluent_kafka
import structlog
from confluent_kafka import TopicPartition

from streams.intake import Place
from streams.kafka import StartAt
from streams.patience import patiently

log = structlog.get_logger()

Lost = Callable[[Place, int, int], None]
"""Told that messages [first, until) of a partition were deleted before anybody read them."""


class Positions:
    """``start``: where a partition begins in which nothing was ever committed; ``lost``: told of
    gaps; ``stop``: whether to give up waiting for a broker."""

    def __init__(
        self,
        consumer: confluent_kafka.Consumer,
        start: StartAt,
        lost: Lost,
        stop: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._start = start
        self._lost = lost
        self._stop = stop
        self._began: dict[Place, int] = {}

    def committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """What is committed. A worker that died in a transaction holds that back until the broker
        has ended its transaction."""
        found: list[TopicPartition] = []

        def ask(seconds: float) -> None:
            found[:] = self._consumer.committed(places, timeout=seconds)

        patiently(ask, self._stop)
        return found

    def begin(self, place: Place, committed: int) -> int:
        """The offset to read on from; ``committed`` is negative where there is none."""
        if committed < 0:
            return self._first(place)
        low, high = self._watermarks(place)
        if committed < low:
            self._lost(place, committed, low)
            log.error(
                "messages deleted before they were read",
                topic=place[0],
                partition=place[1],
                first=committed,
                until=low,
            )
            return low
        if committed > high:
            log.error("topic made again", topic=place[0], partition=place[1], committed=committed)
            return low
        return committed

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has."""
        count = 0

        def ask(seconds: float) -> None:
            nonlocal count
            count = len(self._consumer.list_topics(topic, timeout=seconds).topics[topic].partitions)

        patiently(ask, self._stop)
        return count

    def _first(self, place: Place) -> int:
        """The same on every call: what was read from there and not committed is read again."""
        known = self._began.get(place)
        if known is None:
            low, high = self._watermarks(place)
            known = self._began[place] = low if self._start is StartAt.EARLIEST else high
        return known

    def _watermarks(self, place: Place) -> tuple[int, int]:
        found = (0, 0)

        def ask(seconds: float) -> None:
            nonlocal found
            found = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=seconds)

        patiently(ask, self._stop)
        return found
