"""The topics that a Faust app reads are known by their ids (:mod:`streams.epochs`), as the inputs
of summarize are.

The id goes with each committed offset, in its metadata; one of another id is none. What was fetched
is let in when the topic is still the one that reading began in: aiokafka goes on at its position in
a topic that was made again, or at its beginning, and says nothing. Then the process ends, and its
successor begins with the first record of the new topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

from streams.epochs import Epochs, EpochSource, decode_id, encode_id

log = structlog.get_logger()


class TopicMadeAgainError(Exception):
    """A topic is another one than reading began in."""


class TopicIds:
    """The ids of the topics that reading began in. ``stop``: whether to give up waiting for an
    answer. Its calls wait for a broker: make them in a thread."""

    def __init__(self, source: EpochSource, stop: Callable[[], bool]) -> None:
        self._epochs = Epochs(source, stop)
        self._began: dict[str, str] = {}

    def of(self, topic: str) -> str:
        """The id of a topic; "" if it is not known."""
        return self._began.get(topic, "")

    def begin(self, topics: Collection[str]) -> None:
        """Reading begins in these, perhaps anew. Raises TopicMadeAgainError."""
        for topic, found in self._epochs.of(topics).items():
            if found and found != self._began.setdefault(topic, found):
                raise TopicMadeAgainError(topic)

    def check(self, topics: Collection[str]) -> None:
        """What was read of these until now is of the topics that reading began in. Raises
        TopicMadeAgainError."""
        began = {topic: self._began[topic] for topic in topics if topic in self._began}
        if began and not self._epochs.unchanged(began)():
            raise TopicMadeAgainError(", ".join(sorted(began)))

    def others(self, committed: Mapping[Any, str]) -> set[Any]:
        """Of partitions (with a ``topic``) and the metadata of their committed offsets: those whose
        offset is of another topic than there is now."""
        return {
            place
            for place, metadata in committed.items()
            if (was := decode_id(metadata)) and self.of(place.topic) not in ("", was)
        }


class Identified(Consumer):
    """Asks before it seeks to committed offsets, and after each fetch. ``ids`` are set when the app
    is made."""

    ids: TopicIds
    _thread: IdentifiedThread

    async def perform_seek(self) -> None:
        await self._asked(self.ids.begin, self.assignment())
        await super().perform_seek()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        records = await super()._getmany(active_partitions, timeout)
        if records:
            await self._asked(self.ids.check, (tp for tp in records if records[tp]))
        return records

    async def _seek(self, partition: Any, offset: int) -> None:
        await self._thread.seek_there(partition, offset)

    async def _asked(self, ask: Callable[[Collection[str]], None], places: Iterable[Any]) -> None:
        topics = {tp.topic for tp in places if not self._is_changelog_tp(tp)}
        if not topics:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(None, ask, topics)
        except TopicMadeAgainError as error:
            log.exception("topic made again while it was read", topics=str(error), exc_info=False)
            await self.app.crash(error)
            raise


class IdentifiedThread(AIOKafkaConsumerThread):
    """Commits offsets with the ids of their topics, and takes those of other topics for none. Seeks
    where it fetches."""

    ids: TopicIds

    async def seek_there(self, partition: Any, offset: int) -> None:
        """Seek between two fetches. Faust seeks from the thread of the app: a fetch that hands
        records of the partition out meanwhile ends the process, or moves the position on from
        where the seek has set it."""
        await self.call_thread(self._ensure_consumer().seek, partition, offset)

    def _create_worker_consumer(self, transport: Any) -> Any:
        made = super()._create_worker_consumer(transport)
        # Faust writes no metadata, and offers no place to say which.
        made.commit = self._with_ids(made.commit)
        return made

    def _with_ids(
        self, commit: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        async def with_ids(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
            await commit(
                {
                    place: OffsetAndMetadata(at.offset, encode_id(self.ids.of(place.topic)))
                    for place, at in offsets.items()
                }
            )

        return with_ids

    async def seek_to_committed(self) -> Mapping[Any, Any]:
        found: dict[Any, Any] = dict(await super().seek_to_committed())
        for place in self.ids.others(await self.call_thread(self._metadata, list(found))):
            log.error("topic made again", topic=place.topic, partition=place.partition)
            found[place] = None
        return found

    async def _metadata(self, places: list[Any]) -> dict[Any, str]:
        known = [place for place in places if self.ids.of(place.topic)]
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001 - else only offsets
        found = await coordinator.fetch_committed_offsets(known)
        return {place: at.metadata for place, at in found.items()}
