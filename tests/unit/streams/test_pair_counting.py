"""What the two halves of a pair said, and what is no pair."""

from __future__ import annotations

import numpy as np

from detectors.pairs import PairCounts
from detectors.release import Role
from streams.halves import HalfRows, score_rows
from streams.joiner import Joiner
from streams.pair_counting import count_pairs
from streams.pair_settings import PairSettings

REQUEST = np.array([77], np.uint64)
FIRST, AT_0 = np.zeros(1, np.uint16), np.zeros(1, np.int64)
PRODUCTION, SHADOW = (("1", Role.PRODUCTION),), (("2", Role.SHADOW),)


def answer(release: tuple[tuple[str, Role], ...], value: float) -> HalfRows:
    label, failed = np.ones(1, np.uint32), np.zeros(1, np.uint8)
    measures = {"scores.s": np.array([value])}
    return HalfRows(release, REQUEST, FIRST, AT_0, label, failed, measures)


def score(release: tuple[tuple[str, Role], ...], value: float, name: str) -> HalfRows:
    return score_rows(name, release, REQUEST, FIRST, AT_0, np.array([value]))


def counted(*halves: HalfRows, models: tuple[str, str] = ("m", "m")) -> list[PairCounts]:
    """Of halves with one and the same hash, by a chance of 2**-64."""
    joiner = Joiner(1_000, 100)
    for offset, (rows, model) in enumerate(zip(halves, models, strict=True)):
        joiner.enter(offset, 0, model, rows)
    joined = joiner.join()
    assert len(joined.shadow) == 1
    return list(count_pairs(joined, PairSettings(), lambda _: None).values())


def test_halves_of_unlike_kinds_whose_hashes_collide_are_no_pair() -> None:
    ours = answer(SHADOW, 0.5)
    assert counted(ours, score(PRODUCTION, 0.25, "scores.s")) == []
    assert counted(score(SHADOW, 0.5, "scores.s"), answer(PRODUCTION, 0.25)) == []
    assert counted(score(SHADOW, 0.5, "scores.s"), score(PRODUCTION, 0.2, "scores.t")) == []
    assert counted(ours, answer(PRODUCTION, 0.25), models=("m", "n")) == []


def test_a_pair_of_scores_is_no_pair_of_answers() -> None:
    (inside,) = counted(answer(SHADOW, 0.5), answer(PRODUCTION, 0.25))
    assert (inside.pairs, inside.labelled, inside.scored) == (1, 1, {})
    (alone,) = counted(score(SHADOW, 0.5, "scores.s"), score(PRODUCTION, 0.25, "scores.s"))
    assert alone == PairCounts(scored=inside.measures)
