"""The role ``summarize``: input topics in, one delta a model and second out.

At each flush the deltas, the dead letters, the ledger and the source offsets go out in one Kafka
transaction, so that on a real Kafka every event is in exactly one delta, whatever is killed. If a
transaction is refused (another worker has taken the partitions over), everything since the last
commit is forgotten and read again. While no broker answers, the transaction waits; if it was ended
without us meanwhile, a new producer takes the place of the fenced one. On the embedded broker,
whose transactions are hollow, the records are flushed first and the offsets committed after: at
least once.
"""

from __future__ import annotations

import gc
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, TypeVar

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.clock import wall_ms
from streams.codecs import warm_up
from streams.errors import UnavailableError
from streams.failpoints import reached
from streams.intake import Place, decode_clock
from streams.internal_topics import PAIRS, REFERENCES, SHADOWS, topic_specs
from streams.kafka import input_consumer, producer, results_consumer, transactional_producer
from streams.kafka_topics import check_broker, ensure_topics
from streams.metrics_port import metrics_port, new_registry
from streams.metrics_summarize import SummarizeMetrics
from streams.pair_settings import Enabled
from streams.pairing import Pairing
from streams.reference_book import ReferenceBook
from streams.shadow_book import ShadowBook, Shadows
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
    if sum(map(len, messages)) <= MOST_BYTES_AT_ONCE:
        if messages:
            yield list(messages)
        return
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


_ERROR = methodcaller("error")


def _nothing() -> None:
    """What is done between flushes where nothing is."""


