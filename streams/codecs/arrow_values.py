"""Arrow arrays to numpy: numbers, coded texts and times, with no Python object per value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.codecs.text import as_text
from streams.codecs.timestamps import UNREADABLE, floats_to_ms, ints_to_ms, parse_times

_DAY_MS = 86_400_000
_INT64_MAX = np.iinfo(np.int64).max
_TO_MS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}


@dataclass(frozen=True, slots=True, eq=False)
class CodedTexts:
    """``codes[i]`` indexes ``raw``, -1 where there is no value; ``raw`` is not yet checked."""

    codes: NDArray[np.int32]
    raw: Sequence[str]


def plain(array: Any) -> Any:
    """Without extension types, run lengths and views, which only say how values are kept."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())  # views have few kernels yet
    return array


def is_number(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_timestamp(kind)
        or types.is_date(kind)
    )


def is_text(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind))


def present(array: Any) -> NDArray[np.bool_]:
    """Where an array has values, shape (n,)."""
    if array.null_count == 0 and not pa.types.is_null(array.type):
        return np.ones(len(array), dtype=np.bool_)
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def to_numbers(array: Any) -> NDArray[np.float64]:
    """float64, NaN for null; a NaN reads as null, for the two are not kept apart by all writers.

    Integers beyond 2**53 are rounded. Times become milliseconds since 1970.
    """
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        ms = to_times(array)
        return np.where(present(array) & (ms != UNREADABLE), ms, np.nan)
    if not pa.types.is_float64(array.type):
        array = array.cast(pa.float64(), safe=False)
    numbers: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return numbers


def to_texts(array: Any) -> CodedTexts:
    """Texts, booleans and numbers as coded texts; one Python text per category."""
    if pa.types.is_dictionary(array.type):
        codes = _int32(array.indices)
        values = array.dictionary
    elif pa.types.is_floating(array.type):
        numbers = to_numbers(array)
        missing = np.isnan(numbers)
        distinct, inverse = np.unique(np.where(missing, 0.0, numbers), return_inverse=True)
        codes = np.where(missing, -1, inverse).astype(np.int32)
        return _used(codes, [as_text(value) for value in distinct.tolist()])
    else:
        encoded = array.dictionary_encode()
        codes = _int32(encoded.indices)
        values = encoded.dictionary
    if len(values) <= len(codes):
        return _used(codes, [as_text(value) for value in values.to_pylist()])
    used = np.unique(codes[codes >= 0])
    place = np.full(len(values) + 1, -1, dtype=np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    raw = [as_text(value) for value in values.take(pa.array(used)).to_pylist()]
    return _used(place[codes], raw)


def _used(codes: NDArray[np.int32], raw: Sequence[str | None]) -> CodedTexts:
    if None in raw:  # a dictionary may hold a null
        empty = np.array([*(text is None for text in raw), False])
        codes = np.where(empty[codes], np.int32(-1), codes)
    return CodedTexts(codes, [text or "" for text in raw])


def _int32(indices: Any) -> NDArray[np.int32]:
    if indices.null_count == 0 and pa.types.is_int32(indices.type):
        zero_copy: NDArray[np.int32] = indices.to_numpy()
        return zero_copy
    filled = indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(filled).astype(np.int32)


def to_times(array: Any) -> NDArray[np.int64]:
    """Event times in ms, ``UNREADABLE`` for null and for what is no time."""
    kind = array.type
    types = pa.types
    if types.is_dictionary(kind):
        return to_times(array.dictionary_decode())
    if types.is_timestamp(kind):
        multiply, divide = _TO_MS[kind.unit]
        ticks = array.cast(pa.int64()).fill_null(UNREADABLE).to_numpy(zero_copy_only=False)
        return _scaled(ticks, multiply, divide)
    if types.is_date(kind):
        ticks = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        ticks = ticks.fill_null(UNREADABLE).to_numpy(zero_copy_only=False)
        return _scaled(ticks, _DAY_MS, 1)
    if types.is_uint64(kind):
        wide = array.fill_null(0).to_numpy(zero_copy_only=False)
        fits = present(array) & (wide <= np.uint64(_INT64_MAX))
        return np.where(fits, ints_to_ms(np.where(fits, wide, 0).astype(np.int64)), UNREADABLE)
    if types.is_integer(kind):
        whole = array.cast(pa.int64()).fill_null(UNREADABLE).to_numpy(zero_copy_only=False)
        return ints_to_ms(whole)
    if types.is_floating(kind) or types.is_decimal(kind):
        return floats_to_ms(to_numbers(array))
    if is_text(kind) and not types.is_boolean(kind):
        return parse_times(array.fill_null("").to_pylist())
    return np.full(len(array), UNREADABLE, dtype=np.int64)


def _scaled(ticks: NDArray[np.int64], multiply: int, divide: int) -> NDArray[np.int64]:
    fits = np.abs(np.maximum(ticks, -_INT64_MAX)) <= _INT64_MAX // multiply
    fits &= ticks != UNREADABLE
    return np.where(fits, np.where(fits, ticks, 0) * multiply // divide, UNREADABLE)
