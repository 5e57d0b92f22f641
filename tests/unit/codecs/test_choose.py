"""Which codec reads a message."""

from __future__ import annotations

import pyarrow as pa
import pytest

from streams.codecs import UnknownCodecError, choose, make_codec

_SINK = pa.BufferOutputStream()
with pa.ipc.new_stream(_SINK, pa.schema([("ts", pa.int64())])):
    pass
ARROW = bytes(_SINK.getvalue())


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        (b'{"a":1}', "json"),
        (b'{"a":1}\n', "json"),
        (b'{\n  "a": 1,\n  "b": {}\n}', "json"),
        (b'{"a":1}\n{"a":2}', "ndjson"),
        (b'{"a":\n{"a":2}\n', "ndjson"),
        (b'\r\n{"a":1}\r\n{"a":2}\r\n', "ndjson"),
        (ARROW, "arrow"),
        (None, "json"),
        (b"", "json"),
        (b"\x00\x01", "json"),
    ],
)
def test_auto_looks_at_the_bytes(value: bytes | None, codec: str) -> None:
    assert choose("auto", None, value) == codec


@pytest.mark.parametrize(
    ("header", "codec"),
    [
        ("application/x-ndjson", "ndjson"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("text/plain", "json"),
        ("", "json"),
    ],
)
def test_a_known_content_type_comes_before_the_bytes(header: str, codec: str) -> None:
    assert choose("auto", header, b'{"a":1}') == codec


def test_the_configured_codec_comes_before_everything() -> None:
    assert choose("ndjson", "application/json", ARROW) == "ndjson"


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownCodecError, match="use one of json, ndjson, arrow, auto"):
        make_codec("avro")
