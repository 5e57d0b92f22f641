"""One worker of summarize without Kafka, for what depends on time: messages in, counts out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from detectors.layout import Header
from detectors.reference import layout_for
from detectors.release import ALL
from streams.cardinality import Limits
from streams.event import Codec
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import DEADLETTERS, INTAKE, SUMMARIES
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings, named_codec
from streams.timeline import NEVER, PartitionTime, TimeSettings, watermark
from streams.wire import Delta, Progress, decode, unpack
from tests.faults.checker import canonical, merged

TOPIC: Final = "events"
NOW: Final = 1_700_000_000_000
TIME: Final = TimeSettings(
    pane_ms=1_000,
    windows_ms=(5_000,),
    out_of_orderness_ms=2_000,
    allowed_lateness_ms=10_000,
    idle_timeout_ms=5_000,
)


CodecOf = Callable[[str, bool], Codec]


def message(offset: int, body: bytes, partition: int = 0) -> Message:
    return Message(TOPIC, partition, offset, value=body, timestamp=(TIMESTAMP_CREATE_TIME, NOW))


def body(ts: Any, **more: Any) -> bytes:
    return json.dumps({"ts": ts, "model": "m", "version": "1", **more}).encode()


class Line:
    """A summarizer with one or more partitions, and what came out of it."""

    def __init__(
        self, time: TimeSettings = TIME, places: int = 1, codec_of: CodecOf = named_codec
    ) -> None:
        self.summarizer = Summarizer(
            (InputSettings(TOPIC, InputFormat.JSON),),
            time,
            SummarizeSettings(),
            Limits(),
            SampleSettings(),
            lambda _: None,
            1,
            "w",
            codec_of=codec_of,
        )
        for place in range(places):
            self.summarizer.intake.assign((TOPIC, place), places, NEVER, NOW)
        self.offsets = [0] * places
        self.values: list[bytes | None] = []
        self.dead: list[str] = []
        self.ledger: Counter[str] = Counter()
        self.progress: list[Progress] = []

    def take(self, bodies: Sequence[bytes], now_ms: int = NOW, place: int = 0) -> None:
        messages = [message(self.offsets[place] + i, each, place) for i, each in enumerate(bodies)]
        self.offsets[place] += len(messages)
        self.summarizer.take(messages, now_ms)

    def flush(self, now_ms: int = NOW, *, at_end: bool = True) -> None:
        ends = {(TOPIC, place): at_end for place in range(len(self.offsets))}
        for record in self.summarizer.flush(now_ms, ends):
            if record.topic == SUMMARIES:
                self.values.append(record.value)
                found = decode(record.value)
                if isinstance(found, Progress):
                    self.progress.append(found)
            elif record.topic == DEADLETTERS:
                self.dead += [r["reason"] for r in msgspec.json.decode(record.value)["rows"]]
            elif record.topic == INTAKE:
                for row in msgspec.json.decode(record.value)["rows"]:
                    names = ("messages", "events", "dead", "late", "capped")
                    self.ledger.update({name: row[name] for name in names})
        self.summarizer.committed()

    def counted(self) -> Counter[int]:
        """Events by pane."""
        found: Counter[int] = Counter()
        for value in self.values:
            delta = decode(value)
            if isinstance(delta, Delta):
                layout = layout_for(None, delta.columns)
                for group in delta.groups:
                    if group.segment == ALL:
                        summaries = unpack(group.summaries, layout)
                        found[group.pane_ms] += summaries.header(Header.PREDICTIONS)
        return found

    def mark(self) -> int:
        """The watermark of the model, by what the worker has reported."""
        clocks = {
            (each.topic, each.partition): PartitionTime(each.newest_ms, each.idle, each.partitions)
            for progress in self.progress
            for each in progress.partitions
        }
        return watermark([TOPIC], clocks, TIME)

    def figures(self) -> dict[Any, Any]:
        return {key: canonical(value) for key, value in merged(self.values).items()}

    def newest(self, place: int = 0) -> int:
        return self.summarizer.intake.partitions[TOPIC, place].newest_ms


def event_at(ts: int, number: int = 0) -> bytes:
    return body(ts, features={"x": number % 17 / 4})
