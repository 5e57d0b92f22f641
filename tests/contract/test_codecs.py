"""One suite over every codec: the same events give the same columns, whatever carries them. What no
codec reads is in test_codec_refusals.py."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.release import Release, Role
from streams.codecs import CODECS, make_codec
from streams.event import Bounds, EventKind
from tests.contract.codec_carriers import (
    BOUNDS,
    CARRIERS,
    FULL,
    TS,
    TS_MS,
    Carrier,
    Event,
    event,
    read,
    rows,
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


def test_names_in_two_unicode_forms_are_one_name(carrier: Carrier) -> None:
    events = [
        event(model=name, segments={"s": name}, features={"x": name})
        for name in ("caf\u00e9", "cafe\u0301")
    ]
    (batch,) = read(carrier, events).batches
    assert batch.model == "caf\u00e9"
    assert batch.segments["s"].categories == ("caf\u00e9",)
    assert batch.categorical["features.x"].categories == ("caf\u00e9",)


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
