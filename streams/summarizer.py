"""From messages to the records of one flush: decode, enter in the ledger, buffer, summarise.

No Kafka client here: the worker (:mod:`streams.summarize`) reads and writes, and tests and
benchmarks drive this part directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, ClassVar

import numpy as np
from confluent_kafka import Message, TopicPartition
from numpy.typing import NDArray

from detectors.reference import Reference
from sinks.dead_letters import DeadLetter
from streams.accumulate import Accumulator
from streams.cardinality import Limits
from streams.codecs import choose, make_codec
from streams.epochs import encode_epoch
from streams.event import Bounds, Codec, Decoded, put_together
from streams.inputs import InputFormat, InputSettings
from streams.intake import Chunk, Intake, Place, encode_clock
from streams.internal_topics import DEADLETTERS, EPOCHS, EVENTS, INTAKE, SUMMARIES
from streams.outgoing import OutgoingRecord as OutgoingRecord
from streams.pairing import Pairing
from streams.sampling import EventSample, SampleSettings
from streams.timeline import TimeSettings
from streams.wire import UNCOUNTED, Progress, encode, encode_rows, partition_for


@dataclass(frozen=True, slots=True)
class SummarizeSettings:
    """``processes``: how many workers ``driftline up`` starts. A flush happens every
    ``flush_interval_ms`` or when ``max_buffered_rows`` rows wait. Above ``max_dead_ratio`` dead
    letters among at least 1,000 rows of one flush the worker stops loudly: then it is not the
    messages that are wrong, but the configuration. ``compiled``: decode JSON, count, and settle the
    judge's evidence with compiled kernels where numba is installed; they are made ready in the
    background, and results are the same."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    processes: int = 1
    flush_interval_ms: int = 1_000
    batch_messages: int = 500
    max_buffered_rows: int = 65_536
    max_message_bytes: int = 8 * 1024 * 1024
    max_dead_ratio: float = 1.0
    compiled: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= 256:
            raise ValueError("summarize.processes must be between 1 and 256")
        if not 50 <= self.flush_interval_ms <= 60_000:
            raise ValueError("summarize.flush_interval must be between 50ms and 60s")
        if not 1 <= self.batch_messages <= 10_000:
            raise ValueError("summarize.batch_messages must be between 1 and 10000")
        if self.max_buffered_rows < 1_000:
            raise ValueError("summarize.max_buffered_rows must be at least 1000")
        if not 0 < self.max_dead_ratio <= 1:
            raise ValueError("summarize.max_dead_ratio must be above 0 and at most 1")


ROWS_AT_ONCE = 32_768
"""Rows decoded at once where a message holds many: what a column costs is paid once for them."""
FEWEST_ROWS = 2_048
ROWS_PER_MODEL = 32
"""Rows that a chunk should hold, and rows of each model: what a column costs is paid once a chunk.
"""
MOST_WAITING = 16_384
MOST_WAITING_BYTES = 8 * 1024 * 1024
"""Messages of a topic that wait for their chunk to fill, at most, and their bytes."""

MOST_COLUMNS = 250_000
"""Columns of all models and keys of segments that wait for a flush, at most. Where producers send
names without end, a column of a few rows costs some 50 µs of a flush, and Kafka gives a worker up
that is away for a minute."""


@dataclass(slots=True)
class Pace:
    """How many messages of one topic to decode at once, learnt from the last chunk. It changes the
    cost of decoding and never the result."""

    fewest: int = 1
    most: int = 16

    def learn(self, messages: int, rows: int, models: int) -> None:
        """``rows`` of ``models`` were in so many ``messages``."""
        per_message = max(rows, 1) / messages
        rows_wanted = max(models * ROWS_PER_MODEL, FEWEST_ROWS)
        self.fewest = min(int(rows_wanted / per_message), MOST_WAITING)
        self.most = max(int(ROWS_AT_ONCE / per_message), self.fewest, 1)


