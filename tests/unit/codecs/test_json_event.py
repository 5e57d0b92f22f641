"""What JSON can be, at its worst, and that the fast path is really taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streams.codecs.json_event import JsonEvent
from streams.codecs.json_rows import MAX_MODELS, JsonRows, JsonTexts
from streams.codecs.ndjson import Ndjson
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds
from tests.event_rows import event_rows

Ask = Callable[[], Kernels | None]


def no_kernels() -> None:
    return None


@pytest.fixture(params=[no_kernels, load], ids=["exact", "kernels"])
def kernels(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=4_102_444_800_000)
HEAD = '"ts":"2023-06-13T10:00:00Z","model":"m","version":"1"'


def good(i: int) -> bytes:
    return f'{{{HEAD},"features":{{"i":{i},"t":"x"}}}}'.encode()


POISON = {
    "json null": (b"null", "event is not a JSON object"),
    "array": (b"[1]", "event is not a JSON object"),
    "number": (b"5", "event is not a JSON object"),
    "cut off": (good(0)[:-3], "JSON is cut off"),
    "trailing comma": (good(0)[:-1] + b",}", "not valid JSON"),
    "two objects": (good(0) + good(1), "not valid JSON"),
    "NaN": (good(0).replace(b'"x"', b"NaN"), "not valid JSON"),
    "-Infinity": (good(0).replace(b'"x"', b"-Infinity"), "not valid JSON"),
    "1e999": (good(0).replace(b'"x"', b"1e999"), "number out of range"),
    "5000 digits": (good(0).replace(b'"x"', b"1" * 5000), "number out of range"),
    "invalid UTF-8": (good(0).replace(b"x", b"\xff"), "not valid UTF-8"),
    "overlong UTF-8": (good(0).replace(b"x", b"\xc0\xaf"), "not valid UTF-8"),
    "UTF-16": (good(0).decode().encode("utf-16"), "not valid JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + good(0), "not valid JSON"),
    "lone surrogate": (good(0).replace(b"x", b"\\ud800"), "JSON is cut off"),
    "surrogate then text": (good(0).replace(b'"x"', b'"\\ud800 and more"'), "not valid JSON"),
    "raw NUL": (good(0).replace(b"x", b"\x00"), "not valid JSON"),
    "100,000 arrays": (good(0).replace(b'"x"', b"[" * 100_000), "nested too deeply"),
    "100,000 closed arrays": (
        good(0).replace(b'"x"', b"[" * 100_000 + b"]" * 100_000),
        "nested too deeply",
    ),
    "only blanks": (b"  \t ", "JSON is cut off"),
    "html": (b"<html>", "not valid JSON"),
}


@pytest.mark.parametrize("where", ["alone", "first", "middle", "last", "half"])
@pytest.mark.parametrize("name", POISON)
def test_poison_is_rejected_with_its_reason_among_good_messages(
    kernels: Ask, name: str, where: str
) -> None:
    poison, reason = POISON[name]
    n = 1 if where == "alone" else 100
    bad = {"alone": [0], "first": [0], "middle": [50], "last": [99], "half": [*range(0, 100, 2)]}
    values = [poison if i in bad[where] else good(i) for i in range(n)]
    codec = JsonEvent(kernels=kernels)
    codec.decode([good(i) for i in range(50)], None, BOUNDS)
    decoded = codec.decode(values, None, BOUNDS)
    assert [reject.source for reject in decoded.rejects] == bad[where]
    assert {str(reject.reason) for reject in decoded.rejects} <= {reason, "not valid JSON"}
    assert all(reject.raw == poison for reject in decoded.rejects)
    kept = [v for batch in decoded.batches for v in batch.numeric["features.i"].tolist()]
    assert kept == [i for i in range(n) if i not in bad[where]]


def test_the_last_of_two_equal_keys_counts_on_both_paths(kernels: Ask) -> None:
    twice = f'{{{HEAD},"features":{{"i":1,"i":2,"t":"x"}}}}'.encode()
    codec = JsonEvent(kernels=kernels)
    for _ in range(3):
        (batch,) = codec.decode([twice, good(3), twice], None, BOUNDS).batches
        assert batch.numeric["features.i"].tolist() == [2.0, 3.0, 2.0]


def test_a_known_shape_is_read_by_its_struct() -> None:
    rows = JsonRows(keep_request_ids=False)
    raw = [good(i) for i in range(10)]
    rows.read(JsonTexts(raw, list(range(10)), [-1] * 10), None, BOUNDS)
    (shape,) = rows.shapes_of(raw[0])
    assert shape.decode is not None
    assert shape.decode(raw[3]) is not None
    for other in (raw[0].replace(b'"m"', b'"n"'), raw[0].replace(b'"t"', b'"u"')):
        with pytest.raises(ValueError, match=r"unknown field|Invalid enum"):
            shape.decode(other)


ALMOST_ALIKE: dict[str, tuple[list[str], str]] = {
    "text for a number": (['"features":{"x":1}'], '"features":{"x":"1"}'),
    "number for a text": (['"features":{"x":"1"}'], '"features":{"x":1}'),
    "boolean for a number": (['"features":{"x":1}'], '"features":{"x":true}'),
    "list for a number": (['"features":{"x":1}'], '"features":{"x":[1]}'),
    "object for a number": (['"features":{"x":1}'], '"features":{"x":{"y":1}}'),
    "number for an object": (['"features":{"x":{"y":1}}'], '"features":{"x":1}'),
    "number for all features": (['"features":{"x":1}'], '"features":1'),
    "null for all features": (['"features":{"x":1},"scores":{"s":1}'], '"features":null'),
    "only scores": (['"features":{"x":1},"scores":{"s":1}'], '"scores":{"s":1}'),
    "a label too": (['"prediction":1'], '"prediction":1,"label":1'),
    "features beside a label": (['"label":1'], '"label":1,"features":{"x":1}'),
    "null, then features": (['"label":1,"features":null'], '"label":1,"features":{"x":1}'),
    "another type": (['"type":"label","label":1'], '"type":"score","label":1'),
    "no type": (['"type":"label","label":1,"latency_ms":1'], '"label":1,"latency_ms":1'),
    "unknown role": (['"role":"canary","label":1'], '"role":"boss","label":1'),
    "two forms of a name": (
        ['"features":{"caf\u00e9":1}', '"features":{"cafe\u0301":2}'],
        '"features":{"caf\u00e9":3,"cafe\u0301":4}',
    ),
    "two forms, one at a time": (
        ['"features":{"caf\u00e9":1}', '"features":{"cafe\u0301":2}'],
        '"features":{"caf\u00e9":3}',
    ),
    "whole and broken segments": (
        ['"label":1,"segments":{"s":1}'],
        '"label":1,"segments":{"s":1.0}',
    ),
    "status as text": (['"latency_ms":1,"status":200'], '"latency_ms":1,"status":"200"'),
    "prediction as text": (['"prediction":1'], '"prediction":"1"'),
    "invalid text in an unknown field": (['"label":1,"host":"a"'], '"label":1,"host":"\\ud800"'),
}


@pytest.mark.parametrize("name", ALMOST_ALIKE)
def test_a_message_that_almost_fits_a_shape_is_read_as_if_none_was_known(
    kernels: Ask, name: str
) -> None:
    known, then = ALMOST_ALIKE[name]
    first = [f"{{{HEAD},{text}}}".encode() for text in known * 20]
    codec = JsonEvent(kernels=kernels)
    codec.decode(first, None, BOUNDS)
    value = f"{{{HEAD},{then}}}".encode()
    mixed = codec.decode([*first, value], None, BOUNDS)
    got = [row for b in mixed.batches for row in event_rows(b) if row.source == len(first)]
    alone = JsonEvent(kernels=kernels).decode([value], None, BOUNDS)
    want = [replace(row, source=len(first)) for b in alone.batches for row in event_rows(b)]
    assert got == want
    assert [r.reason for r in mixed.rejects] == [r.reason for r in alone.rejects]
    rows = [row for b in mixed.batches for row in event_rows(b) if row.source < len(first)]
    again = JsonEvent(kernels=kernels).decode([first[0]], None, BOUNDS)
    (one,) = [row for b in again.batches for row in event_rows(b)]
    assert [replace(row, source=0) for row in rows][0 :: len(known)] == [one] * 20


def test_there_is_no_negative_zero(kernels: Ask) -> None:
    value = good(0).replace(b'"i":0', b'"i":-0.0')
    (batch,) = JsonEvent(kernels=kernels).decode([value] * 3, None, BOUNDS).batches
    assert not np.signbit(batch.numeric["features.i"]).any()


def test_an_object_and_a_dotted_name_of_one_column_stay_exact(kernels: Ask) -> None:
    def row(features: dict[str, Any]) -> bytes:
        head = {"ts": 1686650400, "model": "m", "version": "1"}
        return json.dumps({**head, "features": features}).encode()

    values = [row({"a.b": 1}), row({"a": {"b": 2}}), row({"a.b": 1, "a": {"b": 2}})] * 20
    codec = JsonEvent(kernels=kernels)
    codec.decode(values, None, BOUNDS)
    (batch,) = codec.decode(values, None, BOUNDS).batches
    assert batch.numeric["features.a.b"].tolist() == [1.0, 2.0, 2.0] * 20


def test_more_models_than_are_remembered_are_all_read(kernels: Ask) -> None:
    values = [
        good(i).replace(b'"m"', f'"m{i % (MAX_MODELS + 50)}"'.encode())
        for i in range(3 * (MAX_MODELS + 50))
    ]
    codec = JsonEvent(kernels=kernels)
    for _ in range(2):
        decoded = codec.decode(values, None, BOUNDS)
        assert len(decoded.batches) == MAX_MODELS + 50
        assert sum(batch.rows for batch in decoded.batches) == len(values)


def test_rows_with_ever_new_columns_are_split_into_bounded_batches(kernels: Ask) -> None:
    bounds = Bounds(0, 4_102_444_800_000, max_columns=50)
    values = [f'{{{HEAD},"features":{{"f{i}":{i},"all":1}}}}'.encode() for i in range(400)]
    decoded = JsonEvent(kernels=kernels).decode(values, None, bounds)
    assert all(len(batch.numeric) <= 50 for batch in decoded.batches)
    rows = [row for batch in decoded.batches for row in event_rows(batch)]
    assert [row.numbers for row in rows] == [
        {"features.all": 1.0, f"features.f{i}": float(i)} for i in range(400)
    ]


def test_changed_bounds_change_what_is_accepted_at_once(kernels: Ask) -> None:
    codec = JsonEvent(kernels=kernels)
    values = [good(i) for i in range(50)]
    assert codec.decode(values, None, BOUNDS).rejects == ()
    later = Bounds(min_ts_ms=1_700_000_000_000, max_ts_ms=1_800_000_000_000)
    assert len(codec.decode(values, None, later).rejects) == 50
    short = Bounds(0, 4_102_444_800_000, max_name_chars=5)
    (batch,) = codec.decode(values, None, short).batches
    assert batch.numeric == {}
    assert len(batch.errors["__other__"]) == 50


def test_objects_nested_beyond_the_limit_are_one_error(kernels: Ask) -> None:
    deep = "1"
    for _ in range(12):
        deep = f'{{"a":{deep}}}'
    raw = f'{{{HEAD},"features":{{"x":{deep},"y":1}}}}'.encode()
    (batch,) = JsonEvent(kernels=kernels).decode([raw] * 3, None, BOUNDS).batches
    assert batch.numeric["features.y"].tolist() == [1.0] * 3
    assert [at.tolist() for at in batch.errors.values()] == [[0, 1, 2]]


def test_ndjson_counts_lines_that_are_not_blank(kernels: Ask) -> None:
    message = b"\r\n\n" + good(0) + b"\r\n  \n{bad\n" + good(2) + b"\n\n"
    decoded = Ndjson(kernels=kernels).decode([message, good(3)], None, BOUNDS)
    assert decoded.rows.tolist() == [3, 1]
    assert [(r.source, r.row, r.raw) for r in decoded.rejects] == [(0, 1, b"{bad")]
    (batch,) = decoded.batches
    assert batch.source.tolist() == [0, 0, 1]


def test_a_message_of_endless_lines_is_one_reject(kernels: Ask) -> None:
    decoded = Ndjson(kernels=kernels).decode([b"1\n" * 200_001], None, BOUNDS)
    assert [str(r.reason) for r in decoded.rejects] == ["too many rows in one message"]
    assert decoded.rows.tolist() == [1]
