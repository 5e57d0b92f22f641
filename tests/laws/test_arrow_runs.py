"""Arrow messages that are read as one give the rows that each of them gives alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs.arrow_batch import ArrowBatch
from streams.event import Bounds, Categorical, Decoded, EventBatch

BOUNDS = Bounds(0, 4_102_444_800_000, kafka_ts_fallback=True)
TS = 1_780_000_000_000
numbers = st.one_of(
    st.none(), st.floats(-10, 10), st.sampled_from([-0.0, math.nan, math.inf, 1e301, -1e301])
)
names = st.sampled_from(["m", "m", "m", "other", "caf\u00e9", "cafe\u0301", "", None, "x" * 300])
texts = st.sampled_from(["a", "b", "b", "", " ", None, "\x00", "y" * 300])


def message(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """Mostly plain tables of one schema; now and then something that cannot be joined."""
    n = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[Any], kind: Any, usual: Any) -> Any:
        if draw(st.booleans()):
            return pa.array([usual] * n, kind)
        return pa.array(draw(st.lists(values, min_size=n, max_size=n)), kind)

    text: Any = draw(st.sampled_from([pa.string(), pa.dictionary(pa.int8(), pa.string())]))
    columns = {
        "ts": column(st.sampled_from([TS, TS + 1, None, -5]), pa.timestamp("ms", "UTC"), TS),
        "model": column(names, pa.string(), "m"),
        "version": column(names, text, "1"),
        "role": column(
            st.sampled_from(["canary", "production", None, "emperor"]), text, "production"
        ),
        "latency_ms": column(numbers, pa.float64(), 3.5),
        "features.x": column(numbers, pa.float64(), -0.0),
        "features.t": column(texts, text, "a"),
        "segments.s": column(texts, text, "b"),
        "status": column(st.sampled_from(["ok", "boom", None]), pa.string(), "ok"),
        "prediction": column(numbers, pa.float64(), 0.5),
    }
    if draw(st.integers(0, 4)) == 0:
        kind = pa.map_(pa.string(), pa.float64())
        maps = [[("p", 1.0)] if i % 2 else [("q", 2.0)] for i in range(n)]
        columns["scores"] = pa.array(maps, kind)
    if draw(st.integers(0, 5)) == 0:
        codes = pa.array([0] * n, pa.int32())
        columns["features.t"] = pa.DictionaryArray.from_arrays(codes, pa.array([None, "a"]))
    return pa.table(columns)


def by_row(decoded: Decoded, first: int = 0) -> list[tuple[object, ...]]:
    """Every row as plain values, in the order of model, kind and message."""
    found = []
    for batch in decoded.batches:
        errors: dict[int, list[str]] = {}
        for name, rows in batch.errors.items():
            for row in rows.tolist():
                errors.setdefault(row, []).append(name)
        found += [
            (
                *(batch.model, batch.kind, int(batch.source[row]) + first),
                *(int(batch.ts_ms[row]), batch.releases[batch.release[row]]),
                bool(batch.failed[row]),
                *cells(batch, row),
                sorted(errors.get(row, [])),
            )
            for row in range(batch.rows)
        ]
    return found


def cells(batch: EventBatch, row: int) -> tuple[object, ...]:
    def chosen(columns: Any) -> dict[str, str]:
        held: dict[str, Categorical] = columns
        codes = {name: int(column.codes[row]) for name, column in held.items()}
        return {name: held[name].categories[code] for name, code in codes.items() if code >= 0}

    present = {
        name: values[row].tobytes()
        for name, values in batch.numeric.items()
        if not np.isnan(values[row])
    }
    return present, chosen(batch.categorical), chosen(batch.segments)


def is_final(batch: EventBatch) -> bool:
    """Names in order, categories in order and in use, and no column without a value."""
    for columns in (batch.numeric, batch.categorical, batch.segments):
        if list(columns) != sorted(columns):
            return False
    for column in (*batch.categorical.values(), *batch.segments.values()):
        used = set(column.codes.tolist()) - {-1}
        if list(column.categories) != sorted(column.categories) or len(used) < len(
            column.categories
        ):
            return False
    return not any(np.isnan(values).all() for values in batch.numeric.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(tables(), min_size=1, max_size=5), st.booleans())
def test_messages_read_together_give_the_rows_that_each_gives_alone(
    several: list[Any], with_times: bool
) -> None:
    values = [message(table) for table in several]
    times = [TS + 7 + i for i in range(len(values))] if with_times else None
    codec = ArrowBatch()
    codec.decode(values[:1], times and times[:1], BOUNDS)  # learns how a stream may begin
    together = codec.decode(values, times, BOUNDS)
    apart = [
        ArrowBatch().decode([value], times and [times[i]], BOUNDS) for i, value in enumerate(values)
    ]
    rows = [row for i, one in enumerate(apart) for row in by_row(one, i)]
    assert by_row(together) == sorted(rows, key=lambda row: (row[0], row[1], row[2]))
    rejects = [(i, r.row, r.reason, r.raw) for i, one in enumerate(apart) for r in one.rejects]
    assert [(r.source, r.row, r.reason, r.raw) for r in together.rejects] == rejects
    assert together.rows.tolist() == [table.num_rows for table in several]
    assert all(map(is_final, together.batches))


@settings(max_examples=100, deadline=None)
@given(tables())
def test_a_batch_made_at_once_is_the_batch_made_from_pieces(table: Any) -> None:
    value = message(table)
    at_once = ArrowBatch().decode([value], [TS], BOUNDS)
    from_pieces = ArrowBatch(keep_request_ids=True).decode([value], [TS], BOUNDS)
    assert by_row(at_once) == by_row(from_pieces)
    for one, other in zip(at_once.batches, from_pieces.batches, strict=True):
        assert one.releases == other.releases
        for mine, theirs in ((one.categorical, other.categorical), (one.segments, other.segments)):
            assert list(mine) == list(theirs)
            for name, column in mine.items():
                assert column.categories == theirs[name].categories
                assert column.codes.tolist() == theirs[name].codes.tolist()
        assert list(one.numeric) == list(other.numeric)
        for name, numbers_ in one.numeric.items():
            assert numbers_.tobytes() == other.numeric[name].tobytes()


def test_a_message_that_cannot_be_converted_does_not_take_its_neighbours_with_it() -> None:
    fine = pa.table({"ts": [TS], "model": ["m"], "version": ["1"], "latency_ms": [1.0]})
    names_twice = pa.Table.from_arrays(
        [pa.array([TS]), pa.array(["m"]), pa.array(["1"]), pa.array([1.0]), pa.array([2.0])],
        names=["ts", "model", "version", "latency_ms", "latency_ms"],
    )
    values = [message(fine), message(names_twice), b"\xff\xff\xff\xffnot arrow", message(fine)]
    decoded = ArrowBatch().decode(values, None, BOUNDS)
    assert [batch.source.tolist() for batch in decoded.batches] == [[0, 3]]
    assert [(reject.source, reject.row) for reject in decoded.rejects] == [(1, -1), (2, -1)]
    assert decoded.rows.tolist() == [1, 1, 1, 1]


def alike(number: int) -> bytes:
    """Messages of one schema and with the same dictionaries."""
    n = 3 + number
    columns = {
        "ts": pa.array([TS + number] * n, pa.timestamp("ms", "UTC")),
        "model": pa.array(["m"] * n).dictionary_encode(),
        "version": pa.array(["1"] * n).dictionary_encode(),
        "latency_ms": pa.array([1.5, None, *range(number + 1)], pa.float64()),
        "features.t": pa.array((["a", "b", None] * n)[:n]).dictionary_encode(),
    }
    return message(pa.table(columns))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_stream_that_begins_like_others_breaks_none_of_them(data: st.DataObject) -> None:
    values = [alike(number) for number in range(3)]
    broken = bytearray(values[1])
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    values[1] = bytes(broken[: data.draw(st.integers(0, len(broken)))]) or b"\xff"
    codec = ArrowBatch()
    codec.decode(values[:1], None, BOUNDS)
    together = codec.decode(values, None, BOUNDS)
    apart = [ArrowBatch().decode([value], None, BOUNDS) for value in values]
    rows = [row for i, one in enumerate(apart) for row in by_row(one, i)]
    assert by_row(together) == sorted(rows, key=lambda row: (row[0], row[1], row[2]))
    rejects = [(i, r.row, r.reason) for i, one in enumerate(apart) for r in one.rejects]
    assert [(r.source, r.row, r.reason) for r in together.rejects] == rejects


@pytest.mark.parametrize("change", ["dictionary", "compressed", "no end", "two ends", "twice"])
def test_streams_that_only_begin_alike_are_read_as_each_alone(change: str) -> None:
    values = [alike(number) for number in range(4)]
    table = pa.ipc.open_stream(values[2]).read_all()
    if change == "compressed":
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        values[2] = bytes(sink.getvalue())
    elif change == "dictionary":
        other = table.set_column(
            4, "features.t", pa.array(["x"] * table.num_rows).dictionary_encode()
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
            writer.write_table(other)  # a dictionary that takes the place of the first
        values[2] = bytes(sink.getvalue())
    elif change == "no end":
        values[2] = values[2][:-8]
    elif change == "two ends":
        values[2] += values[2]
    else:
        values[2] = message(pa.concat_tables([table, table]))
    codec = ArrowBatch()
    codec.decode(values[:1], None, BOUNDS)
    together = codec.decode(values, None, BOUNDS)
    apart = [ArrowBatch().decode([value], None, BOUNDS) for value in values]
    assert by_row(together) == [row for i, one in enumerate(apart) for row in by_row(one, i)]
    assert not together.rejects
