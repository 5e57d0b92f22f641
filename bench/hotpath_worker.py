"""The process that is measured: reads one topic to its end and says what that cost.

``python -m bench.hotpath_worker ADDRESS TOPIC READER EXPECTED GROUP`` prints one JSON object. Only
CPU time counts: of all threads of this process, from being given its partitions to having left the
consumer group. What comes before, once in the life of a worker, is told apart (``start_s``).
"""

from __future__ import annotations

import argparse
import bisect
import gc
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence

import confluent_kafka
import structlog
from confluent_kafka import Message

from bench.events import START_MS
from bench.hotpath_case import CASES, MODEL, Case, Reader, reference
from bench.measure import resident_mb
from detectors.layout import Kind
from streams.cardinality import Limits
from streams.codecs.speculative.loading import load
from streams.inputs import InputFormat, InputSettings
from streams.intake import Intake, Place
from streams.kafka import KafkaSettings, embedded_at, input_consumer, producer
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import OutgoingRecord, Summarizer, SummarizeSettings
from streams.timeline import TimeSettings

_GIVE_UP_S = 120.0


class MeasuredSummarizer(Summarizer):
    """The summarizer, with the CPU time of its two parts (this thread's) and what it counted."""

    taking = flushing = began = 0.0
    events = dead = sent = 0

    def take(self, messages: Sequence[Message], now_ms: int) -> None:
        self.began = self.began or time.monotonic()
        start = time.thread_time()
        super().take(messages, now_ms)
        self.taking += time.thread_time() - start

    def flush(self, now_ms: int, at_end: Mapping[Place, bool]) -> list[OutgoingRecord]:
        start = time.thread_time()
        records = super().flush(now_ms, at_end)
        self.flushing += time.thread_time() - start
        for intake in self.intake.partitions.values():
            self.events += intake.events
            self.dead += intake.dead + intake.late + intake.capped
        self.sent += sum(len(record.value) for record in records)
        return records


class Start:
    """When counting begins: at the first assigned partition, just before anything is fetched."""

    process_s = thread_s = 0.0

    def note(self) -> None:
        self.process_s = self.process_s or time.process_time()
        self.thread_s = self.thread_s or time.thread_time()


class MeasuredIntake(Intake):
    """The ledger, which says when it is given its first partition."""

    def __init__(self, settings: TimeSettings, start: Start) -> None:
        super().__init__(settings)
        self._start = start

    def assign(self, place: Place, partitions: int, newest_ms: int, now_ms: int) -> None:
        self._start.note()
        super().assign(place, partitions, newest_ms, now_ms)


def driftline(kafka: KafkaSettings, case: Case, expected: int, group: str) -> dict[str, float]:
    """The worker of the role summarize, as it runs in production, but for the clock: events have
    fixed times, so that the clock that bounds them is fixed too."""
    settings = SummarizeSettings()
    known = reference()
    summarizer = MeasuredSummarizer(
        [InputSettings(topic=case.topic, format=InputFormat(case.codec))],
        TimeSettings(),
        settings,
        Limits(),
        SampleSettings(),
        lambda model: known if model == MODEL else None,
        kafka.partitions,
        group,
    )
    start = Start()
    summarizer.intake = MeasuredIntake(TimeSettings(), start)
    worker = Worker(
        summarizer,
        settings,
        confluent_kafka.Consumer(input_consumer(kafka, group)),
        lambda: confluent_kafka.Producer(producer(kafka, group)),
        kafka.transactional,
        [case.topic],
        kafka.topic,
        lambda: START_MS,
    )
    deadline = time.monotonic() + _GIVE_UP_S
    partitions = summarizer.intake.partitions

    def stop() -> bool:
        read = sum(max(intake.next_offset, 0) for intake in partitions.values())
        return read * case.rows_per_message >= expected or time.monotonic() > deadline

    before = time.process_time()
    worker.run(stop)
    cpu, own = time.process_time() - start.process_s, time.thread_time() - start.thread_s
    if summarizer.events != expected or summarizer.dead:
        sys.exit(f"counted {summarizer.events} of {expected} events, refused {summarizer.dead}")
    return {
        "cpu_s": cpu,
        "start_s": start.process_s - before,
        "wall_s": time.monotonic() - summarizer.began,
        "decode_s": summarizer.taking,
        "summarise_s": summarizer.flushing,
        "loop_s": own - summarizer.taking - summarizer.flushing,
        "threads_s": cpu - own,
        "sent_bytes": summarizer.sent,
    }


def yardstick(
    kafka: KafkaSettings, case: Case, expected: int, group: str, reader: Reader
) -> dict[str, float]:
    """The same consumer and batches, with nothing or with the obvious code behind it."""
    # A worker says itself where to begin; these begin at the beginning.
    settings = {**input_consumer(kafka, group), "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer(settings)
    counter = NaiveCounter()
    deadline = time.monotonic() + _GIVE_UP_S
    start = Start()

    def assigned(*_: object) -> None:
        start.note()

    consumer.subscribe([case.topic], on_assign=assigned)
    gc.collect()
    gc.freeze()
    gc.disable()
    read, began = 0, 0.0
    while read * case.rows_per_message < expected and time.monotonic() < deadline:
        messages = consumer.consume(SummarizeSettings().batch_messages, timeout=0.5)
        began = began or time.monotonic()
        values = [message.value() for message in messages if message.error() is None]
        if reader is Reader.NAIVE:
            for value in values:
                counter.add(value or b"")
        read += len(values)
    wall = time.monotonic() - began
    consumer.close()
    cpu = time.process_time() - start.process_s
    if read * case.rows_per_message != expected:
        sys.exit(f"read {read * case.rows_per_message} of {expected} events")
    return {"cpu_s": cpu, "wall_s": wall}


class NaiveCounter:
    """Histograms the obvious way: parse each event, look each value up, count in dicts."""

    def __init__(self) -> None:
        layout = reference().layout
        self._edges = {
            spec.name: spec.edges for spec in layout.columns if spec.kind is Kind.NUMERIC
        }
        self.counts: dict[str, dict[int | str | None, int]] = {}

    def add(self, value: bytes) -> None:
        event = json.loads(value)
        self._count("latency_ms", event["latency_ms"])
        self._count("prediction.label", event["prediction"]["label"])
        for name, feature in event["features"].items():
            self._count(f"features.{name}", feature)

    def _count(self, column: str, value: float | str | None) -> None:
        known = self.counts.setdefault(column, {})
        place: int | str | None
        if isinstance(value, float | int):
            place = bisect.bisect_right(self._edges[column], value)
        else:
            place = value
        known[place] = known.get(place, 0) + 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hotpath_worker")
    parser.add_argument("address")
    parser.add_argument("topic")
    parser.add_argument("reader", type=Reader)
    parser.add_argument("expected", type=int)
    parser.add_argument("group")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    kafka = KafkaSettings(bootstrap=embedded_at(given.address))
    case = next(case for case in CASES if case.topic == given.topic)
    if given.reader in (Reader.DRIFTLINE, Reader.PLAIN):
        if given.reader is Reader.DRIFTLINE and load() is None:
            sys.exit("there are no compiled kernels here: pip install driftline[fast]")
        figures = driftline(kafka, case, given.expected, given.group)
    else:
        figures = yardstick(kafka, case, given.expected, given.group, given.reader)
    print(json.dumps({**figures, "peak_rss_mb": resident_mb(peak=True)}), flush=True)


if __name__ == "__main__":
    main()
