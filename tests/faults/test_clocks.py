"""D4: clocks that are wrong, or are set. What counts is event time; the clock on the wall bounds
what is believed and tells silence, and nothing it does changes a count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from streams.clock import ClockSteps
from streams.timeline import DAY, HOUR, NEVER
from tests.faults.faked_clock import environment, library
from tests.faults.worker_line import NOW, TIME, Line, event_at

MINUTE_AGO: Final = NOW - 60_000


def bodies_of_a_minute(shift_ms: int = 0) -> list[bytes]:
    return [event_at(MINUTE_AGO + shift_ms + i * 60, i) for i in range(1_000)]


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


# --- whole processes with another clock ----------------------------------------------------------

_COUNTS: Final = """
import json, sys
from streams.clock import wall_ms
from tests.faults.test_clocks import MINUTE_AGO, bodies_of_a_minute
from tests.faults.worker_line import NOW, Line
line, begin = Line(), wall_ms()
shift = (begin - NOW) // 1000 * 1000 if sys.argv[1] == "moves" else 0
for at, some in enumerate(bodies_of_a_minute(shift)):
    line.take([some], wall_ms())
    if at % 100 == 0:
        line.flush(wall_ms())
line.flush(wall_ms())
panes = sorted((pane - shift - MINUTE_AGO) // 1000 for pane in line.counted().elements())
print(json.dumps([begin, sorted(line.ledger.items()), panes]))
"""

_SILENCE: Final = """
import json, sys
from pathlib import Path
from streams.clock import ClockSteps, steady_ms, wall_ms
from streams.timeline import HOUR
from tests.faults.worker_line import Line, event_at
steps, line = ClockSteps(), Line()
line.take([event_at(wall_ms())], wall_ms())
line.flush(wall_ms())
before = steady_ms()
Path(sys.argv[1]).write_text(sys.argv[2])
step_ms = steps.look()
if sys.argv[3] == "guard":
    line.summarizer.intake.clock_stepped(step_ms)
line.flush(wall_ms())
print(json.dumps([step_ms, line.progress[-1].partitions[0].idle, steady_ms() - before]))
"""


def told(repository: Path, code: str, clock: Path, *arguments: str, zone: str = "UTC") -> Any:
    """What a process says whose clock is that of the file."""
    loaded = library()
    if loaded is None:
        pytest.skip("D4: no libfaketime on this machine")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, **environment(loaded, clock, zone)},
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("when", "zone", "events"),
    [
        ("2023-11-14 19:13:20", "UTC", "stay"),
        ("2023-11-15 01:13:20", "UTC", "stay"),
        ("2024-10-27 02:59:59", "Europe/Berlin", "moves"),
        ("2024-03-31 01:59:59", "Europe/Berlin", "moves"),
        ("2016-12-31 23:59:59", "UTC", "moves"),
        ("2038-01-19 03:14:07", "UTC", "moves"),
    ],
    ids=["D4-faketime-behind", "D4-faketime-ahead", "D4-faketime-summer-ends",
         "D4-faketime-summer-begins", "D4-faketime-leap-second", "D4-faketime-2038"],
)  # fmt: skip
def test_a_process_with_another_clock_counts_the_same(
    repository: Path, tmp_path: Path, when: str, zone: str, events: str
) -> None:
    """``stay``: the events are of the true time; ``moves``: of the time that the clock tells."""
    (tmp_path / "clock").write_text(f"@{when}")
    begin, ledger, panes = told(repository, _COUNTS, tmp_path / "clock", events, zone=zone)
    wanted = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone)).timestamp()
    # Where a local time comes twice, either of them is meant.
    assert abs(begin / 1000 - wanted) < 60 or abs(begin / 1000 - wanted - 3_600) < 60
    assert dict(ledger) == {"messages": 1_000, "events": 1_000, "dead": 0, "late": 0, "capped": 0}
    assert panes == sorted(at * 60 // 1_000 for at in range(1_000))


@pytest.mark.parametrize("guard", ["guard", "no-guard"], ids=["D4-set", "D4-set-no-guard"])
def test_a_process_whose_clock_is_set_forward_calls_nobody_idle(
    repository: Path, tmp_path: Path, guard: str
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    given = (str(clock), "+1h", guard)
    step_ms, idle, lasted_ms = told(repository, _SILENCE, clock, *given)
    assert lasted_ms < TIME.idle_timeout_ms
    assert HOUR - 1_000 < step_ms < HOUR + TIME.idle_timeout_ms
    assert idle is (guard == "no-guard")
