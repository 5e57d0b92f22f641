"""D6: labels that come days late, twice, for unknown requests, or contradict each other."""

from __future__ import annotations

import json
from collections import Counter

from streams.timeline import DAY
from tests.faults.worker_line import NOW, Line, body


def label(ts: int, request: str, value: str) -> bytes:
    return json.dumps(
        {"type": "label", "ts": ts, "model": "m", "version": "1", "request_id": request,
         "label": value}
    ).encode()  # fmt: skip


def test_d6_labels_that_are_late_double_unknown_or_contradict_are_all_accounted_for() -> None:
    line = Line()
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
    assert line.ledger == Counter(messages=16, events=14, late=1, dead=1)
    # A label is no prediction: it neither adds to the traffic nor changes what was counted.
    assert sum(line.counted().values()) == 10
