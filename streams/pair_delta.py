"""What a worker joined, as it travels on ``driftline.summaries`` beside the deltas."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from detectors import fixed_point
from detectors.pairs import Differences, HalfCounts, HalfKey, MeasureKey, PairCounts
from detectors.release import Role
from streams.wire import VERSION, Delta, Progress, read_record

MOST_GROUPS = 2_000
"""In one record."""

_Measure = tuple[str, float, int, int, int, int, int, int, int, int]


class PairGroup(msgspec.Struct, array_like=True, frozen=True):
    """Pairs of one shadow version with one production version, by the shadow's pane. ``measures``:
    column, scale, n, higher, lower, clipped, and two words of each sum; ``scored``: the same, of
    scores that came as events of their own."""

    shadow: str
    production: str
    pane_ms: int
    pairs: int
    labelled: int
    differ: int
    shadow_failed: int
    production_failed: int
    measures: tuple[_Measure, ...]
    scored: tuple[_Measure, ...] = ()


class HalfGroup(msgspec.Struct, array_like=True, frozen=True):
    """Halves of one release in one pane; see :class:`detectors.pairs.HalfCounts`."""

    version: str
    role: Role
    pane_ms: int
    halves: int
    repeated: int
    dropped: int
    without_id: int


class ScoreGroup(HalfGroup, frozen=True):
    """The same of one ``score`` that comes as events of its own."""

    score: str


class PairDelta(msgspec.Struct, array_like=True, frozen=True, tag="pairs"):
    """What one worker joined for one model since its last flush. ``wall_ms``: when it flushed.

    What was added after the first release stands last and may be missing; who does not know it
    passes over it.
    """

    worker: str
    model: str
    wall_ms: int
    pairs: tuple[PairGroup, ...]
    halves: tuple[HalfGroup, ...]
    scores: tuple[ScoreGroup, ...] = ()


PairKey = tuple[str, str, int]
"""The shadow's version, production's, and the start of the pane."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Delta | Progress | PairDelta] = msgspec.msgpack.Decoder(
    Delta | Progress | PairDelta
)


def encode_pairs(delta: PairDelta) -> bytes:
    """A record of ``driftline.summaries``."""
    return bytes((VERSION,)) + _encoder.encode(delta)


def decode_summaries(value: bytes | None) -> Delta | Progress | PairDelta:
    """Any record of ``driftline.summaries``; :class:`Unreadable` if it is none."""
    return read_record(value, _decoder)


def pair_deltas(
    worker: str,
    model: str,
    wall_ms: int,
    pairs: Mapping[PairKey, PairCounts],
    halves: Mapping[HalfKey, HalfCounts],
) -> list[PairDelta]:
    """One record, or several if there is much, in an order that depends on the content only."""
    packed_pairs = [_pair_group(key, counts) for key, counts in sorted(pairs.items())]
    packed_halves, packed_scores = [], []
    for ((version, role), pane, score), each in sorted(halves.items()):
        counts = each.halves, each.repeated, each.dropped, each.without_id
        if score:
            packed_scores.append(ScoreGroup(version, role, pane, *counts, score))
        else:
            packed_halves.append(HalfGroup(version, role, pane, *counts))
    most = max(len(packed_pairs), len(packed_halves), len(packed_scores))
    return [
        PairDelta(
            worker,
            model,
            wall_ms,
            tuple(packed_pairs[at : at + MOST_GROUPS]),
            tuple(packed_halves[at : at + MOST_GROUPS]),
            tuple(packed_scores[at : at + MOST_GROUPS]),
        )
        for at in range(0, most, MOST_GROUPS)
    ]


def _pair_group(key: PairKey, counts: PairCounts) -> PairGroup:
    return PairGroup(
        *key,
        counts.pairs,
        counts.labelled,
        counts.differ,
        counts.shadow_failed,
        counts.production_failed,
        _packed(counts.measures),
        _packed(counts.scored),
    )


def _packed(measures: Mapping[MeasureKey, Differences]) -> tuple[_Measure, ...]:
    return tuple(
        (
            column,
            scale,
            each.n,
            each.higher,
            each.lower,
            each.clipped,
            *fixed_point.split(each.first),
            *fixed_point.split(each.second),
        )
        for (column, scale), each in sorted(measures.items())
    )


def counts_of(group: PairGroup) -> PairCounts:
    """The counts that were packed."""
    return PairCounts(
        group.pairs,
        group.labelled,
        group.differ,
        group.shadow_failed,
        group.production_failed,
        _unpacked(group.measures),
        _unpacked(group.scored),
    )


def _unpacked(measures: tuple[_Measure, ...]) -> dict[MeasureKey, Differences]:
    found = {}
    for column, scale, n, higher, lower, clipped, *sums in measures:
        first, second = fixed_point.join(*sums[:2]), fixed_point.join(*sums[2:])
        found[column, scale] = Differences(n, higher, lower, clipped, first, second)
    return found


def halves_of(group: HalfGroup) -> HalfCounts:
    """The counts that were packed."""
    return HalfCounts(group.halves, group.repeated, group.dropped, group.without_id)
