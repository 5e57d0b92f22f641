"""All shadows of one model against production: pairs as they come, folded pane by pane.

Counts of pairs arrive in parts and after their pane has closed, because a pair is complete only
with its later half. They wait here by pane, and :func:`fold` takes them into the evidence in the
order of panes; what comes later still is taken in at the next fold. So no pair is lost, and the
result follows from the records in their order. :func:`to_bytes` keeps all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np

from detectors.confidence_sequence import DifferenceSequence
from detectors.e_process import EProcess
from detectors.finding import Finding
from detectors.paired import ODDS, PairedRate
from detectors.paired_evidence import (
    Lone,
    PairedMeasure,
    PairedMetric,
    PairedSettings,
    PairedState,
    paired_findings,
    step,
)
from detectors.pairs import Differences, HalfCounts, MeasureKey, PairCounts
from detectors.release import Release, Role

FORMAT = 1
MOST_SHADOWS = 32
"""Pairs of a shadow version and a production version; of more, those that came last are kept."""

MOST_SCORES = 512
"""Releases and scores of theirs that come as events of their own, of which halves are counted."""

MOST_WAITING = 2_000
"""Panes that wait, over all versions; further ones are counted in the oldest."""

Versions = tuple[str, str]
"""A shadow's version and production's."""

ScoreKey = tuple[str, Role, str]
"""A release and a score that comes as events of its own."""

_Key = TypeVar("_Key")


class UnreadableBoard(ValueError):
    """The bytes are not a board of this format: evidence starts again."""


@dataclass(frozen=True, slots=True)
class PairedBoard:
    """``waiting``: counts of panes that are not folded yet; ``states``: evidence; ``halves``: what
    each release answered in all; ``scores``: what came of its scores as events of their own."""

    waiting: Mapping[tuple[int, Versions], PairCounts] = field(default_factory=dict)
    states: Mapping[Versions, PairedState] = field(default_factory=dict)
    halves: Mapping[tuple[str, Role], HalfCounts] = field(default_factory=dict)
    scores: Mapping[ScoreKey, HalfCounts] = field(default_factory=dict)


def enter(
    board: PairedBoard,
    pairs: Iterable[tuple[Versions, int, PairCounts]],
    halves: Iterable[tuple[tuple[str, Role], HalfCounts]],
    scores: Iterable[tuple[ScoreKey, HalfCounts]] = (),
) -> PairedBoard:
    """With more counts: (versions, start of the pane, counts); those of halves by release, and of
    scores by release and score."""
    waiting = dict(board.waiting)
    for versions, pane_ms, counts in pairs:
        key = pane_ms, versions
        if key not in waiting and len(waiting) >= MOST_WAITING:
            key = min(waiting)[0], versions  # producers choose the times: rather the wrong pane
        waiting[key] = waiting.get(key, PairCounts()).merge(counts)
    return PairedBoard(
        waiting,
        board.states,
        _summed(board.halves, halves, 2 * MOST_SHADOWS),
        _summed(board.scores, scores, MOST_SCORES),
    )


def _summed(
    known: Mapping[_Key, HalfCounts], more: Iterable[tuple[_Key, HalfCounts]], most: int
) -> dict[_Key, HalfCounts]:
    """Of more than ``most``, those that came last."""
    sums = dict(known)
    for key, counts in more:
        sums[key] = sums.pop(key, HalfCounts()).merge(counts)
    while len(sums) > most:
        del sums[next(iter(sums))]
    return sums


def fold(board: PairedBoard, closed_ms: int, pane_ms: int, settings: PairedSettings) -> PairedBoard:
    """With all panes of length ``pane_ms`` that end by ``closed_ms`` taken into the evidence."""
    ripe = [key for key in board.waiting if key[0] + pane_ms <= closed_ms]
    if not ripe:
        return board
    states = dict(board.states)
    for start_ms, versions in sorted(ripe):
        state = states.pop(versions, PairedState())
        states[versions] = step(state, board.waiting[start_ms, versions], start_ms, settings)
    while len(states) > MOST_SHADOWS:
        del states[next(iter(states))]
    left = {key: counts for key, counts in board.waiting.items() if key not in set(ripe)}
    return PairedBoard(left, states, board.halves, board.scores)


def findings(
    board: PairedBoard,
    shadow: Release,
    production: str,
    window_ms: int,
    window_start_ms: int,
    settings: PairedSettings,
) -> list[Finding]:
    """Of a shadow against one production version, as things stand."""
    state = board.states.get((shadow.version, production), PairedState())
    lone = lone_halves(board, shadow.version, production)
    return paired_findings(state, shadow, production, window_ms, window_start_ms, settings, lone)


def lone_halves(board: PairedBoard, shadow: str, production: str) -> dict[str, Lone]:
    """Halves so far that are in no pair, of the answers ("") and of each score that comes as events
    of its own. The unpaired become fewer as partners come; production's include requests that the
    shadow was never asked."""
    pairs: dict[tuple[Versions, str], int] = {}
    for versions, state in board.states.items():
        pairs[versions, ""] = state.pairs
        for metric in state.metrics:
            if metric.measure is PairedMeasure.SCORE_EVENT:
                pairs[versions, metric.column] = metric.bets.pairs
    for (_, versions), counts in board.waiting.items():
        pairs[versions, ""] = pairs.get((versions, ""), 0) + counts.pairs
        for (score, _), differences in counts.scored.items():
            pairs[versions, score] = pairs.get((versions, score), 0) + differences.n
    halves = {(*release, ""): counts for release, counts in board.halves.items()}
    halves.update(board.scores)
    kinds = {
        kind for version, role, kind in halves if (version, role) in _sides(shadow, production)
    }
    found = {}
    for kind in sorted(kinds):
        ours, theirs = (
            halves.get((*side, kind), HalfCounts()) for side in _sides(shadow, production)
        )
        with_any = sum(n for (v, of), n in pairs.items() if v[0] == shadow and of == kind)
        found[kind] = Lone(
            (
                max(ours.halves - with_any, 0),
                max(theirs.halves - pairs.get(((shadow, production), kind), 0), 0),
            ),
            (ours.dropped, theirs.dropped),
            (ours.without_id, theirs.without_id),
        )
    return found


def _sides(shadow: str, production: str) -> tuple[tuple[str, Role], tuple[str, Role]]:
    return (shadow, Role.SHADOW), (production, Role.PRODUCTION)


# --- as bytes ------------------------------------------------------------------------------------

_Sequence = tuple[int, int, float, float, float, float, int]


class _Metric(msgspec.Struct, array_like=True):
    measure: PairedMeasure
    column: str
    alpha: float
    panes: int
    peak_onset_ms: int
    evidence: tuple[bytes, bytes, bytes, bytes]
    counts: tuple[int, int, int]
    shares: _Sequence
    values: _Sequence


_Measure = tuple[str, float, int, int, int, int, str, str]
"""The two sums as text: they may be beyond 64 bits."""


class _Waiting(msgspec.Struct, array_like=True):
    pane_ms: int
    versions: Versions
    counts: tuple[int, int, int, int, int]
    measures: list[_Measure]
    scored: list[_Measure] = []


class _Board(msgspec.Struct, array_like=True):
    format: int
    waiting: list[_Waiting]
    states: list[tuple[Versions, int, list[_Metric]]]
    halves: list[tuple[str, Role, int, int, int, int]]
    scores: list[tuple[str, Role, str, int, int, int, int]] = []


def to_bytes(board: PairedBoard) -> bytes:
    """The board; :func:`from_bytes` reads it back bit for bit."""
    waiting = [
        _Waiting(
            pane_ms,
            versions,
            (
                counts.pairs,
                counts.labelled,
                counts.differ,
                counts.shadow_failed,
                counts.production_failed,
            ),
            _measures(counts.measures),
            _measures(counts.scored),
        )
        for (pane_ms, versions), counts in board.waiting.items()
    ]
    states = [
        (versions, state.pairs, [_packed(one) for one in state.metrics])
        for versions, state in board.states.items()
    ]
    halves = [
        (*release, each.halves, each.repeated, each.dropped, each.without_id)
        for release, each in board.halves.items()
    ]
    scores = [
        (*key, each.halves, each.repeated, each.dropped, each.without_id)
        for key, each in board.scores.items()
    ]
    return msgspec.msgpack.encode(_Board(FORMAT, waiting, states, halves, scores))


def from_bytes(data: bytes) -> PairedBoard:
    """The inverse of :func:`to_bytes`; raises :class:`UnreadableBoard`. Nothing is an empty one."""
    if not data:
        return PairedBoard()
    try:
        record = msgspec.msgpack.decode(data, type=_Board)
        if record.format != FORMAT:
            raise UnreadableBoard(f"format {record.format}, {FORMAT} is read here")
        waiting = {
            (each.pane_ms, each.versions): PairCounts(
                *each.counts, _differences(each.measures), _differences(each.scored)
            )
            for each in record.waiting
        }
        states = {
            versions: PairedState(tuple(_unpacked(one) for one in metrics), pairs)
            for versions, pairs, metrics in record.states
        }
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise UnreadableBoard(f"pairs cannot be read: {type(error).__name__}") from error
    halves = {(version, role): HalfCounts(*numbers) for version, role, *numbers in record.halves}
    scores = {
        (version, role, score): HalfCounts(*numbers)
        for version, role, score, *numbers in record.scores
    }
    return PairedBoard(waiting, states, halves, scores)


def _measures(measures: Mapping[MeasureKey, Differences]) -> list[_Measure]:
    return [
        (*key, d.n, d.higher, d.lower, d.clipped, str(d.first), str(d.second))
        for key, d in measures.items()
    ]


def _differences(measures: Iterable[_Measure]) -> dict[MeasureKey, Differences]:
    return {
        (column, scale): Differences(n, up, down, clipped, int(first), int(second))
        for column, scale, n, up, down, clipped, first, second in measures
    }


def _packed(one: PairedMetric) -> _Metric:
    wealth = one.bets.wealth
    return _Metric(
        one.measure,
        one.column,
        one.alpha,
        wealth.panes,
        wealth.peak_onset_ms,
        (
            wealth.log_part.astype("<f8").tobytes(),
            wealth.log_wealth.astype("<f8").tobytes(),
            wealth.onset_ms.astype("<i8").tobytes(),
            np.array((wealth.evidence, wealth.peak), "<f8").tobytes(),
        ),
        (one.bets.pairs, one.bets.worse, one.bets.better),
        _numbers(one.shares),
        _numbers(one.values),
    )


def _numbers(sequence: DifferenceSequence) -> _Sequence:
    return (
        sequence.n,
        sequence.n_against,
        sequence.total,
        sequence.variance,
        sequence.within,
        sequence.r2,
        sequence.skipped,
    )


def _unpacked(one: _Metric) -> PairedMetric:
    part, held, onset = (
        np.frombuffer(one.evidence[0], "<f8").astype(np.float64),
        np.frombuffer(one.evidence[1], "<f8").astype(np.float64),
        np.frombuffer(one.evidence[2], "<i8").astype(np.int64),
    )
    evidence, peak = np.frombuffer(one.evidence[3], "<f8").tolist()
    if not len(part) == len(held) == len(onset) == len(ODDS):
        raise UnreadableBoard("other bets than are made here")
    wealth = EProcess(part, held, onset, one.panes, evidence, peak, one.peak_onset_ms)
    return PairedMetric(
        one.measure,
        one.column,
        one.alpha,
        PairedRate(wealth, *one.counts),
        DifferenceSequence(*one.shares),
        DifferenceSequence(*one.values),
    )
