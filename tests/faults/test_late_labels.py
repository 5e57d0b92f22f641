"""D6: labels that come days late, twice, for unknown requests, or contradict each other."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from streams.summarizer import named_codec
from streams.timeline import DAY
from tests.faults.naive_reader import naive_codec
from tests.faults.worker_line import NOW, CodecOf, Line, body


def label(ts: int, request: str, value: str) -> bytes:
    return json.dumps(
        {"type": "label", "ts": ts, "model": "m", "version": "1", "request_id": request,
         "label": value}
    ).encode()  # fmt: skip


@pytest.mark.parametrize("codec_of", [named_codec, naive_codec], ids=["D6-guard", "D6-no-guard"])
def test_labels_that_are_late_double_unknown_or_contradict_are_all_accounted_for(
    codec_of: CodecOf,
) -> None:
    """Without the guard: every message is taken for a prediction."""
    line = Line(codec_of=codec_of)
    line.take([body(NOW - 1_000, request_id=f"q{i}") for i in range(10)])
    line.take(
        [
            label(NOW, "q1", "A"),
            label(NOW, "q1", "A"),
            label(NOW, "q1", "B"),
            label(NOW, "nobody", "A"),
            label(NOW - 3 * DAY, "q2", "A"),
            label(NOW - 500 * DAY, "q3", "A"),
        ]
    )
    line.flush()
    accounted = line.ledger == Counter(messages=16, events=14, late=1, dead=1)
    # A label is no prediction: it neither adds to the traffic nor changes what was counted.
    assert (accounted and sum(line.counted().values()) == 10) is (codec_of is named_codec)
