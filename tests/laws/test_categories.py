"""Category counts under a cap: merging is exact whatever was folded, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.categories import CategoryCounts, Unmergeable
from detectors.release import OTHER

names = st.sampled_from([*"abcdefghijklmnop", "", "é", "\ud800", OTHER])
counts = st.dictionaries(names, st.integers(0, 2**62), max_size=12)
caps = st.integers(1, 6)


@given(counts, counts, counts, caps)
def test_merging_is_associative_and_commutative_with_an_identity(
    a: dict[str, int], b: dict[str, int], c: dict[str, int], cap: int
) -> None:
    x, y, z = (CategoryCounts.of(part, cap) for part in (a, b, c))
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(y) == y.merge(x)
    empty = CategoryCounts(cap=cap)
    assert x.merge(empty) == x == empty.merge(x)


@given(st.lists(names, max_size=60), st.data(), caps)
def test_any_split_of_a_stream_gives_the_counts_of_the_whole(
    stream: list[str], data: st.DataObject, cap: int
) -> None:
    def count(part: list[str]) -> CategoryCounts:
        return CategoryCounts.of({name: part.count(name) for name in part}, cap)

    cut = data.draw(st.integers(0, len(stream)))
    parts = count(stream[:cut]).merge(count(stream[cut:]))
    assert parts == count(stream)
    assert parts.total == len(stream)
    assert len(parts.counts) <= cap
    assert all(stream.count(name) == n for name, n in parts.counts.items())


def test_merging_leaves_both_sides_as_they_were() -> None:
    x, y = CategoryCounts.of({"a": 1}, 1), CategoryCounts.of({"b": 2}, 1)
    x.merge(y)
    assert (x, y) == (CategoryCounts.of({"a": 1}, 1), CategoryCounts.of({"b": 2}, 1))


def test_unlike_caps_are_refused() -> None:
    with pytest.raises(Unmergeable, match="3 and 4"):
        CategoryCounts(cap=3).merge(CategoryCounts(cap=4))
