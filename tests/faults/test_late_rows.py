"""D1: events out of order. Within the lateness it changes nothing; what is later is counted as late
and nowhere else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from streams.timeline import DAY
from tests.faults.worker_line import NOW, TIME, Line, event_at


def shuffled(count: int, within_ms: int, seed: int) -> list[tuple[int, int]]:
    """(event time, number) in the order of arrival: none is further behind than ``within_ms``."""
    rng = random.Random(seed)
    times = [(NOW - 60_000 + i * 10, i) for i in range(count)]
    return sorted(times, key=lambda entry: entry[0] + rng.random() * within_ms)


@pytest.mark.parametrize("seed", range(3), ids=lambda seed: f"D1-shuffled-{seed}")
@pytest.mark.parametrize("cut", [1, 7, 500])
def test_order_within_the_lateness_changes_nothing(seed: int, cut: int) -> None:
    arrived = shuffled(1_000, 9_000, seed)
    line, sorted_line = Line(), Line()
    for at in range(0, len(arrived), cut):
        line.take([event_at(*entry) for entry in arrived[at : at + cut]])
        if at % (cut * 5) == 0:
            line.flush()
    line.flush()
    sorted_line.take([event_at(*entry) for entry in sorted(arrived)])
    sorted_line.flush()
    assert line.ledger["late"] == 0
    assert line.figures() == sorted_line.figures()


@pytest.mark.parametrize("share", [0.01, 0.3], ids=["D1-late-1", "D1-late-30"])
@pytest.mark.parametrize("guard", [True, False], ids=["guard", "no-guard"])
def test_what_is_later_than_allowed_is_counted_as_late_and_nowhere_else(
    share: float, guard: bool
) -> None:
    rng = random.Random(5)
    bodies, expected = [], 0
    for i in range(2_000):
        late = i > 100 and rng.random() < share
        expected += late
        bodies.append(event_at(NOW - 30_000 + i * 10 - (60_000 if late else 0), i))
    # Without the guard nothing is ever late.
    line = Line(TIME if guard else replace(TIME, allowed_lateness_ms=400 * DAY))
    for at in range(0, len(bodies), 100):
        line.take(bodies[at : at + 100])
    line.flush()
    assert sum(line.counted().values()) == line.ledger["events"]
    assert line.ledger["events"] + line.ledger["late"] == line.ledger["messages"] == 2_000
    assert (line.ledger["late"] == expected) is guard
