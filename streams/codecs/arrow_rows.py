"""A record batch to columns: the fields of streams/codecs/fields.py, a whole batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.release import OTHER, Role
from streams.codecs import fields
from streams.codecs.arrow_columns import TOPS, Column, columns_of, final_name
from streams.codecs.arrow_heads import (
    KINDS,
    ROLES,
    kinds_of,
    names_of,
    request_ids_of,
    roles_of,
    times_of,
)
from streams.codecs.arrow_values import (
    CodedTexts,
    is_number,
    is_text,
    plain,
    present,
    to_numbers,
    to_texts,
)
from streams.codecs.columns import (
    Gathered,
    column_of_errors,
)
from streams.codecs.fields import Place
from streams.codecs.placing import Positions
from streams.codecs.reasons import Reason, Unreadable
from streams.codecs.timestamps import UNREADABLE
from streams.event import Bounds, EventKind

_HEAD = frozenset({"ts", "model", "version", "role", "type", "request_id"})
_REASONS = tuple(Reason)
FINE = -1


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
    columns: list[Column] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in _HEAD:
            if name in heads:
                raise Unreadable(Reason.ARROW_COLUMNS)
            heads[name] = plain(array)
        else:
            columns.extend(columns_of(name, array, bounds))
    named = [(c.place is Place.SEGMENTS, final_name(c)) for c in columns if c.name is not None]
    if len(set(named)) < len(named):
        raise Unreadable(Reason.ARROW_COLUMNS)
    columns.sort(key=lambda column: list(TOPS).index(column.top))
    count = batch.num_rows
    reason = np.full(count, FINE, dtype=np.int8)

    def refuse(where: NDArray[np.bool_], why: Reason) -> None:
        if where.any():
            reason[where & (reason == FINE)] = _REASONS.index(why)

    kind, known = kinds_of(heads.get("type"), columns, count, bounds)
    refuse(~known, Reason.BAD_TYPE)
    limit = bounds.max_name_chars
    model, models = names_of(heads.get("model"), count, limit)
    refuse(model < 0, Reason.BAD_MODEL)
    version, versions = names_of(heads.get("version"), count, limit)
    if (version < 0).any():
        absent = np.ones(count, dtype=np.bool_)
        if "version" in heads:
            absent = ~present(heads["version"])
        may = np.isin(kind, [KINDS.index(EventKind.LABEL), KINDS.index(EventKind.OUTCOME)])
        version = np.where(absent & may, np.int32(len(versions)), version)
        versions = [*versions, fields.UNATTRIBUTED]
    refuse(version < 0, Reason.BAD_VERSION)
    role, role_known = roles_of(heads.get("role"), count)
    refuse(~role_known, Reason.BAD_ROLE)
    ts_ms, has_ts = times_of(heads.get("ts"), count, kafka_ts_ms, bounds)
    refuse(~has_ts, Reason.NO_TS)
    refuse(ts_ms == UNREADABLE, Reason.BAD_TS)
    refuse((ts_ms < bounds.min_ts_ms) | (ts_ms > bounds.max_ts_ms), Reason.TS_RANGE)
    # Versions and roles that are refused have negative codes; their rows are never used.
    pairs, release = _distinct(version.astype(np.int64) * len(ROLES) + role)
    releases = tuple(
        (versions[pair // len(ROLES)] if pair >= 0 else "", ROLES[pair % len(ROLES)])
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
        request_ids=request_ids_of(heads.get("request_id")) if request_ids else [],
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

    def __init__(self, column: Column, *, capped: bool) -> None:
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


def _cells(columns: list[Column], bounds: Bounds) -> list[Cell]:
    """The first ``max_columns`` columns; values of the others count as errors."""
    cells = []
    used = 0
    for column in columns:
        used += column.name is not None
        cells.append(Cell(column, capped=used > bounds.max_columns))
    return cells


def _distinct(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The different ones among small numbers, increasing, and which of them each is."""
    lowest = int(numbers.min(initial=0))
    found = np.flatnonzero(np.bincount(numbers - lowest, minlength=1))
    place = np.zeros(int(found[-1]) + 1 if len(found) else 0, dtype=np.int32)
    place[found] = np.arange(len(found), dtype=np.int32)
    return found + lowest, place[numbers - lowest]
