"""A group cut into parts adds up to the group, and no part is larger than it has to be."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.categories import CategoryCounts
from detectors.layout import Kind, Layout
from detectors.reference import layout_for
from detectors.release import ALL, Role
from detectors.sketch import Sketch
from detectors.summary import Summaries
from streams.group_parts import in_parts
from streams.wire import Group, pack, unpack
from tests.faults.checker import canonical


def group_of(numbers: list[list[float]], texts: list[dict[str, int]]) -> tuple[Group, Layout]:
    """A group with a sketch for each list and categories for each dictionary."""
    columns = [(f"n{i}", Kind.NUMERIC) for i in range(len(numbers))]
    columns += [(f"t{i}", Kind.CATEGORICAL) for i in range(len(texts))]
    layout = layout_for(None, columns)
    summaries = Summaries(
        layout,
        np.arange(layout.width, dtype=np.int64),
        np.tile([[-1.0], [2.0]], len(layout.columns)),
        {f"n{i}": Sketch.of(np.array(values)) for i, values in enumerate(numbers)},
        {f"t{i}": CategoryCounts.of(counts) for i, counts in enumerate(texts)},
    )
    return Group("1", Role.CANARY, ALL, 7_000, pack(summaries)), layout


NUMBERS = st.lists(st.lists(st.floats(-1e9, 1e9), max_size=20), max_size=6)
TEXTS = st.lists(st.dictionaries(st.text(max_size=30), st.integers(1, 9), max_size=8), max_size=6)


@given(NUMBERS, TEXTS, st.integers(1, 3_000))
def test_parts_add_up_to_the_group(
    numbers: list[list[float]], texts: list[dict[str, int]], most_bytes: int
) -> None:
    group, layout = group_of(numbers, texts)
    parts = [part for part, _ in in_parts(group, layout, most_bytes)]
    whole = unpack(group.summaries, layout)
    merged = reduce(Summaries.merge, (unpack(part.summaries, layout) for part in parts))
    assert canonical(merged) == canonical(whole)
    assert {(p.version, p.role, p.segment, p.pane_ms) for p in parts} == {
        ("1", Role.CANARY, ALL, 7_000)
    }


@given(NUMBERS, TEXTS, st.integers(1, 3_000))
def test_a_part_too_large_is_the_vector_with_one_column_at_most(
    numbers: list[list[float]], texts: list[dict[str, int]], most_bytes: int
) -> None:
    group, layout = group_of(numbers, texts)
    for part, size in in_parts(group, layout, most_bytes):
        inside = {*part.summaries.sketches, *part.summaries.categories}
        assert size <= most_bytes or len(inside) <= 1
