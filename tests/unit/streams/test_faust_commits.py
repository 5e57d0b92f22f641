"""A Faust app commits what it has taken in, whatever offsets the markers of transactions take."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from faust.transport.consumer import Consumer
from intervaltree import IntervalTree  # type: ignore[import-untyped]

from streams.faust_broker import InOrder


class Commits(InOrder):
    """What Faust's consumer keeps, and the two functions that are ours."""

    def __init__(self) -> None:
        self._acked = defaultdict(list)
        self._acked_index = defaultdict(set)
        self._gap: defaultdict[str, Any] = defaultdict(IntervalTree)
        self._committed_offset: defaultdict[str, int | None] = defaultdict(lambda: None)


class FaustCommits(Commits):
    """The same with Faust's own two functions."""

    _new_offset = Consumer._new_offset
    _add_gap = Consumer._add_gap


def committed_after(commits: Commits, transactions: int) -> int | None:
    """Each transaction has two records and a marker; all are acknowledged at once, and a commit
    follows after every fifth."""
    last = 0
    for number in range(transactions):
        first = 3 * number
        if number:
            asyncio.run(commits._add_gap("tp", last + 1, first))
        for offset in (first, first + 1):
            commits._acked["tp"].append(offset)
            commits._acked_index["tp"].add(offset)
            last = offset
        if number % 5 == 4:
            offset_or_none = commits._new_offset("tp")
            if offset_or_none is not None:
                commits._committed_offset["tp"] = offset_or_none
    return commits._committed_offset["tp"]


def test_all_that_was_acknowledged_is_committed_and_forgotten() -> None:
    commits = Commits()
    assert committed_after(commits, 50) == 149
    assert not commits._acked["tp"]
    assert not commits._acked_index["tp"]


def test_fausts_own_reckoning_falls_behind() -> None:
    """The reason for ours; when this fails, Faust has been put right and ours can go."""
    behind = committed_after(FaustCommits(), 50)
    assert behind is None or behind < 100


def test_nothing_acknowledged_is_nothing_to_commit() -> None:
    assert Commits()._new_offset("tp") is None
