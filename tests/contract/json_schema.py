"""Whether a value is what a JSON Schema asks for: the part of 2020-12 that our documents use.

A keyword that is not known here fails, so that nothing is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAYING: Final = frozenset({"title", "description", "default", "examples", "deprecated", "format"})


def problems(value: Any, schema: Any, document: Any, where: str = "$") -> Iterator[str]:
    """What is wrong with ``value``; ``document`` is where references of the schema lead."""
    if schema is True:
        return
    for keyword in schema.keys() - _SAYING:
        if keyword not in _KEYWORDS:
            raise AssertionError(f"the keyword {keyword} is not known here")
        yield from _KEYWORDS[keyword](value, schema, document, where)


def _reference(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    found = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    yield from problems(value, found, document, where)


def _type(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    wanted = schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    given = ["boolean"] if isinstance(value, bool) else [n for n in _TYPES if _is(value, n)]
    if not set(names) & set(given):
        yield f"{where}: {type(value).__name__} is not {wanted}"


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name])


def _one_of(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    allowed = schema.get("enum", [schema.get("const")])
    if value not in allowed:
        yield f"{where}: not one of {allowed}"


def _alternatives(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    if all(any(problems(value, each, document, where)) for each in schema["anyOf"]):
        yield f"{where}: none of {len(schema['anyOf'])} alternatives"


def _required(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (
            f"{where}: {name} is missing" for name in schema["required"] if name not in value
        )


def _properties(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    for name, each in schema["properties"].items():
        if isinstance(value, dict) and name in value:
            yield from problems(value[name], each, document, f"{where}.{name}")


def _further(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    wanted = schema["additionalProperties"]
    further = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
    for name in further:
        if wanted is False:
            yield f"{where}: {name} is not known"
        else:
            yield from problems(value[name], wanted, document, f"{where}.{name}")


def _items(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    for index, each in enumerate(value if isinstance(value, list) else ()):
        yield from problems(each, schema["items"], document, f"{where}[{index}]")


def _pattern(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    if isinstance(value, str) and re.search(schema["pattern"], value) is None:
        yield f"{where}: does not match {schema['pattern']}"


def _range(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: out of range"


def _length(value: Any, schema: Any, document: Any, where: str) -> Iterator[str]:
    if isinstance(value, str):
        size = len(value)
        if not schema.get("minLength", 0) <= size <= schema.get("maxLength", size):
            yield f"{where}: {size} characters"


_KEYWORDS: Final[Mapping[str, Callable[[Any, Any, Any, str], Iterator[str]]]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _one_of,
    "const": _one_of,
    "anyOf": _alternatives,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _further,
    "items": _items,
    "pattern": _pattern,
    "minimum": _range,
    "maximum": _range,
    "minLength": _length,
    "maxLength": _length,
}
