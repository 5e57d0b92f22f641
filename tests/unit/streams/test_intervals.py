"""How the summaries of a model go from records to panes, and from panes to ever longer windows."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.release import ALL, Role
from detectors.summary import Summaries
from streams.intervals import Intervals
from streams.model_state import (
    Interval,
    IntervalKey,
    ModelState,
    decode_interval,
    encode_interval,
)
from streams.pending import MOST_BLOCKS
from streams.timeline import TimeSettings, feeder
from streams.wire import Packed, Unreadable, pack

BARE = Layout.of("")


def of(events: int) -> Summaries:
    """So many predictions, and nothing else."""
    found = Summaries.empty(BARE)
    found.vector[HEADERS.index(Header.PREDICTIONS)] = events
    return found


def packed(events: int) -> Packed:
    return pack(of(events))


def key(length_ms: int, start_ms: int) -> IntervalKey:
    return IntervalKey(length_ms, start_ms, "1", Role.PRODUCTION, ALL)


class Line:
    """Intervals of a model whose clock is moved by hand."""

    def __init__(self, *windows_ms: int, pane_ms: int = 1_000, lateness_ms: int = 100_000) -> None:
        self.time = TimeSettings(pane_ms, windows_ms, allowed_lateness_ms=lateness_ms)
        self.state = ModelState("m")
        self.intervals = Intervals(self.state, {}, self.time)
        self.offset = 0
        self.revisions: dict[tuple[int, int], list[int]] = {}

    def give(self, at_ms: int, events: int) -> int:
        """Events of a pane, on time or late. Returns how many were too late."""
        self._begin()
        pane = key(self.time.pane_ms, at_ms - at_ms % self.time.pane_ms)
        if pane.end_ms <= self.state.closed_ms:
            return self.intervals.late(pane, BARE, packed(events), self.offset)
        self.intervals.pending.add(pane, BARE, packed(events))
        return 0

    def close(self, mark: int) -> None:
        self._begin()
        self.intervals.settle(mark, self.offset)
        self.intervals.gather(mark, self.offset)
        for keys, revision in self.intervals.closing(self.state.closed_ms, mark):
            place = keys[0].length_ms, keys[0].start_ms
            self.revisions.setdefault(place, []).append(revision)
        self.state.closed_ms = mark

    def events(self, length_ms: int, start_ms: int = 0) -> int:
        interval = self.intervals.held.get(key(length_ms, start_ms))
        return interval.events() if interval is not None else 0

    def write(self) -> None:
        """What the last record changed rests from now on, as it does when it has been written."""
        for changed in self.intervals.changed:
            interval = self.intervals.held[changed]
            interval.rest(encode_interval(interval))

    def _begin(self) -> None:
        self.offset += 1
        self.intervals.begin(self.state.closed_ms)


@pytest.mark.parametrize(
    "windows_ms",
    [(5_000, 20_000), (5_000, 10_000, 20_000), (4_000, 10_000, 20_000), (1_000, 20_000), (20_000,)],
)
@pytest.mark.parametrize("rests", [False, True])
def test_every_window_counts_each_event_once_whenever_it_came(
    windows_ms: tuple[int, ...], rests: bool
) -> None:
    line = Line(*windows_ms)
    rng = np.random.default_rng(0)
    given: list[tuple[int, int]] = []
    for mark in range(0, 30_000, 500):
        for at_ms in rng.integers(max(mark - 9_000, 0), mark + 2_000, 4).tolist():
            given.append((at_ms, int(rng.integers(1, 9))))
            assert line.give(*given[-1]) == 0
            if rests:
                line.write()
        line.close(mark)
        if rests:
            line.write()
    line.close(32_000)
    line.close(40_000)
    for length in windows_ms:
        for start in range(0, 40_000, length):
            expected = sum(n for at_ms, n in given if start <= at_ms < start + length)
            assert line.events(length, start) == expected
    assert any(max(revisions) > 0 for revisions in line.revisions.values())


def test_a_window_is_put_together_from_the_longest_that_divides_it() -> None:
    time = TimeSettings(1_000, (4_000, 10_000, 20_000))
    assert [feeder(length, time) for length in time.windows_ms] == [1_000, 1_000, 10_000]


def test_panes_of_a_long_window_do_not_pile_up() -> None:
    line = Line(3_600_000, pane_ms=10_000)
    most = 0
    for at_ms in range(0, 1_800_000, 10_000):
        line.give(at_ms, 1)
        line.close(at_ms + 10_000)
        most = max(most, len(line.intervals.held))
    assert most < 10
    line.close(3_600_000)
    assert line.events(3_600_000) == 180


def test_rows_that_wait_for_a_shorter_window_are_not_counted_twice() -> None:
    line = Line(5_000, 20_000)
    line.close(0)
    line.give(0, 10)
    line.close(2_000)
    line.give(500, 1)  # its pane has closed, its window has not
    assert (line.events(5_000), line.events(20_000)) == (1, 0)
    line.close(6_000)
    assert (line.events(5_000), line.events(20_000)) == (11, 11)
    line.give(700, 2)  # now both have it already
    assert (line.events(5_000), line.events(20_000)) == (13, 13)
    line.close(7_000)
    assert line.revisions[5_000, 0] == [0, 1]


def test_a_record_processed_again_is_skipped_where_it_is_in() -> None:
    line = Line(5_000)
    line.intervals.add(key(5_000, 0), [of(3)], 7)
    line.intervals.begin(0)
    line.intervals.add(key(5_000, 0), [of(3)], 7)
    line.intervals.add(key(5_000, 5_000), [of(3)], 7)
    assert (line.events(5_000), line.events(5_000, 5_000)) == (3, 3)


def test_panes_that_rest_go_on_resting_when_their_window_takes_them_in() -> None:
    line = Line(5_000)
    for at_ms in range(0, 5_000, 1_000):
        line.give(at_ms, 1)
        line.close(at_ms + 1_000)
        line.write()
    # The first one went in alone; the last one is at hand.
    panes = [line.intervals.held[key(1_000, at_ms)] for at_ms in range(1_000, 4_000, 1_000)]
    assert line.events(5_000) == 5
    assert all(pane.packed() is not None for pane in panes)


def test_what_waits_is_bounded() -> None:
    line = Line(5_000)
    for _ in range(MOST_BLOCKS):
        line.give(0, 1)
    assert not line.intervals.pending.full()
    line.give(0, 1)
    assert line.intervals.pending.full()
    line.intervals.settle(2**62, line.offset)
    assert not line.intervals.pending.full()
    assert line.events(1_000) == MOST_BLOCKS + 1


def test_an_interval_that_rests_gives_what_it_held() -> None:
    held = Interval(3, {"": of(5)})
    value = encode_interval(held)
    held.rest(value)
    assert held.events() == 5
    held.add(of(2))
    assert held.events() == 7
    again = decode_interval(value, lambda *_: BARE)
    assert (again.applied, again.events()) == (3, 5)
    assert encode_interval(again) == value


def test_an_interval_that_does_not_fit_its_layout_is_refused_when_it_is_read() -> None:
    value = encode_interval(Interval(3, {"": of(5)}))
    wider = Layout.of("", [ColumnSpec("x", Kind.NUMERIC)])
    with pytest.raises(Unreadable):
        decode_interval(value, lambda *_: wider)
