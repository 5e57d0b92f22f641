"""Whoever reads a verdict finds the settings that it names, wherever the judge is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from streams.internal_topics import CONFIGURATIONS, VERDICTS
from streams.judged_by import configuration_name
from tests.laws.judge_courses import KNOWN, scenario
from tests.laws.judge_on_disk import LEARNING, Died, Disk, feed, start_judge

pytestmark = pytest.mark.usefixtures("quiet")

TEXT = "time:\n  pane: 1s\n"
NAME = configuration_name(TEXT)


def judged(records: list[bytes], left: int | None = None, disk: Disk | None = None) -> Disk:
    """What is on disk after a judge that dies at its write ``left``, if it gets so far."""
    disk = disk or Disk()
    disk.left = left
    with contextlib.suppress(Died):
        asyncio.run(feed(start_judge(disk, LEARNING, KNOWN, TEXT), records))
    return disk


def named(disk: Disk) -> set[str]:
    """The configurations that published verdicts name."""
    published = disk.published.get(VERDICTS, ())
    rows: list[dict[str, Any]] = [row for _, v in published for row in json.loads(v)["rows"]]
    return {row["configuration"] for row in rows}


def kept(disk: Disk) -> list[tuple[Any, dict[str, Any]]]:
    """Key and row of each message of ``configurations``."""
    return [
        (key, row)
        for key, value in disk.published.get(CONFIGURATIONS, ())
        for row in json.loads(value)["rows"]
    ]


def test_settings_are_published_once_a_process_under_their_hash() -> None:
    records = scenario()
    disk = judged(records)
    assert len(disk.published[VERDICTS]) > 2
    assert named(disk) == {NAME}
    ((key, row),) = kept(disk)
    assert (key, row["configuration"], row["content"]) == (NAME, NAME, TEXT)
    judged(records, disk=disk)
    assert len({row["configuration"] for _, row in kept(disk)}) == 1


def test_no_verdict_is_published_before_the_settings_that_it_names() -> None:
    records = scenario()
    writes = judged(records).writes
    seen = set()
    for left in range(0, writes, max(writes // 100, 1)):
        disk = judged(records, left)
        there = {row["configuration"] for _, row in kept(disk)}
        assert named(disk) <= there, f"killed at write {left}"
        seen.add((bool(named(disk)), bool(there)))
    assert {(False, False), (True, True)} <= seen
