"""What pairs prove, on numbers that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from detectors import paired_board as boards
from detectors.finding import Finding, Outcome
from detectors.paired_evidence import (
    Lone,
    PairedSettings,
    PairedState,
    paired_findings,
    step,
)
from detectors.pairs import Differences, HalfCounts, PairCounts
from detectors.release import Release, Role

SHADOW = Release("m", "2", Role.SHADOW)
SETTINGS = PairedSettings(latency=True, max_disagreement=0.1)


@dataclass(frozen=True, slots=True)
class Law:
    lower: float = 0.0
    differ: float = 0.05
    slower: float = 1.0


def pane(rng: np.random.Generator, law: Law | None = None) -> PairCounts:
    """100 pairs: scores whose difference has mean -``lower`` and sd 1, labels that differ with
    probability ``differ``, latencies ``slower`` times production's on average."""
    law, n = law or Law(), 100
    score = rng.normal(size=n)
    latency = rng.lognormal(3, 1, n)
    return PairCounts(
        pairs=n,
        labelled=n,
        differ=int(rng.binomial(n, law.differ)),
        measures={
            ("latency_ms", 1024.0): Differences.of(
                latency * law.slower * rng.lognormal(0, 0.5, n), latency, 1024.0, 0.1, relative=True
            ),
            ("scores.s", 1.0): Differences.of(
                score + rng.normal(-law.lower, 1, n), score, 1.0, 1e-9, relative=False
            ),
        },
    )


def findings(state: PairedState, settings: PairedSettings = SETTINGS) -> dict[str, Finding]:
    found = paired_findings(state, SHADOW, "1", 60_000, 0, settings)
    return {finding.detector: finding for finding in found}


def after(panes: int, law: Law | None = None, settings: PairedSettings = SETTINGS) -> PairedState:
    rng, state = np.random.default_rng(1), PairedState()
    for at in range(panes):
        state = step(state, pane(rng, law), at * 10_000, settings)
    return state


def test_equal_models_pass_with_evidence_and_not_before() -> None:
    few = findings(after(1))
    assert {f.outcome for f in few.values()} == {Outcome.INSUFFICIENT}
    assert few["paired_score_difference"].reason == "100 pairs, 400 needed"
    many = findings(after(400))
    assert {name: f.outcome for name, f in many.items()} == {
        "paired_failures": Outcome.PASS,
        "paired_disagreement": Outcome.PASS,
        "paired_score_difference": Outcome.PASS,
        "paired_latency": Outcome.PASS,
    }
    shown = many["paired_score_difference"]
    assert shown.effect_low < 0 < shown.effect_high
    assert shown.n == 40_000


@pytest.mark.parametrize(
    ("law", "detector", "direction"),
    [
        (Law(lower=0.6), "paired_score_difference", "down"),
        (Law(differ=0.3), "paired_disagreement", "up"),
        (Law(slower=2.0), "paired_latency", "up"),
    ],
)
def test_a_worse_shadow_fails_by_the_measure_that_shows_it(
    law: Law, detector: str, direction: str
) -> None:
    found = findings(after(20, law))
    assert [name for name, f in found.items() if f.outcome is Outcome.FAIL] == [detector]
    failed = found[detector]
    assert failed.statistic >= failed.threshold > 0
    assert (failed.direction, failed.against) == (direction, "production:1")


def test_a_better_shadow_never_fails() -> None:
    found = findings(after(50, Law(lower=-0.6, slower=0.5, differ=0.01)))
    assert not any(f.outcome is Outcome.FAIL for f in found.values())


def test_failures_of_one_side_only_are_a_coin() -> None:
    state = PairedState()
    for at in range(10):
        state = step(state, PairCounts(50, shadow_failed=6, production_failed=1), at, SETTINGS)
    failed = findings(state)["paired_failures"]
    assert failed.outcome is Outcome.FAIL
    assert failed.effect == pytest.approx(0.1)
    assert failed.reason == "worse in 60 pairs, better in 10"


def test_latency_and_labels_are_only_shown_by_default() -> None:
    settings = PairedSettings()
    found = findings(after(50, Law(slower=3.0, differ=0.9), settings), settings)
    for name in ("paired_latency", "paired_disagreement"):
        assert not found[name].decides
        assert math.isnan(found[name].threshold)
        assert found[name].outcome is Outcome.INSUFFICIENT
    assert found["paired_disagreement"].statistic == pytest.approx(0.9, abs=0.02)
    assert found["paired_latency"].effect > 0


