"""Counts of pairs on the wire: packed and unpacked, and understood across versions."""

from __future__ import annotations

import msgspec

from detectors.pairs import Differences, HalfCounts, PairCounts
from detectors.release import Role
from streams.pair_delta import (
    MOST_GROUPS,
    PairDelta,
    ScoreGroup,
    counts_of,
    decode_summaries,
    encode_pairs,
    halves_of,
    pair_deltas,
)

WRITTEN_BEFORE = bytes.fromhex(
    "0196a57061697273a177a16d079199a132a131000302010100919aa873636f7265732e73cb3ff00000000000000301"
    "0200ffcefffffffbcf0000004000000000009197a132a6736861646f770004010002"
)
"""Of a worker that did not know scores as events of their own."""
ANSWERS = PairCounts(3, 2, 1, 1, 0, {("scores.s", 1.0): Differences(3, 1, 2, 0, -5, 2**70)})
SCORES = PairCounts(scored={("scores.s", 1.0): Differences(7, 3, 2, 1, -9, 2**60)})
SHADOW = ("2", Role.SHADOW), 0


def test_what_is_packed_is_unpacked() -> None:
    key = "2", "1", 0
    lone = {(*SHADOW, ""): HalfCounts(4, 1, 0, 2), (*SHADOW, "scores.s"): HalfCounts(9, 2, 1, 0)}
    (sent,) = pair_deltas("w", "m", 7, {key: ANSWERS.merge(SCORES)}, lone)
    delta = decode_summaries(encode_pairs(sent))
    assert delta == sent
    assert isinstance(delta, PairDelta)
    assert [counts_of(group) for group in delta.pairs] == [ANSWERS.merge(SCORES)]
    assert [halves_of(group) for group in delta.halves] == [HalfCounts(4, 1, 0, 2)]
    assert delta.scores == (ScoreGroup(*SHADOW[0], 0, 9, 2, 1, 0, "scores.s"),)
    assert halves_of(delta.scores[0]) == HalfCounts(9, 2, 1, 0)


def test_a_record_written_before_scores_were_paired_is_read() -> None:
    delta = decode_summaries(WRITTEN_BEFORE)
    assert isinstance(delta, PairDelta)
    assert [counts_of(group) for group in delta.pairs] == [ANSWERS]
    assert [halves_of(group) for group in delta.halves] == [HalfCounts(4, 1, 0, 2)]
    assert delta.scores == ()


class _PairGroupBefore(msgspec.Struct, array_like=True):
    shadow: str
    production: str
    pane_ms: int
    pairs: int
    labelled: int
    differ: int
    shadow_failed: int
    production_failed: int
    measures: tuple[tuple[str, float, int, int, int, int, int, int, int, int], ...]


class _PairDeltaBefore(msgspec.Struct, array_like=True, tag="pairs"):
    worker: str
    model: str
    wall_ms: int
    pairs: tuple[_PairGroupBefore, ...]
    halves: tuple[tuple[str, str, int, int, int, int, int], ...]


def test_a_judge_that_does_not_know_scores_sees_the_same_pairs_of_answers() -> None:
    key = "2", "1", 0
    lone = {(*SHADOW, ""): HalfCounts(4), (*SHADOW, "scores.s"): HalfCounts(9)}
    (sent,) = pair_deltas("w", "m", 7, {key: ANSWERS.merge(SCORES)}, lone)
    (usual,) = pair_deltas("w", "m", 7, {key: ANSWERS}, {(*SHADOW, ""): HalfCounts(4)})
    seen, expected = (
        msgspec.msgpack.decode(encode_pairs(each)[1:], type=_PairDeltaBefore)
        for each in (sent, usual)
    )
    assert seen == expected


def test_much_is_cut_into_several_records_of_which_none_is_lost() -> None:
    many = {(*SHADOW, f"scores.{i}"): HalfCounts(i) for i in range(MOST_GROUPS + 5)}
    sent = pair_deltas("w", "m", 7, {}, many)
    assert [len(each.scores) for each in sent] == [MOST_GROUPS, 5]
