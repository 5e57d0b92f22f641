"""Retention overtakes a worker that runs: what is gone is told, once, and the rest is counted."""

from __future__ import annotations

import os
from collections.abc import Mapping

import confluent_kafka

from streams import embedded_broker
from streams.cardinality import Limits
from streams.inputs import InputFormat, InputSettings
from streams.intake import Place
from streams.kafka import KafkaSettings, embedded_at, input_consumer, producer
from streams.outgoing import OutgoingRecord
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings

TOPIC = "predictions"
NOW_MS = 1_700_000_000_000
SETTINGS = SummarizeSettings(compiled=False)
BEFORE, AFTER = 4, 60
"""Messages of a partition before and after the worker has begun to read. The broker keeps 5 MiB of
a partition; what the worker may fetch ahead is set small."""
AHEAD = {
    "queued.max.messages.kbytes": 300,
    "fetch.max.bytes": 1_000_000,
    "fetch.message.max.bytes": 300_000,
    "session.timeout.ms": 3_000,  # how long the embedded broker waits for who joins again
}


def event() -> bytes:
    """200 kB, of which the broker can make nothing smaller."""
    return b'{"ts":%d,"model":"m","version":"1","x":"%s"}' % (
        NOW_MS,
        os.urandom(100_000).hex().encode(),
    )


class Counting(Summarizer):
    """Remembers what was counted, and which offsets were said to be gone."""

    counted = 0
    gone: tuple[tuple[int, int, int], ...] = ()
    """Partition, first offset, how many."""

    def flush(self, now_ms: int, at_end: Mapping[Place, bool]) -> list[OutgoingRecord]:
        records = super().flush(now_ms, at_end)
        self.counted += sum(each.events for each in self.intake.partitions.values())
        return records

    def lost(self, place: Place, first: int, messages: int, now_ms: int) -> None:
        super().lost(place, first, messages, now_ms)
        self.gone = (*self.gone, (place[1], first, messages))


def test_a_worker_that_is_overtaken_tells_what_is_gone_and_reads_on() -> None:
    with embedded_broker.running({TOPIC: 2}) as address:
        kafka = KafkaSettings(bootstrap=embedded_at(address))
        sender = confluent_kafka.Producer(producer(kafka, "sender") | {"compression.type": "none"})

        def send(count: int) -> None:
            for _ in range(count):
                for partition in range(2):
                    sender.produce(TOPIC, event(), partition=partition)
            assert sender.flush(30) == 0

        summarizer = Counting(
            [InputSettings(TOPIC, InputFormat.JSON)],
            TimeSettings(),
            SETTINGS,
            Limits(),
            SampleSettings(),
            lambda _: None,
            1,
            "worker",
        )
        worker = Worker(
            summarizer,
            SETTINGS,
            confluent_kafka.Consumer(input_consumer(kafka, "group") | AHEAD),
            lambda: confluent_kafka.Producer(producer(kafka, "worker")),
            False,
            [TOPIC],
            kafka.topic,
            clock_ms=lambda: NOW_MS,
        )
        overrun = False

        def stop() -> bool:
            """While this is asked, the worker does not read."""
            nonlocal overrun
            read = [each.next_offset for each in summarizer.intake.partitions.values()]
            if not overrun and len(read) == 2 and max(read) > 0:
                send(AFTER)
                overrun = True
            return len(read) == 2 and min(read) == BEFORE + AFTER

        send(BEFORE)
        worker.run(stop)
    gone = sum(messages for _, _, messages in summarizer.gone)
    assert gone > 0
    assert len({partition for partition, _, _ in summarizer.gone}) == len(summarizer.gone)
    assert summarizer.counted + gone == 2 * (BEFORE + AFTER)
