"""Where a worker of summarize writes: records, and the offsets of the messages they came of.

In a transaction both happen or neither, and only while the group still counts this worker as the
owner of the partitions. Without transactions (the embedded broker) the records come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.bounded_call import bounded
from streams.failpoints import reached
from streams.intake import Place
from streams.outgoing import OutgoingRecord
from streams.patience import NOT_PASSING, is_passing

_MOST_REFUSALS = 5
"""In a row; then it is not a rebalance, and a new process is the better start."""

_ANSWER_S = 5.0
"""How long a call of a transaction waits for the broker; SIGTERM may have to wait so long too."""

_RETURN_S = _ANSWER_S + 3.0
"""After this a call that should have given up by itself never returns."""

log = structlog.get_logger()


def _always() -> bool:
    """Nothing speaks against it."""
    return True


class Output:
    """``internal``: the full name of a topic; ``stop``: whether to give up waiting for a broker."""

    def __init__(
        self,
        make_producer: Callable[[], confluent_kafka.Producer],
        consumer: confluent_kafka.Consumer,
        transactional: bool,
        internal: Callable[[str], str],
        stop: Callable[[], bool],
    ) -> None:
        self._make_producer = make_producer
        self._producer = make_producer()
        self._consumer = consumer
        self._transactional = transactional
        self._internal = internal
        self._stop = stop
        self._refused = 0
        self._undelivered = 0
        self._uncommitted: dict[Place, TopicPartition] = {}

    def open(self) -> None:
        """Before the first `write`."""
        if self._transactional:
            self._begin_again()

    @property
    def waiting(self) -> bool:
        """Whether there are offsets that were refused and may be accepted later."""
        return bool(self._uncommitted)

    def write(
        self,
        records: Sequence[OutgoingRecord],
        offsets: Sequence[TopicPartition],
        confirmed: Callable[[], bool] = _always,
    ) -> bool:
        """Whether it is done; if not, none of it ever happened. ``confirmed`` is asked as late as
        can be, while nothing is committed, and may wait for the broker."""
        if self._transactional:
            return self._transact(records, offsets, confirmed)
        if not confirmed():
            return False
        self._write_plainly(records, offsets)
        return True

    def given_up(self, partitions: Iterable[TopicPartition]) -> None:
        """Others commit these from now on."""
        for partition in partitions:
            self._uncommitted.pop((partition.topic, partition.partition), None)

    def _transact(
        self,
        records: Sequence[OutgoingRecord],
        offsets: Sequence[TopicPartition],
        confirmed: Callable[[], bool],
    ) -> bool:
        """Whether the transaction was committed; if not, it never happened."""
        try:
            self._producer.begin_transaction()
            reached("summarize.begun")
            self._produce(records)
            reached("summarize.produced")
            if offsets:
                group = self._consumer.consumer_group_metadata()
                send = self._producer.send_offsets_to_transaction
                bounded(partial(send, list(offsets), group, _ANSWER_S), _RETURN_S)
            reached("summarize.sent")
            if not confirmed():
                if not self._abort():
                    self._begin_again()
                return False
            bounded(partial(self._producer.commit_transaction, _ANSWER_S), _RETURN_S)
            reached("summarize.committed")
        except KafkaException as error:
            self._undo(error)
            return False
        self._refused = 0
        return True

    def _undo(self, error: KafkaException) -> None:
        """End a transaction that was refused or got no answer. Raises ``error`` where going on
        cannot help.

        Without an answer nobody knows whether it was committed. A new producer with the same id
        makes the broker decide (it ends what was begun), and then the committed offsets tell. The
        old producer cannot be used for that: see :mod:`streams.bounded_call`.
        """
        cause = error.args[0]
        waiting = is_passing(cause)
        if self._stop() and waiting:
            raise error
        ended = waiting or cause.fatal()
        if not waiting:
            self._refused += 1
        if self._refused > _MOST_REFUSALS or not (ended or cause.txn_requires_abort()):
            raise error
        log.warning("transaction refused, reading again", error=cause.name())
        if ended or not self._abort():
            self._begin_again()
            log.warning("producer replaced", error=cause.name())

    def _abort(self) -> bool:
        """Whether the producer can be used again."""
        try:
            bounded(partial(self._producer.abort_transaction, _ANSWER_S), _RETURN_S)
        except KafkaException as error:
            log.warning("transaction not aborted", error=error.args[0].name())
            return False
        return True

    def _begin_again(self) -> None:
        """A new producer in the place of one that was fenced or got no answer."""
        while True:
            self._producer = self._make_producer()
            try:
                bounded(partial(self._producer.init_transactions, _ANSWER_S), _RETURN_S)
            except KafkaException as error:
                if not is_passing(error.args[0]) or self._stop():
                    raise
                log.warning("kafka does not answer, waiting", error=error.args[0].name())
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
            if error.args[0].fatal() or error.args[0].code() in NOT_PASSING:
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
