"""The fast path: a shape is a msgspec Struct made from the messages seen so far of one model.

A shape accepts a message only if the exact path (streams/codecs/fields.py) would make the same
cells of it: unknown fields are forbidden, every leaf has exactly the types seen there, the model
and what tells the kind are required literally. Whatever does not fit goes the exact path, and may
then widen the shape. So learning changes the speed and never the columns; a property test holds
the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from detectors.release import Role
from streams.codecs import fields
from streams.codecs.columns import Gathered
from streams.codecs.fields import UNATTRIBUTED, Place
from streams.codecs.placing import Positions
from streams.codecs.text import as_text
from streams.codecs.timestamps import UNREADABLE, parse_times
from streams.event import Bounds, EventKind

MAX_LEAVES = 512
"""A shape with more fields than this is not learnt: its messages go the exact path."""

_HEAD = ("ts", "version", "role", "request_id")
_ROLE_TYPE = Literal["production", "canary", "shadow", "variant"] | None
_ROLES = {role.value: role for role in Role} | {None: Role.PRODUCTION}
_SCALARS = (str, bool, int, float)


class _Misfit(Exception):
    """A message has something that no shape can express."""


@dataclass(slots=True)
class _Leaf:
    """A scalar field: the types seen there (none: only null), and the column it fills."""

    column: str
    place: Place
    types: set[type] = field(default_factory=set)


@dataclass(slots=True)
class _Group:
    """An object: its fields by raw name. None: a field that fills nothing and may be anything."""

    fields: dict[str, _Leaf | _Group | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShapeKey:
    """What all messages of a shape have in common. ``decides``: the field that tells the kind."""

    model: str
    kind: EventKind
    type_given: bool
    decides: str | None

    @classmethod
    def of(cls, event: dict[str, object], kind: EventKind, bounds: Bounds) -> ShapeKey | None:
        """None for messages that no shape can tell from those of another kind."""
        model = event.get("model")
        if not isinstance(model, str):
            return None
        type_given = event.get("type") is not None
        if type_given or bounds.kind is not None:
            return cls(model, kind, type_given, None)
        decides = fields.deciding_field(event)
        return None if decides is None else cls(model, kind, type_given, decides)


class Shape:
    """Messages of one model and kind: their fields, and the decoder made for them.

    Of ``bounds`` it keeps only what shapes depend on, never the range of event times.
    """

    def __init__(self, key: ShapeKey, bounds: Bounds) -> None:
        self.key = key
        self._bounds = bounds
        self._tree = _Group()
        self._head_types: dict[str, set[type]] = {"ts": set(), "version": set()}
        self.decode: Callable[[bytes], Any] | None = None

    def learn(self, event: dict[str, object], before: Callable[[], None]) -> None:
        """Widen the shape so that it takes ``event``, which the exact path has accepted.

        ``before`` is called when the fields change: rows decoded so far must be taken by then.
        """
        draft = _Draft(self._tree, self._head_types, self._bounds)
        if not draft.add(event, self.key):
            return
        try:
            struct = _top_struct(draft.tree, draft.head_types, self.key, self._bounds)
        except (ValueError, TypeError):
            return  # a name that JSON has to escape cannot be a field of a Struct
        before()
        self._tree, self._head_types = draft.tree, draft.head_types
        self.decode = msgspec.json.Decoder(struct).decode

    def take(
        self,
        rows: Sequence[Any],
        at: Positions,
        kafka_ts_ms: NDArray[np.int64] | None,
        into: Gathered,
        *,
        request_ids: bool,
    ) -> Positions:
        """Put decoded rows into columns; returns those of ``at`` that the exact path must read.

        Those are rows whose time or version it may have to refuse. ``kafka_ts_ms``: by position.
        """
        bounds = into.bounds
        tops = list(zip(*map(astuple, rows), strict=True))
        ts_ms = parse_times(tops[0])
        if kafka_ts_ms is not None and bounds.kafka_ts_fallback:
            absent = np.array([ts is None for ts in tops[0]])
            ts_ms = np.where(absent, kafka_ts_ms[at], ts_ms)
        good: NDArray[np.bool_] = (
            (ts_ms >= bounds.min_ts_ms) & (ts_ms <= bounds.max_ts_ms) & (ts_ms != UNREADABLE)
        )
        limit = bounds.max_name_chars
        versions = {
            version: fields.read_version(version, self.key.kind, limit) for version in set(tops[1])
        }
        if None in versions.values():
            good &= np.array([versions[version] is not None for version in tops[1]])
        again: Positions = at[~good]
        if len(again):
            keep = np.flatnonzero(good).tolist()
            tops = [tuple(map(column.__getitem__, keep)) for column in tops]
            at, ts_ms = at[good], ts_ms[good]
            if not keep:
                return again
        pairs = dict.fromkeys(zip(tops[1], tops[2], strict=True), -1)
        releases: dict[tuple[str, Role], int] = {}
        for version, role in pairs:
            release = (versions[version] or UNATTRIBUTED, _ROLES[role])
            pairs[version, role] = releases.setdefault(release, len(releases))
        codes = map(pairs.__getitem__, zip(tops[1], tops[2], strict=True))
        release_codes = np.fromiter(codes, dtype=np.int32, count=len(at))
        into.heads(at, ts_ms, release_codes, tuple(releases))
        if request_ids:
            into.request_ids(at, tops[3])
        self._fill(self._tree, tops[len(_HEAD) :], at, into)
        return again

    def _fill(
        self, group: _Group, columns: Sequence[tuple[Any, ...]], at: Positions, into: Gathered
    ) -> None:
        for node, values in zip(group.fields.values(), columns, strict=False):
            if node is None:
                continue
            if isinstance(node, _Leaf):
                if node.types:
                    _fill_leaf(node, values, at, into)
                continue
            inside, there = values, at
            if None in values:  # these rows have no such object
                keep = [i for i, value in enumerate(values) if value is not None]
                inside, there = tuple(values[i] for i in keep), at[keep]
            if inside and node.fields:
                self._fill(node, list(zip(*map(astuple, inside), strict=True)), there, into)


def _fill_leaf(leaf: _Leaf, values: Sequence[Any], at: Positions, into: Gathered) -> None:
    if leaf.place is not Place.CELLS:
        texts = values if leaf.types == {str} else [as_text(value) for value in values]
        if leaf.place is Place.SEGMENTS:
            into.segment(leaf.column, at, texts)
        else:
            into.texts(leaf.column, at, texts)
    elif leaf.types <= {int, float}:
        try:
            numbers = np.fromiter(values, dtype=np.float64, count=len(values))
        except TypeError:  # there are nulls among them, which become NaN
            numbers = np.array(values, dtype=np.float64)
        into.numbers(leaf.column, at, numbers)
    elif leaf.types == {str}:
        into.texts(leaf.column, at, values)
    else:
        into.mixed(leaf.column, at, values)


class _Draft:
    """A copy of a shape's tree that is being widened by one event."""

    def __init__(self, tree: _Group, head_types: dict[str, set[type]], bounds: Bounds) -> None:
        self.tree = _copy(tree)
        self.head_types = {name: set(types) for name, types in head_types.items()}
        self._bounds = bounds
        self._changed = False

    def add(self, event: dict[str, object], key: ShapeKey) -> bool:
        """Whether the event brought something new that fits into a shape."""
        try:
            for name, types in self.head_types.items():
                self._add_type(types, event.get(name))
            for name, value in event.items():
                if name not in ("model", "type", *_HEAD):
                    self._add_top(name, value, key)
            self._check_columns()
        except _Misfit:
            return False
        return self._changed

    def _add_top(self, name: str, value: object, key: ShapeKey) -> None:
        place = fields.PLACES[key.kind].get(name)
        if place is not None:
            may_be_group = name in fields.GROUPS or name in fields.GROUP_OR_SCALAR
            self._add(self.tree, name, value, name, place, deep=may_be_group)
        elif name not in self.tree.fields:
            # A field that fills nothing may be anything, unless it would tell another kind.
            tells = key.decides is not None and name in fields.DECIDING
            if tells and fields.DECIDING.index(name) < fields.DECIDING.index(key.decides or ""):
                self.tree.fields[name] = _Leaf(name, Place.CELLS)
            else:
                self.tree.fields[name] = None
            self._changed = True

    def _add(
        self, group: _Group, key: str, value: object, column: str, place: Place, *, deep: bool
    ) -> None:
        node = group.fields.get(key)
        if isinstance(value, dict):
            if not deep or column.count(".") >= fields.MAX_DEPTH:
                raise _Misfit
            if node is None or (isinstance(node, _Leaf) and not node.types):
                node = group.fields[key] = _Group()
                self._changed = True
            if not isinstance(node, _Group):
                raise _Misfit
            for below, inner in value.items():
                name = self._name(column, below, place)
                self._add(node, below, inner, name, place, deep=place is Place.CELLS)
            return
        if isinstance(node, _Group):
            if value is not None:
                raise _Misfit
            return
        if group is self.tree and column in fields.GROUPS and value is not None:
            raise _Misfit
        if node is None:
            node = group.fields[key] = _Leaf(column, place)
            self._changed = True
        self._add_type(node.types, value)

    def _name(self, parent: str, key: str, place: Place) -> str:
        limit = self._bounds.max_name_chars
        if place is Place.SEGMENTS:
            name = fields.segment_name(key, limit)
        else:
            name = fields.column_name(parent, key, limit)
        if name is None:
            raise _Misfit
        return name

    def _add_type(self, types: set[type], value: object) -> None:
        if value is None:
            return
        if not isinstance(value, _SCALARS):
            raise _Misfit
        if type(value) not in types:
            types.add(type(value))
            self._changed = True

    def _check_columns(self) -> None:
        """Two fields of one column would have to be merged cell by cell."""
        leaves = list(_leaves(self.tree))
        names = {(leaf.place is Place.SEGMENTS, leaf.column) for leaf in leaves}
        if len(names) < len(leaves) or len(leaves) > min(MAX_LEAVES, self._bounds.max_columns):
            raise _Misfit
        if len(self.tree.fields) > MAX_LEAVES:
            raise _Misfit


