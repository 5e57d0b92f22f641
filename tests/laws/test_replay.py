"""The order of messages in a partition is all that counts: not batches, workers, flushes.

The summarizer and the judge run here as they do in their roles, on a Kafka made of lists.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streams.intake import Place
from streams.internal_topics import FINDINGS, REFERENCES, WINDOWS
from streams.reference_book import decode_reference
from streams.wire import Row
from tests.laws.judge_on_disk import BASE_MS, FINDING_KEY, LEARNING, WINDOW_KEY, judged, rows_of
from tests.laws.summarize_plan import (
    TOPIC,
    Log,
    Plan,
    as_message,
    make_summarizer,
    message,
    reference,
    summarized,
)

pytestmark = pytest.mark.usefixtures("quiet")


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Events that are out of order, sometimes beyond the allowed lateness."""
    number = draw(st.integers(0, 10**6))
    canary = number % 3 == 0
    event: dict[str, Any] = {
        "ts": BASE_MS + draw(st.integers(0, 25_000)),
        "model": draw(st.sampled_from(["m", "m", "m", "n"])),
        "version": "2" if canary else "1",
        "role": "canary" if canary else "production",
        "segments": {"country": draw(st.sampled_from(["DE", "FR"]))},
        "features": {
            "x": draw(st.one_of(st.floats(-1e6, 1e6), st.none(), st.just([1]))),
            "topic": draw(st.sampled_from(["arrays", "strings"])),
        },
        "scores": {"quality": draw(st.sampled_from([0.0, 1.0]))},
        "latency_ms": draw(st.floats(0.1, 1e5)),
    }
    if number % 5 == 0:
        event["status"] = "error"
    return event


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Messages of one to three partitions. The last of each is so much later that every window
    before it closes."""
    end = {"ts": BASE_MS + 40_000, "model": "m", "version": "1", "role": "production"}
    last = as_message([end, {**end, "model": "n"}])
    message = st.one_of(
        st.lists(events(), min_size=1, max_size=6).map(as_message), st.just(b'{"ts": 1, "mod')
    )
    return {
        (TOPIC, partition): [*draw(st.lists(message, max_size=8)), last]
        for partition in range(draw(st.integers(1, 3)))
    }


plans = st.builds(
    Plan,
    st.integers(1, 3),
    st.lists(st.integers(0, 2), min_size=3, max_size=3).map(tuple),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20).map(tuple),
)

PHASES = (Phase.explicit, Phase.generate)
"""Shrinking takes minutes here, as one example is a whole run."""

ALL_AT_ONCE = Plan(1, (0,), ())


@settings(max_examples=40, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans, st.booleans())
def test_any_batching_and_any_workers_give_the_same_windows_and_findings(
    log: Log, plan: Plan, referenced: bool
) -> None:
    known = reference() if referenced else None
    books = [known] if known is not None else []
    # Which record closed a window, and how often it was corrected, are the course, not the result.
    course = ("offset", "revision")
    results = [judged(summarized(log, each, known), known=books) for each in (ALL_AT_ONCE, plan)]
    windows = [rows_of(disk, WINDOWS, WINDOW_KEY, course) for disk in results]
    findings = [
        [row for row in rows_of(disk, FINDINGS, FINDING_KEY, course) if not accumulated(row)]
        for disk in results
    ]
    assert windows[0] == windows[1]
    assert findings[0] == findings[1]


def accumulated(row: Row) -> bool:
    """Evidence takes in a pane as it is when it closes. What comes after that corrects windows
    only, and which flush a late row shares is chance."""
    return str(row["detector"]).startswith(("drift", "canary_", "paired_"))


def in_order(log: Log) -> Log:
    """The same messages, with the events of each partition in the order of time."""
    ordered: dict[Place, list[bytes]] = {}
    for place, messages in log.items():
        lines = [line for message in messages[:-1] for line in message.splitlines()]
        some = [json.loads(line) for line in lines if line.endswith(b"}")]
        some.sort(key=lambda event: event["ts"])
        ordered[place] = [*(as_message(some[i : i + 3]) for i in range(0, len(some), 3))]
        ordered[place].append(messages[-1])
    return ordered


@settings(max_examples=30, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans)
def test_without_late_rows_any_batching_and_any_workers_give_the_same_evidence(
    log: Log, plan: Plan
) -> None:
    known = reference()
    log = in_order(log)
    disks = [judged(summarized(log, each, known), known=[known]) for each in (ALL_AT_ONCE, plan)]
    one, other = (rows_of(disk, FINDINGS, FINDING_KEY, ("offset", "revision")) for disk in disks)
    assert one == other
    if any(row["model"] == "m" and row["column"] == "latency_ms" for row in one):
        assert any(accumulated(row) for row in one)


@settings(max_examples=20, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans, st.booleans())
def test_every_row_that_was_not_late_is_in_its_window(
    log: Log, plan: Plan, referenced: bool
) -> None:
    known = reference() if referenced else None
    disk = judged(summarized(log, plan, known), known=[known] if known is not None else [])
    rows = rows_of(disk, WINDOWS, WINDOW_KEY)
    whole = [
        row
        for row in rows
        if (row["segment"], row["column"], row["window_ms"]) == ("all", "error", 5_000)
    ]
    counter = make_summarizer("counter", known)
    for place, messages in log.items():
        counter.intake.assign(place, len(log), -(2**62), BASE_MS)
        some = [message(place, at, body) for at, body in enumerate(messages)]
        counter.take(some, BASE_MS)
    counter.flush(BASE_MS, {})  # decodes what waits
    counted = sum(intake.events for intake in counter.intake.partitions.values())
    still_open = 2 * len(log)  # the two last events of each partition
    assert sum(row["events"] for row in whole) == counted - still_open


@settings(max_examples=20, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans)
def test_a_replay_of_the_records_gives_the_same_bytes(log: Log, plan: Plan) -> None:
    records = summarized(log, plan)
    live = judged(records, LEARNING)
    learnt = [decode_reference(value) for _, value in live.published.get(REFERENCES, ())]
    again = judged(records, LEARNING, known=learnt)
    assert again.published == live.published
    assert again.tables == live.tables
