"""D2: partitions that are silent, and partitions that are behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.timeline import DAY, HOUR
from tests.faults.worker_line import NOW, TIME, Line, event_at


@pytest.mark.parametrize("guard", [True, False], ids=["D2-idle", "D2-idle-no-guard"])
def test_an_idle_partition_holds_nothing_up(guard: bool) -> None:
    """Without the guard: a partition is idle after more than a year."""
    line = Line(TIME if guard else replace(TIME, idle_timeout_ms=400 * DAY), places=2)
    line.take([event_at(NOW)], NOW, place=0)
    line.take([event_at(NOW)], NOW, place=1)
    for second in range(1, 61):
        line.take([event_at(NOW + second * 1_000)], NOW + second * 1_000, place=0)
        line.flush(NOW + second * 1_000)
    assert (line.mark() == NOW + 60_000 - TIME.out_of_orderness_ms) is guard
    assert (line.mark() == NOW - TIME.out_of_orderness_ms) is not guard


@pytest.mark.parametrize("guard", [True, False], ids=["D2-behind", "D2-behind-no-guard"])
def test_no_window_closes_before_a_partition_that_is_behind_was_read(guard: bool) -> None:
    """Without the guard: a partition of which nothing comes is idle, read to its end or not."""
    line = Line(places=2)
    line.take([event_at(NOW - 2 * HOUR)], NOW, place=1)
    for second in range(60):
        line.take([event_at(NOW + second * 1_000)], NOW + second * 1_000, place=0)
        line.flush(NOW + second * 1_000, at_end=not guard)
    assert (line.mark() == NOW - 2 * HOUR - TIME.out_of_orderness_ms) is guard


def test_d2_a_partition_is_idle_only_when_it_was_read_to_its_end_and_is_silent() -> None:
    line = Line()
    line.take([event_at(NOW)])
    for now_ms, at_end, idle in (
        (NOW + TIME.idle_timeout_ms - 1, True, False),
        (NOW + TIME.idle_timeout_ms, False, False),
        (NOW + TIME.idle_timeout_ms, True, True),
    ):
        line.flush(now_ms, at_end=at_end)
        assert line.progress[-1].partitions[0].idle is idle
