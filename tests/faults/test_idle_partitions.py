"""D2: partitions that are silent, and partitions that are behind."""

from __future__ import annotations

from streams.timeline import HOUR, PartitionTime, watermark
from tests.faults.worker_line import NOW, TIME, TOPIC, Line, event_at


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
