"""From messages to deltas, dead letters and the ledger: nothing is unaccounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.layout import Header
from detectors.reference import layout_for
from detectors.release import ALL, OTHER
from detectors.summary import Summaries
from streams.cardinality import Limits
from streams.epochs import encode_epoch
from streams.inputs import InputSettings
from streams.intake import decode_clock, decode_topic_id, encode_clock
from streams.internal_topics import DEADLETTERS, EPOCHS, EVENTS, INTAKE, SUMMARIES
from streams.outgoing import OutgoingRecord
from streams.sampling import ROWS_PER_MESSAGE, SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings, TooManyDeadLettersError
from streams.timeline import NEVER, TimeSettings
from streams.wire import Delta, Progress, decode, unpack

TOPIC = "predictions"
NOW_MS = 1_700_000_000_000
TIME = TimeSettings(pane_ms=1_000, windows_ms=(5_000,), allowed_lateness_ms=3_000)
Headers = list[tuple[str, str | bytes | None]] | None


def message(
    offset: int, body: bytes | None, partition: int = 0, headers: Headers = None
) -> Message:
    at = (TIMESTAMP_CREATE_TIME, NOW_MS)
    return Message(TOPIC, partition, offset, value=body, headers=headers, timestamp=at)


def make(
    limits: Limits | None = None, sample: SampleSettings | None = None, dead_ratio: float = 1.0
) -> Summarizer:
    summarizer = Summarizer(
        (InputSettings(TOPIC),),
        TIME,
        SummarizeSettings(max_dead_ratio=dead_ratio),
        limits or Limits(),
        sample or SampleSettings(),
        lambda _: None,
        3,
        "w",
    )
    for partition in range(2):
        summarizer.intake.assign((TOPIC, partition), 2, NEVER, NOW_MS)
    return summarizer


def take(summarizer: Summarizer, messages: list[Message]) -> None:
    summarizer.take(messages, NOW_MS)


def event(number: int = 0, **other: Any) -> bytes:
    usual = {"ts": NOW_MS + number, "model": "m", "version": "1"}
    return json.dumps({**usual, **other}).encode()


def deltas(summarizer: Summarizer) -> list[Delta]:
    records = [
        decode(record.value) for record in summarizer.flush(NOW_MS, {}) if record.topic == SUMMARIES
    ]
    return [record for record in records if isinstance(record, Delta)]


def groups(found: Sequence[Delta]) -> dict[tuple[str, str, str], Summaries]:
    """Summaries by model, version and segment."""
    out: dict[tuple[str, str, str], Summaries] = {}
    for delta in found:
        layout = layout_for(None, delta.columns)
        for group in delta.groups:
            key = delta.model, group.version, group.segment
            summaries = unpack(group.summaries, layout)
            out[key] = out[key].merge(summaries) if key in out else summaries
    return out


# --- the ledger ----------------------------------------------------------------------------------

_bodies = st.one_of(
    st.builds(
        event,
        st.integers(-20_000, 20_000),
        model=st.sampled_from("abc"),
        version=st.sampled_from("123"),
    ),
    st.sampled_from([b'{"ts": 1', b"null", b"[]", event(3 * 86_400_000), event(-401 * 86_400_000)]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.lists(_bodies, min_size=1, max_size=5)), max_size=25),
    st.integers(1, 3),
)
def test_events_dead_late_and_capped_add_up_to_the_rows_seen(
    messages: list[tuple[int, list[bytes]]], cap: int
) -> None:
    summarizer = make(Limits(models=2, versions_per_model=cap))
    next_offset = [0, 0]
    seen = dead = 0
    for place, lines in messages:
        # Lines of their own have to be told apart by a codec: NDJSON, as the header says.
        header: Headers = [("content-type", b"application/x-ndjson")]
        written = message(next_offset[place], b"\n".join(lines), place, header)
        take(summarizer, [written])
        next_offset[place] += 1
        seen += len(lines)
    records = summarizer.flush(NOW_MS, {})  # what still waits to be decoded is decoded
    intake = summarizer.intake.partitions.values()
    dead = sum(each.dead for each in intake)
    counted = sum(each.events + each.capped for each in intake)
    late = sum(each.late for each in intake)
    assert counted + dead + late == seen
    assert sum(each.messages for each in intake) == len(messages)
    assert sum(record.topic == DEADLETTERS for record in records) == dead
    found = [decode(record.value) for record in records if record.topic == SUMMARIES]
    summed = groups([record for record in found if isinstance(record, Delta)])
    in_all = sum(each.events for (_, _, segment), each in summed.items() if segment == ALL)
    assert in_all == counted


def test_event_times_out_of_range_never_move_a_clock() -> None:
    summarizer = make()
    take(summarizer, [message(0, event(0)), message(1, event(40 * 86_400_000))])
    intake = summarizer.intake.partitions[TOPIC, 0]
    assert (intake.newest_ms, intake.events, intake.dead) == (NOW_MS, 1, 1)


def test_a_late_row_is_counted_as_late_and_left_out() -> None:
    summarizer = make()
    take(summarizer, [message(0, event(60_000)), message(1, event(0)), message(2, event(60_001))])
    intake = summarizer.intake.partitions[TOPIC, 0]
    assert (intake.events, intake.late) == (2, 1)
    assert groups(deltas(summarizer))["m", "1", ALL].events == 2


def test_a_row_is_late_by_its_own_partition_only() -> None:
    summarizer = make()
    take(summarizer, [message(0, event(60_000), 0), message(0, event(0), 1)])
    assert sum(each.late for each in summarizer.intake.partitions.values()) == 0


def test_the_ledger_row_names_the_offsets_it_covers() -> None:
    summarizer = make()
    take(summarizer, [message(5, event()), message(6, b"no")])
    rows = [r for r in summarizer.flush(NOW_MS, {}) if r.topic == INTAKE]
    row = msgspec.json.decode(rows[0].value)["rows"][0]
    assert (row["first_offset"], row["last_offset"], row["messages"]) == (5, 6, 2)
    assert (row["events"], row["dead"]) == (1, 1)
    summarizer.intake.clear()
    assert [r.topic for r in summarizer.flush(NOW_MS, {})] == [SUMMARIES] * 3  # the clock only


def test_a_dead_letter_says_where_it_was_and_loses_no_neighbour() -> None:
    summarizer = make()
    lines = b"\n".join([event(1), b'{"ts": 1', event(2)])
    take(summarizer, [message(7, lines, 1, [("content-type", b"application/x-ndjson")])])
    records = summarizer.flush(NOW_MS, {})
    (letter,) = [msgspec.json.decode(r.value) for r in records if r.topic == DEADLETTERS]
    said = letter["rows"][0]
    assert (said["topic"], said["partition"], said["offset"], said["row"]) == (TOPIC, 1, 7, 1)
    assert summarizer.intake.partitions[TOPIC, 1].events == 2


def test_a_worker_that_understands_nothing_stops() -> None:
    summarizer = make(dead_ratio=0.5)
    take(summarizer, [message(at, b"no") for at in range(1_000)])
    with pytest.raises(TooManyDeadLettersError, match=r"predictions\[0\]"):
        summarizer.flush(NOW_MS, {})


# --- the clock -----------------------------------------------------------------------------------


def test_the_clock_survives_in_the_metadata_of_the_committed_offset() -> None:
    summarizer = make()
    take(summarizer, [message(0, event(5))])
    (offset,) = summarizer.offsets()
    assert offset.offset == 1
    assert decode_clock(offset.metadata) == NOW_MS + 5


def test_the_id_of_the_topic_goes_with_the_offset_and_is_noted_once() -> None:
    summarizer = make()
    for place in summarizer.intake.partitions.values():
        place.begin(0, 0, "an-id")

    def noted() -> list[OutgoingRecord]:
        return [each for each in summarizer.flush(NOW_MS, {}) if each.topic == EPOCHS]

    assert noted() == []
    take(summarizer, [message(0, event(5))])
    assert noted() == noted() == [OutgoingRecord(EPOCHS, 0, *encode_epoch((TOPIC, 0), "an-id"))]
    (offset,) = summarizer.offsets()
    assert (decode_clock(offset.metadata), decode_topic_id(offset.metadata)) == (
        NOW_MS + 5,
        "an-id",
    )
    summarizer.committed()
    take(summarizer, [message(1, event(6))])
    assert noted() == []


@pytest.mark.parametrize(
    "text", [None, "", "else", "driftline:1:x", "driftline:1", "driftline:2:5", "driftline:3:5:x"]
)
def test_foreign_metadata_is_no_clock(text: str | None) -> None:
    assert decode_clock(text) == NEVER
    assert decode_topic_id(text) == ""
    assert decode_clock(encode_clock(-3)) == -3


def test_a_partition_is_idle_when_read_to_its_end_and_silent() -> None:
    summarizer = make()
    after = NOW_MS + TIME.idle_timeout_ms
    place = TOPIC, 0

    def idle(now_ms: int, at_end: bool) -> bool:
        return summarizer.intake.progress(now_ms, {place: at_end})[0].idle

    assert idle(after, at_end=True)
    assert not idle(after - 1, at_end=True)
    assert not idle(after, at_end=False)


def test_every_judge_partition_gets_every_clock() -> None:
    records = make().flush(NOW_MS, {})
    assert [record.partition for record in records] == [0, 1, 2]
    assert all(isinstance(decode(record.value), Progress) for record in records)


def test_what_is_forgotten_is_not_sent() -> None:
    summarizer = make()
    take(summarizer, [message(0, event()), message(1, b"no")])
    summarizer.forget()
    assert deltas(summarizer) == []


# --- caps ----------------------------------------------------------------------------------------


def test_models_beyond_the_cap_are_counted_together() -> None:
    summarizer = make(Limits(models=1))
    take(summarizer, [message(i, event(model=f"m{i % 4}", features={"x": 1})) for i in range(8)])
    found = groups(deltas(summarizer))
    assert found["m0", "1", ALL].events == 2
    assert found[OTHER, OTHER, ALL].events == 6
    assert list(found[OTHER, OTHER, ALL].columns()) == []
    assert summarizer.intake.partitions[TOPIC, 0].capped == 6


def test_versions_beyond_the_cap_are_counted_together() -> None:
    summarizer = make(Limits(versions_per_model=2))
    take(summarizer, [message(i, event(version=str(i % 4))) for i in range(8)])
    found = {version: each.events for (_, version, _), each in groups(deltas(summarizer)).items()}
    assert found == {"0": 2, "1": 2, OTHER: 4}
    assert summarizer.intake.partitions[TOPIC, 0].capped == 4


def test_segments_beyond_the_cap_are_folded_and_nobody_is_lost() -> None:
    summarizer = make(Limits(segments_per_model=3))
    some = [message(i, event(segments={"c": f"v{i % 5}"})) for i in range(10)]
    take(summarizer, some)
    found = {segment: each.events for (_, _, segment), each in groups(deltas(summarizer)).items()}
    assert found.pop(ALL) == 10
    assert found[f"c={OTHER}"] > 0
    assert sum(found.values()) == 10


def test_segment_keys_that_producers_invent_are_bounded() -> None:
    summarizer = make(Limits(segments_per_model=3))
    for i in range(50):
        take(summarizer, [message(i, event(segments={f"key{i}": "v"}))])
    found = {segment for _, _, segment in groups(deltas(summarizer))}
    assert len(found) <= 1 + 2 * 3


def test_a_cap_of_no_segments_turns_them_off() -> None:
    summarizer = make(Limits(segments_per_model=0))
    take(summarizer, [message(0, event(segments={"c": "v"}))])
    assert {segment for _, _, segment in groups(deltas(summarizer))} == {ALL}


def test_columns_beyond_the_cap_are_left_out() -> None:
    summarizer = make(Limits(columns_per_model=2))
    take(summarizer, [message(0, event(features={f"x{i}": i for i in range(9)}))])
    (delta,) = deltas(summarizer)
    assert len(delta.columns) == 2


def test_a_large_delta_is_cut_and_still_whole() -> None:
    summarizer = make()
    features = {f"x{i}": 1.5 for i in range(200)}
    some = [message(i, event(1_000 * i, features=features)) for i in range(100)]
    take(summarizer, some)
    found = deltas(summarizer)
    assert len(found) > 1
    summed = groups(found)["m", "1", ALL]
    assert summed.header(Header.PREDICTIONS) == 100
    column = summed.numeric("features.x7")
    assert column is not None
    assert column.n == 100


# --- the sample ----------------------------------------------------------------------------------


def sampled(ratio: float, columns: tuple[str, ...] = ("features.*",)) -> list[dict[str, Any]]:
    summarizer = make(sample=SampleSettings(ratio, columns))
    some = [message(i, event(i, features={"x": i, "secret": "s"})) for i in range(1_000)]
    take(summarizer, some)
    records = [r for r in summarizer.flush(NOW_MS, {}) if r.topic == EVENTS]
    messages: list[list[dict[str, Any]]] = [msgspec.json.decode(r.value)["rows"] for r in records]
    assert all(len(rows) <= ROWS_PER_MESSAGE for rows in messages)
    return [row for rows in messages for row in rows]


def test_a_sample_of_everything_is_everything() -> None:
    assert [row["offset"] for row in sampled(1.0)] == list(range(1_000))


def test_a_sample_depends_on_addresses_only() -> None:
    first = sampled(0.1)
    assert first == sampled(0.1)
    assert 60 < len(first) < 140


def test_only_configured_columns_are_sampled() -> None:
    row = sampled(1.0, ("features.x",))[7]
    assert row["numbers"] == {"features.x": 7.0}
    assert row["texts"] == {}


def test_no_sample_is_taken_unless_asked_for() -> None:
    assert sampled(0.0) == []


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_ratio_beyond_one_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        SampleSettings(ratio)


def test_lost_messages_are_told_of_in_letter_and_report_until_that_is_safe() -> None:
    worker = make()
    worker.intake.revoke((TOPIC, 1))
    for _ in range(2):
        worker.intake.assign((TOPIC, 0), 2, NOW_MS - 5_000, NOW_MS)
        worker.intake.partitions[TOPIC, 0].begin(30, 18)
        worker.lost((TOPIC, 0), 12, 18, NOW_MS)
        records = worker.flush(NOW_MS, {})
        (letter,) = (record.value for record in records if record.topic == DEADLETTERS)
        assert b"18 messages were deleted" in letter
        report = next(decode(each.value) for each in records if each.topic == SUMMARIES)
        assert isinstance(report, Progress)
        (entry,) = report.partitions
        assert (entry.lost, entry.lost_after_ms, entry.first_offset) == (18, NOW_MS - 5_000, 30)
        (offset,) = worker.offsets()
        assert offset.offset == 30
        worker.forget()  # refused: it is found again
    worker.committed()
    assert worker.offsets() == []
