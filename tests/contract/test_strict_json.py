"""What is no JSON is refused wherever it stands, also in values that nobody reads; by both paths.

That the two paths agree is tested elsewhere. Here a third one, which shares nothing with them, says
what is right: Python's own parser, made as strict as RFC 8259 and RFC 3629 are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import make_codec
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds

BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=4_102_444_800_000)
Ask = Callable[[], Kernels | None]


def no_kernels() -> None:
    return None


both_paths = pytest.mark.parametrize("kernels", [no_kernels, load], ids=["exact", "kernels"])


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond those that a double can be is refused too")
    return number


def is_json(raw: bytes) -> bool:
    try:
        found = json.loads(raw.decode(), parse_constant=_no_constant, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode()  # no half of a pair of surrogates
    except (ValueError, OverflowError):
        return False
    return True


PLACES = {
    "a value that is skipped": b'"features":{"i":%d,"t":"x"},"host":%s',
    "in a list that is skipped": b'"features":{"i":%d,"t":"x"},"host":[1,%s]',
    "in an object that is skipped": b'"features":{"i":%d,"t":"x"},"host":{"a":{"b":%s}}',
    "a value": b'"features":{"i":%d,"t":%s}',
    "a segment": b'"features":{"i":%d},"segments":{"s":%s}',
    "the end": b'"features":{"i":%d},"host":1}%s',
}
GOOD = {name: b"" if name == "the end" else b'"h"' for name in PLACES}


def message(place: str, number: int, raw: bytes, padding: int = 0) -> bytes:
    head = b'{"ts":"2023-06-13T10:00:00Z","model":"m","version":"1","pad":"%s",' % (b"p" * padding)
    whole = head + PLACES[place] % (number, raw)
    return whole if place == "the end" else whole + b"}"


def refused(codec: str, kernels: Ask, place: str, raws: list[bytes], padding: int = 0) -> list[int]:
    """Which of the messages are refused by a codec that has learnt what good ones look like; each
    has a good neighbour, which must not be lost."""
    good = [message(place, i, GOOD[place], padding) for i in range(len(raws))]
    made = make_codec(codec, kernels=kernels)
    made.decode(good * 2, None, BOUNDS)
    values = [
        each for i, raw in enumerate(raws) for each in (good[i], message(place, i, raw, padding))
    ]
    decoded = made.decode(values, None, BOUNDS)
    assert all(reject.source % 2 for reject in decoded.rejects)
    assert sum(batch.rows for batch in decoded.batches) == len(values) - len(decoded.rejects)
    return [reject.source // 2 for reject in decoded.rejects]


NOT_JSON = [
    b"", b"01", b"1.", b"-", b".5", b"1e", b"+1", b"1_0", b"0x1", b"NaN", b"-Infinity", b"1e999",
    b"nul", b"tru", b"truee", b"None", b"[1,]", b"[1 2]", b"[", b"]", b'{"a"}', b'{"a":}',
    b'{"a":1,}', b"{1:2}", b'{"a":1 "b":2}', b"'a'", b'"a" "b"', b'"', b'"a', b'"\\"', b'"\\x"',
    b'"\\u12g4"', b'"\\u12"', b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'"\x00"', b'"\x1f"',
    b'"\n"', b"\x00", b'"a"//b', b'"a"/*b*/',
]  # fmt: skip
NOT_UTF8 = [
    b"\xff", b"\xfe", b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\xbf", b"\xc2", b"\xe0\x80\xaf",
    b"\xe2\x82", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\xaf",
    b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80",
]  # fmt: skip


@both_paths
@pytest.mark.parametrize("codec", ["json", "ndjson"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_json_is_refused_wherever_it_stands(
    kernels: Ask, codec: str, place: str
) -> None:
    raws = [raw for raw in NOT_JSON if place != "the end" or raw]
    if codec == "ndjson":
        raws.remove(b'"\n"')  # there it ends the line
    assert [i for i, raw in enumerate(raws) if is_json(message(place, i, raw))] == []
    assert refused(codec, kernels, place, raws) == list(range(len(raws)))


@both_paths
@pytest.mark.parametrize("place", [name for name in PLACES if name != "the end"])
@pytest.mark.parametrize("padding", range(8))
def test_what_is_no_utf8_is_refused_at_every_position_in_a_word(
    kernels: Ask, place: str, padding: int
) -> None:
    """Eight bytes are compared at once, so where in them something stands could matter."""
    raws = [b'"' + text + b'"' for text in NOT_UTF8]
    raws += [b'"%s%s"' % (b"a" * 40, text) for text in NOT_UTF8]
    raws += [b'"%s%s"' % (text, b"a" * 40) for text in NOT_UTF8]
    assert refused("json", kernels, place, raws, padding) == list(range(len(raws)))


_pieces = st.sampled_from(
    [b'"', b"\\", b"u00e9", b"\\ud83d", b"\\ude00", b"0", b"1", b"-", b".", b"e", b"E", b"+", b",",
     b":", b"[", b"]", b"{", b"}", b"true", b"null", b" ", b"\t", b"\r", b"\xc3\xa9", b"\xc3",
     b"\xf0\x9f\x98\x80", b"\x7f", b"\x00", b"\xff", b'"a"', b'"a":1', b"1.5"]
)  # fmt: skip
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.text(max_size=9))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _written(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


_values = st.one_of(
    st.builds(_written, _json, st.booleans()),
    st.lists(_pieces, max_size=8).map(b"".join),
    st.binary(max_size=12),
    st.builds(lambda raw: b'"' + raw + b'"', st.binary(max_size=12)),
)


@both_paths
@settings(max_examples=150, deadline=None)
@given(raws=st.lists(_values, min_size=1, max_size=12), place=st.sampled_from(list(PLACES)[:3]))
def test_a_value_that_nobody_reads_is_accepted_just_if_it_is_json(
    kernels: Ask, raws: list[bytes], place: str
) -> None:
    wrong = [i for i, raw in enumerate(raws) if not is_json(message(place, i, raw))]
    assert refused("json", kernels, place, raws) == wrong


HUGE = 2_000_000
ENDLESS = {
    "digits": b"1" * HUGE,
    "a fraction": b"0." + b"3" * HUGE,
    "an exponent": b"1e" + b"0" * HUGE,
    "a text": b'"' + b"a" * HUGE + b'"',
    "a text without an end": b'"' + b"a" * HUGE,
    "backslashes": b'"' + b"\\" * HUGE,
    "escaped quotes": b'"' + b'\\"' * (HUGE // 2) + b'"',
    "two-byte letters": b'"' + "é".encode() * (HUGE // 2) + b'"',
    "blanks": b" " * HUGE + b"1",
    "open lists": b"[" * HUGE,
    "open objects": b'{"a":' * (HUGE // 5),
    "commas": b"[" + b"," * HUGE,
    "a long list": b"[" + b"1," * (HUGE // 2) + b"1]",
    "a long object": b"{" + b'"a":1,' * (HUGE // 6) + b'"b":2}',
    "nothing but NUL": b"\x00" * HUGE,
}


@both_paths
@pytest.mark.parametrize("place", ["a value that is skipped", "a value"])
@pytest.mark.parametrize("name", ENDLESS)
def test_values_of_megabytes_neither_crash_nor_hang_nor_take_their_neighbours_along(
    kernels: Ask, place: str, name: str
) -> None:
    """Work that grew with the square of the length would not come to an end here."""
    codec = make_codec("json", kernels=kernels)
    values = [message(place, i, GOOD[place]) for i in range(4)]
    codec.decode(values * 2, None, BOUNDS)
    values[2] = message(place, 2, ENDLESS[name])
    decoded = codec.decode(values, None, BOUNDS)
    kept = {source for batch in decoded.batches for source in batch.source.tolist()}
    assert kept | {reject.source for reject in decoded.rejects} == {0, 1, 2, 3}
    assert kept >= {0, 1, 3}
    if not is_json_shallow(ENDLESS[name]):
        assert 2 not in kept


def is_json_shallow(raw: bytes) -> bool:
    """Python's parser would recurse on what is nested without end: that is refused anyway."""
    return not raw.startswith((b"[[", b'{"a":{')) and is_json(raw)
