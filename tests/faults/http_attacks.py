"""What a hostile client sends: requests that must be refused and must cost nothing."""

from __future__ import annotations

import gzip
import json
from typing import Final

HOOK: Final = "/v1/hooks/grafana"
MEGABYTE: Final = 1024 * 1024


def post(headers: str, content: bytes = b"", path: str = HOOK) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n".encode() + content


def large_body(*, told: bool) -> list[bytes]:
    """A POST of 100 MB in parts, with its length or in chunks."""
    part = b"x" * MEGABYTE
    if told:
        return [post(f"content-length: {100 * MEGABYTE}"), *[part] * 100]
    chunk = f"{MEGABYTE:x}\r\n".encode() + part + b"\r\n"
    return [post("transfer-encoding: chunked"), *[chunk] * 100, b"0\r\n\r\n"]


_GET: Final = "GET /healthz HTTP/1.1\r\nhost: a\r\n"
HEADS: Final = {
    name: (text + "\r\n\r\n").encode()
    for name, text in {
        "10,000 headers": _GET + "\r\n".join(f"x-{n}: y" for n in range(10_000)),
        "a long header": _GET + "x: " + "y" * 100_000,
        "a long path": "GET /" + "y" * 100_000 + " HTTP/1.1\r\nhost: a",
    }.items()
}

SMUGGLED: Final = b"POST /v1/hooks/alertmanager HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
UNCLEAR_LENGTHS: Final = (
    "content-length: 4\r\ncontent-length: 5",
    "content-length: -1",
    "content-length: +4",
    "content-length: 4, 5",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding : chunked",
    "transfer-encoding: xchunked",
)

_DEEP: Final = b"[" * 100_000 + b"]" * 100_000
NO_NOTIFICATIONS: Final[dict[str, tuple[bytes, dict[str, str]]]] = {
    "deep": (_DEEP, {}),
    "deep inside": (b'{"alerts": ' + _DEEP[:60_000] + b"}", {}),
    "gzip bomb": (
        gzip.compress(b'{"alerts": [' + b" " * (50 * MEGABYTE) + b"]}"),
        {"content-encoding": "gzip"},
    ),
    "form": (b"alerts=1", {"content-type": "application/x-www-form-urlencoded"}),
    "utf-16": (b"\xff\xfe{}", {"content-type": "application/json; charset=utf-16"}),
    "many nothings": (b'{"alerts": [' + b"1," * 50_000 + b"1]}", {}),
    "labels no map": (
        b'{"alerts": [{"labels": ' + json.dumps("x" * 60_000).encode() + b"}]}",
        {},
    ),
}
"""Bodies and further headers: signed, and yet no notification."""

DRIPPED: Final = {
    "nothing": b"",
    "a head": b"POST /v1/hooks/grafana HTTP/1.1\r\nhost: a\r\nx-a: ",
    "a body after its answer": b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n",
}
"""Beginnings of requests that are then sent on, a byte at a time."""
