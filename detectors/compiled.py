"""The kernels' inner loops for numba: one pass over a column counts everything that is kept of it.

**Guarantee.** Every integer and every bit is that of the numpy form in :mod:`detectors.kernels`,
which stays in use where numba is not installed: property tests hold the two equal. So sums are
still exact, and a worker with compiled kernels and one without give the same summaries.

Three things make a pass cheap. A histogram needs no comparison for most values: the bucket of the
sketch, which is the upper bits of the double, already tells the bin, unless an edge falls into that
bucket. Rounding to the grid adds 1.5 * 2**52, which leaves the integer in the lower bits of the
double, rounded half to even like ``rint``; such sums are then integer additions that the compiler
turns into wide ones. And the table of buckets, though it has room for any double, is touched and
searched only where values are: a byte for every 16 places tells where.

Who has numba asks for :func:`compile_all`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from detectors.compiled_parts import part
from detectors.fixed_point import LIMIT as _LIMIT
from detectors.fixed_point import MASK as _MASK
from detectors.fixed_point import STEPS as _STEPS
from detectors.fixed_point import WORD as _WORD
from detectors.kernels import Codes, CompiledKernels, Rows, Workshop, summarize
from detectors.layout import (
    CLIPPED_FIRST,
    CLIPPED_SECOND,
    FIRST_HIGH,
    FIRST_LOW,
    HEADERS,
    NUMERIC_SLOTS,
    SECOND_HIGH,
    SECOND_LOW,
    ColumnSpec,
    Kind,
    Layout,
    N,
)
from detectors.scratch import BLOCK, COARSE_BITS, MIDDLE
from detectors.sketch import SHIFT

_MAGIC = 1.5 * 2.0**52
_MAGIC_BITS = int(np.array([_MAGIC]).view(np.int64)[0])
_WORD_BITS = COARSE_BITS + 3
_LARGEST = float(np.finfo(np.float64).max)
_POSITIVE = (1 << 63) - 1


@part
def _key_of(bits: Any) -> Any:
    """The bucket of a double given by its bits; see ``detectors.sketch``."""
    key = (bits & _POSITIVE) >> SHIFT
    return -key if bits < 0 else key


@part
def _bin_of(value: Any, edges: Any) -> Any:
    """How many edges are at most ``value``."""
    low, high = 0, edges.size
    while low < high:
        middle = (low + high) >> 1
        if value >= edges[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _gather(values: Any, order: Any, first: Any, stop: Any, block: Any) -> Any:
    """The finite ones of some rows into ``block``, without negative zeros; returns their count."""
    n = 0
    if order.size:
        for i in range(first, stop):
            value = values[order[i]]
            block[n] = value + 0.0
            n += abs(value) <= _LARGEST
    else:
        for i in range(first, stop):
            value = values[i]
            block[n] = value + 0.0
            n += abs(value) <= _LARGEST
    return n


@part
def _add_clipped(block: Any, n: Any, center: Any, inverse: Any, slots: Any) -> Any:
    """The sums of a block in which some values lie beyond the grid."""
    first_sum: Any = 0
    second_sum: Any = 0
    for i in range(n):
        z = (block[i] - center) * inverse
        first = np.rint(z * _STEPS)
        second = np.rint(z * z * _STEPS)
        if abs(first) > _LIMIT:
            slots[CLIPPED_FIRST] += 1
            first = _LIMIT if first > 0.0 else -_LIMIT
        if second > _LIMIT:
            slots[CLIPPED_SECOND] += 1
            second = _LIMIT
        first_sum += np.int64(first)
        second_sum += np.int64(second)
    return first_sum, second_sum


@part
def _add_sums(scratch: Any, n: Any, center: Any, inverse: Any, slots: Any) -> None:
    """Add the grid steps of a block to the words in ``slots``."""
    block, first, second = scratch.block, scratch.first, scratch.second
    beyond: Any = 0
    for i in range(n):
        z = (block[i] - center) * inverse
        once = z * _STEPS
        twice = z * z * _STEPS
        beyond |= np.int64(not (abs(once) <= _LIMIT)) | np.int64(not (twice <= _LIMIT))
        first[i] = once + _MAGIC
        second[i] = twice + _MAGIC
    first_sum = second_sum = 0
    if beyond:
        first_sum, second_sum = _add_clipped(block, n, center, inverse, slots)
    else:
        first_bits, second_bits = scratch.first_bits, scratch.second_bits
        for i in range(n):
            first_sum += first_bits[i] - _MAGIC_BITS
            second_sum += second_bits[i] - _MAGIC_BITS
    first_sum += slots[FIRST_LOW]
    slots[FIRST_HIGH] += first_sum >> _WORD
    slots[FIRST_LOW] = first_sum & _MASK
    second_sum += slots[SECOND_LOW]
    slots[SECOND_HIGH] += second_sum >> _WORD
    slots[SECOND_LOW] = second_sum & _MASK


@part
def _range_of(bits: Any, n: Any, low: Any, high: Any) -> Any:
    """Least and greatest of a block and what was before, as integers in the order of doubles."""
    for i in range(n):
        ordered = bits[i] ^ ((bits[i] >> 63) & _POSITIVE)
        low = min(low, ordered)
        high = max(high, ordered)
    return low, high


@part
def _count(scratch: Any, n: Any, edges: Any, bins: Any) -> None:
    """Count a block by bucket, and by bin where the bucket does not tell the bin."""
    bits, table, coarse, edged = scratch.bits, scratch.table, scratch.coarse, scratch.edged
    for i in range(n):
        at = np.uint64(_key_of(bits[i]) + MIDDLE)
        table[at] += 1
        coarse[at >> np.uint64(COARSE_BITS)] = 1
        if edged[at]:
            bins[_bin_of(scratch.block[i], edges)] += 1


@part
def _harvest(scratch: Any, low: Any, high: Any, keys: Any, counts: Any, into: Any) -> Any:
    """Move the buckets between two keys out of the table, in order, and empty it. Returns where the
    next one goes in ``keys``, which has a place more than there are buckets."""
    words, coarse, table = scratch.coarse_words, scratch.coarse, scratch.table
    for word in range((low + MIDDLE) >> _WORD_BITS, ((high + MIDDLE) >> _WORD_BITS) + 1):
        if not words[word]:
            continue
        for few in range(word << 3, (word + 1) << 3):
            if coarse[few]:
                # No branch on what is in a bucket: that is as good as random, and guessing wrong
                # costs more than writing in vain.
                for at in range(few << COARSE_BITS, (few + 1) << COARSE_BITS):
                    count = table[at]
                    table[at] = 0
                    keys[into] = at - MIDDLE
                    counts[into] = count
                    into += count != 0
        words[word] = 0
    return into


@part
def _add_bins(edged: Any, edge_keys: Any, keys: Any, counts: Any, bins: Any) -> None:
    """Count the buckets of a group in their bins, but for those with an edge, whose values were
    compared with it."""
    below = 0
    for i in range(keys.size):
        key = keys[i]
        while below < edge_keys.size and edge_keys[below] < key:
            below += 1
        if not edged[key + MIDDLE]:
            bins[below] += counts[i]


@part
def _double_of(ordered: Any) -> Any:
    """The bits that were put in the order of doubles; the inverse is the same step."""
    return ordered ^ ((ordered >> 63) & _POSITIVE)


def count_numbers(
    values: Any,
    order: Any,
    starts: Any,
    edges: Any,
    edge_keys: Any,
    center: Any,
    inverse: Any,
    slots: Any,
    extremes: Any,
    keys: Any,
    counts: Any,
    ends: Any,
    scratch: Any,
) -> None:
    """One numeric column, all groups.

    ``values`` float64 [rows]; ``order`` int64, the rows by group, or empty if they stand so;
    ``starts`` int64 [groups + 1]; ``slots`` int64 [groups, width of the column], ``extremes``
    int64 [groups, 2], the bits of minimum and maximum: both filled. ``edge_keys`` int64: the bucket
    of each edge. ``keys`` int32 and ``counts``
    int64: filled with the sketches one after the other, ``ends`` int64 [groups]: where
    each one ends; they need a place more than there are rows.
    """
    for i in range(edges.size):
        scratch.edged[edge_keys[i] + MIDDLE] = 1
    into = 0
    for group in range(starts.size - 1):
        mine = slots[group]
        bins = mine[NUMERIC_SLOTS:]
        low, high = _POSITIVE, -_POSITIVE
        at = starts[group]
        while at < starts[group + 1]:
            stop = min(at + BLOCK, starts[group + 1])
            n = _gather(values, order, at, stop, scratch.block)
            at = stop
            if n:
                mine[N] += n
                _add_sums(scratch, n, center, inverse, mine)
                low, high = _range_of(scratch.bits, n, low, high)
                _count(scratch, n, edges, bins)
        if mine[N]:
            extremes[group, 0] = _double_of(low)
            extremes[group, 1] = _double_of(high)
            lowest, highest = _key_of(_double_of(low)), _key_of(_double_of(high))
            before = into
            into = _harvest(scratch, lowest, highest, keys, counts, into)
            if edges.size:
                _add_bins(scratch.edged, edge_keys, keys[before:into], counts[before:into], bins)
        ends[group] = into
    for i in range(edges.size):
        scratch.edged[edge_keys[i] + MIDDLE] = 0


def count_codes(codes: Any, order: Any, starts: Any, counts: Any) -> None:
    """One text column, all groups: ``counts`` int64 [groups, names + 1], the first column for
    rows without a value (code -1)."""
    for group in range(starts.size - 1):
        mine = counts[group]
        if order.size:
            for i in range(starts[group], starts[group + 1]):
                mine[codes[order[i]] + 1] += 1
        else:
            for i in range(starts[group], starts[group + 1]):
                mine[codes[i] + 1] += 1


def compile_all(*, cache: bool) -> CompiledKernels:
    """The kernels, compiled for the types in use by counting an example. ``cache``: keep the
    machine code where numba's ``CACHE_DIR`` says, which must be set before. They are never compiled
    again: other types than these are an error."""
    numbers = numba.njit(cache=cache, nogil=True, error_model="numpy")(count_numbers)
    codes = numba.njit(cache=cache, nogil=True, error_model="numpy")(count_codes)
    kernels = CompiledKernels(numbers, codes)
    spec = ColumnSpec("x", Kind.NUMERIC, (0.5,))
    layout = Layout.of("", (spec, ColumnSpec("t", Kind.CATEGORICAL)))
    values, texts = np.array([0.0, 1.0]), np.array([0, -1], np.int32)
    # Read-only like Arrow's: code for such arrays takes writable ones too, but not the reverse.
    values.flags.writeable = texts.flags.writeable = False
    rows = Rows(
        np.array([0, 2]),
        np.zeros((1, len(HEADERS)), np.int64),
        {"x": values},
        {"t": Codes(texts, ("a",))},
        {},
    )
    (found,) = summarize(rows, layout, Workshop(kernels))
    column = found.numeric("x")
    if column is None or column.bins.tolist() != [1, 1]:
        raise RuntimeError("the kernels do not count their example")
    numbers.disable_compile()
    codes.disable_compile()
    return kernels
