"""What every row of a record batch says of itself: kind, model, version, role, time, request id."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.release import Role
from streams.codecs import fields
from streams.codecs.arrow_columns import Column
from streams.codecs.arrow_values import is_text, present, to_texts
from streams.codecs.arrow_values import to_times as read_times
from streams.codecs.timestamps import UNREADABLE
from streams.event import Bounds, EventKind

KINDS = tuple(EventKind)
ROLES = tuple(Role)


def kinds_of(
    given: Any, columns: list[Column], count: int, bounds: Bounds
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Index of the kind of every row, and whether its ``type`` is known."""
    known = np.ones(count, dtype=np.bool_)
    if bounds.kind is not None:
        kind = np.full(count, KINDS.index(bounds.kind), dtype=np.int8)
    else:
        kind = np.full(count, KINDS.index(EventKind.PREDICTION), dtype=np.int8)
        open_rows = np.ones(count, dtype=np.bool_)
        for top in fields.DECIDING:
            for column in columns:
                if column.top != top or not open_rows.any():
                    continue
                has = present(column.array)
                if column.rows is not None:
                    has = np.bincount(column.rows[has], minlength=count) > 0
                has &= open_rows
                kind[has] = KINDS.index(fields.KIND_OF[top])
                open_rows &= ~has
    if given is not None:
        texts = to_texts(given) if is_text(given.type) else None
        table = {k.value: i for i, k in enumerate(KINDS)}
        if texts is not None:
            codes = np.array([*(table.get(t, -1) for t in texts.raw), -1], dtype=np.int8)
            named = codes[texts.codes]
            kind = np.where(named >= 0, named, kind)
            known = (named >= 0) | (texts.codes < 0)
        else:
            known = ~present(given)
    return kind, known


def names_of(array: Any, count: int, limit: int) -> tuple[NDArray[np.int32], list[str]]:
    """Code of the name of every row, -1 where it has no readable one."""
    kind = None if array is None else array.type
    is_name = kind is not None and (is_text(kind) or pa.types.is_integer(kind))
    if not is_name or pa.types.is_boolean(getattr(kind, "value_type", kind)):
        return np.full(count, -1, dtype=np.int32), []
    texts = to_texts(array)
    names: dict[str, int] = {}
    codes = []
    for raw in texts.raw:
        name = fields.read_name(raw, limit)
        codes.append(-1 if name is None else names.setdefault(name, len(names)))
    return np.array([*codes, -1], dtype=np.int32)[texts.codes], list(names)


def roles_of(array: Any, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    production = np.full(count, ROLES.index(Role.PRODUCTION), dtype=np.int64)
    if array is None:
        return production, np.ones(count, dtype=np.bool_)
    if not is_text(array.type):
        return production, ~present(array)
    texts = to_texts(array)
    table = {role.value: i for i, role in enumerate(ROLES)}
    codes = np.array([*(table.get(raw, -1) for raw in texts.raw), -1], dtype=np.int64)[texts.codes]
    absent = texts.codes < 0
    return np.where(codes >= 0, codes, production), (codes >= 0) | absent


def times_of(
    array: Any, count: int, kafka_ts_ms: NDArray[np.int64] | None, bounds: Bounds
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Event times, and whether a row has one (or its message's stands in for it)."""
    if array is None:
        ts_ms = np.full(count, UNREADABLE, dtype=np.int64)
        has = np.zeros(count, dtype=np.bool_)
    else:
        ts_ms = read_times(array)
        has = present(array)
    if kafka_ts_ms is not None and bounds.kafka_ts_fallback:
        return np.where(has, ts_ms, kafka_ts_ms), np.ones(count, dtype=np.bool_)
    return ts_ms, has


def request_ids_of(array: Any) -> list[object]:
    if array is None or not (is_text(array.type) or pa.types.is_integer(array.type)):
        return []
    found: list[object] = array.to_pylist()
    return found
