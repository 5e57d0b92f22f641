"""What the judge keeps of one model, and how it is written to the changelog.

A model is a :class:`ModelState` (small: releases, watermark, what was decided) and its
:class:`Interval` entries (the summaries of open panes and of windows that can still change). Each
message of driftline.summaries changes some intervals and then the state; each entry remembers the
offset of the message that changed it last (``applied``). The judge writes intervals first and the
state last, so after a crash an entry is at most one message ahead of the state, and processing
that message again skips what is already in: the result is the same as if nothing had happened.

A delta whose panes are still open changes neither on disk: it is stored as it came, and what it did
to the state is done again when the judge is loaded (:meth:`streams.judge.ModelJudge.restore`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from detectors.finding import Finding
from detectors.layout import Kind, Layout
from detectors.release import Release, Role
from detectors.summary import Summaries
from streams.gaps import Gap
from streams.timeline import NEVER
from streams.wire import Packed, check, pack, unpack

LayoutOf = Callable[[str, tuple[tuple[str, Kind], ...]], Layout]
"""Rebuilds a layout from the id of a reference ("" for none) and the columns."""


class IntervalKey(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A (release, segment) over [start_ms, start_ms + length_ms) of one model."""

    length_ms: int
    start_ms: int
    version: str
    role: Role
    segment: str

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.length_ms


class Interval:
    """Summaries by the reference they stand on: a new reference may arrive in mid-window, and
    summaries on unlike edges do not merge.

    One that rests is held as the bytes that the changelog's table has anyway, until somebody asks
    for its ``blocks``: most windows wait for late rows that never come.
    """

    __slots__ = ("_blocks", "_resting", "applied")

    def __init__(self, applied: int = -1, blocks: dict[str, Summaries] | None = None) -> None:
        self.applied = applied
        self._blocks = blocks or {}
        self._resting: _Resting | None = None

    @property
    def blocks(self) -> dict[str, Summaries]:
        packed = self.packed()
        if packed is not None:
            self._blocks = {layout.reference: unpack(each, layout) for layout, each in packed}
            self._resting = None
        return self._blocks

    def packed(self) -> list[tuple[Layout, Packed]] | None:
        """Its blocks as they rest; None if it does not."""
        if self._resting is None:
            return None
        value, layouts = self._resting
        return [(layouts[name], each) for name, _, each in _resting.decode(value).blocks]

    def rest(self, value: bytes, layouts: Mapping[str, Layout] | None = None) -> None:
        """Hold no more than ``value``, which is this interval as :func:`encode_interval` gives it;
        ``layouts``: of its blocks, where these are not there."""
        known = layouts or {name: block.layout for name, block in self._blocks.items()}
        self._resting = _Resting(value, known)
        self._blocks = {}

    def add(self, summaries: Summaries) -> None:
        known = self.blocks.get(summaries.layout.reference)
        self.blocks[summaries.layout.reference] = known.merge(summaries) if known else summaries

    def events(self) -> int:
        return sum(block.events for block in self.blocks.values())


class _Resting(NamedTuple):
    value: bytes
    layouts: Mapping[str, Layout]


class ReleaseTrack(msgspec.Struct):
    """One release of the model: the panes it was seen in, and when (on the wall) it was last
    heard of. ``sequence``, ``status``, ``reason`` are those of its last verdict."""

    first_ms: int
    last_ms: int
    wall_ms: int
    events: int = 0
    sequence: int = 0
    status: str = ""
    reason: str = ""
    window_start_ms: int = 0
    window_ms: int = 0
    p95_latency_ms: float = math.nan
    p99_latency_ms: float = math.nan


class Standing(msgspec.Struct, array_like=True):
    """What one deciding detector says at present: its last finding on one window length.

    ``fails``: bits, newest lowest, one a conclusive window, set where it failed.
    """

    fails: int
    finding: Finding


StandingKey = tuple[str, Role, str, str, str, str, int]
"""version, role, segment, column, detector, what it is held against, window length."""


