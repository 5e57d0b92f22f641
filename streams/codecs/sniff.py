"""Telling the codec of a message from its first bytes."""

from __future__ import annotations

import msgspec

_ARROW_CONTINUES = b"\xff\xff\xff\xff"
_skip = msgspec.json.Decoder(msgspec.Raw).decode


def sniff(value: bytes | None) -> str:
    """``arrow``, ``ndjson`` or ``json``; what is neither goes to JSON, which will say why not.

    Text of several lines is one JSON value if it reads as one (pretty-printed), else NDJSON, so
    that a bad line cannot hide the lines that follow it.
    """
    if value is None:
        return "json"
    if value.startswith(_ARROW_CONTINUES):
        return "arrow"
    if b"\n" not in value:
        return "json"
    text = value.strip()
    if b"\n" not in text:
        return "json"
    try:
        _skip(text)
    except (ValueError, RecursionError, MemoryError):
        return "ndjson"
    return "json"
