"""Sketches are read back as they were, whatever form they were written in."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.layout import ColumnSpec, Kind, Layout
from detectors.sketch import Sketch
from detectors.summary import Summaries
from streams.sketch_bytes import (
    PackedSketch,
    is_sketch,
    pack_sketch,
    sketch_bytes,
    unpack_sketches,
)
from streams.wire import Packed, Unreadable, check, pack

KEYS = st.integers(-131_071, 131_071)
COUNTS = st.one_of(st.integers(1, 300), st.sampled_from([65_535, 65_536, 2**62]))


def sketch_of(buckets: dict[int, int]) -> Sketch:
    keys = sorted(buckets)
    return Sketch(np.array(keys, np.int32), np.array([buckets[k] for k in keys], np.int64))


def near(first: int) -> st.SearchStrategy[dict[int, int]]:
    """Buckets side by side, as nearly all are."""
    return st.dictionaries(st.integers(first, first + 60), st.integers(1, 70_000), max_size=40)


SKETCHES = st.one_of(st.dictionaries(KEYS, COUNTS, max_size=8), KEYS.flatmap(near)).map(sketch_of)


def as_before(sketch: Sketch) -> PackedSketch:
    """The form of the version before."""
    keys, counts = sketch.keys.astype("<i4").tobytes(), sketch.counts.astype("<i8").tobytes()
    return memoryview(keys), memoryview(counts)


@given(st.lists(st.tuples(SKETCHES, st.booleans()), max_size=6))
def test_sketches_are_read_back_together_as_they_were(some: list[tuple[Sketch, bool]]) -> None:
    packed = [as_before(sketch) if old else pack_sketch(sketch) for sketch, old in some]
    written = msgspec.msgpack.encode(packed)
    read = msgspec.msgpack.decode(written, type=list[PackedSketch])
    assert all(map(is_sketch, read))
    sizes, keys, counts = unpack_sketches(read)
    assert sizes == [len(sketch.keys) for sketch, _ in some]
    assert (keys.dtype.name, counts.dtype.name) == ("int32", "int64")
    assert keys.tolist() == [key for sketch, _ in some for key in sketch.keys.tolist()]
    assert counts.tolist() == [count for sketch, _ in some for count in sketch.counts.tolist()]


@pytest.mark.parametrize("values", ["latencies", "both signs"])
def test_a_bucket_takes_five_bytes(values: str) -> None:
    random = np.random.default_rng(1)
    some = random.lognormal(4.0, 0.5, 9_000) if values == "latencies" else random.normal(size=900)
    sketch = Sketch.of(some)
    assert (np.diff(sketch.keys).max() > 2**16) == (values == "both signs")
    assert sketch_bytes(pack_sketch(sketch)) == 5 * len(sketch.keys) + 4
    assert sketch_bytes(as_before(sketch)) == 12 * len(sketch.keys)


@pytest.mark.parametrize(
    "damaged",
    [
        memoryview(b""),
        memoryview(b"\0" * 4),
        memoryview(b"\0" * 7),
        (memoryview(b"\0" * 4), memoryview(b"\0" * 16)),
        (memoryview(b"\0" * 5), memoryview(b"\0" * 10)),
    ],
)
def test_what_has_the_lengths_of_no_sketch_is_refused(damaged: PackedSketch) -> None:
    layout = Layout.of("", (ColumnSpec("x", Kind.NUMERIC),))
    whole = pack(Summaries.empty(layout))
    check((whole,), layout)
    with pytest.raises(Unreadable, match="sketch"):
        check((Packed(whole.vector, whole.extremes, {"x": damaged}, {}),), layout)
