"""What cannot be read: every codec refuses the same, with the same reason, and nothing besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from streams.codecs import CODECS, make_codec
from streams.event import Bounds
from tests.contract.codec_carriers import (
    BOUNDS,
    Carrier,
    Event,
    event,
    json_messages,
    ndjson_messages,
    nested_messages,
    read,
    rows,
)

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
