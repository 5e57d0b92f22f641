"""How fast receivers are called."""

from __future__ import annotations

import pytest

from streams.pacing import Pacer, PaceSettings

SETTINGS = PaceSettings(in_flight=2, per_minute=60, burst=3, break_after=3, break_ms=10_000)


def page(pacer: Pacer, now_ms: int, *, answered: bool = True) -> bool:
    """Start and end one page at once; False if it was held back."""
    if not pacer.start("r", now_ms, urgent=False):
        return False
    pacer.end("r", now_ms, urgent=False, answered=answered)
    return True


def test_a_burst_and_then_one_a_second() -> None:
    pacer = Pacer(SETTINGS)
    assert [page(pacer, 0) for _ in range(4)] == [True, True, True, False]
    assert not page(pacer, 999)
    assert page(pacer, 1_000)
    assert not page(pacer, 1_001)
    # However long it was quiet, the burst is no larger.
    assert [page(pacer, 3_600_000) for _ in range(4)] == [True, True, True, False]


def test_no_more_at_a_time_than_allowed_and_receivers_do_not_share() -> None:
    pacer = Pacer(SETTINGS)
    assert [pacer.start("r", 0, urgent=False) for _ in range(3)] == [True, True, False]
    assert pacer.start("other", 0, urgent=False)
    pacer.end("r", 0, urgent=False, answered=True)
    assert pacer.start("r", 0, urgent=False)


def test_a_receiver_that_fails_is_left_alone_and_then_tried_with_one() -> None:
    pacer = Pacer(SETTINGS)
    assert [page(pacer, 0, answered=False) for _ in range(4)] == [True, True, True, False]
    assert not page(pacer, 9_999)
    assert pacer.start("r", 10_000, urgent=False)
    assert not pacer.start("r", 10_000, urgent=False)
    pacer.end("r", 10_000, urgent=False, answered=False)
    assert not page(pacer, 19_999)
    assert page(pacer, 20_000, answered=True)
    assert [page(pacer, 30_000) for _ in range(3)] == [True, True, True]


def test_an_answer_in_between_forgets_the_failures() -> None:
    pacer = Pacer(SETTINGS)
    for now_ms in range(0, 60_000, 3_000):
        assert page(pacer, now_ms, answered=False)
        assert page(pacer, now_ms, answered=False)
        assert page(pacer, now_ms, answered=True)


def test_a_rollback_is_never_held_back() -> None:
    pacer = Pacer(SETTINGS)
    for _ in range(10):
        page(pacer, 0, answered=False)
    for _ in range(1_000):
        assert pacer.start("r", 0, urgent=True)
        pacer.end("r", 0, urgent=True, answered=False)


@pytest.mark.parametrize("name", ["in_flight", "per_minute", "burst", "break_after", "break_ms"])
def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        PaceSettings(**{name: 0})
