"""YAML, read with suspicion: a tree of texts that knows the line of everything in it.

The parser's events are walked with an explicit stack, so nothing here recurses and nothing grows
faster than the file: aliases are refused (a 300-byte file can name a billion nodes), and so are
tags, duplicate keys, a second document, more than 1 MB, more than 50 levels and more than 20,000
values. Whoever reads the tree knows which type is wanted where, so scalars stay text here
(`Scalar.plain` tells ``5`` from ``"5"``); `core_value` reads one by the core schema of YAML 1.2
(section 10.3.2), in which ``on``, ``no`` and ``1:30`` are text.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 50
MAX_VALUES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written. ``plain``: without quotes, so that it may be a number or null."""

    text: str
    plain: bool
    where: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping. ``key_where`` names the place of each key."""

    fields: Mapping[str, Node]
    key_where: Mapping[str, str]
    where: str


Node = Scalar | Items | Fields


class YamlError(Exception):
    """The text is not acceptable. ``where`` is ``file:line``; ``hint`` says what to do."""

    def __init__(self, what: str, where: str, hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint


def read_yaml(path: Path) -> Fields:
    """The mapping in a file; an empty file is an empty mapping. Raises `YamlError`."""
    name = str(path)
    try:
        # Opening a pipe or a device could wait for ever; a link to a file (ConfigMap) is fine.
        if not stat.S_ISREG(path.stat().st_mode):
            raise YamlError("not a regular file", name, "give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise YamlError("no such file", name, "check its path") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "bad path"
        raise YamlError(f"cannot be read: {why}", name, "check its permissions") from None
    return parse_yaml(data, name)


def parse_yaml(data: bytes, name: str) -> Fields:
    """As `read_yaml`, for bytes. ``name`` stands for the file in errors."""
    root = parse_node(data, name)
    match root:
        case Fields():
            return root
        case Scalar(text=text, plain=True) if core_value(text) is None:
            return Fields({}, {}, f"{name}:1")
        case _:
            raise YamlError(
                "the top level is not a mapping", f"{name}:1", "write `key: value` lines"
            )


def parse_node(data: bytes, name: str) -> Node:
    """One YAML document of any shape: what `parse_yaml` and environment variables are read by."""
    if len(data) > MAX_BYTES:
        raise YamlError(f"larger than {MAX_BYTES:,} bytes", name, "split it or shorten it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError("not UTF-8 text", f"{name}:{line}", "save it as UTF-8") from None
    try:
        return _build(yaml.parse(text, Loader=yaml.SafeLoader), name)
    except yaml.reader.ReaderError as error:
        at = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, at) + 1
        raise YamlError(
            "a control character, so this is binary or damaged", f"{name}:{line}", "remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, name) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets a ValueError out of escapes that name no character ("\\UFFFFFFFF").
        raise YamlError("not YAML", name, "check quoting and escapes") from None


def _syntax(error: yaml.MarkedYAMLError, name: str) -> YamlError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    problem = error.problem or "not YAML"
    if r"'\t'" in problem:
        return YamlError("a tab", f"{name}:{line}", "indent with spaces")
    return YamlError(f"not YAML: {problem}", f"{name}:{line}", "check indentation and quoting")


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    is_mapping: bool
    where: str
    items: list[Node]
    fields: dict[str, Node]
    key_where: dict[str, str]
    key: str | None = None

    def closed(self) -> Node:
        if self.is_mapping:
            return Fields(self.fields, self.key_where, self.where)
        return Items(tuple(self.items), self.where)


def _build(events: Iterator[yaml.Event], name: str) -> Node:
    stack: list[_Open] = []
    root: Node | None = None
    values = 0
    for event in events:
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark is not None else name
        done: Node | None = None
        match event:
            case yaml.AliasEvent():
                raise YamlError("an alias (`*name`)", where, "write the value out")
            case yaml.DocumentStartEvent() if root is not None:
                raise YamlError("a second document", where, "keep one document in a file")
            case yaml.ScalarEvent() | yaml.CollectionStartEvent():
                values += 1
                _refuse(event, where, values, len(stack))
                if isinstance(event, yaml.ScalarEvent):
                    done = Scalar(event.value, event.style is None, where)
                else:
                    mapping = isinstance(event, yaml.MappingStartEvent)
                    stack.append(_Open(mapping, where, [], {}, {}))
            case yaml.CollectionEndEvent():
                done = stack.pop().closed()
            case _:
                pass
        if done is None:
            continue
        if stack:
            _add(stack[-1], done)
        else:
            root = done
    return root if root is not None else Scalar("", plain=True, where=f"{name}:1")


def _refuse(
    event: yaml.ScalarEvent | yaml.CollectionStartEvent, where: str, values: int, depth: int
) -> None:
    if event.anchor is not None:
        raise YamlError("an anchor (`&name`)", where, "write the value out where it is used")
    if event.tag is not None:
        raise YamlError("a tag (`!name`)", where, "remove it: types come from the key")
    if values > MAX_VALUES:
        raise YamlError(f"more than {MAX_VALUES:,} values", where, "shorten the file")
    if depth >= MAX_DEPTH:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels", where, "flatten it")


def _add(parent: _Open, node: Node) -> None:
    if not parent.is_mapping:
        parent.items.append(node)
        return
    if parent.key is None:
        if not isinstance(node, Scalar):
            raise YamlError("a key that is not text", node.where, "write a plain key")
        if node.text in parent.fields:
            raise YamlError(
                f"`{shown(node.text)}` stands twice",
                node.where,
                f"the first is at {parent.key_where[node.text]}; keep one",
            )
        parent.key = node.text
        parent.key_where[node.text] = node.where
        return
    parent.fields[parent.key] = node
    parent.key = None


def shown(text: str, limit: int = 60) -> str:
    """A key as errors show it: printable and short, whatever it holds."""
    printable = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return printable + "…" if len(text) > limit else printable


_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INT: Final = re.compile(r"[-+]?[0-9]{1,400}\Z")
_BASED: Final = re.compile(r"0o[0-7]{1,100}\Z|0x[0-9a-fA-F]{1,100}\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL: Final = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")


class ScalarError(ValueError):
    """A plain scalar that the core schema reads, but that nobody can have meant."""


def core_value(text: str) -> bool | int | float | str | None:
    """A plain scalar by the YAML 1.2 core schema.

    Raises `ScalarError` for ``.nan`` and ``.inf`` (no setting is either), and for numbers with
    leading zeros, which some readers take as octal and others do not.

    >>> [core_value(t) for t in ("on", "1:30", "0x10", "1e3", "~", "true")]
    ['on', '1:30', 16, 1000.0, None, True]
    """
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.match(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits.startswith("0"):
            raise ScalarError("a number with a leading zero; quote it, or drop the zero")
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _SPECIAL.match(text):
        raise ScalarError("not a finite number")
    if _FLOAT.match(text):
        number = float(text)
        if not math.isfinite(number):
            raise ScalarError("not a finite number")
        return number
    return text
