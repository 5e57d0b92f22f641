"""The budget's shares: set beforehand, never more than one."""

from __future__ import annotations

from detectors.budget import Budget, Stream, observe, weights
from detectors.release import ALL, Role

IDLE = 1000


def stream(segment: str = ALL, version: str = "1", role: Role = Role.PRODUCTION) -> Stream:
    return Stream(version, role, segment)


def test_a_newcomer_has_no_weight_in_its_first_pane() -> None:
    budget = observe(Budget(), [stream()], 10, IDLE)
    assert weights(budget, 0, IDLE) == {}
    assert weights(budget, 10, IDLE) == {stream(): 1.0}


def test_all_events_keep_half_however_many_segments_there_are() -> None:
    slices = [stream(f"country={i}") for i in range(100)]
    shares = weights(observe(Budget(), [stream(), *slices], 10, IDLE), 10, IDLE)
    assert shares[stream()] == 0.5
    assert sum(shares.values()) <= 1 + 1e-12


def test_releases_share_alike() -> None:
    both = [stream(), stream(version="2", role=Role.CANARY), stream("a=b")]
    shares = weights(observe(Budget(), both, 10, IDLE), 10, IDLE)
    assert shares[both[1]] == 0.5
    assert shares[both[0]] == shares[both[2]] == 0.25


def test_what_is_silent_leaves_its_share_to_the_others() -> None:
    budget = observe(Budget(), [stream(), stream(version="2")], 10, IDLE)
    budget = observe(budget, [stream()], 10 + IDLE, IDLE)
    assert weights(budget, 10 + IDLE, IDLE) == {stream(): 1.0}
    later = observe(budget, [stream()], 10 + 3 * IDLE, IDLE)
    assert [known for known, _ in later.seen] == [stream()]


def test_a_clock_that_jumps_back_gives_no_weight_to_the_future() -> None:
    budget = observe(Budget(), [stream()], 10_000, IDLE)
    assert weights(budget, 5_000, IDLE) == {}
    assert dict(observe(budget, [stream()], 5_000, IDLE).seen)[stream()] == 10_000