def _copy(group: _Group) -> _Group:
    copy = _Group()
    for name, node in group.fields.items():
        if isinstance(node, _Group):
            copy.fields[name] = _copy(node)
        else:
            copy.fields[name] = node and _Leaf(node.column, node.place, set(node.types))
    return copy


def _leaves(group: _Group) -> list[_Leaf]:
    found = []
    for node in group.fields.values():
        if isinstance(node, _Group):
            found += _leaves(node)
        elif node is not None:
            found.append(node)
    return found


def _top_struct(
    tree: _Group, head_types: dict[str, set[type]], key: ShapeKey, bounds: Bounds
) -> type[msgspec.Struct]:
    """A Struct with the head first, in the order of ``_HEAD``, then the tree's fields in order."""
    may_lack_version = key.kind in (EventKind.LABEL, EventKind.OUTCOME)
    columns: list[tuple[str, Any, bool]] = [
        ("ts", _union(head_types["ts"], null=bounds.kafka_ts_fallback), bounds.kafka_ts_fallback),
        ("version", _union(head_types["version"], null=may_lack_version), may_lack_version),
        ("role", _ROLE_TYPE, True),
        ("request_id", Any, True),
    ]
    for name, node in tree.fields.items():
        required = name == key.decides
        columns.append((name, _type_of(node, null=not required), not required))
    columns.append(("model", Literal[key.model], False))
    if key.type_given:
        columns.append(("type", Literal[key.kind.value], False))
    return _struct(columns)


