"""Pairing within a worker: sends the halves it reads, joins those of the partitions it owns.

**Exactly once.** Halves, counts of pairs, and offsets of the inputs and of ``pairs`` are committed
in one transaction. What is still open is the tail of the log (:mod:`streams.joiner`): the metadata
of a committed offset say where that tail begins, and whoever takes the partition over reads it
again from there, counting nothing until the committed offset. On the embedded broker halves and
counts may be sent again after a crash: halves are then recognised as repeated, counts are not.

Without a shadow nothing is kept, hashed or sent, except by ``pairing.enabled: on``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from detectors.pairs import HalfCounts, HalfKey, PairCounts
from detectors.reference import Reference
from detectors.release import OTHER, Role
from streams.event import EventBatch
from streams.half_making import HalfMaker
from streams.halves import decode_halves, split_halves
from streams.internal_topics import PAIRS, SHADOWS, SUMMARIES
from streams.joiner import Joiner
from streams.kept_rows import ModelRows
from streams.outgoing import OutgoingRecord
from streams.pair_counting import count_pairs
from streams.pair_delta import PairKey, encode_pairs, pair_deltas
from streams.pair_settings import Enabled, PairSettings
from streams.shadow_book import ACTIVE_MS, Shadows
from streams.wire import Unreadable, partition_for

log = structlog.get_logger()

_METADATA = "driftline-pairs:1:"
_ROWS_AT_ONCE = 65_536


def encode_tail(open_from: int, clock_ms: int) -> str:
    """Metadata of a committed offset of ``pairs``: where its tail begins."""
    return f"{_METADATA}{open_from}:{clock_ms}"


def decode_tail(metadata: str | None) -> tuple[int, int] | None:
    """The inverse of :func:`encode_tail`; None if there is none of ours."""
    if not metadata or not metadata.startswith(_METADATA):
        return None
    try:
        open_from, clock_ms = map(int, metadata.removeprefix(_METADATA).split(":"))
    except ValueError:
        return None
    return (open_from, clock_ms) if open_from >= 0 else None


@dataclass(slots=True)
class _Partition:
    """``counted_to``: the offset up to which everything was counted before; ``waiting``: rows
    entered and not yet joined."""

    joiner: Joiner
    counted_to: int
    moved: bool = False
    waiting: int = 0


@dataclass(slots=True)
class _Found:
    pairs: dict[PairKey, PairCounts] = field(default_factory=dict)
    halves: dict[HalfKey, HalfCounts] = field(default_factory=dict)


class Pairing:
    """One per worker. ``topic``: the full name of ``pairs``."""

    def __init__(
        self,
        settings: PairSettings,
        shadows: Shadows,
        reference_of: Callable[[str], Reference | None],
        partitions: int,
        worker: str,
        topic: str,
    ) -> None:
        self._settings = settings
        self._shadows = shadows
        self._reference_of = reference_of
        self._partitions = partitions
        self._worker = worker
        self.topic = topic
        self._kept_until: dict[str, int] = {}
        self._makers: dict[str, HalfMaker] = {}
        self._owned: dict[int, _Partition] = {}
        self._found: dict[str, _Found] = {}
        self._announcements: list[OutgoingRecord] = []

    # --- what the inputs bring -------------------------------------------------------------------

    def keeps_ids(self, topic: str, now_ms: int) -> bool:
        """Whether messages of an input topic are to be decoded with their request ids."""
        if self._settings.enabled is Enabled.ON:
            return True
        return now_ms < self._kept_until.get(topic, now_ms)

    def wants_ids(self, topic: str, batches: Sequence[EventBatch], now_ms: int) -> bool:
        """Take note of the shadows in a decoded chunk; whether its request ids are needed."""
        wanted = False
        for batch in batches:
            if any(role is Role.SHADOW for _, role in batch.releases):
                value = self._shadows.see(batch.model, now_ms)
                if value is not None:
                    key = batch.model.encode()
                    self._announcements.append(OutgoingRecord(SHADOWS, 0, key, value))
            wanted |= self._active(batch.model, now_ms)
        if wanted:
            self._kept_until[topic] = now_ms + ACTIVE_MS
        return wanted

    def _active(self, model: str, now_ms: int) -> bool:
        if self._settings.enabled is Enabled.ON:
            return True
        return self._shadows.active(model, now_ms)

    def send(self, model: str, rows: ModelRows, pane_ms: int, now_ms: int) -> list[OutgoingRecord]:
        """The halves of a model's rows that wait for this flush."""
        if model == OTHER or not self._active(model, now_ms):
            return []
        maker = self._makers.get(model)
        if maker is None:
            maker = self._makers[model] = HalfMaker(model, self._settings)
        halves, without_id = maker.make(rows, pane_ms)
        for key, counts in without_id.items():
            self._enter_halves(model, key, counts)
        return [
            OutgoingRecord(PAIRS, partition, None, value)
            for rows_of_one in halves
            for partition, value in split_halves(model, now_ms, rows_of_one, self._partitions)
        ]

    # --- what the topic ``pairs`` brings ---------------------------------------------------------

    def take(self, messages: Sequence[Message]) -> None:
        """Records of ``pairs`` from owned partitions, in their order."""
        for message in messages:
            partition = self._owned.get(message.partition() or 0)
            if partition is None:
                continue  # given up in between: its next owner reads it
            offset = message.offset() or 0
            if partition.joiner.next_offset <= partition.counted_to <= offset:
                self._join(partition)  # the tail is whole
            try:
                halves, rows = decode_halves(message.value())
            except Unreadable as error:
                log.warning(
                    "halves refused",
                    partition=message.partition(),
                    offset=offset,
                    why=str(error),
                )
                partition.joiner.skip(offset)
            else:
                partition.joiner.enter(offset, halves.wall_ms, halves.model, rows)
                partition.waiting += len(rows)
            partition.moved |= offset >= partition.counted_to
            if partition.waiting >= _ROWS_AT_ONCE:
                self._join(partition)

    def _join(self, partition: _Partition) -> None:
        partition.waiting = 0
        if partition.joiner.next_offset <= partition.counted_to:
            partition.joiner.settle()
            return
        joined = partition.joiner.join()
        for (model, key), counts in joined.halves.items():
            self._enter_halves(model, key, counts)
        found = count_pairs(joined, self._settings, self._reference_of)
        for (model, pair), more in found.items():
            pairs = self._found.setdefault(model, _Found()).pairs
            known = pairs.get(pair)
            pairs[pair] = known.merge(more) if known else more

    def _enter_halves(self, model: str, key: HalfKey, counts: HalfCounts) -> None:
        halves = self._found.setdefault(model, _Found()).halves
        halves[key] = halves.get(key, HalfCounts()).merge(counts)

    # --- flushes and the ownership of partitions -------------------------------------------------

    def flush(self, now_ms: int) -> Iterator[OutgoingRecord]:
        """Announcements and counts since the last flush."""
        for partition in self._owned.values():
            self._join(partition)
        yield from self._announcements
        self._announcements = []
        found, self._found = self._found, {}
        for model, each in sorted(found.items()):
            to = partition_for(model, self._partitions)
            for delta in pair_deltas(self._worker, model, now_ms, each.pairs, each.halves):
                yield OutgoingRecord(SUMMARIES, to, model.encode(), encode_pairs(delta))

    def offsets(self) -> list[TopicPartition]:
        """What to commit: the next offset of each partition that moved, with where its tail
        begins."""
        return [
            TopicPartition(
                self.topic, number, each.joiner.next_offset, encode_tail(*each.joiner.open_from)
            )
            for number, each in self._owned.items()
            if each.moved
        ]

    def committed(self) -> None:
        """The last flush is safe."""
        for partition in self._owned.values():
            if partition.moved:
                partition.counted_to = partition.joiner.next_offset
                partition.moved = False

    def assign(self, partition: int, offset: int, metadata: str | None) -> int:
        """Own a partition from its committed offset (negative: none) and metadata on; returns the
        offset to read from."""
        tail = decode_tail(metadata)
        clock_ms = 0 if tail is None or offset < 0 else tail[1]
        joiner = Joiner(self._settings.wait_ms, self._settings.max_halves, clock_ms)
        joiner.next_offset = max(offset, 0)
        self._owned[partition] = _Partition(joiner, max(offset, 0))
        if offset < 0:
            return OFFSET_BEGINNING
        return offset if tail is None else min(tail[0], offset)

    def revoke(self, partition: int) -> None:
        self._owned.pop(partition, None)

    @property
    def owned(self) -> list[int]:
        """The partitions of ``pairs`` that this worker joins."""
        return list(self._owned)

    def forget(self) -> None:
        """Drop all that was found and not committed: it will be read again. Every owned partition
        must be assigned anew."""
        self._found.clear()
        self._announcements.clear()
        self._shadows.announce_again()
        for partition in self._owned.values():
            partition.moved = False
