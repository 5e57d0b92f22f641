"""The worker of ``summarize``: input topics in, one delta a model and second out.

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
import time
from collections.abc import Callable, Sequence
from operator import methodcaller

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.batches import MOST_WAIT_S, Batches
from streams.clock import ClockSteps, wall_ms
from streams.epochs import NO_EPOCHS, Epochs, EpochSource
from streams.failpoints import reached
from streams.holes import Holes
from streams.intake import Place, decode_clock, decode_topic_id
from streams.kafka import StartAt
from streams.metrics_summarize import SummarizeMetrics
from streams.output import Output
from streams.patience import NOT_PASSING
from streams.positions import Positions
from streams.summarizer import Summarizer, SummarizeSettings

log = structlog.get_logger()

_ERROR = methodcaller("error")


def nothing() -> None:
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
        between_flushes: Callable[[], None] = nothing,
        metrics: SummarizeMetrics | None = None,
        start: StartAt = StartAt.EARLIEST,
        epochs: EpochSource = NO_EPOCHS,
        lister: AdminClient | None = None,
        holes: Holes | None = None,
    ) -> None:
        self._metrics = metrics
        self._summarizer = summarizer
        self._settings = settings
        self._batches = Batches(settings.batch_messages)
        self._consumer = consumer
        self._stop: Callable[[], bool] = bool
        self._output = Output(make_producer, consumer, transactional, internal, self._stopping)
        self._topics = list(topics)
        self._pairing = summarizer.pairing
        if self._pairing is not None:
            self._topics.append(self._pairing.topic)
        self._between_flushes = between_flushes
        self._clock_ms = clock_ms
        self._steps = ClockSteps(clock_ms)
        self._failed = False
        self._closing = False
        self._holes = holes or Holes()
        self._epochs = Epochs(epochs, self._stopping)
        self._positions = Positions(consumer, start, self._stopping, self._epochs.noted, lister)

    def run(self, stop: Callable[[], bool]) -> None:
        """Read and flush until ``stop`` says so; then flush what was read and leave the group."""
        self._stop = stop
        self._output.open()
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
                wait = max(min(next_flush - time.monotonic(), interval, MOST_WAIT_S), 0.0)
                messages = self._consumer.consume(self._batches.ask, timeout=wait)
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
            self._closing = True
            self._consumer.close()

    def _take(self, messages: list[Message]) -> None:
        gap = False
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
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                gap = True
            elif error.fatal() or error.code() in NOT_PASSING:
                raise KafkaException(error)
            else:
                log.warning("kafka error while reading", error=error.name())
        if halves and self._pairing is not None:
            self._pairing.take(halves)
        for part in self._batches.cut(good):
            self._summarizer.take(part, self._clock_ms())
            if self._summarizer.full and not self._flush_or_rewind():
                return  # the rest will be read again too
        if gap:
            # The position of a partition is no longer in the topic. What was read goes out first:
            # the next report begins after the gap.
            self._flush()
            self._rewind()

    def _stopping(self) -> bool:
        return self._stop()

    def _flush_or_rewind(self) -> bool:
        """Whether what was read is safe now; if not, it will be read again."""
        if self._flush():
            return True
        self._rewind()
        return False

    def _flush(self) -> bool:
        """Whether what was read is safe now; if not, it is forgotten."""
        began = time.monotonic()
        if step_ms := self._steps.look():
            log.warning("clock_was_set", by_ms=step_ms)
            self._summarizer.intake.clock_stepped(step_ms)
        intake = self._summarizer.intake
        # What was read since the last flush may be the middle of another topic of that name.
        ids = {topic: each.topic_id for (topic, _), each in intake.partitions.items()}
        unchanged = self._epochs.unchanged(ids)
        left = self._left()
        at_end = {place: count == 0 for place, count in left.items()}
        records = self._summarizer.flush(self._clock_ms(), at_end)
        if self._holes.must_look_again(intake.partitions):
            self._summarizer.forget()
            return False
        reached("summarize.drained")
        offsets = self._summarizer.offsets()
        if not records and not offsets and not self._output.waiting:
            return True
        if not self._output.write(records, offsets, unchanged):
            self._summarizer.forget()
            if self._metrics is not None:
                self._metrics.refused()
            return False
        self._positions.wrote(offsets)
        if self._metrics is not None:
            seconds = time.monotonic() - began
            self._metrics.flushed(intake.partitions, left, seconds, self._clock_ms())
            self._metrics.turned_away(self._summarizer.accumulator.turned_away())
        self._summarizer.committed()
        return True

    def _left(self) -> dict[Place, int]:
        """What of each partition is not read, by the broker's last answer; -1 before it. Where the
        client stands counts, not the last message: behind that may be markers of transactions. What
        an open transaction holds back is not read, so such a partition is behind, and not idle."""
        left = {}
        for place, intake in self._summarizer.intake.partitions.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            (stands,) = self._consumer.position([TopicPartition(*place)])
            read_to = max(intake.next_offset, stands.offset, low)
            left[place] = max(high - read_to, 0) if high >= 0 else -1
        return left

    def _on_assign(
        self, consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]
    ) -> None:
        if not partitions or self._closing:
            return  # closing, the group may still give us some: a client that closes has no answers
        try:
            starts = self._starts(partitions)
        except KafkaException:
            if not self._stopping():
                raise
            self._drop(partitions)  # told to stop before a broker had answered; nothing was read
            starts = []
        consumer.assign(starts)
        log.info("partitions assigned", count=len(starts))

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

    def _drop(self, partitions: list[TopicPartition]) -> None:
        self._output.given_up(partitions)
        for partition in partitions:
            if self._pairing is not None and partition.topic == self._pairing.topic:
                self._pairing.revoke(partition.partition)
            else:
                self._summarizer.intake.revoke((partition.topic, partition.partition))

    def _rewind(self) -> None:
        """Go back to the last committed offsets, and to the clocks as they were then.

        By a new assignment: a partition whose position is no longer in its topic is not read any
        more, and librdkafka refuses to seek in it.
        """
        places = [TopicPartition(*place) for place in self._summarizer.intake.partitions]
        if self._pairing is not None:
            places += [TopicPartition(self._pairing.topic, each) for each in self._pairing.owned]
        if places:
            self._consumer.assign(self._starts(places))

    def _starts(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Own these as they are committed; where to read each of them from, pairs from where their
        tail begins."""
        pairs, intake = self._pairing, self._summarizer.intake
        inputs = {each.topic for each in places} - {pairs.topic if pairs is not None else ""}
        ids = self._epochs.of(inputs)
        totals = {topic: each.partitions for (topic, _), each in intake.partitions.items()}
        starts = []
        for committed in self._positions.committed(places):
            topic, number = committed.topic, committed.partition
            if pairs is not None and topic == pairs.topic:
                start = pairs.assign(number, committed.offset, committed.metadata)
            else:
                if topic not in totals:
                    totals[topic] = self._positions.partitions_of(topic)
                clock = decode_clock(committed.metadata)
                intake.assign((topic, number), totals[topic], clock, self._clock_ms())
                start = self._begin(committed, ids[topic] or "")
            starts.append(TopicPartition(topic, number, start))
        return starts

    def _begin(self, committed: TopicPartition, topic_id: str) -> int:
        """Where to read a partition of an input topic from, which is the one of this id."""
        place, was = (committed.topic, committed.partition), decode_topic_id(committed.metadata)
        start = self._positions.begin(place, committed.offset, was, topic_id)
        intake = self._summarizer.intake.partitions[place]
        intake.begin(start.offset, start.lost, topic_id, is_noted=was == topic_id)
        if start.lost:
            first = max(committed.offset, -1) if start.lost < 0 else start.offset - start.lost
            self._summarizer.lost(place, first, start.lost, self._clock_ms())
        return start.offset
