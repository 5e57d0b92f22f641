"""The role ``summarize``: input topics in, one delta a model and second out.

At each flush the deltas, the dead letters, the ledger and the source offsets go out in one Kafka
transaction, so that on a real Kafka every event is in exactly one delta, whatever is killed. If a
transaction is refused (another worker has taken the partitions over), everything since the last
commit is forgotten and read again. On the embedded broker, whose transactions are hollow, the
records are flushed first and the offsets committed after: at least once.
"""

from __future__ import annotations

import gc
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.clock import wall_ms
from streams.codecs import warm_up
from streams.errors import UnavailableError
from streams.intake import Place, decode_clock
from streams.internal_topics import REFERENCES, topic_specs
from streams.kafka import input_consumer, producer, results_consumer, transactional_producer
from streams.kafka_topics import check_broker, ensure_topics
from streams.reference_book import ReferenceBook
from streams.stopping import stop_signals
from streams.summarizer import (
    OutgoingRecord,
    Summarizer,
    SummarizeSettings,
    TooManyDeadLettersError,
)
from streams.supervise import report_ready
from streams.verdict_reader import READER_SETTINGS

if TYPE_CHECKING:
    from streams.config import Config

log = structlog.get_logger()

Entry = TypeVar("Entry", bound=Sized)

MOST_BYTES_AT_ONCE = 4 * 1024 * 1024
"""Of messages between two looks at how much is buffered: a message may hold many thousand rows."""


