"""What is sent in the benchmark of the wire: the records that one worker flushes each second, and
how many bytes a batch of them has in Kafka's format, compressed as the producer compresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from bench.events import START_MS, Events, arrow_table, generate
from bench.scaling_case import TOPIC
from detectors.reference import Reference, reference_from_table
from streams.cardinality import Limits
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import SUMMARIES
from streams.kafka import KafkaSettings
from streams.outgoing import OutgoingRecord
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, TimeSettings
from streams.wire import decode

MODEL: Final = "fraud"
WORKER: Final = "summarize-7d9f8b6c4-x2x5k-1-1a2b3c4d"
"""As long as names of workers are."""
INPUT_PARTITIONS: Final = 16
BATCH_HEADER_BYTES: Final = 61
_REFERENCE_ROWS = 20_000
_COMPRESSION = pa.Codec("lz4")  # the frame format, which is Kafka's lz4
_ABOUT_THE_EVENT = ("ts", "model", "version", "role")
_WATCHED = {
    f"features.amount_{at:02d}": name
    for at, name in enumerate(
        ("cost", "tokens_in", "tokens_out", *(f"scores.s{i}" for i in range(5))), 1
    )
}


@dataclass(frozen=True, slots=True)
class Mix:
    """Events of one release with 25 columns. ``known``: what a reference is made of, None: there is
    none yet; ``of``: the table of a second's events; ``gated``: whether the gate holds for it."""

    name: str
    known: Callable[[Events], pa.Table] | None
    of: Callable[[Events], pa.Table]
    gated: bool


def drifted(events: Events) -> pa.Table:
    """Numbers have another mean and are wider, and every eighth is missing; of the texts, values
    are frequent that :func:`settled` has never seen."""
    numbers = np.round(events.numbers * 1.6 + 0.8, 4)
    numbers[::8, 1:] = np.nan
    return arrow_table(replace(events, numbers=numbers))


def settled(events: Events) -> pa.Table:
    """Texts with the first three of their values only."""
    return arrow_table(replace(events, texts=events.texts % 3))


def watched(events: Events) -> pa.Table:
    """Nine columns keep quantiles beside their histogram: latency, cost, tokens and five scores,
    all log-normal."""
    numbers = events.numbers.copy()
    numbers[:, 1:9] = np.round(np.exp(numbers[:, 1:9] * 0.5), 4)
    table = arrow_table(replace(events, numbers=numbers))
    return table.rename_columns([_WATCHED.get(name, name) for name in table.column_names])


MIXES: Final = (
    Mix("as in hotpath", arrow_table, arrow_table, gated=True),
    Mix("the same, drifted", settled, drifted, gated=True),
    Mix("9 columns with quantiles", watched, watched, gated=False),
    Mix("no reference yet", None, arrow_table, gated=False),
)


def flushes(mix: Mix, per_second: int, seconds: int) -> Iterator[list[OutgoingRecord]]:
    """What a worker writes to the topic of summaries, second by second: one delta and, to every
    partition of the topic, the clock of its 16 input partitions. Flushes come half a second after
    the start of a pane, so that one of ten holds two panes."""
    reference = _reference(mix)
    worker = Summarizer(
        [InputSettings(topic=TOPIC, format=InputFormat.ARROW)],
        TimeSettings(),
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda _: reference,
        KafkaSettings().partitions,
        WORKER,
    )
    for partition in range(INPUT_PARTITIONS):
        worker.intake.assign((TOPIC, partition), INPUT_PARTITIONS, NEVER, START_MS)
    for second in range(seconds):
        start_ms = START_MS + 500 + second * 1_000
        events = generate(per_second, second, start_ms=start_ms, per_second=float(per_second))
        table = mix.of(events)
        messages = [
            Message(
                TOPIC,
                number % 16,
                second * 100 + number,
                value=_stream(table.slice(at, 1_000)),
            )
            for number, at in enumerate(range(0, per_second, 1_000))
        ]
        worker.take(messages, start_ms)
        yield [each for each in worker.flush(start_ms + 1_000, {}) if each.topic == SUMMARIES]
        worker.committed()


def _reference(mix: Mix) -> Reference | None:
    if mix.known is None:
        return None
    table = mix.known(generate(_REFERENCE_ROWS, 7)).drop_columns(list(_ABOUT_THE_EVENT))
    return reference_from_table(MODEL, table, "generated")


def deltas(records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
    """Those with summaries."""
    return [each for each in records if each.key is not None]


def columns_of(record: OutgoingRecord) -> int:
    """How many columns a delta summarises."""
    found = decode(record.value)
    return len(getattr(found, "columns", ()))


def batch_bytes(records: Sequence[OutgoingRecord]) -> int:
    """Of one Kafka batch with these records, compressed with lz4: a header, then each record with
    its lengths. (KIP-98; without headers, and with offsets and times below 64 of each other.)"""
    framed = b""
    for number, record in enumerate(records):
        key = record.key
        body = b"\0" + _varint(0) + _varint(number)
        body += _varint(-1) if key is None else _varint(len(key)) + key
        body += _varint(len(record.value)) + record.value + _varint(0)
        framed += _varint(len(body)) + body
    return BATCH_HEADER_BYTES + len(_COMPRESSION.compress(framed, asbytes=True))


def _varint(number: int) -> bytes:
    """As Kafka writes lengths: zigzag, seven bits a byte."""
    left = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((*found, left))


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
