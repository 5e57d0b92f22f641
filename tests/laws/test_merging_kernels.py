"""Compiled kernels read and merge sketches as the plain form does, to the last bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.layout import ColumnSpec, Kind, Layout
from detectors.merging import Blocks, MergingKernels, merge_alike, merge_runs
from detectors.release import ALL, Role
from detectors.sketch import Sketch
from detectors.summary import Summaries
from streams.evidence_kernels import EvidenceKernels, load, no_kernels
from streams.intervals import Intervals
from streams.model_state import IntervalKey, ModelState
from streams.sketch_bytes import PackedSketch, is_sketch, unpack_sketches
from streams.timeline import TimeSettings
from streams.wire import pack, unpack_all

LAYOUT = Layout.of("r", [ColumnSpec(name, Kind.NUMERIC, sketch=True) for name in "abc"])


@pytest.fixture(scope="module")
def kernels() -> EvidenceKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made


def sketch_of(buckets: dict[int, int]) -> Sketch:
    keys = sorted(buckets)
    return Sketch(np.array(keys, np.int32), np.array([buckets[k] for k in keys], np.int64))


def block_of(sketches: dict[str, dict[int, int]]) -> Summaries:
    whole = Summaries.empty(LAYOUT)
    made = {name: sketch_of(buckets) for name, buckets in sketches.items()}
    return Summaries(LAYOUT, whole.vector, whole.extremes, made)


def told(blocks: Iterable[Summaries]) -> list[dict[str, tuple[str, bytes, str, bytes]]]:
    return [
        {
            name: (
                each.keys.dtype.str,
                each.keys.tobytes(),
                each.counts.dtype.str,
                bytes(each.counts),
            )
            for name, each in block.sketches.items()
        }
        for block in blocks
    ]


def viewed(written: bytes) -> memoryview:
    return memoryview(written)


COUNTS = st.one_of(st.integers(1, 300), st.sampled_from([65_535, 65_536, 2**61]))
SKETCHES = st.one_of(
    st.dictionaries(st.integers(-20, 20), COUNTS, max_size=20),
    st.dictionaries(st.integers(-131_071, 131_071), COUNTS, max_size=5),
)
BLOCKS = st.dictionaries(st.sampled_from("abc"), SKETCHES, max_size=3).map(block_of)
SHORT = st.integers(1, 9).flatmap(lambda n: st.binary(min_size=5 * n + 4, max_size=5 * n + 4))
PAIRS = st.integers(0, 4).flatmap(
    lambda n: st.tuples(
        *(st.binary(min_size=size, max_size=size).map(viewed) for size in (4 * n, 8 * n))
    )
)


@given(st.lists(st.lists(BLOCKS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_runs_are_merged_to_the_same_bits_with_the_kernel_and_without(
    kernels: EvidenceKernels, runs: list[list[Summaries]]
) -> None:
    """One by one, at once, and at once with the kernels, from values and from the wire."""
    expected = told([reduce(Summaries.merge, run) for run in runs])
    assert told(merge_alike(runs)) == expected
    assert told(merge_alike(runs, kernels.merging)) == expected
    packed = [pack(block) for run in runs for block in run]
    blocks = unpack_all(packed, LAYOUT, kernels.unpack)
    assert told(merge_runs(blocks, [len(run) for run in runs], kernels.merging)) == expected


@given(st.integers(0, 2**32), st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_sums_and_extremes_are_those_of_the_plain_form(
    kernels: EvidenceKernels, seed: int, sizes: list[int]
) -> None:
    """Low words as large as they get, so that each addition carries; extremes of nothing, infinite
    ones, and what is not a number."""
    random = np.random.default_rng(seed)
    shape = sum(sizes), LAYOUT.width
    low = LAYOUT.low_mask != 0
    vectors = np.where(
        low, random.integers(2**32 - 9, 2**32, shape), random.integers(-(2**50), 2**50, shape)
    )
    special = [math.inf, -math.inf, math.nan, 5e-324, 1e308, -1e308, 0.0]
    extremes = np.where(
        random.random((sum(sizes), 2, 3)) < 0.2,
        random.choice(special, (sum(sizes), 2, 3)),
        random.normal(size=(sum(sizes), 2, 3)),
    )
    blocks = replace(
        Blocks.of(LAYOUT, [Summaries.empty(LAYOUT)]), vectors=vectors, extremes=extremes
    )
    plain, compiled = (
        [
            (merged.vector.tobytes(), merged.extremes.tobytes())
            for merged in merge_runs(blocks, sizes, chosen)
        ]
        for chosen in (None, kernels.merging)
    )
    assert compiled == plain


@given(st.lists(st.one_of(SHORT.map(viewed), PAIRS), max_size=6))
def test_whatever_bytes_come_they_are_read_as_the_same_sketches(
    kernels: EvidenceKernels, packed: list[PackedSketch]
) -> None:
    """Any that have the lengths of sketches, with first steps and sums that run over too."""
    assert all(map(is_sketch, packed))
    sizes, keys, counts = unpack_sketches(packed, kernels.unpack)
    plain_sizes, plain_keys, plain_counts = unpack_sketches(packed)
    assert sizes == plain_sizes
    assert (keys.dtype, counts.dtype) == (plain_keys.dtype, plain_counts.dtype)
    assert keys.tobytes() == plain_keys.tobytes()
    assert counts.tobytes() == plain_counts.tobytes()


def test_keys_run_over_their_end_with_the_kernel_as_they_do_without(
    kernels: EvidenceKernels,
) -> None:
    highest = struct.pack("<i", 2**31 - 1) + b"\7\2" + b"\0" * 4 + b"\1\1\0\0"
    _, keys, counts = unpack_sketches([memoryview(highest)], kernels.unpack)
    assert keys.tolist() == [2**31 - 1, 1 - 2**31]
    assert counts.tolist() == [1, 1]


def test_a_pane_that_closes_is_read_and_merged_with_the_kernels(kernels: EvidenceKernels) -> None:
    """Else equal bits would say nothing of it."""
    called = []

    def count_up(*given: object) -> bool:
        called.append("count_up")
        return kernels.merging.count_up(*given)

    def unpack(*given: object) -> None:
        called.append("unpack")
        kernels.unpack(*given)

    def add_up(*given: object) -> None:
        called.append("add_up")
        kernels.merging.add_up(*given)

    watched = replace(kernels, merging=MergingKernels(add_up, count_up), unpack=unpack)
    pane = IntervalKey(1_000, 0, "v", Role.PRODUCTION, ALL)
    block = block_of({"a": {3: 1, 4: 2}, "b": {-1: 5}})
    state = ModelState("m")
    for kernels_now in (lambda: watched, no_kernels):
        intervals = Intervals(state, {}, TimeSettings(), kernels_now)
        for _ in range(2):
            intervals.pending.add(pane, LAYOUT, pack(block))
        ((_, (whole,)),) = intervals.pending.merged(1_000)
        intervals.add(pane, [whole, whole], 1)
        assert told(intervals.held[pane].blocks.values()) == told(
            [reduce(Summaries.merge, [block] * 4)]
        )
    assert called == ["unpack", "add_up", "count_up", "add_up", "count_up"]