def sliced(messages: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Messages in their order, cut into parts of some megabytes; one larger message is a part.

    >>> [len(part) for part in sliced([b"x" * 3_000_000, b"y" * 2_000_000, b"z"])]
    [1, 2]
    """
    part: list[Entry] = []
    size = 0
    for message in messages:
        if part and size + len(message) > MOST_BYTES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    if part:
        yield part


class Worker:
    """The Kafka side: subscribes, reads, flushes in transactions, gives partitions up cleanly."""

    def __init__(
        self,
        summarizer: Summarizer,
        settings: SummarizeSettings,
        consumer: confluent_kafka.Consumer,
        producer: confluent_kafka.Producer,
        transactional: bool,
        topics: Sequence[str],
        internal: Callable[[str], str],
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._summarizer = summarizer
        self._settings = settings
        self._consumer = consumer
        self._producer = producer
        self._transactional = transactional
        self._topics = list(topics)
        self._internal = internal
        self._clock_ms = clock_ms
        self._refused = 0
        self._failed = False
        self._undelivered = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Read and flush until ``stop`` says so; then flush what was read and leave the group."""
        if self._transactional:
            self._producer.init_transactions(30)
        self._consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing here is cyclic; collected by hand once a flush
        interval = self._settings.flush_interval_ms / 1000
        next_flush = time.monotonic() + interval
        try:
            while not stop():
                wait = max(min(next_flush - time.monotonic(), interval), 0.0)
                messages = self._consumer.consume(self._settings.batch_messages, timeout=wait)
                if messages:
                    self._take(messages)
                if time.monotonic() >= next_flush or self._summarizer.full:
                    self._flush()
                    gc.collect(0)
                    next_flush = time.monotonic() + interval
            self._flush()
        except BaseException:
            # Closing gives the partitions up, which would commit: what was read may be lost by now.
            self._failed = True
            raise
        finally:
            gc.enable()
            self._consumer.close()

    def _take(self, messages: list[Message]) -> None:
        good = []
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                continue
            elif error.fatal() or error.code() in _NOT_PASSING:
                raise KafkaException(error)
            else:
                log.warning("kafka error while reading", error=error.name())
        for part in sliced(good):
            self._summarizer.take(part, self._clock_ms())
            if self._summarizer.full:
                self._flush()

    def _flush(self) -> None:
        at_end = self._at_end()
        records = self._summarizer.flush(self._clock_ms(), at_end)
        offsets = self._summarizer.offsets()
        if not records:
            return
        if not self._transactional:
            self._produce(records)
            if self._producer.flush(30) or self._undelivered:
                raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            self._summarizer.intake.clear()
            return
        try:
            self._producer.begin_transaction()
            self._produce(records)
            if offsets:
                self._producer.send_offsets_to_transaction(
                    offsets, self._consumer.consumer_group_metadata(), 30
                )
            self._producer.commit_transaction(30)
        except KafkaException as error:
            cause = error.args[0]
            if not cause.txn_requires_abort() or self._refused >= 5:
                raise
            self._refused += 1
            log.warning("transaction refused, reading again", error=cause.name())
            self._producer.abort_transaction(30)
            self._read_again()
            return
        self._refused = 0
        self._summarizer.intake.clear()

    def _produce(self, records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            topic = self._internal(record.topic)
            while True:
                try:
                    # Partition -1 is librdkafka's way to say: choose by the key.
                    self._producer.produce(
                        topic, record.value, record.key, record.partition, self._delivered
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)  # the local queue is full: let it drain

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Without transactions nobody else says that a record was given up."""
        del message
        if error is not None:
            self._undelivered += 1

    def _at_end(self) -> dict[Place, bool]:
        """Whether each partition has been read to its end, from the broker's last answer."""
        at_end = {}
        for place, intake in self._summarizer.intake.partitions.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            read_to = max(intake.next_offset, low)
            at_end[place] = high >= 0 and read_to >= high
        return at_end

    def _on_assign(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        if not partitions:
            return
        totals: dict[str, int] = {}
        for committed in consumer.committed(partitions, timeout=30):
            topic = committed.topic
            if topic not in totals:
                metadata = consumer.list_topics(topic, timeout=30)
                totals[topic] = len(metadata.topics[topic].partitions)
            clock = decode_clock(committed.metadata)
            place = (topic, committed.partition)
            self._summarizer.intake.assign(place, totals[topic], clock, self._clock_ms())
            if committed.offset >= 0:
                self._summarizer.intake.partitions[place].next_offset = committed.offset
        log.info("partitions assigned", count=len(partitions))

    def _on_revoke(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        del consumer
        if not self._failed:
            self._flush()  # what was read must be committed before the next owner starts
        self._drop(partitions)

    def _on_lost(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        del consumer
        log.warning("partitions lost, forgetting what was not committed", count=len(partitions))
        self._summarizer.forget()
        self._drop(partitions)
        self._rewind()

    def _drop(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._summarizer.intake.revoke((partition.topic, partition.partition))

    def _read_again(self) -> None:
        self._summarizer.forget()
        self._rewind()

    def _rewind(self) -> None:
        """Go back to the last committed offsets, and to the clocks as they were then."""
        intake = self._summarizer.intake
        places = [TopicPartition(*place) for place in intake.partitions]
        if not places:
            return
        for committed in self._consumer.committed(places, timeout=30):
            place = (committed.topic, committed.partition)
            total = intake.partitions[place].partitions
            intake.assign(place, total, decode_clock(committed.metadata), self._clock_ms())
            position = TopicPartition(*place)
            position.offset = (
                committed.offset if committed.offset >= 0 else confluent_kafka.OFFSET_BEGINNING
            )
            if committed.offset >= 0:
                intake.partitions[place].next_offset = committed.offset
            self._consumer.seek(position)


_NOT_PASSING = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    }
)
"""Errors that waiting does not cure: reading on would mean reading nothing, quietly."""


def worker_name() -> str:
    """A name no other worker has, also not the one this process replaces."""
    return f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def run(config: Config) -> int:
    """One worker, until SIGTERM. Returns the exit code."""
    kafka = config.kafka
    topics = [item.topic for item in config.inputs]
    check_broker(kafka, topics)
    ensure_topics(kafka, topic_specs(kafka))
    stop = stop_signals()
    name = worker_name()
    make_reader = partial(
        confluent_kafka.Consumer, {**results_consumer(kafka, "references"), **READER_SETTINGS}
    )
    with ReferenceBook(make_reader, kafka.topic(REFERENCES)) as book:
        book.wait_read()
        summarizer = Summarizer(
            config.inputs,
            config.time,
            config.summarize,
            config.limits,
            config.events,
            book.of,
            kafka.partitions,
            name,
        )
        make_producer = transactional_producer if kafka.transactional else producer
        worker = Worker(
            summarizer,
            config.summarize,
            confluent_kafka.Consumer(input_consumer(kafka, kafka.topic("summarize"))),
            confluent_kafka.Producer(make_producer(kafka, kafka.topic(name))),
            kafka.transactional,
            topics,
            kafka.topic,
        )
        if config.summarize.compiled:
            warm_up()
        report_ready()
        try:
            worker.run(stop)
        except TooManyDeadLettersError as error:
            raise UnavailableError(
                str(error), "summarize", "correct the producer or the format of the topic"
            ) from None
    return 0