class ModelState(msgspec.Struct):
    """The small part. ``closed_ms``: the watermark up to which panes and windows were closed, and
    ``moved_ms``: when that was, on the wall; ``reference``: the one that the last delta stood on;
    ``revisions``: of windows that were corrected, by (length, start); ``settled``,
    ``gathered_ms``: see :mod:`streams.intervals`; ``paired``: pairs of shadows and production, as
    :mod:`detectors.paired_board` writes them; ``gaps``: input that nobody could read."""

    model: str
    applied: int = -1
    topics: list[str] = []
    wall_ms: int = 0
    closed_ms: int = NEVER
    moved_ms: int = 0
    reference: str = ""
    late: int = 0
    releases: dict[tuple[str, Role], ReleaseTrack] = {}
    standings: dict[StandingKey, Standing] = {}
    revisions: dict[tuple[int, int], int] = {}
    corrected: list[tuple[int, int]] = []
    learnt: bool = False
    settled: int = -1
    gathered_ms: int = NEVER
    paired: bytes = b""
    gaps: list[Gap] = []

    def release(self, version: str, role: Role) -> Release:
        return Release(self.model, version, role)


class _IntervalRecord(msgspec.Struct, array_like=True):
    applied: int
    blocks: list[tuple[str, tuple[tuple[str, Kind], ...], Packed]]


class _BareRecord(msgspec.Struct, array_like=True):
    """The same with the columns as they are written, which the layout tells as well."""

    applied: int
    blocks: list[tuple[str, msgspec.Raw, Packed]]


_resting = msgspec.msgpack.Decoder(_BareRecord)


class _StateRecord(msgspec.Struct):
    """ModelState as it is stored: maps with tuple keys become lists."""

    state: ModelState
    releases: list[tuple[str, Role, ReleaseTrack]]
    standings: list[tuple[StandingKey, Standing]]
    revisions: list[tuple[int, int, int]]


class _WrittenState(msgspec.Struct):
    """The same with standings that have been encoded."""

    state: ModelState
    releases: list[tuple[str, Role, ReleaseTrack]]
    standings: msgspec.Raw
    revisions: list[tuple[int, int, int]]


def encode_interval(interval: Interval) -> bytes:
    blocks = [
        (reference, _columns(block.layout), pack(block))
        for reference, block in sorted(interval.blocks.items())
    ]
    return msgspec.msgpack.encode(_BareRecord(interval.applied, blocks))


@lru_cache(maxsize=512)
def _columns(layout: Layout) -> msgspec.Raw:
    """As written: a model's hardly ever change, and each of its panes and windows has them."""
    return msgspec.Raw(msgspec.msgpack.encode([spec.key for spec in layout.columns]))


def decode_interval(value: bytes, layout_of: LayoutOf) -> Interval:
    record = msgspec.msgpack.decode(value, type=_IntervalRecord)
    layouts = {name: layout_of(name, columns) for name, columns, _ in record.blocks}
    for name, _, packed in record.blocks:
        check((packed,), layouts[name])
    interval = Interval(record.applied)
    interval.rest(value, layouts)
    return interval


def encode_key(model: str, key: IntervalKey) -> bytes:
    return msgspec.msgpack.encode((model, key))


def decode_key(value: bytes) -> tuple[str, IntervalKey]:
    return msgspec.msgpack.decode(value, type=tuple[str, IntervalKey])


def encode_delta_key(model: str, offset: int) -> bytes:
    """The key of a delta that is kept: the offset of its record in driftline.summaries."""
    return msgspec.msgpack.encode((model, offset))


def decode_delta_key(value: bytes) -> tuple[str, int]:
    return msgspec.msgpack.decode(value, type=tuple[str, int])


def encode_standings(standings: Mapping[StandingKey, Standing]) -> msgspec.Raw:
    """The part of :func:`encode_state` that is largest and changes least."""
    return msgspec.Raw(msgspec.msgpack.encode(list(standings.items())))


def encode_state(state: ModelState, standings: msgspec.Raw | None = None) -> bytes:
    """``standings``: those of ``state``, where they have been encoded before."""
    bare = msgspec.structs.replace(state, releases={}, standings={}, revisions={})
    return msgspec.msgpack.encode(
        _WrittenState(
            bare,
            [(version, role, track) for (version, role), track in state.releases.items()],
            standings if standings is not None else encode_standings(state.standings),
            [(length, start, n) for (length, start), n in state.revisions.items()],
        )
    )


def decode_state(value: bytes) -> ModelState:
    record = msgspec.msgpack.decode(value, type=_StateRecord)
    return msgspec.structs.replace(
        record.state,
        releases={(version, role): track for version, role, track in record.releases},
        standings=dict(record.standings),
        revisions={(length, start): n for length, start, n in record.revisions},
    )
