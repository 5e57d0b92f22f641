"""The process that a burst hits: the worker of summarize, telling a line of JSON after each flush.

``python -m bench.burst_worker ADDRESS TOPIC GROUP`` runs until SIGTERM. A line holds ``began`` and
``ended`` of the flush (seconds of the machine's monotonic clock), ``read`` (messages so far),
``least`` (of the partition of which the fewest were read) and ``counted`` (events so far).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Mapping

import confluent_kafka
import structlog

from bench.events import START_MS
from bench.hotpath_case import CASES, MODEL, reference
from streams.cardinality import Limits
from streams.codecs.speculative.loading import load
from streams.inputs import InputFormat, InputSettings
from streams.intake import Place
from streams.kafka import KafkaSettings, embedded_at, input_consumer, producer
from streams.sampling import SampleSettings
from streams.stopping import stop_signals
from streams.summarize import Worker
from streams.summarizer import OutgoingRecord, Summarizer, SummarizeSettings
from streams.timeline import TimeSettings


class Telling(Summarizer):
    """Notes when a flush begins, and tells when it is committed."""

    began = 0.0
    counted = 0

    def flush(self, now_ms: int, at_end: Mapping[Place, bool]) -> list[OutgoingRecord]:
        self.began = time.monotonic()
        records = super().flush(now_ms, at_end)
        self.counted += sum(each.events for each in self.intake.partitions.values())
        return records

    def committed(self) -> None:
        read = [max(each.next_offset, 0) for each in self.intake.partitions.values()]
        told = {"began": self.began, "ended": time.monotonic(), "read": sum(read)}
        told["least"] = min(read, default=0)
        print(json.dumps({**told, "counted": self.counted}), flush=True)
        super().committed()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.burst_worker")
    parser.add_argument("address")
    parser.add_argument("topic")
    parser.add_argument("group")
    given = parser.parse_args()
    # Standard output is for figures; that the fixed clock below stands still is no news.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    stop = stop_signals()
    load()
    kafka = KafkaSettings(bootstrap=embedded_at(given.address))
    case = next(case for case in CASES if case.topic == given.topic)
    known = reference()
    settings = SummarizeSettings()
    summarizer = Telling(
        [InputSettings(topic=case.topic, format=InputFormat(case.codec))],
        TimeSettings(),
        settings,
        Limits(),
        SampleSettings(),
        lambda model: known if model == MODEL else None,
        kafka.partitions,
        given.group,
    )
    worker = Worker(
        summarizer,
        settings,
        confluent_kafka.Consumer(input_consumer(kafka, given.group)),
        lambda: confluent_kafka.Producer(producer(kafka, given.group)),
        kafka.transactional,
        [case.topic],
        kafka.topic,
        lambda: START_MS,  # events have fixed times, so the clock that bounds them is fixed too
    )
    worker.run(stop)


if __name__ == "__main__":
    main()
