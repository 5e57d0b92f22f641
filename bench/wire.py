"""``wire``: how many bytes summaries take on the wire, per release and second.

The worker's own code makes the records of each second, for several mixes of 25 columns and rates.
They are counted as they are, as a batch that is compressed as the producer does it, and as a real
Kafka has them in its log after the transactional producer of the role summarize has written them:
what the partition of the model grows by in a second, less what the others do, which get the
worker's clock only. Sizes are the same in every run, so there are no rounds. Gated is
the mean over ten seconds, which is one pane; one of the ten flushes holds two panes.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import confluent_kafka
from rich.progress import Progress

from bench.measure import Spread, report, show
from bench.wire_case import MIXES, Mix, batch_bytes, deltas, flushes
from deploy.kafka.server import KafkaCannotRun, RealKafka
from streams.internal_topics import SUMMARIES
from streams.kafka import KafkaSettings, transactional_producer
from streams.kafka_topics import TopicSpec, ensure_topics
from streams.outgoing import OutgoingRecord

MOST_BYTES: Final = 6_000
"""Of one release with 25 columns, a second, as the producer sends it: the mean over a pane."""
RATES: Final = (10, 100, 1_000, 10_000, 60_000)
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of each second: of the records as they are, as a compressed batch, and (None if no
    Kafka can run here) what its log grows by; ``mean``: of the latter; ``clock``: what it grows
    by in other partitions."""

    raw: Spread
    batch: Spread
    logged: Spread | None = None
    mean: float | None = None
    clock: Spread | None = None


def run(quick: bool) -> str:
    """All mixes and rates; returns the JSON line."""
    seconds, rates = (3, RATES[::2]) if quick else (10, RATES)
    found: dict[tuple[Mix, int], Sizes] = {}
    why_not = ""
    kafka = None
    try:
        kafka = RealKafka()
        kafka.start()
    except KafkaCannotRun as reason:
        why_not = str(reason)
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task("writing", total=len(MIXES) * len(rates))
            for mix in MIXES:
                for rate in rates:
                    found[mix, rate] = sizes(list(flushes(mix, rate, seconds)), kafka)
                    progress.advance(task)
    finally:
        if kafka is not None:
            kafka.close()
    _show(found)
    return report("wire", "quick" if quick else "full", _fields(found, seconds, why_not))


def sizes(every: Sequence[Sequence[OutgoingRecord]], kafka: RealKafka | None) -> Sizes:
    """Of these flushes, each of one second and one model."""
    ours = [deltas(records) for records in every]
    raw = Spread.of([sum(len(each.value) for each in records) for records in ours])
    batch = Spread.of([batch_bytes(records) for records in ours])
    if kafka is None:
        return Sizes(raw, batch)
    grown = logged(every, kafka)
    place = ours[0][0].partition
    others = [[size for at, size in enumerate(each) if at != place] for each in grown]
    clock = [min(each) for each in others]
    of_model = [each[place] - least for each, least in zip(grown, clock, strict=True)]
    return Sizes(raw, batch, Spread.of(of_model), statistics.fmean(of_model), Spread.of(clock))


def logged(every: Sequence[Sequence[OutgoingRecord]], kafka: RealKafka) -> list[list[int]]:
    """By flush and partition, how many bytes the log of the topic grows by when the producer of the
    role summarize writes it in one transaction, the transaction's own marker included."""
    prefix = f"wire-{uuid.uuid4().hex[:8]}."
    settings = KafkaSettings(bootstrap=kafka.address, prefix=prefix)
    topic = settings.topic(SUMMARIES)
    ensure_topics(settings, {topic: TopicSpec(settings.partitions)})
    producer = confluent_kafka.Producer(transactional_producer(settings, f"{prefix}bench"))
    producer.init_transactions(_ANSWER_S)
    grown: list[list[int]] = []
    before = [0] * settings.partitions
    for records in every:
        producer.begin_transaction()
        for each in records:
            producer.produce(topic, each.value, each.key, each.partition)
        producer.commit_transaction(_ANSWER_S)
        after = [_log_bytes(kafka, topic, at) for at in range(settings.partitions)]
        grown.append([new - old for new, old in zip(after, before, strict=True)])
        before = after
    return grown


def _log_bytes(kafka: RealKafka, topic: str, partition: int) -> int:
    folder = kafka.folder / "data" / f"{topic}-{partition}"
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def _show(found: dict[tuple[Mix, int], Sizes]) -> None:
    show(
        "Bytes of one release with 25 columns, a second: median (lowest to highest)",
        (
            "events",
            "events/s",
            "as it is",
            "batch, lz4",
            "in Kafka's log",
            "mean",
            "clock, a partition",
        ),
        [
            [
                mix.name,
                f"{rate:,}",
                *map(_told, (size.raw, size.batch, size.logged)),
                f"{size.mean:,.0f}" if size.mean is not None else "",
                _told(size.clock),
            ]
            for (mix, rate), size in found.items()
        ],
    )


def _told(sizes: Spread | None) -> str:
    if sizes is None:
        return ""
    return f"{sizes.median:,.0f} ({sizes.low:,.0f} to {sizes.high:,.0f})"


def _fields(found: dict[tuple[Mix, int], Sizes], seconds: int, why_not: str) -> dict[str, Any]:
    gates: dict[str, Any] = {}
    for (mix, rate), size in found.items():
        if mix.gated:
            # Not written to Kafka is not passed.
            gates[f"{mix.name}, {rate} events/s"] = {
                "gate": MOST_BYTES,
                "bytes": size.mean,
                "passed": size.mean is not None and size.mean <= MOST_BYTES,
            } | ({"not_run": why_not} if size.mean is None else {})
    return {
        "seconds": seconds,
        "bytes_per_release_and_second": {
            f"{mix.name}, {rate} events/s": {
                name: spread.fields()
                for name, spread in (
                    ("as_it_is", size.raw),
                    ("batch_lz4", size.batch),
                    ("in_kafkas_log", size.logged),
                    ("clock_per_partition", size.clock),
                )
                if spread is not None
            }
            for (mix, rate), size in found.items()
        },
        "gates": gates,
        "passed": all(gate["passed"] for gate in gates.values()),
    }
