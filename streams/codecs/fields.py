"""The fields of an event, read one event at a time: the exact path, which defines the truth.

An event is of the kind that ``type`` names, else of the kind its topic is configured to have,
else it is told by its fields (null counts as absent): with ``features`` or ``latency_ms`` it is a
prediction; else with ``label`` a label; else with ``outcomes`` an outcome; else with ``scores``
and no ``prediction`` a score; else a prediction. A prediction that carries its ``label`` or
``outcomes`` already keeps them as columns.

A row is refused only for what every row needs (time, model, version, role, type). Anything else
that cannot be read costs one cell: an error of its column. Names that cannot be read, and what a
row has beyond ``max_columns``, are errors of the column ``__other__``. Unknown fields outside
``features``, ``segments``, ``scores``, ``outcomes`` and ``prediction`` are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from detectors.release import OTHER, Role
from streams.codecs.columns import STATUS
from streams.codecs.reasons import Reason, Unreadable
from streams.codecs.text import as_text, readable
from streams.codecs.timestamps import UNREADABLE, parse_time
from streams.event import Bounds, EventKind

UNATTRIBUTED = "unattributed"
"""The version of labels and outcomes that do not say which version they belong to."""

MAX_DEPTH = 8
"""Objects nested deeper than this within a group are an error of their column."""


class Place(Enum):
    """Where a field's values go."""

    CELLS = "columns by type"
    TEXT = "one column of text"
    SEGMENTS = "segments"


_ALWAYS = {"segments": Place.SEGMENTS}
PLACES: dict[EventKind, dict[str, Place]] = {
    EventKind.PREDICTION: {
        **_ALWAYS,
        "prediction": Place.CELLS,
        "scores": Place.CELLS,
        "label": Place.CELLS,
        "outcomes": Place.CELLS,
        "latency_ms": Place.CELLS,
        "tokens_in": Place.CELLS,
        "tokens_out": Place.CELLS,
        "cost": Place.CELLS,
        STATUS: Place.TEXT,
        "features": Place.CELLS,
    },
    EventKind.LABEL: {**_ALWAYS, "label": Place.CELLS, "scores": Place.CELLS},
    EventKind.SCORE: {**_ALWAYS, "scores": Place.CELLS},
    EventKind.OUTCOME: {**_ALWAYS, "outcomes": Place.CELLS, "scores": Place.CELLS},
}
"""The fields that become columns, per kind, in the order in which they use up ``max_columns``."""

GROUPS = frozenset({"features", "scores", "outcomes", "segments"})
"""Fields that must be objects; a scalar there is an error of the column of that name."""

GROUP_OR_SCALAR = frozenset({"prediction"})
"""Fields that are an object or a scalar."""

DECIDING = ("features", "latency_ms", "label", "outcomes", "prediction", "scores")
"""Fields that tell the kind: the first one that is present decides."""

KIND_OF = {
    "features": EventKind.PREDICTION,
    "latency_ms": EventKind.PREDICTION,
    "label": EventKind.LABEL,
    "outcomes": EventKind.OUTCOME,
    "prediction": EventKind.PREDICTION,
    "scores": EventKind.SCORE,
}
_TYPES = {kind.value: kind for kind in EventKind}
_ROLES = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class Head:
    """What every row has."""

    model: str
    kind: EventKind
    ts_ms: int
    version: str
    role: Role


@dataclass(slots=True)
class Cells:
    """The cells of one row. Values are what the parser made of them; None is left out."""

    columns: dict[str, object] = field(default_factory=dict)
    segments: dict[str, str] = field(default_factory=dict)
    errors: set[str] = field(default_factory=set)


def read_head(event: dict[str, object], kafka_ts_ms: int | None, bounds: Bounds) -> Head:
    """Raises ``Unreadable`` if the row cannot be an event."""
    limit = bounds.max_name_chars
    kind = read_kind(event, bounds)
    model = read_name(event.get("model"), limit)
    if model is None:
        raise Unreadable(Reason.BAD_MODEL)
    version = read_version(event.get("version"), kind, limit)
    if version is None:
        raise Unreadable(Reason.BAD_VERSION)
    given_role = event.get("role")
    role = _ROLES.get(given_role) if isinstance(given_role, str) else None
    if role is None:
        if given_role is not None:
            raise Unreadable(Reason.BAD_ROLE)
        role = Role.PRODUCTION
    return Head(model, kind, read_ts(event.get("ts"), kafka_ts_ms, bounds), version, role)


