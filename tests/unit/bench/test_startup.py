"""What the benchmark of the start makes of what it has watched."""

from __future__ import annotations

import time

import pytest

from bench.startup import MOST, WAITING, Watched, Way, fields_of


def watched(first_s: float, before_ready: int = WAITING, cpu_s: float = 1.0) -> Watched:
    return Watched(0.0, float, first_s, cpu_s, first_s + 1, first_s + 2, WAITING, before_ready)


def test_events_are_counted_until_kernels_are_ready() -> None:
    seen = Watched(time.monotonic(), lambda: 0.5)
    seen.add(10)
    seen.listen(iter(['{"event": "worker started"}\n', '{"event": "decoder kernels ready"}\n']))
    seen.add(WAITING)
    assert (seen.before_ready, seen.events, seen.first_cpu_s) == (10, WAITING + 10, 0.5)
    assert 0 < seen.first_s <= seen.ready_s <= seen.waiting_s


@pytest.mark.parametrize(
    ("cold", "passed"),
    [
        (watched(2.0 * MOST - 0.1), True),
        (watched(2.0 * MOST + 0.1), False),
        (watched(2.0, before_ready=0), False),
        (watched(2.0, cpu_s=MOST + 0.1), False),
    ],
)
def test_a_start_fails_if_compiling_delays_it_or_stops_the_flow(
    cold: Watched, passed: bool
) -> None:
    found = {Way.COLD: [cold], Way.WARM: [watched(2.1)], Way.OFF: [watched(2.0)]}
    assert fields_of(found, rounds=1)["passed"] is passed
