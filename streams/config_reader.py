"""From a YAML tree to plain values, led by the types of the settings they are meant for.

Knowing the wanted type settles what YAML leaves to guess: a version ``0613`` stays text, ``on`` is
the word, and a field ``x_ms`` may be written ``x: 10s``. Every value keeps its place (file and
line, or the environment variable it came from), so that each refusal can name it. What is wrong
is collected, not raised: a file with three mistakes is told all three.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr

from detectors.drift_settings import FalseAlarms
from streams.durations import DurationError, parse_duration, parse_rate
from streams.yaml_file import (
    Fields,
    Items,
    Node,
    Scalar,
    ScalarError,
    core_value,
    parse_node,
    shown,
)

Location = tuple[str | int, ...]

DURATION_SUFFIX: Final = "_ms"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``path`` as ``time.windows[1]``, ``where`` as ``file:line``."""

    path: str
    where: str
    what: str
    hint: str = ""


class _Absent:
    """A value that was refused: it is left out, so that nothing else is said about it."""


_ABSENT: Final = _Absent()


def path_text(path: Location) -> str:
    """``("time", "windows_ms", 1)`` as it is written: ``time.windows[1]``."""
    text = ""
    for named in path:
        part = public_name(named) if isinstance(named, str) else named
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if text else shown(part)
    return text


@cache
def settings_fields(wanted: type) -> Mapping[str, Any]:
    """The fields of a settings class with their types, in order of declaration."""
    hints = get_type_hints(wanted)
    if issubclass(wanted, BaseModel):
        return {name: hints[name] for name in wanted.model_fields}
    if is_dataclass(wanted):
        return {f.name: hints[f.name] for f in fields(wanted) if f.init}
    raise TypeError(f"{wanted.__name__} is no class of settings")


def is_settings(wanted: Any) -> bool:
    """Whether a type is a class of settings: a dataclass or a pydantic model."""
    return isinstance(wanted, type) and (is_dataclass(wanted) or issubclass(wanted, BaseModel))


def public_name(field: str) -> str:
    """How a field is written in a file: ``pane_ms`` is ``pane``."""
    return field.removesuffix(DURATION_SUFFIX)


def field_named(key: str, wanted: type) -> str | None:
    """The field a key of the file means, by either spelling; None if there is none."""
    known = settings_fields(wanted)
    if key in known:
        return key
    return key + DURATION_SUFFIX if key + DURATION_SUFFIX in known else None


def members(wanted: Any) -> tuple[Any, ...]:
    """The members of a union (itself, if it is none), without ``Annotated``."""
    if get_origin(wanted) is Annotated:
        return members(get_args(wanted)[0])
    if get_origin(wanted) in (Union, types.UnionType):
        return tuple(m for part in get_args(wanted) for m in members(part))
    return (wanted,)


