"""Backtests on small made-up recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from detectors.policy import Automation, PolicySettings
from detectors.release import Release, Role
from detectors.thresholds import ThresholdSettings
from detectors.verdict import Status
from streams.backtest import MOST_WAITING, Line, Policy
from streams.backtest_outcome import (
    AlarmKind,
    EndedBy,
    Truth,
)
from streams.pair_settings import Enabled, PairSettings
from streams.recorded import Columns, in_order, open_files
from streams.recorded_lines import LINES_AT_ONCE
from streams.timeline import DAY, MINUTE
from tests.unit.streams.made_up_recordings import (
    BAD,
    BUDGET,
    CONFIG,
    GOOD,
    LATEST_MS,
    PANE_MS,
    SECOND_MS,
    START_MS,
    event,
    in_time,
    minutes,
    replay,
    with_a_bad_canary,
    write,
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return with_a_bad_canary(tmp_path)


def test_what_is_served_after_the_rollback_is_withheld_and_not_exposure(canary: Path) -> None:
    (outcome,) = replay(canary, Truth(bad=frozenset({("m", "2")})))
    (exposure,) = outcome.exposures
    # The window of minute 3 closes when the watermark, 2 s behind, passes its end.
    assert exposure.until_ms == START_MS + 4 * MINUTE + 2 * SECOND_MS
    assert exposure.events == 62
    assert (
        exposure.model_events == 125
    )  # production's event of that second comes first, and leads to it
    assert outcome.counted.withheld == 7 * 60 - exposure.events
    assert outcome.rollbacks == 1
    assert [(a.kind, a.delay_events) for a in outcome.alarms] == [(AlarmKind.DETECTION, 62)]


def test_a_dry_run_rolls_nothing_back_so_the_exposure_lasts_to_the_end(canary: Path) -> None:
    dry = CONFIG.model_copy(update={"policy": PolicySettings(automation=Automation.DRY_RUN)})
    (outcome,) = replay(canary, Truth(bad=frozenset({("m", "2")})), dry)
    (exposure,) = outcome.exposures
    assert exposure.ended_by is EndedBy.END
    assert exposure.events == 7 * 60
    assert (outcome.rollbacks, outcome.counted.withheld) == (0, 0)


@pytest.mark.parametrize("with_answer", [True, False])
def test_a_shadow_is_held_against_production_request_by_request(
    tmp_path: Path, *, with_answer: bool
) -> None:
    """Each answer of the shadow is a little worse than production's to the same request. Questions
    differ far more than that, so it takes pairs to see it, be the scores in the answers or in
    events of their own that come later."""
    shadow = Release("m", "2", Role.SHADOW)

    def asked(release: Release, less: float) -> Iterator[dict[str, object]]:
        for number, at_ms in enumerate(range(0, 10 * MINUTE, SECOND_MS)):
            score = 0.1 + 0.8 * (number * 37 % 100) / 100 - less
            answered = event(at_ms, release, score) | {"request_id": f"r{number}"}
            if with_answer:
                yield answered
                continue
            later = answered | {"ts": START_MS + at_ms + 700}
            del answered["scores"], later["prediction"]
            yield from (answered, later)

    recorded = write(tmp_path / "e.ndjson", in_time(asked(GOOD, 0.0), asked(shadow, 0.02)))
    paired = CONFIG.model_copy(
        update={
            "detect": ThresholdSettings(min_events=20, limits=()),
        }
    )
    alone = paired.model_copy(update={"pairing": PairSettings(enabled=Enabled.OFF)})
    with_pairs, without = replay(recorded, Truth(), paired, alone)
    (alarm,) = with_pairs.alarms
    assert alarm.release == shadow
    assert alarm.reason.startswith("scores.s: worse in ")
    assert without.alarms == ()


def test_two_policies_see_the_same_events_and_do_not_touch_each_other(canary: Path) -> None:
    truth = Truth(bad=frozenset({("m", "2")}))
    off = CONFIG.model_copy(update={"policy": PolicySettings(automation=Automation.OFF)})
    together = replay(canary, truth, CONFIG, off)
    alone = [*replay(canary, truth, CONFIG), *replay(canary, truth, off)]
    assert [replace(each, name="") for each in together] == [
        replace(each, name="") for each in alone
    ]
    assert [each.rollbacks for each in together] == [1, 0]


def test_a_replay_of_a_replay_is_the_same_and_so_is_one_from_many_files(
    canary: Path, tmp_path: Path
) -> None:
    """The outcome follows from the events, not from how they lie in files."""
    lines = canary.read_bytes().splitlines(keepends=True)
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "b-first.ndjson").write_bytes(b"".join(lines[:300]))
    (folder / "a-second.ndjson").write_bytes(b"".join(lines[300:]))
    truth = Truth(bad=frozenset({("m", "2")}))
    once = replay(canary, truth)
    assert replay(canary, truth) == once
    assert replay(folder, truth) == once
    table = tmp_path / "e.parquet"
    rows = [json.loads(line) for line in lines]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table, row_group_size=97)
    assert replay(table, truth) == once


def test_late_events_are_left_out_and_counted(tmp_path: Path) -> None:
    late = [event(at_ms, GOOD, 0.0) for at_ms in range(0, 30_000, SECOND_MS)]
    recorded = write(tmp_path / "e.ndjson", [*minutes(GOOD, 0, 30), *late])
    (outcome,) = replay(recorded, Truth())
    assert outcome.counted.late == len(late)
    assert outcome.counted.events == 30 * 60
    assert [c.events for c in outcome.courses] == [30 * 60]


def test_unreadable_lines_are_counted_with_their_reason_and_never_pile_up(tmp_path: Path) -> None:
    recorded = tmp_path / "e.ndjson"
    rows = MOST_WAITING + 3 * LINES_AT_ONCE
    recorded.write_text("".join(f'{{"n": {i}}}\n' for i in range(rows)))
    recording = open_files(recorded, Columns(), LATEST_MS)
    line = Line(Policy("p", CONFIG), recording.input, [], Truth(), BUDGET)
    waiting = []
    for block in in_order(recording, PANE_MS):
        line.take(block)
        waiting.append(len(line._summarizer._outgoing))
    assert max(waiting) < MOST_WAITING
    outcome = line.finish()
    assert (outcome.counted.events, outcome.counted.dead) == (0, rows)
    assert outcome.counted.reasons == (("model is missing or not a readable name", rows),)
    assert outcome.courses == ()


def test_one_absurd_clock_does_not_make_the_rest_late(tmp_path: Path) -> None:
    events = list(minutes(GOOD, 0, 20))
    events.insert(100, {**event(0, GOOD, 0.9), "ts": LATEST_MS + DAY})
    (outcome,) = replay(write(tmp_path / "e.ndjson", events), Truth())
    assert (outcome.counted.late, outcome.counted.dead) == (0, 1)
    assert outcome.counted.events == 20 * 60


def test_the_course_of_a_release_holds_each_change_of_status_once(canary: Path) -> None:
    (outcome,) = replay(canary, Truth())
    (course,) = [c for c in outcome.courses if c.release == BAD]
    assert [status for _, status in course.statuses] == [Status.FAIL, Status.INSUFFICIENT]
    assert course.statuses[0][0] == START_MS + 4 * MINUTE + 2 * SECOND_MS
