"""Arrow types, and streams that nobody vouches for."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streams.codecs.arrow_batch import ArrowBatch
from streams.event import Bounds, Decoded
from tests.event_rows import EventRow, event_rows

TS_MS = 1686650400123
BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=4_102_444_800_000, max_message_bytes=1_000_000)


def stream(batch: Any, compression: str | None = None, times: int = 1) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(times):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch_of(n: int = 3, **columns: Any) -> Any:
    head = {"ts": pa.array([TS_MS] * n), "model": ["m"] * n, "version": ["1"] * n}
    arrays = {name.replace("__", "."): values for name, values in {**head, **columns}.items()}
    return pa.RecordBatch.from_pydict(arrays)


def decode(*values: bytes, bounds: Bounds = BOUNDS) -> Decoded:
    return ArrowBatch().decode(values, None, bounds)


def rows(decoded: Decoded) -> list[EventRow]:
    return [row for batch in decoded.batches for row in event_rows(batch)]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None, 3], pa.int8()),
        pa.array([1, None, 3], pa.uint64()),
        pa.array([1, None, 3], pa.float16()),
        pa.array([1, None, 3], pa.float32()),
        pa.array([1.0, float("nan"), 3.0]),
        pa.array([decimal.Decimal("1.00"), None, decimal.Decimal("3.00")]),
        pa.RunEndEncodedArray.from_arrays([1, 2, 3], pa.array([1, None, 3])),
    ],
    ids=lambda values: str(values.type),
)
def test_numbers_of_every_type_are_float64(values: Any) -> None:
    (batch,) = decode(stream(batch_of(features__x=values))).batches
    assert [v if v == v else None for v in batch.numeric["features.x"].tolist()] == [1, None, 3]
    assert batch.errors == {}


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["b", None, "a"]),
        pa.array(["b", None, "a"], pa.large_string()),
        pa.array(["b", None, "a"], pa.string_view()),
        pa.array(["b", None, "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([2, 1, 0], pa.int8()), ["a", None, "b", "unused"]),
        pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint16()), ["a", "b"]),
    ],
    ids=str,
)
def test_texts_of_every_type_are_sorted_categories(values: Any) -> None:
    (batch,) = decode(stream(batch_of(features__x=values))).batches
    column = batch.categorical["features.x"]
    assert (column.categories, column.codes.tolist()) == (("a", "b"), [1, -1, 0])


def test_types_without_a_reading_are_errors_where_they_have_values() -> None:
    columns = {
        "features__list": pa.array([[1], None, []]),
        "features__bytes": pa.array([b"x", None, b""]),
        "features__null": pa.nulls(3),
    }
    (batch,) = decode(stream(batch_of(**columns))).batches
    assert {name: at.tolist() for name, at in batch.errors.items()} == {
        "features.bytes": [0, 2],
        "features.list": [0, 2],
    }


@pytest.mark.parametrize(
    "ts",
    [
        pa.array([TS_MS], pa.timestamp("ms")),
        pa.array([TS_MS * 1000 + 999], pa.timestamp("us", "Europe/Berlin")),
        pa.array([TS_MS * 10**6 + 999_999], pa.timestamp("ns")),
        pa.array([TS_MS * 1000], pa.uint64()),
        pa.array([TS_MS / 1000]),
        pa.array(["2023-06-13T10:00:00.123Z"]),
        pa.array(["2023-06-13T10:00:00.123Z"]).dictionary_encode(),
    ],
    ids=lambda ts: str(ts.type),
)
def test_times_of_every_type_are_milliseconds(ts: Any) -> None:
    (batch,) = decode(stream(batch_of(1, ts=ts, features__x=[1]))).batches
    assert batch.ts_ms.tolist() == [TS_MS]


@pytest.mark.parametrize(
    "ts",
    [
        pa.array([2**62], pa.timestamp("s")),
        pa.array([2**63 + TS_MS], pa.uint64()),
        pa.array([float("inf")]),
        pa.array([-(2**63)], pa.int64()),
        pa.array([None], pa.timestamp("ms")),
        pa.array([True]),
        pa.array([[1]]),
    ],
    ids=lambda ts: str(ts.type),
)
def test_absurd_times_are_rejected_and_never_wrap_around(ts: Any) -> None:
    decoded = decode(stream(batch_of(1, ts=ts, features__x=[1])))
    assert (len(decoded.rejects), decoded.batches) == (1, ())


def test_dates_are_midnights() -> None:
    ts = pa.array([dt.date(2023, 6, 13)])
    (batch,) = decode(stream(batch_of(1, ts=ts, features__x=[1]))).batches
    assert batch.ts_ms.tolist() == [1686614400000]


def test_maps_are_columns_by_key() -> None:
    features = pa.array(
        [[("a", 1.0), ("b", 2.0)], None, [("b", 3.0)]], pa.map_(pa.string(), pa.float64())
    )
    segments = pa.array([[("c", "x")], [], [("c", "y")]], pa.map_(pa.string(), pa.string()))
    found = rows(decode(stream(batch_of(features=features, segments=segments))))
    assert [dict(row.numbers) for row in found] == [
        {"features.a": 1.0, "features.b": 2.0},
        {},
        {"features.b": 3.0},
    ]
    assert [dict(row.segments) for row in found] == [{"c": "x"}, {}, {"c": "y"}]


def test_a_null_object_has_null_fields() -> None:
    features = pa.StructArray.from_arrays(
        [pa.array([1.0, 2.0, 3.0])], ["x"], mask=pa.array([False, True, False])
    )
    (batch,) = decode(stream(batch_of(features=features))).batches
    assert np.isnan(batch.numeric["features.x"]).tolist() == [False, True, False]


def test_several_batches_of_a_message_are_numbered_through() -> None:
    batch = batch_of(3, version=["1", None, "2"], features__x=[1, 2, 3])
    decoded = decode(stream(batch, times=3), stream(batch))
    assert decoded.rows.tolist() == [9, 3]
    assert [(r.source, r.row) for r in decoded.rejects] == [(0, 1), (0, 4), (0, 7), (1, 1)]
    (read,) = decoded.batches
    assert read.source.tolist() == [0] * 6 + [1] * 2


def test_a_rejected_row_is_shown_as_json_within_bounds() -> None:
    decoded = decode(stream(batch_of(200, model=[None] * 200, features__x=["y" * 9000] * 200)),
                     bounds=Bounds(0, 4_102_444_800_000))  # fmt: skip
    assert len(decoded.rejects) == 200
    assert len(decoded.rejects[0].raw) == 4096
    assert decoded.rejects[0].raw.startswith(b'{"ts": 1686650400123, "model": null')
    assert decoded.rejects[150].raw == b""


def test_a_column_named_twice_rejects_the_message() -> None:
    arrays = [pa.array([TS_MS]), pa.array(["m"]), pa.array(["1"]), pa.array([1]), pa.array([2])]
    for names in (["features.x", "features.x"], ["prediction", "prediction.value"]):
        batch = pa.RecordBatch.from_arrays(arrays, ["ts", "model", "version", *names])
        decoded = decode(stream(batch), stream(batch_of(features__x=[1, 2, 3])))
        assert [(r.source, r.row) for r in decoded.rejects] == [(0, -1)]
        assert decoded.rows.tolist() == [1, 3]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_stream_cut_anywhere_is_rejected_or_whole(compression: str | None) -> None:
    whole = stream(batch_of(50, features__x=list(range(50)), features__t=["x"] * 50), compression)
    assert decode(whole).rejects == ()
    for cut in range(0, len(whole) - 8, 13):
        decoded = decode(whole[:cut])
        assert decoded.batches == ()
        assert [r.row for r in decoded.rejects] == [-1]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_flipped_bytes_never_raise(compression: str | None) -> None:
    texts = pa.array(["x", "yy", None] * 10).dictionary_encode()
    batch = batch_of(30, features__x=list(range(30)), features__t=texts, features__s=["ab"] * 30)
    whole = stream(batch, compression)
    rng = random.Random(7)
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        decoded = decode(bytes(broken))
        events = sum(b.rows for b in decoded.batches)
        assert decoded.rows.sum() == events + len(decoded.rejects)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_bomb_is_refused_before_it_is_decompressed(codec: str) -> None:
    n = 100_000
    zeros = {f"features__x{i}": np.zeros(n) for i in range(11)}
    bomb = stream(batch_of(n, **zeros), codec)
    assert len(bomb) < BOUNDS.max_message_bytes
    decoded = decode(bomb)
    assert [(r.row, str(r.reason)) for r in decoded.rejects] == [(-1, "message too large")]


def test_a_claim_of_terabytes_is_refused() -> None:
    values = np.arange(4000.0)
    whole = stream(batch_of(4000, features__x=values), "zstd")
    claimed = struct.pack("<q", values.nbytes)
    assert claimed in whole
    decoded = decode(whole.replace(claimed, struct.pack("<q", 2**42)))
    assert [str(r.reason) for r in decoded.rejects] == ["message too large"]


def test_more_rows_than_a_message_may_have_are_refused() -> None:
    many = pa.RecordBatch.from_arrays([pa.nulls(10_000_000)], ["ts"])
    assert [str(r.reason) for r in decode(stream(many)).rejects] == ["too many rows in one message"]


def test_a_stream_without_rows_is_empty() -> None:
    decoded = decode(stream(batch_of(0)))
    assert [str(r.reason) for r in decoded.rejects] == ["empty message"]
