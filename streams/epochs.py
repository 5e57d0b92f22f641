"""Which topic of a name it is that is read: a topic that was deleted and made again has another id.

Its offsets begin anew, and nothing else tells. As a rule committed offsets go with their topic, but
a broker that dies meanwhile keeps them, and so does a commit that comes late; and a worker that
reads on gets no error where the new topic has as many messages as it had read of the old one. All
three were seen on a Kafka 4 with librdkafka 2.16. So the id (KIP-516) goes with each committed
offset, in its metadata; a worker looks before each commit whether its topics are still those it
began with; and for offsets that are gone, the compacted topic ``epochs`` keeps the id that each
partition was last read under, written in the transaction of the first offset under it.

Where brokers disagree for a moment because one of them has not heard of the new topic yet, the
change is noticed at the next commit. A broker without ids (before 2.8, and the embedded one, which
deletes no topics) is taken at its word.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import confluent_kafka
import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from streams.intake import Place
from streams.internal_topics import EPOCHS
from streams.kafka import KafkaSettings, admin
from streams.patience import CALL_S, patiently

log = structlog.get_logger()

Ids = Mapping[str, str | None]
"""By topic: its id; "" where the broker has none; None where there is no such topic at present."""
Answer = Callable[[], Ids]
"""Waits for what was asked. Raises KafkaException."""
AskIds = Callable[[Collection[str]], Answer]

_NO_ID: Final = "A" * 22
"""As the client writes an id of zeros: the broker does not know ids."""
_NOT_KNOWN: Final = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001
_MOST_AT_ONCE: Final = 1_000
_METADATA: Final = "driftline-topic:1:"


Noted = Mapping[Place, str]
"""The ids that partitions were last read under, by the topic ``epochs``."""


def _no_ids(topics: Collection[str]) -> Answer:
    return lambda: dict.fromkeys(topics, "")


def _nothing_noted(_: Callable[[], bool]) -> Noted:
    return {}


@dataclass(frozen=True, slots=True)
class EpochSource:
    """Where ids come from; by default from nowhere, as of a broker that has none. ``read`` is told
    whether to stop."""

    ask: AskIds = _no_ids
    read: Callable[[Callable[[], bool]], Noted] = _nothing_noted


NO_EPOCHS: Final = EpochSource()


def source_of(
    kafka: KafkaSettings, client: AdminClient, make_reader: Callable[[], confluent_kafka.Consumer]
) -> EpochSource:
    """Of a broker as it is configured. ``make_reader``: see `read_epochs`."""
    if kafka.embedded:
        return NO_EPOCHS
    return EpochSource(ask_broker(client), partial(read_epochs, make_reader, kafka.topic(EPOCHS)))


def ids_of(kafka: KafkaSettings) -> EpochSource:
    """The ids of topics of ours, by a broker as it is configured. Nothing connects before the first
    question."""
    if kafka.embedded:
        return NO_EPOCHS
    client = cache(lambda: AdminClient(admin(kafka)))

    def ask(topics: Collection[str]) -> Answer:
        return ask_broker(client())(topics)

    return EpochSource(ask)


def ask_broker(client: AdminClient) -> AskIds:
    """Asks at once; the answer can be waited for later."""

    def ask(topics: Collection[str]) -> Answer:
        if not topics:
            return dict
        names = confluent_kafka.TopicCollection(sorted(topics))
        asked = client.describe_topics(names, request_timeout=CALL_S)
        return lambda: {topic: _id(answer) for topic, answer in asked.items()}

    return ask


def _id(answer: concurrent.futures.Future[TopicDescription]) -> str | None:
    try:
        found = str(answer.result(CALL_S + 1).topic_id)
    except concurrent.futures.TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        if error.args[0].code() in _NOT_KNOWN:
            return ""
        raise
    return "" if found == _NO_ID else found


def encode_id(topic_id: str) -> str:
    """Metadata of a committed offset of a topic of ours: the id of the topic that it is of."""
    return f"{_METADATA}{topic_id}" if topic_id else ""


def decode_id(metadata: str | None) -> str:
    """The inverse of :func:`encode_id`; "" where there is none of ours."""
    said = metadata or ""
    return said.removeprefix(_METADATA) if said.startswith(_METADATA) else ""


class Epoch(msgspec.Struct, frozen=True):
    """A record of the topic ``epochs``: offsets of this partition are those of the topic ``id``."""

    topic: str
    partition: int
    id: str


_decoder = msgspec.json.Decoder(Epoch)


def encode_epoch(place: Place, topic_id: str) -> tuple[bytes, bytes]:
    """Key and value."""
    return f"{place[0]}:{place[1]}".encode(), msgspec.json.encode(Epoch(*place, topic_id))


def read_epochs(
    make_consumer: Callable[[], confluent_kafka.Consumer], topic: str, stop: Callable[[], bool]
) -> Noted:
    """The topic, to its end. The consumer must report the end of a partition."""
    found: dict[Place, str] = {}
    consumer = make_consumer()
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while not stop():
            for message in consumer.consume(_MOST_AT_ONCE, timeout=0.2):
                error = message.error()
                if error is None:
                    try:
                        epoch = _decoder.decode(message.value() or b"")
                    except (msgspec.DecodeError, RecursionError):
                        log.warning("epoch refused", offset=message.offset())
                    else:
                        found[epoch.topic, epoch.partition] = epoch.id
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    return found
                else:
                    log.warning("epochs cannot be read for now", error=error.name())
    finally:
        consumer.close()
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - nobody waits any more


class Epochs:
    """``stop``: whether to give up waiting."""

    def __init__(self, source: EpochSource, stop: Callable[[], bool]) -> None:
        self._source = source
        self._stop = stop
        self._noted: Noted | None = None

    def of(self, topics: Collection[str]) -> Ids:
        """The ids of topics that reading is about to begin in."""
        self._noted = None
        return self._answered(topics, self._source.ask(topics))

    def unchanged(self, began: Mapping[str, str]) -> Callable[[], bool]:
        """Ask whether topics are still those that reading began in (their ids); call what is
        returned for the answer. One that is not there at present has not changed."""
        answer = self._source.ask(began)

        def look() -> bool:
            now = self._answered(began, answer)
            changed = [topic for topic, was in began.items() if now.get(topic) not in (was, None)]
            if changed:
                log.error("topic made again while it was read", topics=changed)
            return not changed

        return look

    def noted(self, place: Place) -> str:
        """The id that a partition was last read under, by the topic ``epochs``; "" if none."""
        if self._noted is None:
            self._noted = self._source.read(self._stop)
        return self._noted.get(place, "")

    def _answered(self, topics: Collection[str], answer: Answer) -> Ids:
        found: Ids = {}
        asked = [answer]

        def wait(_: float) -> None:
            nonlocal found
            waiting = asked.pop() if asked else self._source.ask(topics)
            found = waiting()

        patiently(wait, self._stop)
        return found
