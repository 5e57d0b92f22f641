"""The ledger of what was read: per partition its clock, its offsets, and what became of each row.

Every message is accounted for: its rows were counted, dead-lettered, late, or beyond a cap. The
sums go out with every flush (``driftline.intake``), so that an audit can add them up to the
offsets produced. The clock survives a restart in the metadata of the committed offset, where the id
of the topic stands too (:mod:`streams.epochs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.accumulate import Accumulator
from streams.event import Decoded
from streams.holes import Hole, first_hole
from streams.kept_rows import Kept
from streams.timeline import NEVER, TimeSettings, is_late, late_rows
from streams.wire import PartitionProgress, Row

_METADATA = "driftline:"

Place = tuple[str, int]
"""A topic and a partition."""


def encode_clock(newest_ms: int, topic_id: str = "") -> str:
    """Metadata of a committed offset: the newest event time before it, and which topic it is of."""
    if not topic_id:
        return f"{_METADATA}1:{newest_ms}"
    return f"{_METADATA}2:{newest_ms}:{topic_id}"


def decode_clock(metadata: str | None) -> int:
    """The newest event time from an offset's metadata; NEVER if there is none of ours."""
    parts = _parts(metadata)
    try:
        return int(parts[1]) if parts else NEVER
    except ValueError:
        return NEVER


def decode_topic_id(metadata: str | None) -> str:
    """The id of the topic from an offset's metadata; "" if there is none."""
    parts = _parts(metadata)
    return parts[2] if len(parts) > 2 else ""


def _parts(metadata: str | None) -> list[str]:
    """Version, clock, and from version 2 on the id; nothing of what is not ours."""
    if not metadata or not metadata.startswith(_METADATA):
        return []
    parts = metadata.removeprefix(_METADATA).split(":")
    return parts if (parts[0], len(parts)) in (("1", 2), ("2", 3)) else []


