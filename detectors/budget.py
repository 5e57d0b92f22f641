"""How one false-alarm budget is shared by everything that is watched of a model.

**Guarantee.** The weights of a pane depend only on panes that ended before it began, and sum to at
most 1. That is all the proof in :mod:`detectors.drift` asks for: releases and segments may come,
go, fall silent and return; what a silent one does not use goes to the others, and what it has
gathered stays. A newcomer has weight from its second pane on: its first could not be foreseen.

Half of a release's share belongs to the segment of all events where it has other segments too:
hundreds of slices together must not make the whole slower by more than the logarithm of two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from detectors.release import ALL, Role

_ALL_SHARE = 0.5


# Not a dataclass: every pane sorts and looks up one for each release, and a struct compares and
# hashes in a tenth of the time.
class Stream(msgspec.Struct, frozen=True, order=True, gc=False):
    """What is stepped as one: a segment of a release of the model."""

    version: str
    role: Role
    segment: str


@dataclass(frozen=True, slots=True)
class Budget:
    """``seen``: each stream, in order, with the end of the newest pane that it was seen in."""

    seen: tuple[tuple[Stream, int], ...] = ()


def observe(budget: Budget, streams: Iterable[Stream], end_ms: int, idle_after_ms: int) -> Budget:
    """After a pane: who was in it. Who has been silent for twice the idle time is forgotten."""
    seen = dict(budget.seen)
    for stream in streams:
        seen[stream] = max(end_ms, seen.get(stream, end_ms))
    forgotten = end_ms - 2 * idle_after_ms
    kept = [(stream, at) for stream, at in seen.items() if at > forgotten]
    if len(seen) > len(budget.seen):
        kept.sort()
    return Budget(tuple(kept))


def weights(budget: Budget, start_ms: int, idle_after_ms: int) -> dict[Stream, float]:
    """Before the pane that starts at ``start_ms``: the share of each stream that may be in it.

    >>> one, two = (Stream("1", Role.PRODUCTION, s) for s in ("all", "country=DE"))
    >>> weights(Budget(((one, 10), (two, 10))), 10, idle_after_ms=60)[one]
    0.5
    """
    active = [
        stream for stream, end_ms in budget.seen if start_ms - idle_after_ms < end_ms <= start_ms
    ]
    releases: dict[tuple[str, Role], list[Stream]] = {}
    for stream in active:
        releases.setdefault((stream.version, stream.role), []).append(stream)
    shares: dict[Stream, float] = {}
    for streams in releases.values():
        slices = [stream for stream in streams if stream.segment != ALL]
        whole = [stream for stream in streams if stream.segment == ALL]
        for_whole = _ALL_SHARE if slices else 1.0
        for stream in whole:
            shares[stream] = for_whole / len(releases)
        left = 1.0 - for_whole if whole else 1.0
        for stream in slices:
            shares[stream] = left / len(slices) / len(releases)
    return shares
