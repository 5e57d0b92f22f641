"""D4: clocks that are wrong, or are set. What counts is event time; the clock on the wall bounds
what is believed and tells silence, and nothing it does changes a count."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from streams.clock import ClockSteps
from streams.timeline import DAY, HOUR, NEVER
from tests.faults.worker_line import NOW, Line, event_at


def bodies_of_a_minute() -> list[bytes]:
    return [event_at(NOW - 60_000 + i * 60, i) for i in range(1_000)]


@pytest.mark.parametrize(
    "clock_of",
    [
        lambda i: NOW + 3 * HOUR,
        lambda i: NOW - 3 * HOUR,
        lambda i: NOW - (HOUR if i >= 5 else 0),
        lambda i: NOW + (HOUR if i >= 5 else 0),
        lambda i: NOW + 1_000 * (i == 5),
        lambda i: NOW + (-1) ** i * 12 * HOUR,
    ],
    ids=["D4-ahead", "D4-behind", "D4-back", "D4-forward", "D4-leap-second", "D4-to-and-fro"],
)
def test_a_wrong_or_stepping_clock_changes_no_count(clock_of: Callable[[int], int]) -> None:
    right, wrong = Line(), Line()
    bodies = bodies_of_a_minute()
    for i in range(10):
        part = bodies[i * 100 : (i + 1) * 100]
        right.take(part)
        right.flush()
        wrong.take(part, clock_of(i))
        wrong.flush(clock_of(i))
    assert wrong.ledger == right.ledger
    assert wrong.figures() == right.figures()


def test_d4_a_clock_that_is_days_wrong_refuses_loudly_and_moves_nothing() -> None:
    line = Line()
    line.take([event_at(NOW)], NOW - 3 * DAY)
    line.flush(NOW - 3 * DAY)
    assert line.ledger == Counter(messages=1, dead=1)
    assert line.newest() == NEVER


@pytest.mark.parametrize("guard", [True, False], ids=["D4-guard", "D4-no-guard"])
@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_silence_is_measured_by_a_clock_that_nobody_sets(step: int, guard: bool) -> None:
    wall, steady = [NOW], [50_000]
    steps = ClockSteps(lambda: wall[0], lambda: steady[0])
    line = Line()
    line.take([event_at(NOW)])

    def idle_after(seconds: int, set_by: int = 0) -> bool:
        steady[0] += seconds * 1_000
        wall[0] += seconds * 1_000 + set_by
        if guard and (step_ms := steps.look()):
            line.summarizer.intake.clock_stepped(step_ms)
        line.flush(wall[0])
        return line.progress[-1].partitions[0].idle

    said = [idle_after(1), idle_after(1, step), idle_after(1), idle_after(4)]
    assert (said == [False, False, False, True]) is guard


def test_d4_keeping_time_is_no_step() -> None:
    wall, steady = [NOW], [0]
    steps = ClockSteps(lambda: wall[0], lambda: steady[0])
    for _ in range(100):
        steady[0] += 1_000
        wall[0] += 1_004
        assert steps.look() == 0
    wall[0] -= 10_000
    assert steps.look() < -9_000
    assert steps.look() == 0


_CHILD: Final = """
import json, sys
from streams.clock import wall_ms
from tests.faults.test_clocks import bodies_of_a_minute
from tests.faults.worker_line import Line
line = Line()
line.take(bodies_of_a_minute(), wall_ms())
line.flush(wall_ms())
print(json.dumps([sorted(line.ledger.items()), sorted(line.counted().items())]))
"""


@pytest.mark.parametrize("when", ["2023-11-14 19:13:20", "2023-11-15 01:13:20"],
                         ids=["D4-faketime-behind", "D4-faketime-ahead"])  # fmt: skip
def test_a_process_with_another_clock_counts_the_same(repository: Path, when: str) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("D4: no faketime on this machine")
    done = subprocess.run(
        [faketime, when, sys.executable, "-c", _CHILD],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "TZ": "UTC"},
    )
    line = Line()
    line.take(bodies_of_a_minute())
    line.flush()
    ledger, panes = json.loads(done.stdout.splitlines()[-1])
    assert dict(ledger) == dict(line.ledger)
    assert {int(pane): count for pane, count in panes} == dict(line.counted())
