"""The ledger of what was read: per partition its clock, its offsets, and what became of each row.

Every message is accounted for: its rows were counted, dead-lettered, late, or beyond a cap. The
sums go out with every flush (``driftline.intake``), so that an audit can add them up to the
offsets produced. The clock survives a restart in the metadata of the committed offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.accumulate import Accumulator, Kept
from streams.event import Decoded
from streams.timeline import NEVER, TimeSettings, late_rows
from streams.wire import PartitionProgress, Row

_METADATA = "driftline:1:"

Place = tuple[str, int]
"""A topic and a partition."""


def encode_clock(newest_ms: int) -> str:
    """Metadata of a committed offset: the newest event time before it."""
    return f"{_METADATA}{newest_ms}"


def decode_clock(metadata: str | None) -> int:
    """The newest event time from an offset's metadata; NEVER if there is none of ours."""
    if not metadata or not metadata.startswith(_METADATA):
        return NEVER
    try:
        return int(metadata.removeprefix(_METADATA))
    except ValueError:
        return NEVER


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

    def clear(self) -> None:
        self.first_offset = self.next_offset
        self.messages = self.events = self.dead = self.late = self.capped = 0


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
        for index, place in enumerate(chunk.places):
            intake = self.partitions[place]
            offsets = chunk.offset[chunk.place == index]
            if not len(offsets):
                continue
            if intake.first_offset < 0:
                intake.first_offset = int(offsets[0])
            intake.next_offset = int(offsets[-1]) + 1
            intake.messages += len(offsets)
            intake.last_message_ms = now_ms
        for reject in decoded.rejects:
            self.partitions[chunk.places[chunk.place[reject.source]]].dead += 1
        late = self._late(decoded, chunk)
        for batch, late_in_batch in zip(decoded.batches, late, strict=True):
            place_of = chunk.place[batch.source]
            for index, place in enumerate(chunk.places):
                rows = np.flatnonzero((place_of == index) & ~late_in_batch)
                if not len(rows):
                    continue
                intake = self.partitions[place]
                capped = accumulator.add(Kept(batch, rows, place[0]))
                intake.capped += capped
                intake.events += len(rows) - capped

    def _late(self, decoded: Decoded, chunk: Chunk) -> list[NDArray[np.bool_]]:
        """Which rows of each batch are late. Batches are by model; lateness is by partition, in
        the order of messages, so the rows of all batches are put back into that order first."""
        masks = [np.zeros(batch.rows, np.bool_) for batch in decoded.batches]
        if not masks:
            return masks
        ts = np.concatenate([batch.ts_ms for batch in decoded.batches])
        source = np.concatenate([batch.source for batch in decoded.batches])
        order = np.argsort(source, kind="stable")
        late = np.zeros(len(ts), np.bool_)
        place_of = chunk.place[source[order]]
        for index, place in enumerate(chunk.places):
            rows = order[place_of == index]
            intake = self.partitions[place]
            mask, intake.newest_ms = late_rows(ts[rows], source[rows], intake.newest_ms, self.time)
            late[rows] = mask
            intake.late += int(mask.sum())
        at = 0
        for mask in masks:
            mask[:] = late[at : at + len(mask)]
            at += len(mask)
        return masks

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

    def clear(self) -> None:
        """Start the next interval: called once the flush is committed."""
        for intake in self.partitions.values():
            intake.clear()
