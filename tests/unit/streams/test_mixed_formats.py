"""A topic whose producers write in several formats, as headers of its messages say."""

from __future__ import annotations

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.internal_topics import DEADLETTERS, INTAKE
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, TimeSettings

TOPIC = "predictions"
NOW_MS = 1_700_000_000_000
TIME = TimeSettings(pane_ms=1_000, windows_ms=(5_000,), allowed_lateness_ms=3_000)
LINES: list[tuple[str, str | bytes | None]] = [("content-type", b"application/x-ndjson")]


def summarizer() -> Summarizer:
    made = Summarizer(
        (InputSettings(TOPIC),),
        TIME,
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda _: None,
        1,
        "w",
    )
    made.intake.assign((TOPIC, 0), 1, NEVER, NOW_MS)
    return made


def message(offset: int, at_ms: int, lines: int = 0, broken: bool = False) -> Message:
    """One event, or so many ``lines`` of events under a header that says so."""
    event = msgspec.json.encode({"ts": NOW_MS + at_ms, "model": "m", "version": "1"})
    body = b"\n".join([b"no" if broken else event] * max(lines, 1))
    headers = LINES if lines else None
    stamp = (TIMESTAMP_CREATE_TIME, NOW_MS)
    return Message(TOPIC, 0, offset, value=body, headers=headers, timestamp=stamp)


@pytest.mark.parametrize("messages", [4, 5])
def test_what_is_committed_lies_behind_the_last_message_of_any_format(messages: int) -> None:
    made = summarizer()
    made.take([message(i, i, lines=3 * (i % 2)) for i in range(messages)], NOW_MS)
    made.flush(NOW_MS, {})
    (offset,) = made.offsets()
    assert offset.offset == messages
    assert made.intake.partitions[TOPIC, 0].events == 2 * 3 + messages - 2


def test_a_row_is_late_by_what_came_before_it_and_not_by_another_format() -> None:
    made = summarizer()
    # The second is on time: the event that is a minute newer comes after it.
    made.take([message(0, 0), message(1, 0, lines=2), message(2, 60_000), message(3, 0)], NOW_MS)
    made.flush(NOW_MS, {})
    place = made.intake.partitions[TOPIC, 0]
    assert (place.events, place.late) == (4, 1)


def test_the_ledger_and_dead_letters_name_the_offsets_of_every_format() -> None:
    made = summarizer()
    made.take([message(7, 0), message(8, 0, 2, broken=True), message(9, 0)], NOW_MS)
    records = made.flush(NOW_MS, {})
    (ledger,) = [msgspec.json.decode(r.value)["rows"] for r in records if r.topic == INTAKE]
    assert [(r["first_offset"], r["last_offset"], r["messages"]) for r in ledger] == [(7, 9, 3)]
    letters = [msgspec.json.decode(r.value)["rows"][0] for r in records if r.topic == DEADLETTERS]
    assert [(r["offset"], r["row"]) for r in letters] == [(8, 0), (8, 1)]