def deciding_field(event: dict[str, object]) -> str | None:
    """The field that tells the kind of an event without ``type``."""
    return next((name for name in DECIDING if event.get(name) is not None), None)


def read_kind(event: dict[str, object], bounds: Bounds) -> EventKind:
    given = event.get("type")
    if given is not None:
        kind = _TYPES.get(given) if isinstance(given, str) else None
        if kind is None:
            raise Unreadable(Reason.BAD_TYPE)
        return kind
    if bounds.kind is not None:
        return bounds.kind
    decides = deciding_field(event)
    return EventKind.PREDICTION if decides is None else KIND_OF[decides]


def read_name(value: object, limit: int) -> str | None:
    """A name is text or a whole number; a fraction is no name, for 1.10 would become 1.1."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return readable(as_text(value) or "", limit)


def read_version(value: object, kind: EventKind, limit: int) -> str | None:
    if value is None and kind in (EventKind.LABEL, EventKind.OUTCOME):
        return UNATTRIBUTED
    return read_name(value, limit)


def read_ts(value: object, kafka_ts_ms: int | None, bounds: Bounds) -> int:
    if value is None:
        if kafka_ts_ms is None or not bounds.kafka_ts_fallback:
            raise Unreadable(Reason.NO_TS)
        ts_ms = kafka_ts_ms
    else:
        ts_ms = parse_time(value)
        if ts_ms == UNREADABLE:
            raise Unreadable(Reason.BAD_TS)
    if not bounds.min_ts_ms <= ts_ms <= bounds.max_ts_ms:
        raise Unreadable(Reason.TS_RANGE)
    return ts_ms


def read_cells(event: dict[str, object], kind: EventKind, bounds: Bounds) -> Cells:
    """Never refuses: what cannot be read is an error of its column."""
    cells = Cells()
    for top, place in PLACES[kind].items():
        value = event.get(top)
        if value is None:
            continue
        if top in GROUPS and not isinstance(value, dict):
            cells.errors.add(top)
        elif place is Place.SEGMENTS:
            assert isinstance(value, dict)  # noqa: S101 - segments are in GROUPS
            _read_segments(value, cells, bounds)
        elif place is Place.TEXT:
            _put(cells, top, as_text(value), bounds)
        elif top not in GROUPS and top not in GROUP_OR_SCALAR:
            _put(cells, top, value, bounds)
        else:
            for path, scalar in _walk(top, value, 0, bounds.max_name_chars):
                if path is None:
                    cells.errors.add(OTHER)
                else:
                    _put(cells, path, scalar, bounds)
    return cells


def _read_segments(given: dict[str, object], cells: Cells, bounds: Bounds) -> None:
    for key, value in given.items():
        name = segment_name(key, bounds.max_name_chars)
        if value is None:
            continue
        if name is None or len(cells.segments) >= bounds.max_columns:
            cells.errors.add(OTHER)
            continue
        text = as_text(value)
        assert text is not None  # noqa: S101 - only None has no text
        cells.segments[name] = text


def _put(cells: Cells, name: str, value: object, bounds: Bounds) -> None:
    if name not in cells.columns and len(cells.columns) >= bounds.max_columns:
        cells.errors.add(OTHER)
    else:
        cells.columns[name] = value


def _walk(
    name: str | None, value: object, depth: int, limit: int
) -> Iterator[tuple[str | None, object]]:
    """The scalars below a field, as (column, value); the column is None if a name is unreadable.

    A list is a cell too: it has no reading yet, so it becomes an error of its column.
    """
    if value is None:
        return
    if isinstance(value, dict) and depth < MAX_DEPTH:
        for key, below in value.items():
            path = None if name is None else column_name(name, key, limit)
            yield from _walk(path, below, depth + 1, limit)
    else:
        yield name, value


@lru_cache(maxsize=16_384)
def column_name(parent: str, key: str, limit: int) -> str | None:
    """The dotted path of a value, or None if ``key`` is no readable name or the path too long."""
    name = readable(key, limit)
    path = None if name is None else f"{parent}.{name}"
    return path if path is not None and len(path) <= limit else None


@lru_cache(maxsize=4096)
def segment_name(key: str, limit: int) -> str | None:
    """A segment is shown as ``name=value``, so a name with ``=`` in it could mean two segments."""
    return None if "=" in key else readable(key, limit)