# Called for every message: as methods of the C type they need no Python frame each.
_PARTITION, _OFFSET, _VALUE = (methodcaller(name) for name in ("partition", "offset", "value"))


@dataclass(slots=True)
class _Waiting:
    """Messages of one topic that are not yet decoded, with their values."""

    messages: list[Message] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.messages)

    def extend(self, messages: Sequence[Message], values: Sequence[bytes | None]) -> None:
        self.messages.extend(messages)
        self.values.extend(values)


def named_codec(name: str, keep_request_ids: bool) -> Codec:
    return make_codec(name, keep_request_ids=keep_request_ids)


class TooManyDeadLettersError(Exception):
    """Most of what is read cannot be understood: stopping is safer than reporting on the rest."""


class Summarizer:
    """Takes messages, gives records. One per worker; not for use by several threads.

    ``codec_of``: a codec by its name, and by whether it keeps request ids."""

    def __init__(
        self,
        inputs: Sequence[InputSettings],
        time_settings: TimeSettings,
        settings: SummarizeSettings,
        limits: Limits,
        sample: SampleSettings,
        reference_of: Callable[[str], Reference | None],
        partitions: int,
        worker: str,
        pairing: Pairing | None = None,
        codec_of: Callable[[str, bool], Codec] = named_codec,
    ) -> None:
        self._codec_of = codec_of
        self._inputs = {item.topic: item for item in inputs}
        self._codecs: dict[tuple[str, str, bool], Codec] = {}
        self._paces: dict[str, Pace] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._waiting_bytes = 0
        self._time = time_settings
        self._settings = settings
        self._partitions = partitions
        self._worker = worker
        self._sample = EventSample(sample)
        self._outgoing: list[OutgoingRecord] = []
        self._limits = limits
        self._reference_of = reference_of
        self.pairing = pairing
        self.intake = Intake(time_settings)
        self.accumulator = Accumulator(time_settings, limits, reference_of)

    @property
    def full(self) -> bool:
        """Whether it is time to flush because enough rows wait."""
        waiting = sum(map(len, self._waiting.values()))
        rows = self.accumulator.buffered + waiting
        return rows >= self._settings.max_buffered_rows or self.accumulator.columns >= MOST_COLUMNS

    def forget(self) -> None:
        """Drop all that was read and not yet flushed: it will be read again."""
        self._outgoing.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        if self.pairing is not None:
            self.pairing.forget()
        self.accumulator = Accumulator(self._time, self._limits, self._reference_of)

    def lost(self, place: Place, first: int, messages: int, now_ms: int) -> None:
        """So many messages (or UNCOUNTED) of a partition, from offset ``first`` on (-1: unknown),
        were deleted before anybody read them. The ledger has a gap there; the letter says why."""
        topic, partition = place
        reason = f"{messages} messages were deleted before they were read"
        if messages == UNCOUNTED:
            reason = "the topic was made again; what was not read of the old one is gone"
        letter = DeadLetter(topic, partition, first, -1, reason, b"", now_ms)
        self._outgoing.append(OutgoingRecord(DEADLETTERS, -1, letter.key, letter.encode()))

    def take(self, messages: Sequence[Message], now_ms: int) -> None:
        """Decode messages and enter them. ``now_ms``: wall clock, for the bounds on event times.

        Where a batch as it is read holds few rows, or few of each of many models, messages wait for
        more of them, until the flush at the latest.
        """
        values: list[bytes | None] = list(map(_VALUE, messages))
        self._waiting_bytes += sum(map(len, filter(None, values)))
        if len(self._inputs) == 1:
            self._waiting.setdefault(next(iter(self._inputs)), _Waiting()).extend(messages, values)
        else:
            for message, value in zip(messages, values, strict=True):
                waiting = self._waiting.setdefault(message.topic() or "", _Waiting())
                waiting.extend((message,), (value,))
        too_much = self._waiting_bytes >= MOST_WAITING_BYTES
        for topic in list(self._waiting):
            pace = self._paces.setdefault(topic, Pace())
            if too_much or len(self._waiting[topic]) >= pace.fewest:
                self._take_waiting(topic, now_ms)
        if not self._waiting:
            self._waiting_bytes = 0

    def _take_waiting(self, topic: str, now_ms: int) -> None:
        waiting = self._waiting.pop(topic)
        pace = self._paces.setdefault(topic, Pace())
        at = 0
        while at < len(waiting):
            stop = min(at + pace.most, len(waiting))
            part = waiting.messages[at:stop]
            rows, models = self._take_topic(topic, part, waiting.values[at:stop], now_ms)
            pace.learn(len(part), rows, models)
            at = stop

    def _take_topic(
        self, topic: str, messages: list[Message], values: list[bytes | None], now_ms: int
    ) -> tuple[int, int]:
        """Decode a chunk; gives how many rows of how many models it held."""
        settings = self._inputs[topic]
        bounds = Bounds(
            min_ts_ms=now_ms - self._time.max_age_ms,
            max_ts_ms=now_ms + self._time.max_ahead_ms,
            max_message_bytes=self._settings.max_message_bytes,
            kafka_ts_fallback=settings.kafka_ts_fallback,
            kind=settings.event_kind,
        )
        partition = np.fromiter(map(_PARTITION, messages), np.int64, len(messages))
        partitions, place = np.unique(partition, return_inverse=True)
        places = [(topic, number) for number in partitions.tolist()]
        offset = np.fromiter(map(_OFFSET, messages), np.int64, len(messages))
        kafka_ts = [m.timestamp()[1] for m in messages] if settings.kafka_ts_fallback else None
        parts = [
            self._decode_part(topic, name, picked, values, kafka_ts, bounds, now_ms)
            for name, picked in self._by_codec(settings, messages, values)
        ]
        decoded = parts[0][1] if len(parts) == 1 else put_together(parts, len(messages))
        chunk = Chunk(tuple(places), place, offset)
        self.intake.account(decoded, chunk, self.accumulator, now_ms)
        for reject in decoded.rejects:
            _, partition = chunk.places[chunk.place[reject.source]]
            letter = DeadLetter(
                topic,
                partition,
                int(chunk.offset[reject.source]),
                reject.row,
                reject.reason,
                reject.raw,
                now_ms,
            )
            self._outgoing.append(OutgoingRecord(DEADLETTERS, -1, letter.key, letter.encode()))
        for key, value in self._sample.pick(decoded, chunk):
            self._outgoing.append(OutgoingRecord(EVENTS, -1, key, value))
        return int(decoded.rows.sum()), len({batch.model for batch in decoded.batches})

    def _decode_part(
        self,
        topic: str,
        name: str,
        picked: list[int] | None,
        values: list[bytes | None],
        kafka_ts_ms: list[int] | None,
        bounds: Bounds,
        now_ms: int,
    ) -> tuple[NDArray[np.int64], Decoded]:
        """The messages that are for one codec (None: all), and what it makes of them."""
        if picked is None:
            return np.arange(len(values)), self._decode(
                topic, name, values, kafka_ts_ms, bounds, now_ms
            )
        part_ts = [kafka_ts_ms[i] for i in picked] if kafka_ts_ms is not None else None
        part = [values[i] for i in picked]
        return np.array(picked), self._decode(topic, name, part, part_ts, bounds, now_ms)

    def _decode(
        self,
        topic: str,
        name: str,
        values: list[bytes | None],
        kafka_ts_ms: list[int] | None,
        bounds: Bounds,
        now_ms: int,
    ) -> Decoded:
        """With request ids where they are needed: only models with a shadow pay for them."""
        keep = self.pairing is not None and self.pairing.keeps_ids(topic, now_ms)
        decoded = self._codec(topic, name, keep).decode(values, kafka_ts_ms, bounds)
        if self.pairing is None or not self.pairing.wants_ids(topic, decoded.batches, now_ms):
            return decoded
        # The first of them in this topic: from now on their ids are kept at once.
        return (
            decoded if keep else self._codec(topic, name, True).decode(values, kafka_ts_ms, bounds)
        )

    def _codec(self, topic: str, name: str, keep_request_ids: bool) -> Codec:
        codec = self._codecs.get((topic, name, keep_request_ids))
        if codec is None:
            codec = self._codec_of(name, keep_request_ids)
            self._codecs[topic, name, keep_request_ids] = codec
        return codec

    @staticmethod
    def _by_codec(
        settings: InputSettings, messages: list[Message], values: list[bytes | None]
    ) -> list[tuple[str, list[int] | None]]:
        """Which messages (None: all) go to which codec. Headers are looked at only where the topic
        does not say, and only if producers send any; the ``auto`` codec looks at first bytes."""
        if settings.format is not InputFormat.AUTO:
            return [(settings.format.value, None)]
        headers = [message.headers() for message in messages]
        if not any(headers):
            return [(settings.format.value, None)]
        chosen: dict[str, list[int]] = {}
        for i, (value, header) in enumerate(zip(values, headers, strict=True)):
            content_type = _content_type(header)
            chosen.setdefault(choose("auto", content_type, value), []).append(i)
        return list(chosen.items())

    def flush(self, now_ms: int, at_end: Mapping[Place, bool]) -> list[OutgoingRecord]:
        """All records of this interval, in the order in which they must be produced."""
        for topic in list(self._waiting):
            self._take_waiting(topic, now_ms)
        self._waiting_bytes = 0
        self._refuse_garbage()
        records = self._outgoing
        self._outgoing = []
        if self.pairing is not None:
            for model, waiting in self.accumulator.waiting():
                records += self.pairing.send(model, waiting, self._time.pane_ms, now_ms)
            records += self.pairing.flush(now_ms)
        for delta in self.accumulator.drain(self._worker, now_ms):
            partition = partition_for(delta.model, self._partitions)
            records.append(
                OutgoingRecord(SUMMARIES, partition, delta.model.encode(), encode(delta))
            )
        progress = Progress(self._worker, now_ms, self.intake.progress(now_ms, at_end))
        if progress.partitions:
            value = encode(progress)
            records += [OutgoingRecord(SUMMARIES, p, None, value) for p in range(self._partitions)]
        if rows := self.intake.rows(now_ms):
            records.append(OutgoingRecord(INTAKE, -1, self._worker.encode(), encode_rows(rows)))
        records += [
            OutgoingRecord(EPOCHS, 0, *encode_epoch(place, intake.topic_id))
            for place, intake in self.intake.partitions.items()
            if intake.topic_id and intake.moved and not intake.is_noted
        ]
        return records

    def _refuse_garbage(self) -> None:
        for (topic, partition), intake in self.intake.partitions.items():
            rows = intake.dead + intake.events + intake.late + intake.capped
            if rows >= 1_000 and intake.dead > self._settings.max_dead_ratio * rows:
                raise TooManyDeadLettersError(
                    f"{topic}[{partition}]: {intake.dead} of {rows} rows could not be read since "
                    f"offset {intake.first_offset}; look at driftline.deadletters for the reasons"
                )

    def offsets(self) -> list[TopicPartition]:
        """What to commit: the next offset of each partition that moved, with its clock and the id
        of its topic."""
        inputs = [
            TopicPartition(
                *place, intake.next_offset, encode_clock(intake.newest_ms, intake.topic_id)
            )
            for place, intake in self.intake.partitions.items()
            if intake.moved
        ]
        return inputs if self.pairing is None else inputs + self.pairing.offsets()

    def committed(self) -> None:
        """The last flush is safe: start the next interval."""
        self.intake.clear()
        if self.pairing is not None:
            self.pairing.committed()


def _content_type(headers: Any) -> str | None:
    """The header of that name, from what confluent-kafka gives: a list of pairs, or None."""
    for name, value in headers or ():
        if name.lower() == "content-type" and isinstance(value, bytes):
            return value[:100].decode("ascii", "replace")
    return None
