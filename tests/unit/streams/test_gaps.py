"""What was deleted unread makes a model BLIND until a whole window is there again."""

from __future__ import annotations

import pytest

from detectors.release import Role
from detectors.verdict import Status
from streams.gaps import Gap, enter, in_words, passed
from streams.model_state import decode_state, encode_state
from streams.outputs import Outputs
from streams.timeline import NEVER, PartitionTime
from streams.wire import UNCOUNTED, PartitionProgress, Progress
from tests.unit.streams.judge_bench import WALL_MS, Bench, events


def report(
    newest_ms: int, messages: int = 0, lost: int = 0, idle: bool = False, topic: str = "t"
) -> Progress:
    """Of partition 0: so many messages read since the last one, so many lost before them."""
    lost_after = newest_ms - 1_000 if lost else NEVER
    return Progress(
        "w",
        WALL_MS,
        (
            PartitionProgress(
                topic,
                0,
                1,
                newest_ms,
                idle,
                7,
                7 + messages,
                messages,
                0,
                0,
                0,
                0,
                lost,
                lost_after,
            ),
        ),
    )


def told(bench: Bench, at_ms: int, messages: int = 0, lost: int = 0) -> Outputs:
    """The judge takes in a report; the clock of the only partition stands at ``at_ms``."""
    newest = WALL_MS + at_ms
    bench.offset += 1
    bench.judge.begin()
    outputs = bench.judge.progress(
        report(newest, messages, lost), {("t", 0): PartitionTime(newest, False, 1)}, bench.offset
    )
    bench.verdicts += outputs.verdicts
    return outputs


def passing() -> Bench:
    """A canary that passes."""
    bench = Bench()
    for at in (0, 5_000, 10_000):
        bench.window(1.0, at)
    assert bench.status() is Status.PASS
    return bench


def test_a_gap_makes_all_releases_blind_until_a_window_without_it_has_closed() -> None:
    bench = passing()
    told(bench, 15_100, lost=120)
    assert bench.status() is bench.status(Role.PRODUCTION) is Status.BLIND
    assert "120 messages of t[0] were deleted before they were read" in bench.verdicts[-1].reason
    for at in (16_000, 20_000):
        bench.give(events(at))
        bench.give(events(at, role="canary"))
    told(bench, 21_000, messages=10)  # the first events after the gap
    assert bench.status() is Status.BLIND
    told(bench, 25_000, messages=10)  # a window closes, which began before the gap ended
    assert bench.status() is Status.BLIND
    bench.give(events(25_000))
    bench.give(events(25_000, role="canary"))
    told(bench, 30_000, messages=10)
    assert bench.judge.state.gaps == []
    told(bench, 30_100, messages=1)
    assert bench.status() is Status.PASS
    assert bench.status(Role.PRODUCTION) is not Status.BLIND


def test_a_gap_is_told_of_although_everything_after_it_is_read_at_once() -> None:
    bench = passing()
    for at in (20_000, 25_000, 30_000):
        bench.give(events(at))
        bench.give(events(at, role="canary"))
    told(bench, 20_100, messages=5, lost=40)
    assert bench.status() is Status.BLIND
    bench = passing()
    bench.judge.state.gaps.append(Gap("t", 0, 40, WALL_MS, WALL_MS + 1_000))  # long passed
    told(bench, 15_100, messages=1)
    assert bench.status() is Status.BLIND
    told(bench, 15_200, messages=1)
    assert bench.status() is Status.PASS


def test_a_fail_is_not_told_from_what_a_gap_has_left_over() -> None:
    """Missing data never rolls anything back."""
    bench = passing()
    told(bench, 15_100, lost=120)
    for at in (15_000, 16_000, 17_000, 18_000):
        bench.give(events(at))
        bench.give(events(at, role="canary", quality=-5.0))
    told(bench, 20_000, messages=10)
    told(bench, 25_000, messages=10)
    assert Status.FAIL not in {verdict.status for verdict in bench.verdicts}


def test_a_gap_survives_a_restart() -> None:
    bench = passing()
    told(bench, 15_100, lost=120)
    state = decode_state(encode_state(bench.judge.state))
    assert state.gaps == bench.judge.state.gaps != []


def test_other_topics_are_not_our_gap() -> None:
    gaps: list[Gap] = []
    assert not enter(gaps, ["t"], report(5_000, lost=3, topic="other"), 5_000)
    assert gaps == []


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([report(5_000, lost=3)], Gap("t", 0, 3, 4_000)),
        ([report(5_000, 9, lost=3)], Gap("t", 0, 3, 4_000, 5_000)),
        ([report(5_000, lost=3), report(8_000, 1)], Gap("t", 0, 3, 4_000, 8_000)),
        ([report(5_000, 9, lost=3), report(8_000, 1)], Gap("t", 0, 3, 4_000, 5_000)),
        ([report(5_000, lost=3), report(5_000, idle=True)], Gap("t", 0, 3, 4_000, 9_000)),
        ([report(5_000, 9, lost=3), report(8_000, lost=4)], Gap("t", 0, 7, 4_000)),
        ([report(5_000, lost=3), report(8_000, lost=UNCOUNTED)], Gap("t", 0, UNCOUNTED, 4_000)),
    ],
    ids=[
        "nothing after it yet",
        "messages after it at once",
        "messages after it later",
        "it ends once",
        "silence after it",
        "a second gap",
        "the topic made again",
    ],
)
def test_where_a_gap_ends(reports: list[Progress], expected: Gap) -> None:
    gaps: list[Gap] = []
    for each in reports:
        enter(gaps, ["t"], each, 9_000)
    assert gaps == [expected]


def test_a_gap_that_has_not_ended_never_passes() -> None:
    assert not passed(Gap("t", 0, 3, 4_000), 10**15, 5_000)
    assert passed(Gap("t", 0, 3, 4_000, 5_000), 15_000, 5_000)
    assert not passed(Gap("t", 0, 3, 4_000, 5_000), 14_999, 5_000)


def test_many_gaps_are_told_in_one_line() -> None:
    gaps = [Gap("t", p, p, 0) for p in range(1, 4)]
    assert in_words(gaps).startswith("3 messages of t[3] were deleted before they were read (and")
    assert "2 more partitions" in in_words(gaps)
    assert "made again" in in_words([Gap("t", 0, UNCOUNTED, 0)])
    assert in_words([]) == ""
