"""One suite over every codec: the same events give the same columns, whatever carries them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.release import Release, Role
from streams.codecs import CODECS, make_codec
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds, Decoded, EventKind
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


@pytest.fixture(params=list(CARRIERS.values()), ids=list(CARRIERS))
def carrier(request: pytest.FixtureRequest) -> Carrier:
    found: Carrier = request.param
    return found


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


def test_every_codec_of_the_table_is_held_to_this_contract() -> None:
    assert {carrier.codec for carrier in CARRIERS.values()} == set(CODECS)


def test_every_field_arrives_in_its_column(carrier: Carrier) -> None:
    decoded = read(carrier, [FULL] * 20)
    assert decoded.rejects == ()
    assert sum(batch.rows for batch in decoded.batches) == decoded.rows.sum() == 20
    for row in rows(decoded):
        assert row.release == Release("gpt-4", "0613", Role.CANARY)
        assert (row.kind, row.ts_ms, row.failed) == (EventKind.PREDICTION, TS_MS, False)
        assert row.request_id == "q-1"
        assert row.segments == {"dataset": "LEETCODE", "tier": "3", "paid": "true"}
        assert row.numbers == {
            "cost": 0.031,
            "features.chars": 1890.0,
            "features.temperature": 0.1,
            "latency_ms": 6412.0,
            "prediction.probabilities.A": 0.1,
            "prediction.probabilities.B": 0.9,
            "scores.usable_code": 0.0,
            "tokens_in": 512.0,
            "tokens_out": 230.0,
        }
        assert row.texts == {
            "features.cached": "false",
            "features.topic": "arrays",
            "prediction.label": "B",
            "status": "ok",
        }
        assert row.errors == frozenset()


def test_arrays_have_the_promised_types_and_lengths(carrier: Carrier) -> None:
    (batch,) = read(carrier, [FULL] * 5).batches
    assert {str(batch.ts_ms.dtype), str(batch.source.dtype)} == {"int64"}
    assert [str(batch.release.dtype), str(batch.failed.dtype)] == ["int32", "bool"]
    for values in batch.numeric.values():
        assert (str(values.dtype), len(values)) == ("float64", 5)
    for column in [*batch.categorical.values(), *batch.segments.values()]:
        assert (str(column.codes.dtype), len(column.codes)) == ("int32", 5)
        assert list(column.categories) == sorted(set(column.categories))


def test_rows_are_in_the_order_of_messages(carrier: Carrier) -> None:
    events = [event(features={"i": i}) for i in range(40)]
    (batch,) = read(carrier, events).batches
    assert batch.numeric["features.i"].tolist() == list(range(40))
    assert (np.diff(batch.source) >= 0).all()


def test_models_and_releases_are_told_apart(carrier: Carrier) -> None:
    events = [
        event(model=f"m{i % 3}", version=f"v{i % 2}", role=role, features={"i": i})
        for i, role in enumerate(["canary", "shadow", None] * 10)
    ]
    decoded = read(carrier, events)
    found = {
        (row.release.model, row.release.version, row.release.role, row.numbers["features.i"])
        for row in rows(decoded)
    }
    assert found == {
        (e["model"], e["version"], Role(e["role"] or "production"), e["features"]["i"])
        for e in events
    }
    assert [batch.model for batch in decoded.batches] == ["m0", "m1", "m2"]


@pytest.mark.parametrize(
    ("fields", "kind", "columns"),
    [
        ({"label": "B"}, EventKind.LABEL, {"label"}),
        ({"label": 1.5, "request_id": "q"}, EventKind.LABEL, {"label"}),
        ({"outcomes": {"clicked": 1}}, EventKind.OUTCOME, {"outcomes.clicked"}),
        ({"scores": {"s": 0.5}}, EventKind.SCORE, {"scores.s"}),
        ({"scores": {"s": 1}, "prediction": 2.5}, EventKind.PREDICTION,
         {"scores.s", "prediction.value"}),
        ({"prediction": "B"}, EventKind.PREDICTION, {"prediction.label"}),
        ({"latency_ms": 1.0, "scores": {"s": 1}}, EventKind.PREDICTION, {"latency_ms", "scores.s"}),
        ({"features": {"x": 1}, "label": "B"}, EventKind.PREDICTION, {"features.x", "label"}),
        ({"type": "label", "label": 1, "features": {"x": 1}}, EventKind.LABEL, {"label"}),
        ({"type": "score", "scores": {"s": 1}, "latency_ms": 3}, EventKind.SCORE, {"scores.s"}),
        ({"type": "prediction", "scores": {"s": 1}}, EventKind.PREDICTION, {"scores.s"}),
        ({"tokens_in": 3}, EventKind.PREDICTION, {"tokens_in"}),
    ],
)  # fmt: skip
def test_the_kind_is_told_by_type_or_by_fields(
    carrier: Carrier, fields: Event, kind: EventKind, columns: set[str]
) -> None:
    decoded = read(carrier, [event(**fields)] * 3)
    assert len(rows(decoded)) == 3
    for row in rows(decoded):
        assert row.kind is kind
        assert row.numbers.keys() | row.texts.keys() == columns


def test_a_configured_kind_holds_for_events_without_a_type(carrier: Carrier) -> None:
    bounds = Bounds(BOUNDS.min_ts_ms, BOUNDS.max_ts_ms, kind=EventKind.SCORE)
    events = [event(latency_ms=1, scores={"s": 1}), event(type="prediction", latency_ms=1)]
    kinds = [row.kind for row in rows(read(carrier, events, bounds))]
    assert sorted(kinds) == [EventKind.PREDICTION, EventKind.SCORE]


def test_labels_and_outcomes_need_no_version(carrier: Carrier) -> None:
    events: list[Event] = [
        {"ts": TS, "model": "m", "label": 1},
        {"ts": TS, "model": "m", "outcomes": {"a": 1}},
        {"ts": TS, "model": "m", "features": {"a": 1}},
    ]
    decoded = read(carrier, events)
    assert {row.release.version for row in rows(decoded)} == {"unattributed"}
    assert [str(reject.reason) for reject in decoded.rejects] == [
        "version is missing or not a readable name"
    ]


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        ("ok", False), ("OK", False), ("success", False), ("200", False), (204, False),
        (299, False), ("", False), (None, False), ("error", True), (500, True), (199, True),
        (300, True), ("timeout", True), (0, True), (True, False), (False, True),
        ("x" * 500, True),
    ],
)  # fmt: skip
def test_status_tells_whether_the_model_answered(
    carrier: Carrier, status: object, failed: bool
) -> None:
    decoded = read(carrier, [event(latency_ms=1, status=status)] * 2)
    assert [row.failed for row in rows(decoded)] == [failed, failed]


BAD_ROWS: list[tuple[Mapping[str, Any], str]] = [
    ({"ts": None}, "ts is missing"),
    ({"ts": "yesterday"}, "ts is neither an ISO-8601 time nor an epoch number"),
    ({"ts": "1686650400"}, "ts is neither an ISO-8601 time nor an epoch number"),
    ({"ts": "2023-02-29T10:00:00Z"}, "ts is neither an ISO-8601 time nor an epoch number"),
    ({"ts": "1970-01-01T00:00:00Z"}, "event time out of range"),
    ({"ts": "2262-04-12T00:00:00Z"}, "event time out of range"),
    ({"model": None}, "model is missing or not a readable name"),
    ({"model": ""}, "model is missing or not a readable name"),
    ({"model": "  "}, "model is missing or not a readable name"),
    ({"model": "a\nb"}, "model is missing or not a readable name"),
    ({"model": "x" * 201}, "model is missing or not a readable name"),
    ({"model": "__other__"}, "model is missing or not a readable name"),
    ({"model": "a\u202eb"}, "model is missing or not a readable name"),
    ({"version": None}, "version is missing or not a readable name"),
    ({"version": "a\u0000b"}, "version is missing or not a readable name"),
    ({"role": "boss"}, "role is not production, canary, shadow or variant"),
    ({"type": "guess"}, "type is not prediction, label, score or outcome"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_ROWS)
@pytest.mark.parametrize("where", ["first", "middle", "last", "half", "alone"])
def test_a_bad_row_is_rejected_with_its_reason_and_loses_no_neighbour(
    carrier: Carrier, change: Mapping[str, Any], reason: str, where: str
) -> None:
    n = 1 if where == "alone" else 60
    bad = {"first": [0], "middle": [29], "last": [59], "half": list(range(0, 60, 2)), "alone": [0]}
    events = [{**event(features={"i": i}), **(change if i in bad[where] else {})} for i in range(n)]
    decoded = read(carrier, events)
    kept = [row.numbers["features.i"] for row in rows(decoded)]
    assert kept == [i for i in range(n) if i not in bad[where]]
    assert [str(reject.reason) for reject in decoded.rejects] == [reason] * len(bad[where])
    assert decoded.rows.sum() == n


@pytest.mark.parametrize(
    ("feature", "error"),
    [
        ([1, 2], True), ("a\u0000b", True), ("a\nb", True), ("x" * 201, True), (1e301, True),
        ("__other__", True), ("", False), (None, False),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_read_costs_only_itself(
    carrier: Carrier, feature: object, error: bool
) -> None:
    (batch,) = read(carrier, [event(features={"x": feature, "y": 2.0})] * 20).batches
    assert batch.rows == 20
    assert batch.numeric["features.y"].tolist() == [2.0] * 20
    assert "features.x" not in batch.numeric
    assert "features.x" not in batch.categorical
    assert {name: at.tolist() for name, at in batch.errors.items()} == (
        {"features.x": list(range(20))} if error else {}
    )


@pytest.mark.parametrize("column", ["latency_ms", "tokens_in", "tokens_out", "cost"])
@pytest.mark.parametrize("value", ["12", True, -1.0, 1e301])
def test_columns_of_fixed_meaning_hold_only_numbers_from_zero_up(
    carrier: Carrier, column: str, value: object
) -> None:
    (batch,) = read(carrier, [event(features={"x": 1}, **{column: value})] * 2).batches
    assert batch.errors[column].tolist() == [0, 1]
    assert column not in batch.numeric
    assert column not in batch.categorical


def test_names_in_two_unicode_forms_are_one_name(carrier: Carrier) -> None:
    events = [
        event(model=name, segments={"s": name}, features={"x": name})
        for name in ("caf\u00e9", "cafe\u0301")
    ]
    (batch,) = read(carrier, events).batches
    assert batch.model == "caf\u00e9"
    assert batch.segments["s"].categories == ("caf\u00e9",)
    assert batch.categorical["features.x"].categories == ("caf\u00e9",)


@pytest.mark.parametrize("segments", [{"a=b": "c"}, {"a\nb": "c"}, {"__other__": "c"}])
def test_a_segment_name_that_could_mean_another_is_an_error(
    carrier: Carrier, segments: Event
) -> None:
    (batch,) = read(carrier, [event(features={"x": 1}, segments=segments)] * 3).batches
    assert batch.segments == {}
    assert batch.errors["__other__"].tolist() == [0, 1, 2]


def test_columns_beyond_the_limit_are_counted_not_kept(carrier: Carrier) -> None:
    bounds = Bounds(BOUNDS.min_ts_ms, BOUNDS.max_ts_ms, max_columns=5)
    wide = event(latency_ms=1.0, features={f"f{i}": i for i in range(9)})
    (batch,) = read(carrier, [wide] * 3, bounds).batches
    assert len(batch.numeric) == 5
    assert "latency_ms" in batch.numeric
    assert batch.errors["__other__"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "ts",
    [TS, "2023-06-13 10:00:00.123", "2023-06-13T12:00:00.123456+02:00", TS_MS / 1000, TS_MS,
     TS_MS * 1000 + 999, TS_MS * 10**6 + 999_999],
)  # fmt: skip
def test_times_are_read_in_every_usual_form(carrier: Carrier, ts: object) -> None:
    events = [{**event(features={"x": 1}), "ts": ts}] * 20
    assert [row.ts_ms for row in rows(read(carrier, events))] == [TS_MS] * 20


def test_the_kafka_time_stands_in_only_where_it_is_configured(carrier: Carrier) -> None:
    bounds = Bounds(BOUNDS.min_ts_ms, BOUNDS.max_ts_ms, kafka_ts_fallback=True)
    events = [{**event(features={"x": 1}), "ts": ts} for ts in (None, TS, "x")]
    decoded = read(carrier, events, bounds)
    assert [row.ts_ms for row in rows(decoded)] == [TS_MS + 5, TS_MS]
    assert len(decoded.rejects) == 1
    assert len(read(carrier, events).rejects) == 2


def test_integers_beyond_double_precision_are_rounded(carrier: Carrier) -> None:
    (batch,) = read(carrier, [event(features={"x": 2**53 + 1, "y": 2**63 - 1})]).batches
    assert batch.numeric["features.x"].tolist() == [float(2**53 + 1)]
    assert batch.numeric["features.y"].tolist() == [float(2**63 - 1)]


def test_segments_keep_integers_whole(carrier: Carrier) -> None:
    (batch,) = read(carrier, [event(features={"x": 1}, segments={"id": 2**60 + 1})] * 3).batches
    assert batch.segments["id"].categories == (str(2**60 + 1),)


def test_nothing_gives_nothing(carrier: Carrier) -> None:
    decoded = make_codec(carrier.codec).decode([], None, BOUNDS)
    assert (decoded.batches, decoded.rejects, decoded.rows.tolist()) == ((), (), [])


@pytest.mark.parametrize("codec", CODECS)
def test_empty_and_oversized_messages_are_rejected_alone(codec: str) -> None:
    bounds = Bounds(BOUNDS.min_ts_ms, BOUNDS.max_ts_ms, max_message_bytes=20_000)
    good = {"ndjson": ndjson_messages, "arrow": nested_messages}.get(codec, json_messages)(
        [event(features={"x": 1})]
    )
    values = [None, *good, b"", b"x" * 20_001, *good]
    decoded = make_codec(codec).decode(values, None, bounds)
    assert [(r.source, r.row, str(r.reason)) for r in decoded.rejects] == [
        (0, -1, "empty message"), (2, -1, "empty message"), (3, -1, "message too large"),
    ]  # fmt: skip
    assert sorted(row.source for row in rows(decoded)) == [1, 4]
    assert decoded.rows.tolist() == [1] * 5


@pytest.mark.parametrize("codec", CODECS)
def test_reasons_never_quote_the_payload(codec: str) -> None:
    secrets = [b"hunter2{", b'{"password": hunter2}', b'{"ts": "hunter2", "model": "m"}']
    decoded = make_codec(codec).decode(secrets, None, BOUNDS)
    assert len(decoded.rejects) == 3
    assert not any("hunter2" in str(reject.reason) for reject in decoded.rejects)


def test_no_number_in_a_batch_is_infinite(carrier: Carrier) -> None:
    (batch,) = read(carrier, [event(features={"x": 1e300, "y": 1e301})]).batches
    assert not any(math.isinf(v) for values in batch.numeric.values() for v in values.tolist())
