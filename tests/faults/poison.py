"""The poison messages: what producers, networks and attackers send instead of events.

Each says what must become of it: refused with a reason, or read as an event in which some columns
hold nothing (``unread``) because what stands there is no value of theirs.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from streams.codecs.reasons import Reason

TS: Final = "2023-06-13T10:00:00.123Z"
TS_MS: Final = 1_686_650_400_123
MODEL: Final = "victim"


@dataclass(frozen=True, slots=True)
class Poison:
    """``number``: of the fault matrix. ``refused``: the reason, None if it is read as an event;
    ``unread``: columns that are then counted as errors; ``values``: columns and their numbers."""

    number: int
    raw: bytes | None
    refused: Reason | None = None
    unread: tuple[str, ...] = ()
    values: Mapping[str, float] | None = None
    model: str = MODEL
    rows: int = 1


def event(model: str = MODEL, **more: Any) -> bytes:
    return json.dumps({"ts": TS, "model": model, "version": "1", **more}).encode()


def with_(text: str) -> bytes:
    """An event with some JSON of any shape in it."""
    return f'{{"ts":"{TS}","model":"{MODEL}","version":"1",{text}}}'.encode()


def number(text: str) -> bytes:
    return with_(f'"latency_ms":{text}')


def label(raw: bytes) -> bytes:
    return with_('"prediction":"@"').replace(b"@", raw)


_NOT_JSON, _NOT_OBJECT = Reason.NOT_JSON, Reason.NOT_OBJECT
_TOO_DEEP, _RANGE = Reason.TOO_DEEP, Reason.NUMBER_RANGE
_LATENCY: Final = ("latency_ms",)

POISONS: Final[dict[str, Poison]] = {
    "empty": Poison(1, b"", Reason.EMPTY),
    "tombstone": Poison(2, None, Reason.EMPTY),
    "null": Poison(3, b"null", _NOT_OBJECT),
    "array": Poison(4, b"[]", _NOT_OBJECT),
    "number": Poison(5, b"7", _NOT_OBJECT),
    "cut off": Poison(6, event()[:-5], Reason.TRUNCATED_JSON),
    "trailing comma": Poison(7, event()[:-1] + b",}", _NOT_JSON),
    "two objects": Poison(8, event() + b" " + event(), _NOT_JSON),
    "NaN": Poison(9, number("NaN"), _NOT_JSON),
    "-Infinity": Poison(10, number("-Infinity"), _NOT_JSON),
    "1e999": Poison(11, number("1e999"), _RANGE),
    "1e308": Poison(12, number("1e308"), unread=_LATENCY),
    "2**63": Poison(13, number(str(2**63)), values={"latency_ms": 2.0**63}),
    "5000 digits": Poison(14, number("9" * 5_000), _RANGE),
    "no UTF-8": Poison(15, label(b"\xff\xfe"), Reason.NOT_UTF8),
    "overlong UTF-8": Poison(16, label(b"\xc0\xaf"), Reason.NOT_UTF8),
    "UTF-16": Poison(17, event().decode().encode("utf-16"), _NOT_JSON),
    "byte order mark": Poison(18, b"\xef\xbb\xbf" + event(), _NOT_JSON),
    "lone surrogate": Poison(19, label(b"\\ud800"), _NOT_JSON),
    "raw NUL": Poison(20, label(b"a\x00b"), _NOT_JSON),
    "escaped NUL": Poison(21, label(b"a\\u0000b"), unread=("prediction.label",)),
    "key twice": Poison(22, with_('"model":"second"'), model="second"),
    "100,000 arrays": Poison(23, b"[" * 100_000 + b"]" * 100_000, _TOO_DEEP),
    "1,100 arrays": Poison(23, with_(f'"features":{{"a":{"[" * 1100}{"]" * 1100}}}'), _TOO_DEEP),
    "true for a number": Poison(24, number("true"), unread=_LATENCY),
    "text for a number": Poison(25, number('"1.5"'), unread=_LATENCY),
    "10 MB": Poison(26, with_(f'"prediction":"{"x" * 10_000_000}"'), Reason.TOO_LARGE),
    "5,000 keys": Poison(
        26,
        with_('"features":{' + ",".join(f'"k{i}":1' for i in range(5_000)) + "}"),
        unread=("__other__",),
    ),
    "a name of 1 MB": Poison(27, event("m" * 1_000_000), Reason.BAD_MODEL),
    "Avro": Poison(28, b"\x00\x00\x00\x00\x2a\x08abcd", _NOT_JSON),
    "gzip bomb": Poison(29, gzip.compress(b"\x00" * 1_000_000).replace(b"\n", b"."), _NOT_JSON),
    "control characters in a name": Poison(30, event("m\r\n\x1b[31m"), Reason.BAD_MODEL),
    "text that turns round": Poison(30, event("m\u202egpj.exe"), Reason.BAD_MODEL),
    "markup in a name": Poison(
        30, event("<b>{{7*7}}'; DROP--"), model="<b>{{7*7}}'; DROP--"
    ),
}  # fmt: skip


def arrow_event(**columns: Any) -> dict[str, Any]:
    return {"ts": pa.array([TS_MS]), "model": [MODEL], "version": ["1"], **columns}


def arrow(columns: Mapping[str, Any], *batches: Any, compression: str | None = None) -> bytes:
    first = pa.record_batch(dict(columns))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, first.schema, options=options) as writer:
        for batch in (first, *batches):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


_GOOD = arrow(arrow_event(latency_ms=[1.0]))
_VAST = 20_000_000
_LONG = 100_000_000
_INVALID = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())

ARROW_POISONS: Final[dict[str, Poison]] = {
    "cut off": Poison(6, _GOOD[:-40], Reason.NOT_ARROW),
    "half": Poison(6, _GOOD[: len(_GOOD) // 2], Reason.NOT_ARROW),
    "damaged": Poison(6, _GOOD[:60] + b"\xff" * 50 + _GOOD[110:], Reason.NOT_ARROW),
    "not finite": Poison(10, arrow(arrow_event(latency_ms=[float("inf")])), unread=_LATENCY),
    "1e308": Poison(12, arrow(arrow_event(latency_ms=[1e308])), unread=_LATENCY),
    "no UTF-8": Poison(
        15, arrow({**arrow_event(), "model": _INVALID}), Reason.NOT_ARROW
    ),
    "text for a number": Poison(25, arrow(arrow_event(latency_ms=["1.5"])), unread=_LATENCY),
    "true for a number": Poison(24, arrow(arrow_event(latency_ms=[True])), unread=_LATENCY),
    "zstd bomb of rows": Poison(
        29, arrow({"latency_ms": np.zeros(_VAST)}, compression="zstd"), Reason.TOO_MANY_ROWS
    ),
    "zstd bomb in one value": Poison(
        29, arrow(arrow_event(prediction=["x" * _LONG]), compression="zstd"), Reason.TOO_LARGE
    ),
    "zstd bomb in a dictionary": Poison(
        29,
        arrow(
            arrow_event(
                prediction=pa.DictionaryArray.from_arrays(
                    pa.array([0], pa.int32()), pa.array(["x" * _LONG])
                )
            ),
            compression="zstd",
        ),
        Reason.TOO_LARGE,
    ),
    "2**31 rows of nothing": Poison(
        29, arrow({"latency_ms": pa.nulls(2**31 - 2)}), Reason.TOO_MANY_ROWS
    ),
    "control characters in a name": Poison(
        30, arrow({**arrow_event(), "model": ["m\r\n"]}), Reason.BAD_MODEL
    ),
}  # fmt: skip
