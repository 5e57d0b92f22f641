"""Joins the halves of one partition of the topic ``pairs``. Pure: records in, counts out.

**Guarantee.** What a half leads to depends only on the halves before it in the partition that are
*in sight* of it: at most ``max_halves`` rows back, and sent less than ``2 * wait_ms`` before. It
does not depend on what those were joined with. So the state is nothing but the tail of the log:
whoever reads it again from :attr:`Joiner.open_from` on goes on exactly as if nothing had happened,
however the records were grouped into calls.

The rules, for a half h of a request (production is one side, each version of a shadow another; a
score that comes as an event of its own counts as a request of its own, for its hash is salted):

- if a half of its own side is in sight, h is *repeated*, and nothing else;
- else it is counted, and makes a pair with the first half in sight of each other side, if that one
  was sent at most ``wait_ms`` before it.

Two halves of a side that could both be near one of the other side are in sight of each other, so no
half makes two pairs with one side. Time is the highest ``wall_ms`` of the records so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.pairs import HalfCounts, HalfKey
from detectors.release import Role
from streams.halves import HalfRows
from streams.request_hash import text_hash

_PRODUCTION = 0

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The rows of one record: ``first`` is the number of its first row in the partition, and
    ``clock_ms`` the time of the partition once the record was read."""

    offset: int
    first: int
    clock_ms: int
    model: str
    rows: HalfRows

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Row numbers of pairs, of equal length, and the blocks that hold them; the halves that were
    entered, by model and whose they are."""

    shadow: Indices
    production: Indices
    blocks: tuple[Block, ...]
    halves: dict[tuple[str, HalfKey], HalfCounts]


class Joiner:
    """The tail of one partition. ``clock_ms``: that of its first record, if there was one before.

    ``next_offset``: of the partition; -1 before the first record.
    """

    def __init__(self, wait_ms: int, max_halves: int, clock_ms: int = 0) -> None:
        self._wait_ms = wait_ms
        self._max_halves = max_halves
        self._clock_ms = clock_ms
        self._blocks: deque[Block] = deque()
        self._next = 0
        self._runs: list[_Run] = []
        self._unindexed: list[Block] = []
        self.next_offset = -1

    def __len__(self) -> int:
        """Rows that are remembered."""
        return self._next - self._blocks[0].first if self._blocks else 0

    @property
    def open_from(self) -> tuple[int, int]:
        """The offset from which the partition must be read again to get this state, and the time of
        the partition at that record."""
        if not self._blocks:
            return self.next_offset, self._clock_ms
        return self._blocks[0].offset, self._blocks[0].clock_ms

    def enter(self, offset: int, wall_ms: int, model: str, rows: HalfRows) -> None:
        """One more record, in the order of offsets; :meth:`join` or :meth:`settle` follows."""
        self.next_offset = offset + 1
        self._clock_ms = max(self._clock_ms, wall_ms)
        if len(rows):
            block = Block(offset, self._next, self._clock_ms, model, rows)
            self._blocks.append(block)
            self._unindexed.append(block)
            self._next = block.end

    def skip(self, offset: int) -> None:
        """A record that holds nothing to join."""
        self.next_offset = offset + 1

    def settle(self) -> None:
        """Remember what was entered without counting it: that was done before a restart."""
        new = self._unindexed
        if new:
            self._index(_keys(new))

    def join(self) -> Joined:
        """What the records entered since the last call lead to."""
        new, blocks = self._unindexed, tuple(self._blocks)
        if not new:
            none = np.zeros(0, np.int64)
            return Joined(none, none, (), {})
        run = _keys(new)
        shadow, production, repeated = self._pairs(new, run)
        halves = _counted(new, repeated)
        self._count_dropped(blocks, new[0].first, halves)
        self._index(run)
        return Joined(shadow, production, blocks, halves)

    def _pairs(self, new: Sequence[Block], run: _Run) -> tuple[Indices, Indices, NDArray[np.bool_]]:
        """Row numbers of shadows and of production in pairs; and which of the new are repeated."""
        first_new = new[0].first
        together = [*(older.of(run.key) for older in self._runs), run]
        key = np.concatenate([each.key for each in together])
        side = np.concatenate([each.side for each in together])
        row = np.concatenate([each.row for each in together])
        order = np.lexsort((row, side, key))
        key, side, row = key[order], side[order], row[order]
        same_key = np.concatenate(([False], key[1:] == key[:-1]))
        same_side = same_key & np.concatenate(([False], side[1:] == side[:-1]))
        # The half of the same side before each one; -1 where there is none.
        before = np.where(same_side, np.concatenate(([-1], row[:-1])), -1)
        group = np.cumsum(~same_key)
        is_new = row >= first_new
        sight, near = self._sight(new, row, is_new)
        repeated = is_new & (before >= sight)
        counted = is_new & ~repeated

        base = int(row.min())
        span = self._next - base + 1

        def place(groups: Indices, rows: Indices) -> Indices:
            """One number for a request and a row number, in the order of both."""
            placed: Indices = groups * span + np.clip(rows - base, 0, span - 1)
            return placed

        from_production = side == _PRODUCTION
        # Shadows that come second: each takes the first of production's halves in sight.
        late = np.flatnonzero(counted & ~from_production)
        others = np.flatnonzero(from_production)
        at = np.searchsorted(place(group[others], row[others]), place(group[late], sight[late]))
        found = at < len(others)
        late, partner = late[found], others[at[found]]
        fits = (group[partner] == group[late]) & (row[partner] < row[late])
        fits &= row[partner] >= near[late]
        shadows, productions = [row[late[fits]]], [row[partner[fits]]]
        # Shadows that came first: the first counted half of production after each takes it, if the
        # shadow is the first of its side in sight of that one.
        early = np.flatnonzero(~from_production)
        others = np.flatnonzero(from_production & counted)
        at = np.searchsorted(place(group[others], row[others]), place(group[early], row[early]))
        found = at < len(others)
        early, partner = early[found], others[at[found]]
        fits = (group[partner] == group[early]) & (row[early] >= near[partner])
        fits &= before[early] < sight[partner]
        shadows.append(row[early[fits]])
        productions.append(row[partner[fits]])
        in_order = np.zeros(self._next - first_new, np.bool_)
        in_order[row[repeated] - first_new] = True
        return np.concatenate(shadows), np.concatenate(productions), in_order

    def _sight(
        self, new: Sequence[Block], row: Indices, is_new: NDArray[np.bool_]
    ) -> tuple[Indices, Indices]:
        """For each new row the number of the first row in sight of it, and of the first one near
        enough for a pair; others get numbers beyond all rows."""
        firsts = np.array([block.first for block in self._blocks])
        clocks = np.array([block.clock_ms for block in self._blocks])
        starts = np.append(firsts, self._next)
        own = np.array([block.clock_ms for block in new])
        sight_of = starts[np.searchsorted(clocks, own - 2 * self._wait_ms, side="right")]
        near_of = starts[np.searchsorted(clocks, own - self._wait_ms, side="left")]
        block = np.searchsorted([block.first for block in new], row, side="right") - 1
        fewest = row - self._max_halves
        sight = np.where(is_new, np.maximum(sight_of[block], fewest), self._next)
        near = np.where(is_new, np.maximum(near_of[block], fewest), self._next)
        return sight, near

    def _count_dropped(
        self,
        blocks: Sequence[Block],
        first_new: int,
        halves: dict[tuple[str, HalfKey], HalfCounts],
    ) -> None:
        """Rows that left sight because of ``max_halves`` while they waited: row q is out of sight
        of all that follow row ``q + max_halves``."""
        low = max(first_new - self._max_halves, blocks[0].first)
        high = self._next - self._max_halves
        if low >= high:
            return
        firsts = np.array([block.first for block in blocks])
        clocks = np.array([block.clock_ms for block in blocks])
        for block in blocks:
            if block.first >= high or block.end <= low:
                continue
            rows = np.arange(max(block.first, low), min(block.end, high))
            by = np.searchsorted(firsts, rows + self._max_halves, side="right") - 1
            early = clocks[by] - block.clock_ms <= self._wait_ms
            marks = np.zeros(len(block.rows), np.bool_)
            marks[rows[early] - block.first] = True
            for key, count in _by_pane(block, marks).items():
                halves[key] = halves.get(key, HalfCounts()).merge(HalfCounts(dropped=count))

    def _index(self, run: _Run) -> None:
        """Runs grow geometrically, so a row is merged into a larger one few times."""
        self._unindexed.clear()
        floor = self._next - self._max_halves
        expired = self._clock_ms - 2 * self._wait_ms
        blocks = self._blocks
        while blocks and (blocks[0].end <= floor or blocks[0].clock_ms <= expired):
            blocks.popleft()  # out of sight of all that may still come
        first = blocks[0].first if blocks else self._next
        runs = [each for each in self._runs if each.end > first]
        runs.append(run)
        while len(runs) > 1 and len(runs[-2].key) <= 2 * len(runs[-1].key):
            newer = runs.pop()
            runs[-1] = runs[-1].merge(newer, first)
        self._runs = runs


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Rows sorted by request: ``side`` and ``row`` of each, and the end of the row numbers."""

    key: NDArray[np.uint64]
    side: Indices
    row: Indices
    end: int

    @classmethod
    def sorted(cls, key: NDArray[np.uint64], side: Indices, row: Indices, end: int) -> _Run:
        order = np.argsort(key, kind="stable")
        return cls(key[order], side[order], row[order], end)

    def merge(self, newer: _Run, first: int) -> _Run:
        """Both, without the rows before ``first``."""
        kept = self.row >= first
        return _Run.sorted(
            np.concatenate((self.key[kept], newer.key)),
            np.concatenate((self.side[kept], newer.side)),
            np.concatenate((self.row[kept], newer.row)),
            newer.end,
        )

    def of(self, wanted: NDArray[np.uint64]) -> _Run:
        """The rows of the ``wanted`` requests (sorted, may repeat)."""
        low = np.searchsorted(self.key, wanted, side="left")
        hit = low < len(self.key)
        hit[hit] = self.key[low[hit]] == wanted[hit]
        low = np.unique(low[hit])
        count = np.searchsorted(self.key, self.key[low], side="right") - low
        ends = np.cumsum(count)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)
        at = np.repeat(low, count) + within
        return _Run(self.key[at], self.side[at], self.row[at], self.end)


