"""Which of our columns a column of a record batch holds: flat ones, structs and maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.codecs import fields
from streams.codecs.arrow_values import is_number, plain, present, to_texts
from streams.codecs.columns import PREDICTION_LABEL, PREDICTION_VALUE, SCALAR_PREDICTION
from streams.codecs.fields import Place
from streams.event import Bounds

TOPS = {top: place for places in fields.PLACES.values() for top, place in places.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of the batch, or the entries of a map with one key (then ``rows`` says whose)."""

    top: str
    name: str | None
    place: Place
    array: Any
    rows: NDArray[np.int64] | None = None


def columns_of(name: str, array: Any, bounds: Bounds) -> Iterator[Column]:
    """The columns below a column of the batch; none if it is not a field of ours."""
    top, _, path = name.partition(".")
    place = TOPS.get(top)
    if place is None:
        return
    groups = top in fields.GROUPS or top in fields.GROUP_OR_SCALAR
    if path and not groups:
        return
    array = plain(array)
    if not path:
        if groups and (pa.types.is_struct(array.type) or pa.types.is_map(array.type)):
            yield from _below(top, top, place, array, bounds, depth=0)
        else:
            # A scalar where an object belongs: an error of the column of that name.
            misplaced = top in fields.GROUPS
            yield Column(top, top, Place.CELLS if misplaced else place, _opaque(array, misplaced))
        return
    yield from _named(top, top, path, place, array, bounds, depth=1)


def final_name(column: Column) -> str | None:
    """The column that a scalar prediction ends up in may stand beside it."""
    if column.name != SCALAR_PREDICTION or column.place is Place.SEGMENTS:
        return column.name
    return PREDICTION_VALUE if is_number(column.array.type) else PREDICTION_LABEL


def _opaque(array: Any, misplaced: bool) -> Any:
    """Values that have no reading, which a list stands for."""
    if not misplaced or pa.types.is_null(array.type):
        return array
    lists = pa.array([[]] * len(array), type=pa.list_(pa.null()))
    return pa.compute.if_else(array.is_valid(), lists, pa.scalar(None, lists.type))


def _named(
    top: str,
    parent: str | None,
    key: str,
    place: Place,
    array: Any,
    bounds: Bounds,
    *,
    depth: int,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[Column]:
    limit = bounds.max_name_chars
    if place is Place.SEGMENTS:
        name = fields.segment_name(key, limit)
    else:
        name = None if parent is None else fields.column_name(parent, key, limit)
    array = plain(array)
    nested = pa.types.is_struct(array.type) and place is not Place.SEGMENTS
    if nested and depth < fields.MAX_DEPTH and rows is None:
        yield from _below(top, name, place, array, bounds, depth=depth)
    else:
        yield Column(top, name, place, array, rows)


def _below(
    top: str, parent: str | None, place: Place, array: Any, bounds: Bounds, *, depth: int
) -> Iterator[Column]:
    if pa.types.is_struct(array.type):
        # Unlike .field(), flatten() makes the children of a null object null.
        for child, values in zip(array.type, array.flatten(), strict=True):
            yield from _named(top, parent, child.name, place, values, bounds, depth=depth + 1)
        return
    offsets = array.offsets.to_numpy()
    valid = present(array)
    # Entries of a null row are not values; entries between the offsets belong to their row.
    counts = np.diff(offsets)
    owner = np.repeat(np.arange(len(array)), counts)
    entries = slice(int(offsets[0]), int(offsets[-1]))
    keys = to_texts(plain(array.keys[entries]))
    items = array.items[entries]
    for code in np.unique(keys.codes).tolist():
        at = np.flatnonzero((keys.codes == code) & valid[owner])
        key = keys.raw[code] if code >= 0 else ""
        values = items.take(pa.array(at))
        yield from _named(top, parent, key, place, values, bounds, depth=depth + 1, rows=owner[at])
