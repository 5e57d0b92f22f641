"""D3: event times that nobody can mean. They are refused, and move no watermark."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Final

import pytest

from streams.summarizer import named_codec
from streams.timeline import DAY, MINUTE
from tests.faults.naive_reader import naive_codec
from tests.faults.worker_line import NOW, TIME, CodecOf, Line, body, event_at

ABSURD: Final = {
    "zero": 0,
    "negative": -1,
    "one": 1,
    "1970": "1970-01-01T00:00:00Z",
    "tomorrow and more": NOW + DAY + MINUTE,
    "2038": 2**31,
    "2262": "2262-04-11T23:47:16Z",
    "year 9999": "9999-12-31T23:59:59Z",
    "year 0000": "0000-01-01T00:00:00Z",
    "nanoseconds too many": NOW * 10**9,
    "2**63": 2**63,
    "1e300": 1e300,
    "401 days ago": NOW - 401 * DAY,
    "text": "yesterday",
    "bool": True,
    "list": [NOW],
}


@pytest.mark.parametrize("codec_of", [named_codec, naive_codec], ids=["D3-guard", "D3-no-guard"])
@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_time_is_refused_and_moves_no_watermark(name: str, codec_of: CodecOf) -> None:
    line = Line(codec_of=codec_of)
    line.take([event_at(NOW - 1_000), body(ABSURD[name]), event_at(NOW - 2_000)])
    line.flush()
    refused = line.ledger == Counter(messages=3, events=2, dead=1) and len(line.dead) == 1
    assert (refused and line.newest() == NOW - 1_000) is (codec_of is named_codec)


@pytest.mark.parametrize(
    "ts",
    [NOW / 1000, NOW // 1000, NOW, NOW * 1_000, NOW * 1_000_000, "2023-11-14T22:13:20Z"],
    ids=["D3-float-s", "D3-s", "D3-ms", "D3-us", "D3-ns", "D3-iso"],
)
def test_units_are_told_apart(ts: Any) -> None:
    line = Line()
    line.take([body(ts)])
    line.flush()
    assert line.counted() == Counter({NOW: 1})


def test_d3_two_hundred_months_in_a_batch_are_dead_letters_and_not_two_hundred_partitions() -> None:
    line = Line()
    line.take([event_at(NOW - month * 30 * DAY) for month in range(200)])
    line.flush()
    assert line.ledger["messages"] == 200
    assert line.ledger["dead"] == 200 - 14
    assert line.ledger["events"] + line.ledger["late"] == 14


def test_d3_no_guard_one_absurd_time_makes_honest_events_late() -> None:
    """The guard removed: times are believed far into the future."""
    line = Line(replace(TIME, max_ahead_ms=400 * DAY))
    line.take([body(NOW + 300 * DAY)])
    line.take([event_at(NOW - 1_000)])
    line.flush()
    assert line.ledger["late"] == 1
