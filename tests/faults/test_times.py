"""D: order, idleness, absurd times and clocks. What counts is event time; the clock on the wall
bounds what is believed and tells silence, and nothing it does changes a count."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import confluent_kafka
import msgspec
import pytest

from detectors.layout import Header
from detectors.reference import layout_for
from detectors.release import ALL
from streams.cardinality import Limits
from streams.clock import ClockSteps
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import DEADLETTERS, INTAKE, SUMMARIES
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import DAY, HOUR, MINUTE, NEVER, PartitionTime, TimeSettings, watermark
from streams.wire import Delta, Progress, decode, unpack
from tests.faults.checker import canonical, merged

TOPIC: Final = "events"
NOW: Final = 1_700_000_000_000
TIME: Final = TimeSettings(
    pane_ms=1_000,
    windows_ms=(5_000,),
    out_of_orderness_ms=2_000,
    allowed_lateness_ms=10_000,
    idle_timeout_ms=5_000,
)


@dataclass(frozen=True, slots=True)
class Written:
    """A message as the summarizer reads one."""

    at: int
    body: bytes
    place: int = 0

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.place

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.body

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW


def body(ts: Any, **more: Any) -> bytes:
    return json.dumps({"ts": ts, "model": "m", "version": "1", **more}).encode()


class Line:
    """A summarizer with one or more partitions, and what came out of it."""

    def __init__(self, time: TimeSettings = TIME, places: int = 1) -> None:
        self.summarizer = Summarizer(
            (InputSettings(TOPIC, InputFormat.JSON),),
            time,
            SummarizeSettings(),
            Limits(),
            SampleSettings(),
            lambda _: None,
            1,
            "w",
        )
        for place in range(places):
            self.summarizer.intake.assign((TOPIC, place), places, NEVER, NOW)
        self.offsets = [0] * places
        self.values: list[bytes | None] = []
        self.dead: list[str] = []
        self.ledger: Counter[str] = Counter()
        self.progress: list[Progress] = []

    def take(self, bodies: Sequence[bytes], now_ms: int = NOW, place: int = 0) -> None:
        messages = [Written(self.offsets[place] + i, each, place) for i, each in enumerate(bodies)]
        self.offsets[place] += len(messages)
        self.summarizer.take(cast("list[confluent_kafka.Message]", messages), now_ms)

    def flush(self, now_ms: int = NOW, *, at_end: bool = True) -> None:
        ends = {(TOPIC, place): at_end for place in range(len(self.offsets))}
        for record in self.summarizer.flush(now_ms, ends):
            if record.topic == SUMMARIES:
                self.values.append(record.value)
                found = decode(record.value)
                if isinstance(found, Progress):
                    self.progress.append(found)
            elif record.topic == DEADLETTERS:
                self.dead += [r["reason"] for r in msgspec.json.decode(record.value)["rows"]]
            elif record.topic == INTAKE:
                for row in msgspec.json.decode(record.value)["rows"]:
                    names = ("messages", "events", "dead", "late", "capped")
                    self.ledger.update({name: row[name] for name in names})
        self.summarizer.committed()

    def counted(self) -> Counter[int]:
        """Events by pane."""
        found: Counter[int] = Counter()
        for value in self.values:
            delta = decode(value)
            if isinstance(delta, Delta):
                layout = layout_for(None, delta.columns)
                for group in delta.groups:
                    if group.segment == ALL:
                        summaries = unpack(group.summaries, layout)
                        found[group.pane_ms] += summaries.header(Header.PREDICTIONS)
        return found

    def figures(self) -> dict[Any, Any]:
        return {key: canonical(value) for key, value in merged(self.values).items()}

    def newest(self, place: int = 0) -> int:
        return self.summarizer.intake.partitions[TOPIC, place].newest_ms


def event_at(ts: int, number: int = 0) -> bytes:
    return body(ts, features={"x": number % 17 / 4})


# --- D1: out of order ----------------------------------------------------------------------------


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


# --- D2: idle and behind -------------------------------------------------------------------------


def test_d2_an_idle_partition_holds_nothing_up_and_one_that_is_behind_does() -> None:
    clocks = {
        (TOPIC, 0): PartitionTime(NOW, idle=False, partitions=2),
        (TOPIC, 1): PartitionTime(NOW - 2 * HOUR, idle=True, partitions=2),
    }
    assert watermark([TOPIC], clocks, TIME) == NOW - TIME.out_of_orderness_ms
    clocks[TOPIC, 1] = PartitionTime(NOW - 2 * HOUR, idle=False, partitions=2)
    assert watermark([TOPIC], clocks, TIME) == NOW - 2 * HOUR - TIME.out_of_orderness_ms


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


# --- D3: absurd times ----------------------------------------------------------------------------

ABSURD: Final = {
    "zero": 0,
    "negative": -1,
    "one": 1,
    "1970": "1970-01-01T00:00:00Z",
    "tomorrow and more": NOW + DAY + MINUTE,
    "2038": 2**31,
    "2262": "2262-04-11T23:47:16Z",
    "year 9999": "9999-12-31T23:59:59Z",
    "year 0000": "0000-01-01T00:00:00Z",
    "nanoseconds too many": NOW * 10**9,
    "2**63": 2**63,
    "1e300": 1e300,
    "401 days ago": NOW - 401 * DAY,
    "text": "yesterday",
    "bool": True,
    "list": [NOW],
}


@pytest.mark.parametrize("name", ABSURD, ids=lambda name: f"D3-{name}")
def test_an_absurd_time_is_refused_and_moves_no_watermark(name: str) -> None:
    line = Line()
    line.take([event_at(NOW - 1_000), body(ABSURD[name]), event_at(NOW - 2_000)])
    line.flush()
    assert line.ledger == Counter(messages=3, events=2, dead=1)
    assert len(line.dead) == 1
    assert line.newest() == NOW - 1_000


@pytest.mark.parametrize(
    "ts",
    [NOW / 1000, NOW // 1000, NOW, NOW * 1_000, NOW * 1_000_000, "2023-11-14T22:13:20Z"],
    ids=["D3-float-s", "D3-s", "D3-ms", "D3-us", "D3-ns", "D3-iso"],
)
def test_units_are_told_apart(ts: Any) -> None:
    line = Line()
    line.take([body(ts)])
    line.flush()
    assert line.counted() == Counter({NOW: 1})


def test_d3_two_hundred_months_in_a_batch_are_dead_letters_and_not_two_hundred_partitions() -> None:
    line = Line()
    line.take([event_at(NOW - month * 30 * DAY) for month in range(200)])
    line.flush()
    assert line.ledger["messages"] == 200
    assert line.ledger["dead"] == 200 - 14
    assert line.ledger["events"] + line.ledger["late"] == 14


def test_d3_without_the_bound_one_absurd_time_makes_honest_events_late() -> None:
    """The guard removed: times are believed far into the future."""
    line = Line(replace(TIME, max_ahead_ms=400 * DAY))
    line.take([body(NOW + 300 * DAY)])
    line.take([event_at(NOW - 1_000)])
    line.flush()
    assert line.ledger["late"] == 1


# --- D4: clocks ----------------------------------------------------------------------------------


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
from tests.faults.test_times import Line, bodies_of_a_minute
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


# --- D6: labels ----------------------------------------------------------------------------------


def label(ts: int, request: str, value: str) -> bytes:
    return json.dumps(
        {"type": "label", "ts": ts, "model": "m", "version": "1", "request_id": request,
         "label": value}
    ).encode()  # fmt: skip


def test_d6_labels_that_are_late_double_unknown_or_contradict_are_all_accounted_for() -> None:
    line = Line()
    line.take([body(NOW - 1_000, request_id=f"q{i}") for i in range(10)])
    line.take(
        [
            label(NOW, "q1", "A"),
            label(NOW, "q1", "A"),
            label(NOW, "q1", "B"),
            label(NOW, "nobody", "A"),
            label(NOW - 3 * DAY, "q2", "A"),
            label(NOW - 500 * DAY, "q3", "A"),
        ]
    )
    line.flush()
    assert line.ledger == Counter(messages=16, events=14, late=1, dead=1)
    # A label is no prediction: it neither adds to the traffic nor changes what was counted.
    assert sum(line.counted().values()) == 10
