"""Offsets that no message came for, looked at twice before they are believed.

A topic may have them: marks of transactions, records that were aborted or compacted away. But a
client may also leave messages out, and nothing else tells: it reports no error, and reads on behind
them. The release notes of librdkafka 2.0 and 2.1 say of its calls for many messages at once that a
rebalance in the middle of one may lose some, or give some that are given again. So what was read
since the last commit is read again. A hole that is there again is the topic's own, and from then on
holes in this topic are believed: most have none, or many. So a topic with holes costs one second
look, and one without is watched for ever. What came twice is always read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hole:
    """No message came with an offset from ``first`` on and before ``until``."""

    first: int
    until: int


def first_hole(expected: int, offsets: NDArray[np.int64]) -> Hole | None:
    """The first hole in offsets of one partition in their order (int64), where ``expected`` is to
    come first.

    >>> first_hole(5, np.array([5, 6, 9]))
    Hole(first=7, until=9)
    """
    wanted = np.concatenate(([expected], offsets[:-1] + 1))
    beyond = np.flatnonzero(offsets > wanted)
    return Hole(int(wanted[beyond[0]]), int(offsets[beyond[0]])) if len(beyond) else None


class HasRead(Protocol):
    """What was read of a partition since the last commit: up to where, the first hole, and whether
    a message came twice."""

    next_offset: int
    hole: Hole | None
    came_again: bool


class Holes:
    """What one reader thinks of the holes that it has met. A place is a topic and a partition."""

    def __init__(self) -> None:
        self._doubted: dict[tuple[str, int], Hole] = {}
        self._usual: set[str] = set()

    def must_look_again(self, places: Mapping[tuple[str, int], HasRead]) -> bool:
        """Whether what was read since the last commit must be read again before it is used."""
        found = [self._is_doubted(place, read) for place, read in places.items()]
        return any(found)

    def _is_doubted(self, place: tuple[str, int], read: HasRead) -> bool:
        if read.came_again:
            log.error(
                "client_gave_messages_twice_reading_again", topic=place[0], partition=place[1]
            )
            return True
        believed = read.hole is None or self.believes(place, read.hole)
        if believed:
            self.passed(place, read.next_offset)
        return not believed

    def believes(self, place: tuple[str, int], hole: Hole) -> bool:
        """Whether the hole is the topic's own. If not, it is doubted from now on, and what lies
        before ``hole.until`` must be read again."""
        topic, partition = place
        if topic in self._usual:
            self._doubted.pop(place, None)
            return True
        if self._doubted.get(place) == hole:
            del self._doubted[place]
            self._usual.add(topic)
            log.info("offsets_without_messages_are_usual", topic=topic, partition=partition)
            return True
        self.passed(place, hole.first)
        self._doubted[place] = hole
        log.info(
            "offsets_without_messages_reading_again",
            topic=topic,
            partition=partition,
            first=hole.first,
            until=hole.until,
        )
        return False

    def passed(self, place: tuple[str, int], next_offset: int) -> None:
        """All before an offset was read. Says so where there had been a hole."""
        doubted = self._doubted.get(place)
        if doubted is None or next_offset < doubted.until:
            return
        del self._doubted[place]
        log.error(
            "client_left_messages_out",
            topic=place[0],
            partition=place[1],
            first=doubted.first,
            messages=doubted.until - doubted.first,
            now="they came when they were read again, and are counted",
        )