class Worker:
    """The Kafka side: subscribes, reads, flushes in transactions, gives partitions up cleanly."""

    def __init__(
        self,
        summarizer: Summarizer,
        settings: SummarizeSettings,
        consumer: confluent_kafka.Consumer,
        make_producer: Callable[[], confluent_kafka.Producer],
        transactional: bool,
        topics: Sequence[str],
        internal: Callable[[str], str],
        clock_ms: Callable[[], int] = wall_ms,
        between_flushes: Callable[[], None] = _nothing,
        metrics: SummarizeMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._summarizer = summarizer
        self._settings = settings
        self._consumer = consumer
        self._make_producer = make_producer
        self._producer = make_producer()
        self._transactional = transactional
        self._topics = list(topics)
        self._pairing = summarizer.pairing
        if self._pairing is not None:
            self._topics.append(self._pairing.topic)
        self._between_flushes = between_flushes
        self._internal = internal
        self._clock_ms = clock_ms
        self._refused = 0
        self._failed = False
        self._undelivered = 0
        self._uncommitted: dict[Place, TopicPartition] = {}
        self._stop: Callable[[], bool] = bool

    def run(self, stop: Callable[[], bool]) -> None:
        """Read and flush until ``stop`` says so; then flush what was read and leave the group."""
        self._stop = stop
        if self._transactional:
            self._patiently(self._producer.init_transactions)
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
                    reached("summarize.polled")
                    self._take(messages)
                    reached("summarize.taken")
                if time.monotonic() >= next_flush or self._summarizer.full:
                    self._flush_or_rewind()
                    self._between_flushes()
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
        good: list[Message] = []
        halves: list[Message] = []
        pairs = None if self._pairing is None else self._pairing.topic
        errors = list(map(_ERROR, messages))
        if pairs is None and not any(errors):
            good, messages = messages, []  # as a rule
        for message, error in zip(messages, errors, strict=False):
            if error is None:
                (halves if message.topic() == pairs else good).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                continue
            elif error.fatal() or error.code() in _NOT_PASSING:
                raise KafkaException(error)
            else:
                log.warning("kafka error while reading", error=error.name())
        if halves and self._pairing is not None:
            self._pairing.take(halves)
        for part in sliced(good):
            self._summarizer.take(part, self._clock_ms())
            if self._summarizer.full and not self._flush_or_rewind():
                return  # the rest will be read again too

    def _flush_or_rewind(self) -> bool:
        """Whether what was read is safe now; if not, it will be read again."""
        if self._flush():
            return True
        self._rewind()
        return False

    def _flush(self) -> bool:
        """Whether what was read is safe now; if not, it is forgotten."""
        began = time.monotonic()
        at_end = self._at_end()
        records = self._summarizer.flush(self._clock_ms(), at_end)
        reached("summarize.drained")
        offsets = self._summarizer.offsets()
        if not records and not offsets and not self._uncommitted:
            return True
        if self._transactional:
            if not self._transact(records, offsets):
                self._summarizer.forget()
                if self._metrics is not None:
                    self._metrics.refused()
                return False
        else:
            self._write_plainly(records, offsets)
        if self._metrics is not None:
            seconds = time.monotonic() - began
            partitions = self._summarizer.intake.partitions
            self._metrics.flushed(partitions, self._lag_of, seconds, self._clock_ms())
        self._summarizer.committed()
        return True

    def _transact(
        self, records: Sequence[OutgoingRecord], offsets: Sequence[TopicPartition]
    ) -> bool:
        """Whether the transaction was committed; if not, it never happened."""
        try:
            self._producer.begin_transaction()
            reached("summarize.begun")
            self._produce(records)
            reached("summarize.produced")
            if offsets:
                group = self._consumer.consumer_group_metadata()
                self._patiently(
                    lambda seconds: self._producer.send_offsets_to_transaction(
                        list(offsets), group, seconds
                    )
                )
            reached("summarize.sent")
            self._patiently(self._producer.commit_transaction)
            reached("summarize.committed")
        except KafkaException as error:
            self._undo(error)
            return False
        self._refused = 0
        return True

    def _undo(self, error: KafkaException) -> None:
        """End a transaction that was refused. Raises ``error`` where going on cannot help."""
        cause = error.args[0]
        ended = cause.fatal()  # the broker has ended it and lets this producer do nothing more
        if self._refused >= _MOST_REFUSALS or not (ended or cause.txn_requires_abort()):
            raise error
        self._refused += 1
        log.warning("transaction refused, reading again", error=cause.name())
        if not ended:
            try:
                self._patiently(self._producer.abort_transaction)
            except KafkaException as worse:
                ended = worse.args[0].fatal()
                if not ended:
                    raise
        if ended:
            log.warning("producer_replaced", error=cause.name())
            self._producer = self._make_producer()
            self._patiently(self._producer.init_transactions)

    def _patiently(self, call: Callable[[float], object]) -> None:
        """Make a call again until a broker has answered: librdkafka goes on where it stood. While
        nobody answers there is nothing else to do, but to stop when we are told to."""
        while True:
            try:
                call(_CALL_S)
            except KafkaException as error:
                cause = error.args[0]
                passing = cause.retriable() or cause.code() in _NO_ANSWER
                if cause.fatal() or cause.txn_requires_abort() or not passing or self._stop():
                    raise
                log.warning("kafka does not answer, waiting", error=cause.name())
            else:
                return

    def _write_plainly(
        self, records: Sequence[OutgoingRecord], offsets: Sequence[TopicPartition]
    ) -> None:
        """Records, and when Kafka has them, offsets. Where these are refused, the records cannot be
        taken back: the offsets are kept and committed with the next ones, and if the partitions are
        taken away before, their next owner counts some messages again."""
        self._produce(records)
        if self._producer.flush(30) or self._undelivered:
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        reached("summarize.acknowledged")
        self._uncommitted |= {(each.topic, each.partition): each for each in offsets}
        if not self._uncommitted:
            return
        wanted = list(self._uncommitted.values())
        try:
            answers = self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            # As a rule a rebalance: after it we are told which partitions are still ours.
            if error.args[0].fatal() or error.args[0].code() in _NOT_PASSING:
                raise
            log.warning("commit refused, trying again", error=error.args[0].name())
            return
        for answer in answers:
            if answer.error is None:
                self._uncommitted.pop((answer.topic, answer.partition), None)
            else:
                log.warning(
                    "commit refused, trying again",
                    topic=answer.topic,
                    partition=answer.partition,
                    error=answer.error.name(),
                )

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

    def _lag_of(self, place: Place) -> int:
        """Messages of a partition not read yet, by the broker's last answer; -1 before it."""
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        read_to = max(self._summarizer.intake.partitions[place].next_offset, low)
        return high - read_to if high >= read_to >= 0 else -1

    def _on_assign(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        if not partitions:
            return
        totals: dict[str, int] = {}
        starts = []
        for committed in self._committed(partitions):
            topic = committed.topic
            if self._pairing is not None and topic == self._pairing.topic:
                number = committed.partition
                start = self._pairing.assign(number, committed.offset, committed.metadata)
                starts.append(TopicPartition(topic, number, start))
                continue
            starts.append(TopicPartition(topic, committed.partition))
            if topic not in totals:
                totals[topic] = self._partitions_of(topic)
            clock = decode_clock(committed.metadata)
            place = (topic, committed.partition)
            self._summarizer.intake.assign(place, totals[topic], clock, self._clock_ms())
            if committed.offset >= 0:
                self._summarizer.intake.partitions[place].next_offset = committed.offset
        consumer.assign(starts)  # pairs from where their tail begins, the rest as committed
        log.info("partitions assigned", count=len(partitions))

    def _on_revoke(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        del consumer
        reached("summarize.revoked")
        if not self._failed:
            # What was read must be committed before the next owner starts. If that is refused, it
            # is forgotten; nothing to go back to, as we do not own these partitions any more.
            self._flush()
        self._drop(partitions)

    def _on_lost(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        del consumer
        log.warning("partitions lost, forgetting what was not committed", count=len(partitions))
        self._summarizer.forget()
        self._drop(partitions)
        self._rewind()

    def _committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """What is committed. A worker that died in a transaction holds that back until the broker
        has ended its transaction."""
        found: list[TopicPartition] = []

        def ask(seconds: float) -> None:
            found[:] = self._consumer.committed(places, timeout=seconds)

        self._patiently(ask)
        return found

    def _partitions_of(self, topic: str) -> int:
        count = 0

        def ask(seconds: float) -> None:
            nonlocal count
            count = len(self._consumer.list_topics(topic, timeout=seconds).topics[topic].partitions)

        self._patiently(ask)
        return count

    def _drop(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._uncommitted.pop((partition.topic, partition.partition), None)
            if self._pairing is not None and partition.topic == self._pairing.topic:
                self._pairing.revoke(partition.partition)
            else:
                self._summarizer.intake.revoke((partition.topic, partition.partition))

    def _rewind(self) -> None:
        """Go back to the last committed offsets, and to the clocks as they were then."""
        self._rewind_pairs()
        intake = self._summarizer.intake
        places = [TopicPartition(*place) for place in intake.partitions]
        if not places:
            return
        for committed in self._committed(places):
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

    def _rewind_pairs(self) -> None:
        if self._pairing is None or not self._pairing.owned:
            return
        places = [TopicPartition(self._pairing.topic, number) for number in self._pairing.owned]
        for committed in self._committed(places):
            number = committed.partition
            start = self._pairing.assign(number, committed.offset, committed.metadata)
            self._consumer.seek(TopicPartition(self._pairing.topic, number, start))


_CALL_S = 2.0
"""How long one call waits for a broker before we look whether to stop."""

_MOST_REFUSALS = 5
"""In a row; then it is not a rebalance, and a new process is the better start."""

_NO_ANSWER = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - its public name
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

_NOT_PASSING = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
        KafkaError.OFFSET_METADATA_TOO_LARGE,
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
    registry = new_registry()
    with ExitStack() as stack:
        stack.enter_context(metrics_port(config.metrics, registry))
        book = stack.enter_context(ReferenceBook(make_reader, kafka.topic(REFERENCES)))
        book.wait_read()
        pairing, between_flushes = None, _nothing
        if config.pairing.enabled is not Enabled.OFF:
            shadows = Shadows(config.limits.models)
            pairing = Pairing(
                config.pairing, shadows, book.of, kafka.partitions, name, kafka.topic(PAIRS)
            )
            announced = ShadowBook(make_reader, kafka.topic(SHADOWS), shadows)
            stack.enter_context(announced).wait_read()
            between_flushes = announced.poll
        summarizer = Summarizer(
            config.inputs,
            config.time,
            config.summarize,
            config.limits,
            config.events,
            book.of,
            kafka.partitions,
            name,
            pairing,
        )
        make_producer = transactional_producer if kafka.transactional else producer
        worker = Worker(
            summarizer,
            config.summarize,
            confluent_kafka.Consumer(input_consumer(kafka, kafka.topic("summarize"))),
            lambda: confluent_kafka.Producer(make_producer(kafka, kafka.topic(name))),
            kafka.transactional,
            topics,
            kafka.topic,
            between_flushes=between_flushes,
            metrics=SummarizeMetrics(registry),
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
