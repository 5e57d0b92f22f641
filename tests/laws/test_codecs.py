"""What a codec has learnt changes its speed, never its columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs.auto import Auto
from streams.codecs.json_event import JsonEvent
from streams.codecs.ndjson import Ndjson
from streams.codecs.speculative.loading import Kernels, load
from streams.codecs.timestamps import parse_time, parse_times
from streams.event import Bounds, Categorical, Codec, Decoded, EventBatch, EventKind
from tests.event_rows import EventRow, event_rows

Ask = Callable[[], Kernels | None]


def no_kernels() -> None:
    return None


both_paths = pytest.mark.parametrize("kernels", [no_kernels, load], ids=["exact", "kernels"])

BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=4_102_444_800_000, max_columns=12)

_names = st.sampled_from(
    ["a", "b", "a.b", "é", "e\u0301", "", " ", "x\u0000", "__other__", 'q"', "k=v"]
)
_texts = st.sampled_from(["x", "y", "", "é", "e\u0301", "a\nb", "__other__", "z" * 300, "1"])
_numbers = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1.0, 2**53 + 1, 2**63, 2**64, 10**40, 10**320, 1e301, 1e-320]),
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _numbers, _texts)
_cells = st.recursive(
    st.one_of(_scalars, _scalars, _scalars, st.just([1])),
    lambda inner: st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_groups = st.one_of(st.dictionaries(_names, _cells, max_size=4), _scalars)
_iso_times = ["2023-06-13T10:00:00.123Z", "2023-06-13T12:00:00+02:00"]
_times = st.sampled_from(
    [*_iso_times, 1686650400, 1686650400.5, 1686650400123, None, "x", "1686650400", 10**30, True]
)
_models = st.sampled_from(["m", "m", "m", "n", "é", "e\u0301", 'q"', 3, None, ""])
_events = st.fixed_dictionaries(
    {
        "ts": _times,
        "model": _models,
        "version": st.sampled_from(["1", "1", 1, 1.0, None, "e\u0301"]),
    },
    optional={
        "role": st.sampled_from(["canary", "shadow", None, "boss"]),
        "type": st.sampled_from(["prediction", "label", "score", "outcome", None, "x", 1]),
        "features": _groups,
        "segments": _groups,
        "scores": _groups,
        "outcomes": _groups,
        "prediction": _groups,
        "label": _cells,
        "latency_ms": _cells,
        "cost": _scalars,
        "status": _cells,
        "request_id": _scalars,
        "something": _cells,
    },
)
_usual = st.fixed_dictionaries(
    {
        "ts": st.sampled_from([*_iso_times, "2023-06-13T10:00:01.5Z", "1960-01-01T00:00:00.000Z"]),
        "model": st.sampled_from(["m", "n"]),
        "version": st.just("1"),
        "features": st.fixed_dictionaries(
            {"a": st.one_of(_numbers, st.none())}, optional={"b": _scalars, "c": _texts}
        ),
    },
    optional={"latency_ms": _numbers, "status": st.sampled_from(["ok", 200, "error"])},
)
_messages = st.lists(
    st.one_of(
        st.builds(lambda event: json.dumps(event).encode(), st.one_of(_usual, _usual, _events)),
        st.sampled_from([None, b"", b"{", b"[]", b"null", b'{"model":"m"}', b"\xff"]),
        st.builds(lambda event, at: json.dumps(event).encode()[:at], _usual, st.integers(0, 90)),
    ),
    max_size=30,
)


def _same_codes(a: dict[str, Categorical], b: dict[str, Categorical]) -> None:
    assert list(a) == list(b)
    for name in a:
        assert a[name].categories == b[name].categories
        assert a[name].codes.tolist() == b[name].codes.tolist()


def _same_batch(a: EventBatch, b: EventBatch) -> None:
    assert (a.model, a.kind, a.rows, a.releases) == (b.model, b.kind, b.rows, b.releases)
    for x, y in ((a.ts_ms, b.ts_ms), (a.source, b.source), (a.release, b.release)):
        assert x.dtype == y.dtype
        assert x.tolist() == y.tolist()
    assert a.failed.tolist() == b.failed.tolist()
    _same_codes(dict(a.segments), dict(b.segments))
    _same_codes(dict(a.categorical), dict(b.categorical))
    assert list(a.numeric) == list(b.numeric)
    for name in a.numeric:
        assert a.numeric[name].tobytes() == b.numeric[name].tobytes(), name
    assert {n: at.tolist() for n, at in a.errors.items()} == {
        n: at.tolist() for n, at in b.errors.items()
    }
    assert a.request_ids == b.request_ids


def _same(a: Decoded, b: Decoded) -> None:
    assert a.rejects == b.rejects
    assert a.rows.tolist() == b.rows.tolist()
    assert len(a.batches) == len(b.batches)
    for x, y in zip(a.batches, b.batches, strict=True):
        _same_batch(x, y)


def _rows(decoded: Decoded) -> list[EventRow]:
    rows = [row for batch in decoded.batches for row in event_rows(batch)]
    return sorted(rows, key=lambda row: row.source)


def _one_by_one(values: Sequence[bytes | None], bounds: Bounds) -> list[EventRow]:
    """Every message by a codec that has seen nothing else: only the exact path can read it."""
    found = []
    for source, value in enumerate(values):
        codec = JsonEvent(keep_request_ids=True, kernels=no_kernels)
        decoded = codec.decode([value], [1_700_000_000_000], bounds)
        assert len(decoded.batches) + len(decoded.rejects) == 1
        for row in _rows(decoded):
            assert row.source == 0
            found.append((source, row))
    return [
        EventRow(
            source,
            r.ts_ms,
            r.release,
            r.kind,
            r.failed,
            r.segments,
            r.numbers,
            r.texts,
            r.errors,
            r.request_id,
        )
        for source, r in found
    ]


@both_paths
@settings(max_examples=300, deadline=None)
@given(
    values=_messages,
    before=_messages,
    kind=st.sampled_from([None, None, EventKind.LABEL]),
    fallback=st.booleans(),
)
def test_what_was_decoded_before_changes_nothing(
    kernels: Ask,
    values: list[bytes | None],
    before: list[bytes | None],
    kind: EventKind | None,
    fallback: bool,
) -> None:
    bounds = Bounds(0, 4_102_444_800_000, max_columns=12, kind=kind, kafka_ts_fallback=fallback)
    times = [1_700_000_000_000] * len(values)
    warm = JsonEvent(keep_request_ids=True, kernels=kernels)
    cold = JsonEvent(keep_request_ids=True, kernels=no_kernels).decode(values, times, bounds)
    warm.decode(before, [1_700_000_000_000] * len(before), bounds)
    _same(cold, warm.decode(values, times, bounds))
    hot = warm.decode(values, times, bounds)
    _same(cold, hot)
    assert _rows(hot) == _one_by_one(values, bounds)


@both_paths
@settings(max_examples=100, deadline=None)
@given(values=_messages)
def test_every_row_is_an_event_or_a_reject(kernels: Ask, values: list[bytes | None]) -> None:
    lines = [b"\n".join(v for v in values[i : i + 5] if v is not None) for i in range(0, 30, 5)]
    codecs: list[tuple[Codec, list[bytes | None]]] = [
        (JsonEvent(kernels=kernels), values),
        (Ndjson(kernels=kernels), list(lines)),
        (Auto(kernels=kernels), [*values, *lines]),
    ]
    for codec, messages in codecs:
        decoded = codec.decode(messages, None, BOUNDS)
        events = sum(batch.rows for batch in decoded.batches)
        assert decoded.rows.sum() == events + len(decoded.rejects)
        for batch in decoded.batches:
            assert (np.diff(batch.source) >= 0).all()
            assert len(batch.numeric) <= BOUNDS.max_columns


@both_paths
@settings(max_examples=100, deadline=None)
@given(values=_messages)
def test_lines_of_one_message_read_like_messages(kernels: Ask, values: list[bytes | None]) -> None:
    texts = [v for v in values if v and not v.isspace() and b"\n" not in v]
    together = Ndjson(kernels=kernels).decode([b"\r\n".join(texts)], None, BOUNDS)
    apart = JsonEvent(kernels=no_kernels).decode(texts, None, BOUNDS)
    if not texts:
        assert [reject.reason for reject in together.rejects] == ["empty message"]
        return
    assert [r.row for r in together.rejects] == [r.source for r in apart.rejects]
    assert [r.reason for r in together.rejects] == [r.reason for r in apart.rejects]
    for a, b in zip(together.batches, apart.batches, strict=True):
        _same_codes(dict(a.categorical), dict(b.categorical))
        assert {n: v.tobytes() for n, v in a.numeric.items()} == {
            n: v.tobytes() for n, v in b.numeric.items()
        }


_iso = st.builds(
    "{:04d}-{:02d}-{:02d}{}{:02d}:{:02d}{}{}".format,
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("Tt x"),
    st.integers(0, 25),
    st.integers(0, 61),
    st.one_of(
        st.just(""),
        st.builds(
            ":{:02d}{}".format,
            st.integers(0, 62),
            st.sampled_from(["", ".1", ".123", ",5", ".123456", ".123456789", "."]),
        ),
    ),
    st.sampled_from(["", "Z", "z", "+00:00", "+02:00", "-0330", "+02", "+25:00", "é"]),
)
_fixed = st.builds(
    "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}.{:03d}Z".format,
    st.integers(0, 9999),
    st.integers(1, 13),
    st.integers(1, 32),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 61),
    st.integers(0, 999),
)
_epochs = st.one_of(st.integers(-(2**63), 2**63), st.floats())


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.lists(_fixed, min_size=20, max_size=40),
        st.lists(st.one_of(_fixed, _fixed, _iso, st.text(max_size=24)), min_size=20, max_size=40),
        st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=20, max_size=30),
        st.lists(st.floats(), min_size=20, max_size=30),
        st.lists(st.one_of(_iso, _epochs, st.none(), st.booleans()), max_size=30),
    )
)
def test_times_parsed_together_are_times_parsed_alone(values: list[object]) -> None:
    assert parse_times(values).tolist() == [parse_time(value) for value in values]
