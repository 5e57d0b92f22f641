"""The ways in which producers send the same events, for the contract of the codecs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from streams.codecs import make_codec
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds, Decoded
from tests.event_rows import EventRow, event_rows

TS = "2023-06-13T10:00:00.123Z"
TS_MS = 1686650400123
BOUNDS = Bounds(min_ts_ms=TS_MS - 10**9, max_ts_ms=TS_MS + 10**9)

Event = dict[str, Any]


def json_messages(events: Sequence[Event]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def ndjson_messages(events: Sequence[Event]) -> list[bytes]:
    lines = json_messages(events)
    return [b"\n".join(lines[i : i + 7]) for i in range(0, len(lines), 7)]


def arrow_message(batch: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def nested_messages(events: Sequence[Event]) -> list[bytes]:
    """Struct columns, as Arrow infers them from nested objects."""
    names = dict.fromkeys(name for event in events for name in event)
    rows = [{name: event.get(name) for name in names} for event in events]
    return [arrow_message(pa.RecordBatch.from_pylist(rows))] if events else []


def flat_messages(events: Sequence[Event]) -> list[bytes]:
    """Columns with dotted names."""
    flat = [_flat(event, "") for event in events]
    names = dict.fromkeys(name for row in flat for name in row)
    rows = [{name: row.get(name) for name in names} for row in flat]
    return [arrow_message(pa.RecordBatch.from_pylist(rows))] if events else []


def _flat(value: Event, prefix: str) -> Event:
    out: Event = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            out |= _flat(inner, f"{prefix}{key}.")
        else:
            out[prefix + key] = inner
    return out


@dataclass(frozen=True)
class Carrier:
    """A way to send events: the codec and how producers write for it."""

    codec: str
    messages: Callable[[Sequence[Event]], list[bytes]]
    kernels: Callable[[], Kernels | None] = lambda: None


CARRIERS = {
    "json": Carrier("json", json_messages),
    "ndjson": Carrier("ndjson", ndjson_messages),
    "arrow structs": Carrier("arrow", nested_messages),
    "arrow dotted names": Carrier("arrow", flat_messages),
    "auto of json": Carrier("auto", json_messages),
    "auto of ndjson": Carrier("auto", ndjson_messages),
    "auto of arrow": Carrier("auto", nested_messages),
    "json by kernels": Carrier("json", json_messages, load),
    "ndjson by kernels": Carrier("ndjson", ndjson_messages, load),
    "auto of json by kernels": Carrier("auto", json_messages, load),
    "auto of ndjson by kernels": Carrier("auto", ndjson_messages, load),
}
"""``load`` waits for the kernels; where there are none, its carriers are the exact path again."""


def read(carrier: Carrier, events: Sequence[Event], bounds: Bounds = BOUNDS) -> Decoded:
    messages = carrier.messages(events)
    codec = make_codec(carrier.codec, keep_request_ids=True, kernels=carrier.kernels)
    codec.decode(messages, [TS_MS + 5] * len(messages), bounds)  # warm: learn the shape
    return codec.decode(messages, [TS_MS + 5] * len(messages), bounds)


def rows(decoded: Decoded) -> list[EventRow]:
    return [row for batch in decoded.batches for row in event_rows(batch)]


def event(**more: Any) -> Event:
    return {"ts": TS, "model": "gpt-4", "version": "0613", **more}


FULL: Event = event(
    role="canary",
    request_id="q-1",
    unit_id="user-9",
    segments={"dataset": "LEETCODE", "tier": 3, "paid": True},
    features={"chars": 1890, "temperature": 0.1, "topic": "arrays", "cached": False},
    prediction={"label": "B", "probabilities": {"A": 0.1, "B": 0.9}},
    scores={"usable_code": 0.0},
    latency_ms=6412.0,
    status="ok",
    tokens_in=512,
    tokens_out=230,
    cost=0.031,
)