@dataclass(slots=True)
class PartitionIntake:
    """One assigned partition since the last flush."""

    partitions: int
    newest_ms: int = NEVER
    first_offset: int = -1
    next_offset: int = -1
    messages: int = 0
    events: int = 0
    dead: int = 0
    late: int = 0
    capped: int = 0
    last_message_ms: int = 0
    """When the last message was read, on the wall; at first, when the partition was assigned."""
    lost: int = 0
    """Messages deleted unread before ``first_offset``, or UNCOUNTED."""
    lost_after_ms: int = NEVER
    topic_id: str = ""
    """Of the topic that is read; "" if the broker does not say."""
    is_noted: bool = False
    """Whether an offset was committed under ``topic_id``."""
    hole: Hole | None = None
    """The first since the last flush."""
    came_again: bool = False
    """Whether a message came twice since then."""

    def begin(self, offset: int, lost: int, topic_id: str = "", is_noted: bool = False) -> None:
        """Reading goes on at an offset; ``lost``: messages before it that nobody can read."""
        self.next_offset = offset
        self.topic_id, self.is_noted = topic_id, is_noted
        if lost:
            self.first_offset, self.lost, self.lost_after_ms = offset, lost, self.newest_ms

    def clear(self) -> None:
        self.first_offset = self.next_offset
        self.messages = self.events = self.dead = self.late = self.capped = 0
        self.lost, self.lost_after_ms = 0, NEVER
        self.hole, self.came_again = None, False

    @property
    def moved(self) -> bool:
        """Whether there is an offset to commit."""
        return self.messages != 0 or self.lost != 0


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Where the messages of a chunk came from: ``place`` int64, index into ``places``; ``offset``
    int64; one element a message, in the order of reading."""

    places: Sequence[Place]
    place: NDArray[np.int64]
    offset: NDArray[np.int64]


@dataclass(slots=True)
class Intake:
    """All assigned partitions of one worker."""

    time: TimeSettings
    partitions: dict[Place, PartitionIntake] = field(default_factory=dict)

    def assign(self, place: Place, partitions: int, newest_ms: int, now_ms: int) -> None:
        self.partitions[place] = PartitionIntake(
            partitions, newest_ms=newest_ms, last_message_ms=now_ms
        )

    def revoke(self, place: Place) -> None:
        self.partitions.pop(place, None)

    def account(
        self, decoded: Decoded, chunk: Chunk, accumulator: Accumulator, now_ms: int
    ) -> None:
        """Enter a decoded chunk: late rows are counted and left out, the others kept."""
        self._advance(chunk, now_ms)
        for reject in decoded.rejects:
            self.partitions[chunk.places[chunk.place[reject.source]]].dead += 1
        late = self._late(decoded, chunk)
        for batch, late_in_batch in zip(decoded.batches, late, strict=True):
            rows = (
                np.arange(batch.rows) if late_in_batch is None else np.flatnonzero(~late_in_batch)
            )
            if not len(rows):
                continue
            place_of = chunk.place[batch.source[rows]]
            for topic, of_topic in _by_topic(chunk.places, place_of):
                kept = rows if of_topic is None else rows[of_topic]
                where = place_of if of_topic is None else place_of[of_topic]
                self._enter(chunk, where, accumulator.add(Kept(batch, kept, topic)))

    def _advance(self, chunk: Chunk, now_ms: int) -> None:
        """Move the offsets of the partitions that a chunk is of."""
        places = len(chunk.places)
        messages = np.bincount(chunk.place, minlength=places).tolist()
        numbers = np.arange(len(chunk.place))
        first, last = np.zeros(places, np.int64), np.zeros(places, np.int64)
        last[chunk.place] = numbers  # of equal indices the last one wins
        first[chunk.place[::-1]] = numbers[::-1]
        ends = (chunk.offset[first].tolist(), chunk.offset[last].tolist())
        numbered = enumerate(zip(chunk.places, messages, *ends, strict=True))
        for number, (place, count, lowest, highest) in numbered:
            if not count:
                continue
            intake = self.partitions[place]
            if intake.first_offset < 0:
                intake.first_offset = lowest
            expected = intake.next_offset if intake.next_offset >= 0 else lowest
            ahead = highest + 1 - expected
            intake.came_again |= lowest < expected or ahead < count
            if ahead > count and intake.hole is None:
                intake.hole = first_hole(expected, chunk.offset[chunk.place == number])
            intake.next_offset = highest + 1
            intake.messages += count
            intake.last_message_ms = now_ms

    def _enter(
        self, chunk: Chunk, place_of: NDArray[np.int64], capped: NDArray[np.bool_] | None
    ) -> None:
        """Count rows that are kept, by the place of each; ``capped``: which are beyond a cap."""
        places = len(chunk.places)
        events = np.bincount(place_of, minlength=places)
        beyond = np.zeros(places, np.int64)
        if capped is not None:
            beyond = np.bincount(place_of[capped], minlength=places)
        for place, count, over in zip(chunk.places, events.tolist(), beyond.tolist(), strict=True):
            if count:
                intake = self.partitions[place]
                intake.events += count - over
                intake.capped += over

    def _late(self, decoded: Decoded, chunk: Chunk) -> list[NDArray[np.bool_] | None]:
        """Which rows of each batch are late (None: no row is). Batches are by model; lateness is by
        partition, in the order of messages, so all rows are put back into that order first."""
        none: list[NDArray[np.bool_] | None] = [None] * len(decoded.batches)
        if not none:
            return none
        ts = np.concatenate([batch.ts_ms for batch in decoded.batches])
        source = np.concatenate([batch.source for batch in decoded.batches])
        if not len(ts):
            return none
        place_of = chunk.place[source]
        suspects = self._suspects(ts, place_of, chunk)
        if not suspects:
            return none
        order = np.argsort(source, kind="stable")
        late = np.zeros(len(ts), np.bool_)
        for index, before_ms in suspects:
            rows = order[place_of[order] == index]
            late[rows], _ = late_rows(ts[rows], source[rows], before_ms, self.time)
            self.partitions[chunk.places[index]].late += int(late[rows].sum())
        ends = np.cumsum([batch.rows for batch in decoded.batches])[:-1]
        return [mask if mask.any() else None for mask in np.split(late, ends)]

    def _suspects(
        self, ts_ms: NDArray[np.int64], place_of: NDArray[np.int64], chunk: Chunk
    ) -> list[tuple[int, int]]:
        """The places in which a row may be late, each with its newest event time before the chunk.
        Mostly there is none: even the oldest row there is not late for the newest. The clocks of
        all places move on."""
        least, most = ts_ms, ts_ms
        starts = np.zeros(1, np.int64)
        found = place_of[:1]
        if len(chunk.places) > 1:
            order = np.argsort(place_of.astype(np.uint16), kind="stable")  # numpy: linear time
            found = place_of[order]
            starts = np.concatenate(([0], np.flatnonzero(found[1:] != found[:-1]) + 1))
            found = found[starts]
            least = most = ts_ms[order]
        oldest = np.minimum.reduceat(least, starts)
        newest = np.maximum.reduceat(most, starts)
        intakes = [self.partitions[chunk.places[index]] for index in found.tolist()]
        before = [intake.newest_ms for intake in intakes]
        newest = np.maximum(newest, before)
        for intake, newest_ms in zip(intakes, newest.tolist(), strict=True):
            intake.newest_ms = newest_ms
        late = np.flatnonzero(is_late(oldest, newest, self.time))
        return [(int(found[i]), before[i]) for i in late.tolist()]

    def progress(self, now_ms: int, at_end: Mapping[Place, bool]) -> tuple[PartitionProgress, ...]:
        """What to report of each partition. Idle: read to its end, and silent for the timeout."""
        return tuple(
            PartitionProgress(
                topic,
                partition,
                intake.partitions,
                intake.newest_ms,
                at_end.get((topic, partition), False)
                and now_ms - intake.last_message_ms >= self.time.idle_timeout_ms,
                intake.first_offset,
                intake.next_offset,
                intake.messages,
                intake.events,
                intake.dead,
                intake.late,
                intake.capped,
                intake.lost,
                intake.lost_after_ms,
            )
            for (topic, partition), intake in sorted(self.partitions.items())
        )

    def rows(self, now_ms: int) -> list[Row]:
        """Rows of the table ``intake`` for the partitions that moved."""
        return [
            {
                "topic": topic,
                "partition": partition,
                "first_offset": intake.first_offset,
                "last_offset": intake.next_offset - 1,
                "messages": intake.messages,
                "events": intake.events,
                "dead": intake.dead,
                "late": intake.late,
                "capped": intake.capped,
                "seen_at": now_ms,
            }
            for (topic, partition), intake in sorted(self.partitions.items())
            if intake.messages
        ]

    def clock_stepped(self, by_ms: int) -> None:
        """The machine's clock was set: how long partitions have been silent does not change."""
        for intake in self.partitions.values():
            intake.last_message_ms += by_ms

    def clear(self) -> None:
        """Start the next interval: called once the flush is committed."""
        for intake in self.partitions.values():
            intake.is_noted |= intake.moved
            intake.clear()


def _by_topic(
    places: Sequence[Place], place_of: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.bool_] | None]]:
    """Which rows are of each topic, None for all: a chunk is of one, as a rule."""
    topics = sorted({topic for topic, _ in places})
    if len(topics) == 1:
        return [(topics[0], None)]
    number = np.array([topics.index(topic) for topic, _ in places])[place_of]
    present = [(topic, number == i) for i, topic in enumerate(topics)]
    return [(topic, mask) for topic, mask in present if mask.any()]
