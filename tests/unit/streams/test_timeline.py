"""Event time: what closes a window, and what comes too late."""

from __future__ import annotations

import numpy as np
import pytest

from streams.timeline import (
    NEVER,
    PartitionTime,
    TimeSettings,
    aligned,
    late_rows,
    watermark,
)

TIME = TimeSettings(
    pane_ms=1_000, windows_ms=(5_000,), out_of_orderness_ms=500, allowed_lateness_ms=3_000
)


def at(newest_ms: int, idle: bool = False, partitions: int = 2) -> PartitionTime:
    return PartitionTime(newest_ms, idle, partitions)


def test_the_slowest_partition_sets_the_watermark() -> None:
    clocks = {("a", 0): at(10_000), ("a", 1): at(7_000)}
    assert watermark(["a"], clocks, TIME) == 6_500


def test_an_idle_partition_holds_nothing_open() -> None:
    clocks = {("a", 0): at(10_000), ("a", 1): at(7_000, idle=True)}
    assert watermark(["a"], clocks, TIME) == 9_500


def test_a_silent_partition_that_is_not_idle_holds_windows_open() -> None:
    clocks = {("a", 0): at(10_000), ("a", 1): at(NEVER)}
    assert watermark(["a"], clocks, TIME) < 0


def test_a_partition_never_heard_of_holds_everything() -> None:
    assert watermark(["a"], {("a", 0): at(10_000)}, TIME) == NEVER
    assert watermark(["a", "b"], {("a", 0): at(10_000, partitions=1)}, TIME) == NEVER


def test_when_all_are_idle_nothing_moves() -> None:
    assert watermark(["a"], {("a", 0): at(10_000, idle=True, partitions=1)}, TIME) == NEVER


def test_topics_that_a_model_was_not_seen_in_do_not_hold_it() -> None:
    clocks = {("a", 0): at(10_000, partitions=1), ("b", 0): at(1, partitions=1)}
    assert watermark(["a"], clocks, TIME) == 9_500


def test_windows_are_half_open() -> None:
    assert aligned(4_999, 5_000) == 0
    assert aligned(5_000, 5_000) == 5_000


def test_a_row_is_late_once_the_watermark_passed_its_pane_by_the_allowed_lateness() -> None:
    # Panes end at 1,000: late from a watermark of 4,000 on, which is a newest event of 4,500.
    for newest, expected in ((4_499, False), (4_500, True)):
        late, after = late_rows(np.array([999]), np.array([0]), newest, TIME)
        assert late.tolist() == [expected]
        assert after == newest


def test_rows_of_one_message_do_not_make_each_other_late() -> None:
    ts, message = np.array([100_000, 0, 0]), np.array([0, 0, 1])
    late, after = late_rows(ts, message, NEVER, TIME)
    assert late.tolist() == [False, False, True]
    assert after == 100_000


def test_how_a_partition_is_cut_into_chunks_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    ts = rng.integers(0, 20_000, 200)
    message = np.sort(rng.integers(0, 60, 200))
    whole, newest = late_rows(ts, message, NEVER, TIME)
    cut = int(np.searchsorted(message, 30))
    first, so_far = late_rows(ts[:cut], message[:cut], NEVER, TIME)
    second, at_end = late_rows(ts[cut:], message[cut:], so_far, TIME)
    assert np.concatenate((first, second)).tolist() == whole.tolist()
    assert whole.any()
    assert at_end == newest


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pane_ms": 50}, "pane"),
        ({"windows_ms": ()}, "windows"),
        ({"windows_ms": (60_000, 60_000)}, "twice"),
        ({"windows_ms": (61_000,)}, "multiple"),
        ({"allowed_lateness_ms": -1}, "allowed_lateness"),
        ({"idle_timeout_ms": 0}, "idle_timeout"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TimeSettings(**wrong)  # type: ignore[arg-type]