def _struct(columns: list[tuple[str, Any, bool]]) -> type[msgspec.Struct]:
    """``columns``: raw name, type, whether it may be absent (and is None then)."""
    definitions: list[Any] = []
    for i, (_, kind, optional) in enumerate(columns):
        definitions.append((f"f{i}", kind, None) if optional else (f"f{i}", kind))
    return msgspec.defstruct(
        "Row",
        definitions,
        rename={f"f{i}": name for i, (name, _, _) in enumerate(columns)},
        forbid_unknown_fields=True,
        kw_only=True,
        eq=False,
        gc=False,
    )


def _type_of(node: _Leaf | _Group | None, *, null: bool) -> Any:
    if node is None:
        return Any
    if isinstance(node, _Group):
        columns = [(name, _type_of(n, null=True), True) for name, n in node.fields.items()]
        return _struct(columns) | None if null else _struct(columns)
    types = set(node.types)
    if node.place is Place.CELLS and types & {int, float}:
        types = types - {int} | {float}  # one column of numbers; as text, 2**60 must stay whole
    return _union(types, null=null)


def _union(types: set[type], *, null: bool) -> Any:
    members = sorted(types, key=lambda t: t.__name__) + ([type(None)] if null else [])
    return reduce(or_, members) if members else type(None)