def test_a_number_without_better_or_worse_is_only_shown() -> None:
    measures = {("prediction.value", 1.0): Differences(100, 90, 0, 0, 2**20, 2**20)}
    state = step(PairedState(), PairCounts(100, measures=measures), 0, SETTINGS)
    assert not findings(state)["paired_score_difference"].decides


def test_scores_that_are_better_low_fail_when_they_rise() -> None:
    measures = {("scores.toxicity", 1.0): Differences(100, 60, 10, 0, 2**20, 2**20)}
    state = step(PairedState(), PairCounts(100, measures=measures), 0, SETTINGS)
    found = findings(state)["paired_score_difference"]
    assert (found.outcome, found.direction) == (Outcome.FAIL, "up")


LOWER = {("scores.s", 1.0): Differences(100, 10, 60, 0, -(2**20), 2**20)}


def test_scores_that_come_as_events_of_their_own_are_judged_like_those_of_the_answers() -> None:
    inside = step(PairedState(), PairCounts(100, measures=LOWER), 0, SETTINGS)
    alone = step(PairedState(), PairCounts(scored=LOWER), 0, SETTINGS)
    expected = findings(inside)["paired_score_difference"]
    found = findings(alone)["paired_score_event_difference"]
    assert found.outcome is Outcome.FAIL
    assert msgspec.structs.replace(found, detector=expected.detector) == expected
    assert list(findings(alone)) == ["paired_score_event_difference"]


def test_a_request_with_its_score_in_the_answer_and_beside_it_is_not_two_tosses_of_one_coin() -> (
    None
):
    state = step(PairedState(), PairCounts(100, measures=LOWER, scored=LOWER), 0, SETTINGS)
    found = findings(state)
    one, other = found["paired_score_difference"], found["paired_score_event_difference"]
    assert one.n == other.n == 100
    # One part of alpha for both: the second gets less of it.
    assert math.exp(-one.threshold) == pytest.approx(0.3 * SETTINGS.alpha / 2)
    assert math.exp(-other.threshold) == pytest.approx(0.3 * SETTINGS.alpha / 6)


def test_false_failures_stay_below_alpha_at_every_peek() -> None:
    # The worst that is tolerated: odds at the limit, labels at the limit.
    settings = replace(SETTINGS, alpha=0.2)
    rng = np.random.default_rng(7)
    failed = 0
    for _ in range(100):
        state = PairedState()
        for at in range(60):
            worse = int(rng.binomial(20, 1.25 / 2.25))
            counts = PairCounts(
                100,
                labelled=100,
                differ=int(rng.binomial(100, 0.1)),
                shadow_failed=worse,
                production_failed=20 - worse,
            )
            state = step(state, counts, at, settings)
            if any(f.outcome is Outcome.FAIL for f in findings(state, settings).values()):
                failed += 1
                break
    # Half of alpha is theirs: 10 expected at most; beyond 18 has a chance below 1 in 100.
    assert failed <= 18


def test_differences_that_cannot_be_counted_change_nothing() -> None:
    values = np.array([np.nan, np.inf, 1e308, 3.0])
    found = Differences.of(values, np.array([1.0, 1.0, -1e308, 1.0]), 1.0, 0.0, relative=False)
    assert (found.n, found.higher, found.lower) == (1, 1, 0)
    assert step(PairedState(), PairCounts(), 0, SETTINGS).metrics == ()


# --- the board -----------------------------------------------------------------------------------


def filled(rng: np.random.Generator) -> boards.PairedBoard:
    board = boards.PairedBoard()
    for at in range(30):
        board = boards.enter(
            board,
            [(("2", "1"), at * 1_000, pane(rng)), (("3", "1"), at * 1_000, pane(rng))],
            [(("2", Role.SHADOW), HalfCounts(110)), (("1", Role.PRODUCTION), HalfCounts(200))],
        )
    return board


def test_folding_at_every_pane_or_at_once_gives_the_same_evidence() -> None:
    whole = filled(np.random.default_rng(3))
    at_once = boards.fold(whole, 31_000, 1_000, SETTINGS)
    by_pane = whole
    for closed_ms in range(0, 32_000, 700):
        by_pane = boards.from_bytes(
            boards.to_bytes(boards.fold(by_pane, closed_ms, 1_000, SETTINGS))
        )
    assert boards.to_bytes(at_once) == boards.to_bytes(by_pane)
    assert not at_once.waiting


