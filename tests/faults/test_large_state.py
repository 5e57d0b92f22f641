"""H3: a judge's state at the bounds of names: larger than any record, and still stored and loaded.

Texts are of characters that do not compress and take three bytes each, as long as a name may be.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
import pytest

from detectors.categories import DEFAULT_CAP, CategoryCounts
from detectors.finding import Finding, Outcome
from detectors.layout import Kind
from detectors.reference import layout_for
from detectors.release import ALL, Release, Role
from detectors.summary import Summaries
from detectors.thresholds import ThresholdSettings
from streams.cardinality import Limits
from streams.changelog import Changelog
from streams.errors import UnavailableError
from streams.event import Bounds
from streams.judge import ModelJudge, ModelSettings
from streams.judge_state import JudgeState
from streams.kafka import MOST_RECORD_BYTES
from streams.model_state import Interval, IntervalKey, Standing, encode_interval, encode_state
from streams.standing import JudgeSettings
from streams.timeline import NEVER, TimeSettings
from streams.wire import Progress

MODEL: Final = "wide"
LETTERS: Final = Bounds(0, 1).max_name_chars
COLUMNS: Final = Limits().columns_per_model
STANDING_COLUMNS: Final = 500
SEGMENTS: Final = 64
WINDOW: Final = IntervalKey(60_000, 0, "1", Role.PRODUCTION, ALL)
TABLES: Final = ("models", "intervals", "deltas", "evidence", "clocks")
Disk = dict[str, dict[bytes, bytes]]


class Table:
    """A Faust table with its changelog in ``disk``. No record may be larger than Kafka takes."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.changelog_topic_name = name
        self.data = dict(disk.setdefault(name, {}))
        self._disk = disk[name]

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[object]:
        if value is None:
            self._disk.pop(key, None)
        elif len(key) + len(value) > MOST_RECORD_BYTES:
            raise UnavailableError("too large a record", self.changelog_topic_name, "none")
        else:
            self._disk[key] = value
        return asyncio.sleep(0)


def start(disk: Disk, kept_in: Callable[[Table], Changelog] = Changelog) -> JudgeState:
    models, intervals, deltas, evidence, clocks = (kept_in(Table(disk, name)) for name in TABLES)
    settings = ModelSettings(TimeSettings(), ThresholdSettings(), JudgeSettings())
    return JudgeState(
        models, intervals, deltas, evidence, clocks, 1, lambda _: settings, lambda _: None
    )


class Texts:
    """Names of the greatest length, each another one."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def next(self) -> str:
        letters = self._random.integers(0x4E00, 0x9FA0, LETTERS, np.uint16)
        return letters.astype("<u2").tobytes().decode("utf-16-le")


def fill(judge: ModelJudge, columns: int = COLUMNS) -> None:
    """An open window with as many columns as a model may have, each with as many texts as are kept,
    and what 500 limits say of 64 segments."""
    texts = Texts()
    names = [texts.next() for _ in range(columns)]
    layout = layout_for(None, [(name, Kind.CATEGORICAL) for name in names])
    empty = Summaries.empty(layout)
    judge.intervals.held[WINDOW] = Interval(
        7,
        {
            "": Summaries(
                layout,
                np.arange(layout.width, dtype=np.int64),
                empty.extremes,
                {},
                {
                    name: CategoryCounts({texts.next(): 1 for _ in range(DEFAULT_CAP)}, 0)
                    for name in names
                },
            )
        },
    )
    judge.intervals.changed.add(WINDOW)
    release = Release(MODEL, "1", Role.PRODUCTION)
    for column in names[:STANDING_COLUMNS]:
        for number in range(SEGMENTS):
            segment = f"s={number}"
            finding = Finding(
                *(release, segment, column, 60_000, 0, 0, "psi", "reference:r"),
                *(0.1, 0.2, 1_000, 1_000, Outcome.PASS, "", True, False),
            )
            key = ("1", Role.PRODUCTION, segment, column, "psi", "reference", 60_000)
            judge.state.standings[key] = Standing(0, finding)
    judge.touched = True


def write(state: JudgeState, judge: ModelJudge, offset: int) -> None:
    nothing = Progress("w", 0, ())
    asyncio.run(state.write(0, judge, offset, nothing, b""))


def test_what_is_larger_than_a_record_is_loaded_as_it_was_written() -> None:
    disk: Disk = {}
    state = start(disk)
    judge = state.judge(0, MODEL)
    fill(judge)
    wanted = encode_interval(judge.intervals.held[WINDOW])
    assert len(zlib.compress(wanted, 1)) > 3 * MOST_RECORD_BYTES
    write(state, judge, 11)
    heir = start(disk).judges(0)[MODEL]
    assert encode_interval(heir.intervals.held[WINDOW]) == wanted
    assert encode_state(heir.state) == encode_state(judge.state)
    assert heir.state.applied == 11
    assert heir.state.closed_ms == NEVER


def test_without_parts_such_a_state_ends_the_judge() -> None:
    """The guard removed."""
    state = start({}, lambda table: Changelog(table, part_bytes=2**40))
    judge = state.judge(0, MODEL)
    fill(judge, columns=300)
    with pytest.raises(UnavailableError, match="too large"):
        write(state, judge, 11)
