"""Sketches on the wire: five bytes a bucket instead of twelve, and fewer once they are compressed.

A bucket is the step from the one before (three bytes; the first is nothing) and a count (two).
Bytes of equal weight stand together (the first key; the lowest bytes of all steps, their middle and
their highest ones; the low and the high bytes of all counts), because high bytes are nearly all
alike: lz4 finds runs, and spells out what is mixed. A sketch with a count beyond two bytes is a
pair, keys as int32 and counts as int64, and so is each that an earlier version wrote. All
little-endian.

What that saves is measured by ``python -m bench wire``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.sketch import Sketch

PackedSketch = memoryview | tuple[memoryview, memoryview]
"""Bytes by their weight, or keys and counts."""

_FIRST = struct.Struct("<i")
_STEP, _COUNT = 3, 2
_BUCKET = _STEP + _COUNT
_MOST = 0xFFFF


def pack_sketch(sketch: Sketch) -> PackedSketch:
    keys, counts = sketch.keys, sketch.counts
    if not len(keys) or counts.max() > _MOST:
        return _bytes(keys, "<i4"), _bytes(counts, "<i8")
    steps = np.zeros(len(keys), "<i4")
    np.subtract(keys[1:], keys[:-1], out=steps[1:])
    return memoryview(
        _FIRST.pack(keys[0])
        + steps.view(np.uint8).reshape(-1, 4).T[:_STEP].tobytes()
        + counts.astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes()
    )


def is_sketch(packed: PackedSketch) -> bool:
    """Whether its lengths are those of a sketch."""
    if isinstance(packed, memoryview):
        return len(packed) % _BUCKET == _FIRST.size and len(packed) > _FIRST.size
    keys, counts = map(len, packed)
    return keys % 4 == 0 and counts == 2 * keys


def are_sketches(packed: Collection[PackedSketch]) -> bool:
    """Whether all are. Every sketch of every record comes here, so without a call for each while
    they are short, as nearly all are: a pair has two parts, and nothing short that length."""
    first = _FIRST.size
    others = [size for size in map(len, packed) if size % _BUCKET != first or size == first]
    return not others or all(map(is_sketch, packed))


def sketch_bytes(packed: PackedSketch) -> int:
    """How long it is."""
    return len(packed) if isinstance(packed, memoryview) else sum(map(len, packed))


def unpack_sketches(
    packed: Sequence[PackedSketch], kernel: Callable[..., None] | None = None
) -> tuple[list[int], NDArray[np.int32], NDArray[np.int64]]:
    """How many buckets each has, and the keys and counts of all, end to end. For what
    :func:`is_sketch`.

    Thousands come at once where a model has many releases, so the work is done by array and not by
    sketch: bytes of the same weight are joined, and all steps are summed up in one go. ``kernel``:
    of :mod:`streams.compiled_sketches`, which reads the same.
    """
    sizes, keys, counts = _unpack_short(
        [each for each in packed if isinstance(each, memoryview)], kernel
    )
    if len(sizes) == len(packed):
        return sizes, keys, counts
    ends = np.cumsum(sizes)[:-1]
    found = list(zip(np.split(keys, ends), np.split(counts, ends), strict=True)) if sizes else []
    short = iter(found)
    every = [
        next(short)
        if isinstance(each, memoryview)
        else (np.frombuffer(each[0], "<i4"), np.frombuffer(each[1], "<i8"))
        for each in packed
    ]
    return (
        [len(keys) for keys, _ in every],
        np.concatenate([keys for keys, _ in every]).astype(np.int32),
        np.concatenate([counts for _, counts in every]).astype(np.int64),
    )


def _unpack_short(
    packed: Sequence[memoryview], kernel: Callable[..., None] | None
) -> tuple[list[int], NDArray[np.int32], NDArray[np.int64]]:
    # As an array that can be written to: kernels take no other.
    written = np.frombuffer(bytearray().join(packed), np.uint8)
    sizes = [len(each) // _BUCKET for each in packed]
    lengths = np.array(sizes, np.int64)
    total = sum(sizes)
    if kernel is not None:
        found, numbers = np.empty(total, np.int32), np.empty(total, np.int64)
        kernel(written, lengths, found, numbers)
        return sizes, found, numbers
    starts = lengths.cumsum() - lengths
    begin = starts * _BUCKET + np.arange(len(sizes)) * _FIRST.size
    # Where the bytes of one weight stand, from the lowest on; those of the next one stand as many
    # bytes further as their sketch has buckets.
    places = (begin + _FIRST.size - starts).repeat(lengths)
    places += np.arange(total)
    further = lengths.repeat(lengths)
    steps = np.zeros((total, 4), np.uint8)
    for weight in range(_STEP):
        steps[:, weight] = written.take(places)
        places += further
    counts = np.empty((total, _COUNT), np.uint8)
    counts[:, 0] = written.take(places)
    places += further
    counts[:, 1] = written.take(places)
    # Sums run on from one sketch into the next (and around, which subtracting undoes).
    keys = steps.view("<i4").ravel().cumsum(dtype=np.int32)
    firsts = written.take(begin[:, None] + np.arange(_FIRST.size)).view("<i4").ravel()
    keys += (firsts - keys.take(starts)).repeat(lengths)
    return sizes, keys, counts.view("<u2").ravel().astype(np.int64)


def _bytes(numbers: NDArray[np.integer[Any]], form: str) -> memoryview:
    return memoryview(numbers.astype(form).tobytes())
