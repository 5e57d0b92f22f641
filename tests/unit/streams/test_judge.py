"""The judge of one model: its windows and their corrections, and the state that it keeps."""

from __future__ import annotations

import msgspec

from detectors.finding import Outcome
from detectors.release import OTHER
from detectors.thresholds import ThresholdSettings
from detectors.verdict import Status
from streams.judge import MAX_RELEASES, ModelJudge
from streams.model_state import (
    ModelState,
    decode_interval,
    decode_state,
    encode_interval,
    encode_state,
)
from streams.timeline import PartitionTime
from streams.wire import Progress
from tests.unit.streams.judge_bench import WALL_MS, Bench, events, reference, total

# --- windows -------------------------------------------------------------------------------------


def test_a_window_closes_when_the_watermark_passes_its_end_and_not_before() -> None:
    bench = Bench()
    bench.give(events(0))
    assert bench.clock(4_999).windows == []
    assert total(bench.clock(5_000).windows) == 50
    assert bench.clock(6_000).windows == []


def test_a_longer_window_is_a_merge_of_the_same_panes() -> None:
    bench = Bench()
    for at in range(0, 20_000, 1_000):
        bench.give(events(at, 10))
        bench.clock()
    bench.clock(20_000)
    assert total(bench.windows) == total(bench.windows, 20_000) == 200


def test_a_partition_never_heard_of_closes_nothing() -> None:
    bench = Bench()
    bench.give(events(0))
    assert bench.clock(9_000, unheard=True).windows == []


def test_late_rows_correct_a_closed_window() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.clock(6_000)
    bench.give(events(1_000, 7))
    bench.clock(7_000)
    rows = [row for row in bench.windows if row["column"] == "error"]
    assert [(row["events"], row["revision"]) for row in rows] == [(50, 0), (57, 1)]
    assert rows[0]["window_start"] == rows[1]["window_start"]


def test_rows_later_than_the_allowed_lateness_are_counted_as_late() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.clock(15_000)
    late = bench.give(events(0, 7)).late
    bench.clock(20_000)
    assert (late, bench.judge.state.late) == (7, 7)
    assert total(bench.windows) == 50


def test_a_change_of_reference_in_mid_window_loses_no_count() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.reference = reference()
    bench.known[bench.reference.id] = bench.reference
    bench.give(events(1_000, 30))
    bench.clock(5_000)
    assert {row["reference"] for row in bench.windows} == {"", bench.reference.id}
    assert total(bench.windows) == 80


def test_finished_intervals_are_forgotten() -> None:
    bench = Bench()
    for at in range(0, 200_000, 5_000):
        bench.window(None, at)
    assert len(bench.judge.intervals.held) < 20


# --- state ---------------------------------------------------------------------------------------


def test_state_and_intervals_survive_being_written_down() -> None:
    bench = Bench()
    bench.window(0.0, 0)
    bench.give(events(1_000, 7))
    bench.window(0.0, 5_000)
    written = encode_state(bench.judge.state)
    assert encode_state(decode_state(written)) == written
    assert decode_state(written).standings.keys() == bench.judge.state.standings.keys()
    for interval in bench.judge.intervals.held.values():
        blob = encode_interval(interval)
        (block,) = interval.blocks.values()
        assert encode_interval(decode_interval(blob, lambda *_, of=block: of.layout)) == blob


def test_the_state_is_written_with_the_standings_that_there_are() -> None:
    bench = Bench()
    written = []

    def write() -> None:
        judge = bench.judge
        written.append(encode_state(judge.state, judge.standings.packed()))
        assert written[-1] == encode_state(judge.state)

    for at, canary in ((0, 1.0), (5_000, 0.0), (10_000, None)):
        bench.window(canary, at)
        write()
        bench.give(events(at + 5_000, 7))
        write()
    assert {key[0] for key in decode_state(written[-1]).standings} == {"2"}
    bench.wall_ms += 500_000
    bench.give(events(15_000))
    bench.wall_ms += 200_000
    bench.clock(20_000)  # the canary is not heard of any more
    write()
    assert not decode_state(written[-1]).standings


def test_releases_beyond_the_cap_are_kept_under_the_name_they_were_admitted_by() -> None:
    bench = Bench()
    for number in range(MAX_RELEASES + 3):
        some = events(0, 1)
        some[0]["version"] = f"v{number}"
        bench.give(some)
        assert (bench.judge.kept is None) == bench.judge.touched
    assert bench.judge.kept is not None
    assert [group.version for group in bench.judge.kept.groups] == [OTHER]
    bench.clock(5_000)
    assert total(bench.windows) == MAX_RELEASES + 3
    others = [r for r in bench.windows if r["version"] == OTHER and r["column"] == "error"]
    assert [row["events"] for row in others] == [3]


def test_a_delta_of_open_panes_is_kept_as_it_came_and_leaves_the_state_to_the_next_pane() -> None:
    bench = Bench()
    bench.give(events(0))
    kept = bench.judge.kept
    assert kept is not None
    assert not bench.judge.touched
    again = ModelJudge(ModelState("m"), {}, bench.settings, bench.known.get, {})
    again.restore(kept, bench.offset)
    assert encode_state(again.state) == encode_state(
        replace_applied(bench.judge.state, bench.offset)
    )
    bench.clock(5_000)
    again.begin()
    times = {("t", 0): PartitionTime(WALL_MS + 5_000, False, 1)}
    outputs = again.progress(Progress("w", WALL_MS, ()), times, bench.offset)
    assert outputs.windows == bench.windows
    again.begin()
    assert again.intervals.finished == [1]


def replace_applied(state: ModelState, offset: int) -> ModelState:
    return msgspec.structs.replace(state, applied=offset)


def test_every_finding_of_a_window_without_limits_decides_nothing() -> None:
    bench = Bench(thresholds=ThresholdSettings(min_events=20, limits=()))
    bench.give(events(0))
    bench.give(events(0, role="canary", quality=0.0))
    outputs = bench.clock(5_000)
    assert outputs.findings
    assert not any(f.decides or f.outcome is Outcome.FAIL for f in outputs.findings)
    assert {v.status for v in outputs.verdicts} == {Status.INSUFFICIENT}
