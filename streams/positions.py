"""Where a worker of summarize reads an input partition from; nothing is skipped without a word.

A committed offset that the topic no longer has is not silently replaced by another
(``auto.offset.reset`` is ``error``): what was deleted before it was read becomes a dead letter with
the number of messages, a gap in the ledger, and BLIND verdicts (:mod:`streams.gaps`). A topic that
was deleted and made again is read from its first message; how much of the old one was not read,
nobody knows. That it was is seen by its id (:mod:`streams.epochs`); of a broker without ids by
offsets that are gone, or beyond the end, while this worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.intake import Place
from streams.kafka import StartAt
from streams.patience import patiently
from streams.wire import UNCOUNTED

log = structlog.get_logger()

_UNKNOWN: Final = KafkaError._UNKNOWN_PARTITION  # noqa: SLF001 - its public name
_LOOKS: Final = 100
_LOOKS_AGAIN_S: Final = 0.3
"""So often, and so far apart, a partition that we were given is looked for."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where to read on, and how many messages before that were deleted unread (or UNCOUNTED)."""

    offset: int
    lost: int = 0


def _never(_: Place) -> str:
    """Nothing was read before."""
    return ""


class Positions:
    """``start``: where a partition begins in which nothing was ever committed; ``stop``: whether to
    give up waiting for a broker; ``noted``: the id of the topic that a partition was last read
    under, where nothing is committed any more ("" if it never was); ``lister``: who is asked for
    the partitions of a topic. Not the consumer in one of its callbacks: with confluent-kafka 2.16
    the next callback of the same call then ends the process."""

    def __init__(
        self,
        consumer: confluent_kafka.Consumer,
        start: StartAt,
        stop: Callable[[], bool],
        noted: Callable[[Place], str] = _never,
        lister: AdminClient | None = None,
    ) -> None:
        self._consumer = consumer
        self._start = start
        self._stop = stop
        self._noted = noted
        self._lister = consumer if lister is None else lister  # not `or`: an idle client is false
        self._began: dict[Place, int] = {}
        self._committed: set[Place] = set()

    def committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """What is committed. A worker that died in a transaction holds that back until the broker
        has ended its transaction."""
        found: list[TopicPartition] = []

        def ask(seconds: float) -> None:
            found[:] = self._consumer.committed(places, timeout=seconds)

        patiently(ask, self._stop)
        return found

    def begin(self, place: Place, committed: int, was: str = "", now: str = "") -> Beginning:
        """Where to read on; ``committed`` is negative where there is none. ``was``: the id of the
        topic that it is of; ``now``: of the topic that there is; "" where nobody says."""
        if committed < 0 and now:
            was = self._noted(place)
        if was and now and was != now:
            return self._made_again(place)
        if committed < 0 and place in self._committed:
            # Offsets go with their topic: this is another one of the same name.
            return self._made_again(place)
        if committed >= 0:
            self._committed.add(place)
        wanted = committed if committed >= 0 else self._first(place)
        low, high = self._watermarks(place)
        if wanted < low:
            log.error(
                "messages deleted before they were read",
                topic=place[0],
                partition=place[1],
                first=wanted,
                until=low,
            )
            return Beginning(low, low - wanted)
        if wanted > high:
            return self._made_again(place)
        return Beginning(wanted)

    def _made_again(self, place: Place) -> Beginning:
        log.error("topic made again", topic=place[0], partition=place[1])
        self._committed.discard(place)
        self._began.pop(place, None)
        return Beginning(self._watermarks(place)[0], UNCOUNTED)

    def wrote(self, offsets: Iterable[TopicPartition]) -> None:
        """These are committed now."""
        self._committed.update((each.topic, each.partition) for each in offsets)

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has."""
        count = 0

        def ask(seconds: float) -> None:
            nonlocal count
            count = len(self._lister.list_topics(topic, timeout=seconds).topics[topic].partitions)

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
        found, looked = (0, 0), 0

        def ask(seconds: float) -> None:
            nonlocal found, looked
            looked += 1
            try:
                found = self._consumer.get_watermark_offsets(
                    TopicPartition(*place), timeout=seconds
                )
            except KafkaException as error:
                if error.args[0].code() != _UNKNOWN or looked >= _LOOKS:
                    raise
                # The group has given it to us, so there is one: the client has lost sight of it
                # with its broker, and says so at once.
                time.sleep(_LOOKS_AGAIN_S)
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)) from None

        patiently(ask, self._stop)
        return found
