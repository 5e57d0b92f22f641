"""A judge that is killed at any write leaves no trace, and would without its guards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from streams.internal_topics import FINDINGS, REFERENCES, VERDICTS, WINDOWS
from streams.model_state import decode_state
from tests.laws.judge_courses import KNOWN, crowded, scenario
from tests.laws.judge_on_disk import (
    FINDING_KEY,
    LEARNING,
    VERDICT_KEY,
    WINDOW_KEY,
    Died,
    Disk,
    feed,
    judged,
    rows_of,
    start_judge,
)

pytestmark = pytest.mark.usefixtures("quiet")


def without_guard(disk: Disk) -> None:
    """Intervals that do not remember which record changed them last."""
    for key, value in disk.tables["intervals"].items():
        _, *rest = msgspec.msgpack.decode(value)
        disk.tables["intervals"][key] = msgspec.msgpack.encode([-1, *rest])


def killed(
    records: Sequence[bytes],
    writes: int,
    uncommitted: int,
    spoil: Callable[[Disk], None] = lambda _: None,
) -> tuple[Disk, int]:
    """Kill the judge after so many writes, do ``spoil`` to the disk; another goes on
    ``uncommitted`` records before that. Gives what is on disk at the end, and the record that was
    under way."""
    disk = Disk(left=writes)
    agent = start_judge(disk, LEARNING, KNOWN)
    at = 0

    async def until_death() -> None:
        nonlocal at
        for at in range(len(records)):
            await agent.take(0, at, records[at])

    with pytest.raises(Died):
        asyncio.run(until_death())
    disk.left = None
    spoil(disk)
    successor = start_judge(disk, LEARNING, KNOWN)
    asyncio.run(feed(successor, records, max(at - uncommitted, 0)))
    return disk, at


def everything(disk: Disk) -> tuple[Any, ...]:
    """All that anybody can see in the end."""
    return (
        rows_of(disk, WINDOWS, WINDOW_KEY),
        rows_of(disk, FINDINGS, FINDING_KEY),
        rows_of(disk, VERDICTS, VERDICT_KEY),
        {value for _, value in disk.published.get(VERDICTS, ())},
        disk.tables,
    )


def test_the_scenario_has_all_that_a_crash_could_spoil() -> None:
    whole = judged(scenario(), LEARNING, KNOWN)
    windows = rows_of(whole, WINDOWS, WINDOW_KEY)
    statuses = {row["status"] for row in rows_of(whole, VERDICTS, VERDICT_KEY)}
    assert max(row["revision"] for row in windows) > 0
    assert REFERENCES in whole.published
    assert "fail" in statuses
    findings = rows_of(whole, FINDINGS, FINDING_KEY)
    assert {"drift", "canary_level"} <= {row["detector"] for row in findings}
    failing = {row["detector"] for row in findings if row["outcome"] == "fail"}
    assert {"drift", "canary_level"} <= failing
    assert len(whole.tables["evidence"]) > 2


@pytest.mark.parametrize("course", [scenario, crowded])
def test_a_judge_killed_at_any_write_leaves_no_trace(course: Callable[[], list[bytes]]) -> None:
    records = course()
    whole = judged(records, LEARNING, KNOWN)
    expected = everything(whole)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    for writes in points:
        disk, at = killed(records, writes, uncommitted=writes % 7)
        assert everything(disk) == expected, f"killed at write {writes}, in record {at}"


def test_the_crowded_scenario_has_what_is_merged_before_its_pane_closes() -> None:
    whole = judged(crowded(), LEARNING)
    state = decode_state(whole.tables["models"][b"m"])
    assert state.settled > 0
    assert whole.tables["deltas"]
    windows = rows_of(whole, WINDOWS, WINDOW_KEY)
    assert max(row["revision"] for row in windows) > 0
    long = [row for row in windows if row["window_ms"] == 20_000 and row["column"] == "error"]
    assert sum(row["events"] for row in long) == 2 * 3 * 79


def test_without_its_end_evidence_counts_panes_twice() -> None:
    """The guard of the evidence: an entry says up to where it has had the panes."""
    records = scenario()
    expected = everything(judged(records, LEARNING, KNOWN))

    def forgetful(disk: Disk) -> None:
        for key, value in disk.tables["evidence"].items():
            _, *rest = msgspec.msgpack.decode(value)
            disk.tables["evidence"][key] = msgspec.msgpack.encode([0, *rest])

    whole = judged(records, LEARNING, KNOWN)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    differing = [
        writes
        for writes in points
        if everything(killed(records, writes, 0, spoil=forgetful)[0]) != expected
    ]
    assert differing


def test_without_the_applied_guard_a_killed_judge_counts_twice() -> None:
    records = scenario()
    whole = judged(records, LEARNING, KNOWN)
    expected = everything(whole)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    differing = [
        writes
        for writes in points
        if everything(killed(records, writes, 0, spoil=without_guard)[0]) != expected
    ]
    assert differing
