"""JSON Patch (RFC 6902) with JSON pointers (RFC 6901), as far as deployers write them."""

from __future__ import annotations

from typing import Any

Json = Any
"""What `json.loads` gives. Objects of clusters are taken as they come; nothing is assumed."""

Operation = dict[str, Any]


def pointer(*parts: str | int) -> str:
    """The JSON pointer to ``parts``.

    >>> pointer("metadata", "annotations", "a.b/c", 0)
    '/metadata/annotations/a.b~1c/0'
    """
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)


def find(thing: Json, at: str) -> Json:
    """What stands at the pointer ``at``; None if there is nothing.

    >>> find({"a": [{"b": 1}]}, "/a/0/b"), find({"a": 1}, "/a/b")
    (1, None)
    """
    for part in at.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(thing, dict):
            thing = thing.get(key)
        elif isinstance(thing, list) and key.isascii() and key.isdigit() and int(key) < len(thing):
            thing = thing[int(key)]
        else:
            return None
    return thing


def text_at(thing: Json, at: str) -> str:
    """The text at a pointer, "" if there is none."""
    value = find(thing, at)
    return value if isinstance(value, str) else ""


def number_at(thing: Json, at: str) -> int | None:
    """The whole number at a pointer, None if there is none."""
    value = find(thing, at)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items_at(thing: Json, at: str) -> list[Json]:
    """The list at a pointer, empty if there is none."""
    value = find(thing, at)
    return value if isinstance(value, list) else []


def test(at: str, value: Json) -> Operation:
    """The condition that ``value`` stands at ``at``."""
    return {"op": "test", "path": at, "value": value}


def put(at: str, value: Json) -> Operation:
    """Write ``value`` at ``at``, whether something stands there or not."""
    return {"op": "add", "path": at, "value": value}