def test_open_panes_wait_and_survive_as_bytes() -> None:
    board = boards.fold(filled(np.random.default_rng(3)), 10_000, 1_000, SETTINGS)
    assert len(board.waiting) == 40
    assert boards.to_bytes(boards.from_bytes(boards.to_bytes(board))) == boards.to_bytes(board)
    assert boards.lone_halves(board, "2", "1") == {"": Lone((300, 3_000))}
    found = boards.findings(board, SHADOW, "1", 60_000, 0, SETTINGS)
    assert found[0].reason.endswith("unpaired: 300 of shadow, 3000 of production")


def test_halves_in_no_pair_are_told_for_each_score() -> None:
    ours, theirs = ("2", Role.SHADOW, "scores.s"), ("1", Role.PRODUCTION, "scores.s")
    other = {("scores.t", 1.0): Differences(30, 10, 10, 0, 0, 2**20)}
    board = boards.enter(
        boards.PairedBoard(),
        [
            (("2", "1"), 0, PairCounts(scored=LOWER)),
            (("2", "1"), 1_000, PairCounts(50, scored=other)),
        ],
        [(("2", Role.SHADOW), HalfCounts(50)), (("1", Role.PRODUCTION), HalfCounts(80))],
        [
            (ours, HalfCounts(107)),
            (theirs, HalfCounts(120)),
            (("2", Role.SHADOW, "scores.t"), HalfCounts(30, dropped=4, without_id=2)),
        ],
    )
    open_still = boards.fold(board, 1_500, 1_000, SETTINGS)
    for each in (open_still, boards.from_bytes(boards.to_bytes(open_still))):
        assert boards.lone_halves(each, "2", "1") == {
            "": Lone((0, 30)),
            "scores.s": Lone((7, 20)),
            "scores.t": Lone((0, 0), (4, 0), (2, 0)),
        }
        found, waiting = boards.findings(each, SHADOW, "1", 60_000, 0, SETTINGS)
        assert found.column == "scores.s"
        assert found.reason.endswith("unpaired: 7 of shadow, 20 of production")
        assert waiting.column == "scores.t"
        assert waiting.reason == (
            "0 pairs, 400 needed; forgotten while they waited: 4 of shadow, 0 of production"
            "; without a request id: 2 of shadow, 0 of production"
        )


def test_a_shadow_whose_answers_make_no_pairs_is_told_of() -> None:
    """Silence here would look like health."""
    alone = boards.enter(
        boards.PairedBoard(),
        [],
        [
            (("2", Role.SHADOW), HalfCounts(40, without_id=9)),
            (("1", Role.PRODUCTION), HalfCounts()),
        ],
    )
    (found,) = boards.findings(alone, SHADOW, "1", 60_000, 0, SETTINGS)
    assert (found.detector, found.outcome, found.n) == (
        "paired_failures",
        Outcome.INSUFFICIENT,
        0,
    )
    assert found.reason == (
        "0 pairs, 400 needed; unpaired: 40 of shadow, 0 of production"
        "; without a request id: 9 of shadow, 0 of production"
    )
    assert boards.findings(boards.PairedBoard(), SHADOW, "1", 60_000, 0, SETTINGS) == []


def test_a_board_written_before_scores_were_paired_is_read() -> None:
    board = filled(np.random.default_rng(3))
    written = msgspec.msgpack.decode(boards.to_bytes(board))
    written.pop()
    for waiting in written[1]:
        waiting.pop()
    assert boards.from_bytes(msgspec.msgpack.encode(written)) == board


def test_scores_that_producers_invent_are_bounded() -> None:
    many = [
        (("2", Role.SHADOW, f"scores.{i}"), HalfCounts(1)) for i in range(3 * boards.MOST_SCORES)
    ]
    assert len(boards.enter(boards.PairedBoard(), [], [], many).scores) == boards.MOST_SCORES


def test_a_board_of_another_format_is_refused_and_nothing_is_an_empty_one() -> None:
    assert boards.from_bytes(b"") == boards.PairedBoard()
    for data in (b"\x00", boards.to_bytes(boards.PairedBoard())[:-1], b"\x94\x09\x90\x90\x90"):
        with pytest.raises(boards.UnreadableBoard):
            boards.from_bytes(data)


def test_panes_that_producers_invent_are_bounded_and_no_pair_is_lost() -> None:
    many = [(("2", "1"), at, PairCounts(1)) for at in range(3 * boards.MOST_WAITING)]
    board = boards.enter(boards.PairedBoard(), many, [])
    assert len(board.waiting) == boards.MOST_WAITING
    assert sum(counts.pairs for counts in board.waiting.values()) == len(many)