def _keys(new: Sequence[Block]) -> _Run:
    """Request, side and number of each row of blocks that follow each other."""
    sides = []
    for block in new:
        codes = [
            _PRODUCTION if role is Role.PRODUCTION else 1 + text_hash(version, 4)
            for version, role in block.rows.releases
        ]
        sides.append(np.array(codes, np.int64)[block.rows.release])
    key = np.concatenate([block.rows.key for block in new])
    rows = np.arange(new[0].first, new[-1].end)
    return _Run.sorted(key, np.concatenate(sides), rows, new[-1].end)


def _counted(
    new: Sequence[Block], repeated: NDArray[np.bool_]
) -> dict[tuple[str, HalfKey], HalfCounts]:
    counts: dict[tuple[str, HalfKey], HalfCounts] = {}
    start = new[0].first
    for block in new:
        again = repeated[block.first - start : block.end - start]
        for marks, made in ((~again, HalfCounts(halves=1)), (again, HalfCounts(repeated=1))):
            for key, count in _by_pane(block, marks).items():
                more = HalfCounts(made.halves * count, made.repeated * count)
                counts[key] = counts.get(key, HalfCounts()).merge(more)
    return counts


def _by_pane(block: Block, marks: NDArray[np.bool_]) -> dict[tuple[str, HalfKey], int]:
    """How many of the marked rows each release has in each pane."""
    if not marks.any():
        return {}
    panes, pane = np.unique(block.rows.pane_ms[marks], return_inverse=True)
    releases = len(block.rows.releases)
    cells = np.bincount(
        pane * releases + block.rows.release[marks], minlength=len(panes) * releases
    )
    found = {}
    for cell in np.flatnonzero(cells).tolist():
        pane_at, release = divmod(cell, releases)
        whose = block.rows.releases[release], int(panes[pane_at]), block.rows.score
        found[block.model, whose] = int(cells[cell])
    return found
