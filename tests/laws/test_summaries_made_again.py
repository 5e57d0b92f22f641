"""``driftline.summaries`` is deleted and made again, and its offsets begin anew: nothing of the new
topic is taken for what the judge has had of the old one, and it is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streams.internal_topics import VERDICTS, WINDOWS
from streams.model_state import decode_state, encode_state
from tests.laws.judge_courses import KNOWN, crowded, scenario
from tests.laws.judge_on_disk import (
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

Records = Sequence[bytes]


def read(disk: Disk, records: Records, topic_id: str) -> None:
    """A judge that has just been started reads a topic from its first record."""
    asyncio.run(feed(start_judge(disk, LEARNING, KNOWN, topic_id=topic_id), records))


def in_two_topics(records: Records, first: str = "one", second: str = "two") -> Disk:
    """The first half of the records came in a topic of that id; it was deleted when all had been
    read, and made again, and the rest came in the new one."""
    disk, half = Disk(), len(records) // 2
    read(disk, records[:half], first)
    read(disk, records[half:], second)
    return disk


def windows_of(disk: Disk) -> list[dict[str, Any]]:
    return rows_of(disk, WINDOWS, WINDOW_KEY, without=("offset",))


def verdicts_of(disk: Disk) -> list[dict[str, Any]]:
    """In the order in which they were published."""
    found = [json.loads(value)["rows"] for _, value in disk.published.get(VERDICTS, ())]
    return [row for rows in found for row in rows]


@pytest.mark.parametrize("course", [scenario, crowded])
def test_every_record_of_the_new_topic_is_judged(course: Callable[[], list[bytes]]) -> None:
    records = course()
    assert windows_of(in_two_topics(records)) == windows_of(judged(records, LEARNING, KNOWN))


@pytest.mark.parametrize("course", [scenario, crowded])
def test_without_ids_records_of_the_new_topic_are_passed_over(
    course: Callable[[], list[bytes]],
) -> None:
    """The guard removed."""
    records = course()
    disk = in_two_topics(records, "", "")
    assert windows_of(disk) != windows_of(judged(records, LEARNING, KNOWN))
    assert not any("made again" in row["reason"] for row in verdicts_of(disk))


def test_all_releases_are_blind_and_the_reason_is_said() -> None:
    records = scenario()
    half = len(records) // 2
    disk = Disk()
    read(disk, records[:half], "one")
    known = {(row["model"], row["role"]) for row in verdicts_of(disk)}
    before = len(verdicts_of(disk))
    read(disk, records[half:], "two")
    told = verdicts_of(disk)[before:]
    reason = "summaries was made again; what was not read of the old topic is gone"
    blind = {
        (row["model"], row["role"])
        for row in told
        if row["status"] == "blind" and row["reason"].startswith(reason)
    }
    assert known
    assert blind >= known
    assert told[-1]["status"] != "blind"


def test_verdicts_after_it_are_newer_than_all_before() -> None:
    """Whoever acts on verdicts keeps the highest sequence of a release."""
    records = scenario()
    disk, half = Disk(), len(records) // 2
    read(disk, records[:half], "one")
    before = len(verdicts_of(disk))
    for topic_id in ("two", "three"):
        read(disk, records[half:], topic_id)
    verdicts = verdicts_of(disk)
    assert len(verdicts) > before > 0
    for role in {row["role"] for row in verdicts}:
        for model in ("m", "n"):
            own = [r["sequence"] for r in verdicts if (r["model"], r["role"]) == (model, role)]
            assert own == sorted(set(own))


def test_a_judge_killed_while_it_takes_up_the_new_topic_leaves_no_trace() -> None:
    records = scenario()
    half = len(records) // 2
    whole = in_two_topics(records)
    first = Disk()
    read(first, records[:half], "one")
    for writes in range(40):
        disk = Disk(left=None)
        disk.tables = {name: dict(table) for name, table in first.tables.items()}
        disk.published = {name: list(sent) for name, sent in first.published.items()}
        disk.left = writes
        with pytest.raises(Died):
            read(disk, records[half:], "two")
        disk.left = None
        read(disk, records[half:], "two")
        assert windows_of(disk) == windows_of(whole)
        assert rows_of(disk, VERDICTS, VERDICT_KEY) == rows_of(whole, VERDICTS, VERDICT_KEY)
        assert disk.tables == whole.tables


def test_a_state_that_does_not_know_its_topic_is_taken_for_one_of_this_topic() -> None:
    """It was written by a version that kept no ids."""
    records = scenario()
    disk, half = Disk(), len(records) // 2
    read(disk, records[:half], "")
    agent = start_judge(disk, LEARNING, KNOWN, topic_id="one")
    asyncio.run(feed(agent, records, half))
    whole = judged(records, LEARNING, KNOWN)
    assert disk.published.keys() == whole.published.keys()
    assert rows_of(disk, VERDICTS, VERDICT_KEY) == rows_of(whole, VERDICTS, VERDICT_KEY)


def test_the_gap_survives_a_restart() -> None:
    records = scenario()
    disk, half = Disk(), len(records) // 2
    read(disk, records[:half], "one")
    read(disk, records[half : half + 1], "two")
    state = decode_state(disk.tables["models"][b"m"])
    assert {gap.through for gap in state.gaps} == {"summaries"}
    assert decode_state(encode_state(state)).gaps == state.gaps
