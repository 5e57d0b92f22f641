"""What grows in the scaling benchmark, and the worker that is measured while it does.

A worker without Kafka: the summarizer of the role summarize, fed with stand-ins for the messages
of a consumer, flushed whenever it is full. So the figures are of driftline's own work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from bench.events import START_MS, Shape, Source, generate, json_messages, reference_of
from detectors.reference import Reference
from detectors.release import Role
from streams.cardinality import Limits
from streams.inputs import InputFormat, InputSettings
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, TimeSettings

TOPIC = "scaling"
MODEL = "fraud"
EVENTS = 65_536
"""Different events of a case; a longer run repeats them. Also what a worker buffers at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """One point: how many ``releases`` of one model, segment ``segments`` (0: none), ``columns``,
    ``partitions``, and ``events`` in one run."""

    releases: int = 1
    segments: int = 0
    columns: int = 25
    partitions: int = 16
    events: int = EVENTS


@dataclass(frozen=True, slots=True)
class Series:
    """One figure grows, the others stay. ``most``: how much more an event may cost at the largest
    than at the smallest; ``per``: what the cost is divided by before, if it may grow with it."""

    name: str
    sizes: tuple[Size, ...]
    of: Callable[[Size], int]
    most: float = 1.15
    per: Callable[[Size], int] = field(default=lambda _: 1)


def all_series(quick: bool) -> tuple[Series, ...]:
    """The bounded form stays below two million events."""
    events = (1_000, 10_000, 100_000, 1_000_000) + (() if quick else (10_000_000,))
    return (
        Series("releases", tuple(Size(releases=n) for n in (1, 10, 100)), lambda s: s.releases),
        Series("segments", tuple(Size(segments=n) for n in (1, 10, 50)), lambda s: s.segments),
        Series("events", tuple(Size(events=n) for n in events), lambda s: s.events),
        Series(
            "partitions", tuple(Size(partitions=n) for n in (4, 16, 64)), lambda s: s.partitions
        ),
        Series(
            "columns",
            tuple(Size(columns=n, events=EVENTS // 4) for n in (10, 25, 100, 500)),
            lambda s: s.columns,
            most=1.0,
            per=lambda s: s.columns,
        ),
    )


class Bench:
    """A worker for one size, and its messages."""

    def __init__(self, size: Size) -> None:
        self.size = size
        shape = Shape(numeric=size.columns * 4 // 5, text=size.columns - size.columns * 4 // 5)
        events = generate(min(size.events, EVENTS), 3, shape, _sources(size), per_second=20_000.0)
        self._values = [
            _with_segment(i, each, size) for i, each in enumerate(json_messages(events))
        ]
        self._reference = reference_of(generate(5_000, 7, shape), MODEL)
        self.sent = self.flushes = 0
        self._worker = self._fresh()
        self.run(min(size.events, 20_000))  # what a codec learns of messages it learns once

    def _fresh(self) -> Summarizer:
        worker = Summarizer(
            [InputSettings(topic=TOPIC, format=InputFormat.JSON)],
            TimeSettings(),
            SummarizeSettings(),
            Limits(versions_per_model=100),
            SampleSettings(),
            self._of,
            8,
            "bench",
        )
        for partition in range(self.size.partitions):
            worker.intake.assign((TOPIC, partition), self.size.partitions, NEVER, START_MS)
        return worker

    def _of(self, model: str) -> Reference | None:
        return self._reference if model == MODEL else None

    def run(self, events: int | None = None) -> float:
        """CPU seconds of this thread for one run, the last flush included."""
        spent = 0.0
        left = events or self.size.events
        batch = SummarizeSettings().batch_messages
        at = 0
        while left:
            count = min(batch, left, len(self._values) - at)
            messages = [
                Message(TOPIC, i % self.size.partitions, i, value=self._values[i])
                for i in range(at, at + count)
            ]
            at = (at + count) % len(self._values)
            left -= count
            start = time.thread_time()
            self._worker.take(messages, START_MS)
            if self._worker.full or not left:
                self._flush()
            spent += time.thread_time() - start
        return spent

    def _flush(self) -> None:
        records = self._worker.flush(START_MS, {})
        self._worker.committed()
        self.sent += sum(len(record.value) for record in records)
        self.flushes += 1


def _sources(size: Size) -> Sequence[Source]:
    return [Source(MODEL, str(i // 2), _ROLES[i % 2]) for i in range(size.releases)]


_ROLES = (Role.PRODUCTION, Role.CANARY)


def _with_segment(i: int, value: bytes, size: Size) -> bytes:
    if not size.segments:
        return value
    segment = b'"segments":{"region":"r-%03d"},"latency_ms":' % (i % size.segments)
    return value.replace(b'"latency_ms":', segment, 1)
