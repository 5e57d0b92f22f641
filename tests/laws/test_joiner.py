"""Joining halves: the rules against a plain loop, and the same counts however often it dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.release import Role
from streams.halves import HalfRows
from streams.joiner import Joined, Joiner

WAIT_MS = 1_000
RELEASES = (
    ("1", Role.PRODUCTION),
    ("2", Role.PRODUCTION),
    ("3", Role.SHADOW),
    ("4", Role.SHADOW),
)


@dataclass(frozen=True, slots=True)
class Record:
    """``halves``: request and index of the release."""

    wall_ms: int
    halves: tuple[tuple[int, int], ...]

    def rows(self) -> HalfRows:
        n = len(self.halves)
        return HalfRows(
            RELEASES,
            np.array([request for request, _ in self.halves], np.uint64),
            np.array([release for _, release in self.halves], np.uint16),
            np.zeros(n, np.int64),
            np.zeros(n, np.uint32),
            np.zeros(n, np.uint8),
            {},
        )


_halves = st.tuples(st.integers(0, 6), st.integers(0, 3))
_records = st.lists(
    st.builds(Record, st.integers(-300, 900), st.lists(_halves, max_size=6).map(tuple)),
    max_size=25,
).map(
    lambda steps: [
        # Clocks of several workers: mostly forward, now and then back.
        Record(10_000 + sum(step.wall_ms for step in steps[: i + 1]), step.halves)
        for i, step in enumerate(steps)
    ]
)


Outcome = Counter[tuple[str, int, int]]
"""How often: ("pair", shadow's and production's half), (what became of it, half, 0)."""


def by_the_rules(records: Sequence[Record], most: int) -> Outcome:
    """The rules of the module, one half at a time."""
    found: Outcome = Counter()
    before: list[tuple[int, int, int]] = []
    clock = 0
    for record in records:
        clock = max(clock, record.wall_ms)
        for request, release in record.halves:
            row = len(before)
            side = 0 if RELEASES[release][1] is Role.PRODUCTION else release
            sight = [
                (at, other_side, sent)
                for at, (asked, other_side, sent) in enumerate(before)
                if asked == request and at >= row - most and clock - sent < 2 * WAIT_MS
            ]
            before.append((request, side, clock))
            if any(other_side == side for _, other_side, _ in sight):
                found["repeated", row, 0] += 1
                continue
            found["half", row, 0] += 1
            firsts: dict[int, tuple[int, int]] = {}
            for at, other_side, sent in sight:
                firsts.setdefault(other_side, (at, sent))
            for other_side, (at, sent) in firsts.items():
                if clock - sent > WAIT_MS or (side and other_side):
                    continue
                shadow, production = (at, row) if other_side else (row, at)
                found["pair", shadow, production] += 1
    return found


def dropped_by_the_rules(records: Sequence[Record], most: int) -> int:
    """Rows that were pushed out of sight by those after them while they might have waited."""
    clocks: list[int] = []
    clock = 0
    for record in records:
        clock = max(clock, record.wall_ms)
        clocks += [clock] * len(record.halves)
    return sum(
        clocks[row + most] - clocks[row] <= WAIT_MS for row in range(max(len(clocks) - most, 0))
    )


def enter(joiner: Joiner, offset: int, record: Record) -> None:
    joiner.enter(offset, record.wall_ms, "m", record.rows())


def outcome(joined: Joined, start: int, repeated: Counter[str]) -> Outcome:
    found: Outcome = Counter()
    for shadow, production in zip(joined.shadow.tolist(), joined.production.tolist(), strict=True):
        found["pair", shadow + start, production + start] += 1
    for counts in joined.halves.values():
        repeated.update(half=counts.halves, repeated=counts.repeated, dropped=counts.dropped)
    return found


@settings(max_examples=400, deadline=None, derandomize=True)
@given(_records, st.integers(1, 40), st.lists(st.booleans(), min_size=25, max_size=25))
def test_pairs_follow_the_rules_however_the_records_are_grouped(
    records: list[Record], most: int, ends: list[bool]
) -> None:
    joiner = Joiner(WAIT_MS, most)
    found: Outcome = Counter()
    sums: Counter[str] = Counter()
    for offset, record in enumerate(records):
        enter(joiner, offset, record)
        if ends[offset]:
            found += outcome(joiner.join(), 0, sums)
    found += outcome(joiner.join(), 0, sums)
    expected = by_the_rules(records, most)
    pairs = Counter({key: n for key, n in expected.items() if key[0] == "pair"})
    assert found == pairs
    assert sums["half"] == sum(key[0] == "half" for key in expected)
    assert sums["repeated"] == sum(key[0] == "repeated" for key in expected)
    assert sums["dropped"] == dropped_by_the_rules(records, most)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(_records, st.integers(1, 40), st.lists(st.booleans(), min_size=25, max_size=25))
def test_a_joiner_rebuilt_from_the_tail_goes_on_as_if_nothing_had_happened(
    records: list[Record], most: int, kills: list[bool]
) -> None:
    joiner, start = Joiner(WAIT_MS, most), 0
    found: Outcome = Counter()
    sums: Counter[str] = Counter()
    first_row = np.cumsum([0, *(len(record.halves) for record in records)]).tolist()
    for offset, record in enumerate(records):
        enter(joiner, offset, record)
        found += outcome(joiner.join(), start, sums)
        if kills[offset]:
            open_from, clock_ms = joiner.open_from
            joiner, start = Joiner(WAIT_MS, most, clock_ms), first_row[open_from]
            joiner.next_offset = offset + 1
            for again in range(open_from, offset + 1):
                enter(joiner, again, records[again])
            joiner.settle()
    expected = by_the_rules(records, most)
    assert found == Counter({key: n for key, n in expected.items() if key[0] == "pair"})
    assert sums["half"] == sum(key[0] == "half" for key in expected)
    assert sums["dropped"] == dropped_by_the_rules(records, most)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(_records)
def test_no_half_makes_two_pairs_with_one_side_while_all_are_remembered(
    records: list[Record],
) -> None:
    joiner = Joiner(WAIT_MS, 10_000)
    for offset, record in enumerate(records):
        enter(joiner, offset, record)
    joined = joiner.join()
    release = [release for record in records for _, release in record.halves]
    shadows = joined.shadow.tolist()
    assert len(set(shadows)) == len(shadows)
    sides = [
        (row, release[shadow])
        for row, shadow in zip(joined.production.tolist(), shadows, strict=True)
    ]
    assert len(set(sides)) == len(sides)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(_records, st.integers(1, 40))
def test_no_more_is_remembered_than_allowed_and_one_record(
    records: list[Record], most: int
) -> None:
    joiner = Joiner(WAIT_MS, most)
    for offset, record in enumerate(records):
        enter(joiner, offset, record)
        joiner.join()
        assert len(joiner) <= most + max(len(each.halves) for each in records)