def _takes_text(wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return any(isinstance(value, str) for value in get_args(wanted))
    return isinstance(wanted, type) and (
        wanted in (str, Path, SecretStr) or (issubclass(wanted, Enum) and issubclass(wanted, str))
    )


def _element(wanted: Any) -> Any | None:
    """What a list type holds, None if it is no list type."""
    origin = get_origin(wanted)
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        return next((a for a in get_args(wanted) if a is not Ellipsis), str)
    return None


def _mapping_value(wanted: Any) -> Any | None:
    """What a mapping type holds, None if it is no mapping type."""
    origin = get_origin(wanted)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return get_args(wanted)[1]
    return None


class Reader:
    """Reads nodes and remembers what was wrong and where each value stood."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.refused: set[Location] = set()
        self.places: dict[Location, str] = {}

    def place(self, path: Location) -> str:
        """Where the value, or else the nearest thing around it, stands."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return ""

    def read(self, node: Node, wanted: Any, path: Location = (), *, durations: bool = False) -> Any:
        """The plain value of a node: dicts, lists, text, numbers, True, False, None.

        ``durations``: numbers are milliseconds and must be written as durations.
        """
        self.places.setdefault(path, node.where)
        wants = members(wanted)
        match node:
            case Scalar():
                return self._scalar(node, wants, path, durations=durations)
            case Items(items=items):
                element = next((e for w in wants if (e := _element(w)) is not None), None)
                if element is None:
                    return self._refuse(path, node.where, "a list where none is expected")
                read = [
                    self.read(item, element, (*path, i), durations=durations)
                    for i, item in enumerate(items)
                ]
                return [value for value in read if value is not _ABSENT]
            case Fields():
                return self._fields(node, wants, path, durations=durations)

    def _refuse(self, path: Location, where: str, what: str, hint: str = "") -> _Absent:
        self.problems.append(Problem(path_text(path), where, what, hint))
        self.refused.add(path)
        return _ABSENT

    def _scalar(
        self, node: Scalar, wants: tuple[Any, ...], path: Location, *, durations: bool
    ) -> Any:
        nullable = types.NoneType in wants
        null = node.plain and core_value_or_text(node.text) is None
        if null and nullable:
            return None
        if durations:
            try:
                return parse_duration(node.text)
            except DurationError as error:
                return self._refuse(path, node.where, str(error), "for example 10s, 5m, 400d")
        if FalseAlarms in wants and not null:
            try:
                count, period_ms = parse_rate(node.text)
            except DurationError as error:
                return self._refuse(path, node.where, str(error))
            return {"count": count, "period_ms": period_ms}
        if any(_takes_text(w) for w in wants):
            if null:
                return self._refuse(path, node.where, "no value", "write one, or remove the key")
            return node.text
        if null and all(is_settings(w) or _mapping_value(w) is not None for w in wants):
            # `serve:` with everything below it commented out means: all defaults.
            return {}
        if not node.plain:
            return node.text
        try:
            return core_value(node.text)
        except ScalarError as error:
            return self._refuse(path, node.where, str(error))

    def _fields(
        self, node: Fields, wants: tuple[Any, ...], path: Location, *, durations: bool
    ) -> Any:
        classes = [w for w in wants if is_settings(w)]
        if classes:
            return self._settings(node, _chosen(classes, node), path)
        value = next((v for w in wants if (v := _mapping_value(w)) is not None), None)
        if value is None:
            return self._refuse(path, node.where, "a mapping where none is expected")
        found: dict[str, Any] = {}
        for key, child in node.fields.items():
            self.places[(*path, key)] = node.key_where[key]
            read = self.read(child, value, (*path, key), durations=durations)
            if read is not _ABSENT:
                found[key] = read
        return found

    def _settings(self, node: Fields, wanted: type, path: Location) -> dict[str, Any]:
        found: dict[str, Any] = {}
        known = settings_fields(wanted)
        for key, child in node.fields.items():
            field = field_named(key, wanted)
            where = node.key_where[key]
            if field is None:
                self._refuse((*path, key), where, f"unknown key `{shown(key)}`", near(key, known))
                continue
            if field in found:
                self._refuse((*path, key), where, f"`{field}` is given twice", "keep one spelling")
                continue
            self.places[(*path, field)] = where
            read = self.read(child, known[field], (*path, field), durations=field != key)
            if read is not _ABSENT:
                found[field] = read
        return found


def core_value_or_text(text: str) -> Any:
    """As `core_value`; what it refuses counts as text here."""
    try:
        return core_value(text)
    except ScalarError:
        return text


def _chosen(classes: list[type], node: Fields) -> type:
    """The class of a union that the mapping means: the one whose literal field says so."""
    for candidate in classes:
        for field, wanted in settings_fields(candidate).items():
            said = node.fields.get(field)
            if (
                get_origin(wanted) is Literal
                and isinstance(said, Scalar)
                and said.text in get_args(wanted)
            ):
                return candidate
    return classes[0]


def near(key: str, known: Mapping[str, Any]) -> str:
    """What the writer of an unknown key probably meant, or what there is."""
    names = [public_name(name) for name in known]
    close = difflib.get_close_matches(key.lower().replace("-", "_")[:100], names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known here: " + ", ".join(names) if names else "nothing can be set here"


_INDEX: Final = re.compile(r"[0-9]{1,3}\Z")


class OverrideError(Exception):
    """A variable that leads nowhere."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Written:
    """The text of a variable. It is YAML only where a list or a mapping is wanted, so that a
    password may hold any character."""

    text: str
    where: str

    def node(self, wanted: Any) -> Node:
        """As a node of the wanted type. Raises `YamlError`."""
        wants = members(wanted)
        if any(is_settings(w) or _element(w) or _mapping_value(w) for w in wants):
            return parse_node(self.text.encode("utf-8", "surrogateescape"), self.where)
        return Scalar(self.text, not any(_takes_text(w) for w in wants), self.where)


def overlay(tree: Node | None, wanted: Any, parts: Sequence[str], value: Written) -> Node:
    """``tree`` with ``value`` put at ``parts``; names of settings match in either case.

    A shell takes no variable with a dot in its name, so below a mapping of texts a name in capitals
    stands for one with dots: ``SASL_PASSWORD`` for ``sasl.password``.

    Raises `OverrideError` where a part names nothing.
    """
    if not parts:
        return value.node(wanted)
    part, rest = parts[0], parts[1:]
    wants = members(wanted)
    classes = [w for w in wants if is_settings(w)]
    if classes:
        base = tree if isinstance(tree, Fields) else Fields({}, {}, value.where)
        chosen = _chosen(classes, base)
        field = field_named(part.lower(), chosen)
        if field is None:
            hint = near(part, settings_fields(chosen))
            raise OverrideError(f"unknown key `{shown(part.lower())}`", hint)
        # Whichever spelling the file used, the variable replaces it.
        key = part.lower()
        other = field if key != field else public_name(field)
        child = overlay(base.fields.get(key), settings_fields(chosen)[field], rest, value)
        return _with(base, key, child, value.where, without=other if other != key else None)
    inner = next((v for w in wants if (v := _mapping_value(w)) is not None), None)
    if inner is not None:
        base = tree if isinstance(tree, Fields) else Fields({}, {}, value.where)
        name = part.lower().replace("_", ".") if inner is str and part.isupper() else part
        key = next((k for k in base.fields if k.lower() == name.lower()), name)
        return _with(base, key, overlay(base.fields.get(key), inner, rest, value), value.where)
    element = next((e for w in wants if (e := _element(w)) is not None), None)
    if element is not None and _INDEX.match(part):
        items = list(tree.items) if isinstance(tree, Items) else []
        index = int(part)
        if index > len(items):
            raise OverrideError(f"item {index} of a list of {len(items)}", "count from 0")
        child = overlay(items[index] if index < len(items) else None, element, rest, value)
        return Items((*items[:index], child, *items[index + 1 :]), value.where)
    raise OverrideError(f"nothing is below `{shown(part.lower())}`", "shorten the name")


def _with(base: Fields, key: str, child: Node, where: str, without: str | None = None) -> Fields:
    kept = {k: v for k, v in base.fields.items() if k != without}
    key_where = {k: v for k, v in base.key_where.items() if k != without}
    return Fields({**kept, key: child}, {**key_where, key: where}, base.where)
