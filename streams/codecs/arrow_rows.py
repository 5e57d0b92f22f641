"""A record batch to columns: the fields of streams/codecs/fields.py, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.release import OTHER, Role
from streams.codecs import fields
from streams.codecs.arrow_values import (
    CodedTexts,
    is_number,
    is_text,
    plain,
    present,
    to_numbers,
    to_texts,
)
from streams.codecs.arrow_values import to_times as read_times
from streams.codecs.columns import (
    PREDICTION_LABEL,
    PREDICTION_VALUE,
    SCALAR_PREDICTION,
    Gathered,
    column_of_errors,
)
from streams.codecs.fields import Place
from streams.codecs.placing import Positions
from streams.codecs.reasons import Reason, Unreadable
from streams.codecs.timestamps import UNREADABLE
from streams.event import Bounds, EventKind

_HEAD = frozenset({"ts", "model", "version", "role", "type", "request_id"})
_TOPS = {top: place for places in fields.PLACES.values() for top, place in places.items()}
KINDS = tuple(EventKind)
_ROLES = tuple(Role)
_REASONS = tuple(Reason)
FINE = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """A column of the batch, or the entries of a map with one key (then ``rows`` says whose)."""

    top: str
    name: str | None
    place: Place
    array: Any
    rows: NDArray[np.int64] | None = None


@dataclass(slots=True)
class BatchRows:
    """What is known of the rows of one record batch before their cells are read.

    ``reason`` indexes the reasons of ``Reason``, -1 where the row is an event.
    """

    model: NDArray[np.int32]
    models: list[str]
    kind: NDArray[np.int8]
    ts_ms: NDArray[np.int64]
    release: NDArray[np.int32]
    releases: tuple[tuple[str, Role], ...]
    reason: NDArray[np.int8]
    request_ids: list[object]
    cells: list[Cell]

    def reason_of(self, row: int) -> Reason:
        return _REASONS[int(self.reason[row])]


def read_batch(
    batch: Any, kafka_ts_ms: NDArray[np.int64] | None, bounds: Bounds, *, request_ids: bool
) -> BatchRows:
    """Everything that Arrow has to do; ``gather`` only hands out what is read here.
    ``kafka_ts_ms``: by row.

    Raises ``Unreadable`` if columns share a name, so that no row can be trusted, and what Arrow
    raises for types it cannot convert.
    """
    heads: dict[str, Any] = {}
    columns: list[_Column] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in _HEAD:
            if name in heads:
                raise Unreadable(Reason.ARROW_COLUMNS)
            heads[name] = plain(array)
        else:
            columns.extend(_columns(name, array, bounds))
    named = [(c.place is Place.SEGMENTS, _final_name(c)) for c in columns if c.name is not None]
    if len(set(named)) < len(named):
        raise Unreadable(Reason.ARROW_COLUMNS)
    columns.sort(key=lambda column: list(_TOPS).index(column.top))
    count = batch.num_rows
    reason = np.full(count, FINE, dtype=np.int8)

    def refuse(where: NDArray[np.bool_], why: Reason) -> None:
        if where.any():
            reason[where & (reason == FINE)] = _REASONS.index(why)

    kind, known = _kinds(heads.get("type"), columns, count, bounds)
    refuse(~known, Reason.BAD_TYPE)
    limit = bounds.max_name_chars
    model, models = _names(heads.get("model"), count, limit)
    refuse(model < 0, Reason.BAD_MODEL)
    version, versions = _names(heads.get("version"), count, limit)
    if (version < 0).any():
        absent = np.ones(count, dtype=np.bool_)
        if "version" in heads:
            absent = ~present(heads["version"])
        may = np.isin(kind, [KINDS.index(EventKind.LABEL), KINDS.index(EventKind.OUTCOME)])
        version = np.where(absent & may, np.int32(len(versions)), version)
        versions = [*versions, fields.UNATTRIBUTED]
    refuse(version < 0, Reason.BAD_VERSION)
    role, role_known = _roles(heads.get("role"), count)
    refuse(~role_known, Reason.BAD_ROLE)
    ts_ms, has_ts = _times(heads.get("ts"), count, kafka_ts_ms, bounds)
    refuse(~has_ts, Reason.NO_TS)
    refuse(ts_ms == UNREADABLE, Reason.BAD_TS)
    refuse((ts_ms < bounds.min_ts_ms) | (ts_ms > bounds.max_ts_ms), Reason.TS_RANGE)
    # Versions and roles that are refused have negative codes; their rows are never used.
    pairs, release = _distinct(version.astype(np.int64) * len(_ROLES) + role)
    releases = tuple(
        (versions[pair // len(_ROLES)] if pair >= 0 else "", _ROLES[pair % len(_ROLES)])
        for pair in pairs.tolist()
    )
    return BatchRows(
        model=model,
        models=models,
        kind=kind,
        ts_ms=ts_ms,
        release=release,
        releases=releases,
        reason=reason,
        request_ids=_request_ids(heads.get("request_id")) if request_ids else [],
        cells=_cells(columns, bounds),
    )


def gather(
    rows: BatchRows,
    positions: Positions,
    gathered: dict[tuple[str, EventKind], Gathered],
    bounds: Bounds,
) -> None:
    """Put the events of a batch, whose rows have these positions, into columns."""
    fine = rows.reason == FINE
    # Two raw names may have one form, so groups are told by the code of the form.
    forms = {name: code for code, name in enumerate(dict.fromkeys(rows.models))}
    of_model = np.array([*(forms[name] for name in rows.models), -1], dtype=np.int64)
    group = np.where(fine, of_model[rows.model] * len(KINDS) + rows.kind, -1)
    places: list[tuple[NDArray[np.int64], Positions, Gathered, EventKind]] = []
    for code in np.unique(group[fine]).tolist():
        kind = KINDS[code % len(KINDS)]
        key = (list(forms)[code // len(KINDS)], kind)
        inside = np.flatnonzero(group == code)
        at = positions[inside]
        into = gathered.setdefault(key, Gathered(bounds))
        into.heads(at, rows.ts_ms[inside], rows.release[inside], rows.releases)
        if rows.request_ids:
            into.request_ids(at, [rows.request_ids[row] for row in inside.tolist()])
        places.append((inside, at, into, kind))
    for cell in rows.cells:
        for inside, at, into, kind in places:
            if cell.top not in fields.PLACES[kind]:
                continue
            if cell.rows is not None:
                mine = np.flatnonzero(np.isin(cell.rows, inside))
                cell.put(mine, positions[cell.rows[mine]], into)
            elif len(inside) == len(fine):
                cell.put(slice(None), at, into)
            else:
                cell.put(inside, at, into)


class Content(Enum):
    """What the cells of a column are read as."""

    NUMBERS = auto()
    TEXTS = auto()
    NOTHING = auto()
    """A column of nulls."""
    ERRORS = auto()
    """Every value is an error."""


class Cell:
    """The cells of one column, converted once and handed out to the rows of each model.

    ``name`` None: an unreadable one. Only what belongs to ``content`` is there: ``numbers``
    float64, ``texts``, or ``present``, which says where values are.
    """

    numbers: NDArray[np.float64]
    texts: CodedTexts
    present: NDArray[np.bool_]

    def __init__(self, column: _Column, *, capped: bool) -> None:
        self.top = column.top
        self.rows = column.rows
        self.name = None if capped else column.name
        self.place = column.place
        kind = column.array.type
        wants_text = column.place is not Place.CELLS
        self.content = Content.ERRORS
        if pa.types.is_null(kind):
            self.content = Content.NOTHING
        elif self.name is None:
            self.present = present(column.array)
        elif is_text(kind) or (wants_text and is_number(kind)):
            self.content = Content.TEXTS
            self.texts = to_texts(column.array)
        elif is_number(kind):
            self.content = Content.NUMBERS
            self.numbers = to_numbers(column.array)
        else:
            self.present = present(column.array)

    def put(self, inside: NDArray[np.int64] | slice, at: Positions, into: Gathered) -> None:
        segment = self.place is Place.SEGMENTS
        if self.content is Content.NOTHING:
            return
        if self.name is None:
            into.errors(OTHER, at[self.present[inside]])
        elif self.content is Content.TEXTS:
            into.coded(self.name, at, self.texts.codes[inside], self.texts.raw, segment=segment)
        elif self.content is Content.NUMBERS:
            into.numbers(self.name, at, self.numbers[inside])
        else:
            into.errors(column_of_errors(self.name, segment=segment), at[self.present[inside]])


def _final_name(column: _Column) -> str | None:
    """The column that a scalar prediction ends up in may stand beside it."""
    if column.name != SCALAR_PREDICTION or column.place is Place.SEGMENTS:
        return column.name
    return PREDICTION_VALUE if is_number(column.array.type) else PREDICTION_LABEL


def _cells(columns: list[_Column], bounds: Bounds) -> list[Cell]:
    """The first ``max_columns`` columns; values of the others count as errors."""
    cells = []
    used = 0
    for column in columns:
        used += column.name is not None
        cells.append(Cell(column, capped=used > bounds.max_columns))
    return cells


def _request_ids(array: Any) -> list[object]:
    if array is None or not (is_text(array.type) or pa.types.is_integer(array.type)):
        return []
    found: list[object] = array.to_pylist()
    return found


def _columns(name: str, array: Any, bounds: Bounds) -> Iterator[_Column]:
    """The columns below a column of the batch; none if it is not a field of ours."""
    top, _, path = name.partition(".")
    place = _TOPS.get(top)
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
            yield _Column(top, top, Place.CELLS if misplaced else place, _opaque(array, misplaced))
        return
    yield from _named(top, top, path, place, array, bounds, depth=1)


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
) -> Iterator[_Column]:
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
        yield _Column(top, name, place, array, rows)


def _below(
    top: str, parent: str | None, place: Place, array: Any, bounds: Bounds, *, depth: int
) -> Iterator[_Column]:
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


def _kinds(
    given: Any, columns: list[_Column], count: int, bounds: Bounds
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


def _names(array: Any, count: int, limit: int) -> tuple[NDArray[np.int32], list[str]]:
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


def _roles(array: Any, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    production = np.full(count, _ROLES.index(Role.PRODUCTION), dtype=np.int64)
    if array is None:
        return production, np.ones(count, dtype=np.bool_)
    if not is_text(array.type):
        return production, ~present(array)
    texts = to_texts(array)
    table = {role.value: i for i, role in enumerate(_ROLES)}
    codes = np.array([*(table.get(raw, -1) for raw in texts.raw), -1], dtype=np.int64)[texts.codes]
    absent = texts.codes < 0
    return np.where(codes >= 0, codes, production), (codes >= 0) | absent


def _distinct(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The different ones among small numbers, increasing, and which of them each is."""
    lowest = int(numbers.min(initial=0))
    found = np.flatnonzero(np.bincount(numbers - lowest, minlength=1))
    place = np.zeros(int(found[-1]) + 1 if len(found) else 0, dtype=np.int32)
    place[found] = np.arange(len(found), dtype=np.int32)
    return found + lowest, place[numbers - lowest]


def _times(
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
