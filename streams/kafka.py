"""How driftline's processes talk to Kafka: settings, and one librdkafka configuration per use.

The same code runs on the embedded broker and on Apache Kafka; what differs is decided here, from
the settings alone. ``bootstrap`` is one of

- ``embedded``: ``driftline up`` starts a broker of its own (streams.embedded_broker);
- ``embedded://127.0.0.1:PORT``: that broker, as the roles that ``up`` starts are told;
- ``host:port,host:port``: servers of an Apache Kafka.

Why the group assignment is the eager round robin and not cooperative-sticky: one transaction spans
all partitions of a worker, so any change of the assignment ends it anyway; an eager rebalance is
one clear point at which nothing is open, and round robin spreads several topics evenly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, assert_never

from streams.kafka_log import KafkaLog

EMBEDDED = "embedded"
_EMBEDDED_AT = "embedded://"
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")

TRANSACTION_MS = 12_000
"""How long a transaction may be open. Records of a worker that died keep committed readers waiting
so long, and until the broker next looks for such transactions, which it does every 10 s: together
less than the 30 s in which a worker's death is made up for."""

MOST_RECORD_BYTES = 8 * 1024 * 1024
"""Of one record on driftline's own topics."""

# What the promises rest on. Setting one of these by hand would break them silently.
_OURS = frozenset(
    {
        "acks",
        "request.required.acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "isolation.level",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "transactional.id",
    }
)


class Transactions(StrEnum):
    """Whether summaries and input offsets are committed in Kafka transactions."""

    AUTO = "auto"
    """On a real Kafka yes, on the embedded broker no (its transactions are hollow)."""
    ON = "on"
    OFF = "off"


class StartAt(StrEnum):
    """Where a group that has committed nothing yet begins to read."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka. Every default works without a server.

    ``properties``: librdkafka properties for every client, meant for SASL and TLS; they are never
    logged. ``prefix``: begins the name of each internal topic. ``partitions``, ``replication``: of
    internal topics that driftline makes. ``start``: where a new group begins in the input topics.
    Raises ValueError for what cannot be meant.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    bootstrap: str = EMBEDDED
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    transactions: Transactions = Transactions.AUTO
    prefix: str = "driftline."
    partitions: int = 8
    replication: int = 1
    start: StartAt = StartAt.EARLIEST

    def __post_init__(self) -> None:
        if self.bootstrap != EMBEDDED:
            _check_servers(self.bootstrap.removeprefix(_EMBEDDED_AT))
        ours = sorted(
            name for name in self.properties if name in _OURS or name.startswith("test.mock.")
        )
        if ours:
            raise ValueError(
                f"kafka.properties: {', '.join(ours)} cannot be set here:"
                " driftline's guarantees rest on its own value; remove it"
            )
        if re.fullmatch(r"[A-Za-z0-9._-]{0,100}", self.prefix) is None:
            raise ValueError("kafka.prefix may hold letters, digits, '.', '_' and '-' only")
        if not 1 <= self.partitions <= 1000:
            raise ValueError("kafka.partitions must be between 1 and 1000")
        if not 1 <= self.replication <= 3:
            raise ValueError("kafka.replication must be 1, 2 or 3")
        if self.embedded and self.transactions is Transactions.ON:
            raise ValueError(
                "kafka.transactions: 'on' needs a real Kafka in kafka.bootstrap:"
                " the embedded broker's transactions are hollow; use 'auto' or 'off'"
            )

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded broker, whose limits then hold."""
        return self.bootstrap == EMBEDDED or self.bootstrap.startswith(_EMBEDDED_AT)

    @property
    def servers(self) -> str:
        """``host:port,...`` to connect to. Raises ValueError if no broker has been started yet."""
        if self.bootstrap == EMBEDDED:
            raise ValueError(
                "kafka.bootstrap is 'embedded', which only 'driftline up' and 'driftline demo' can"
                " start: run one of them, or set kafka.bootstrap to host:port of a Kafka"
            )
        return self.bootstrap.removeprefix(_EMBEDDED_AT)

    @property
    def transactional(self) -> bool:
        """Whether to write in transactions."""
        match self.transactions:
            case Transactions.AUTO:
                return not self.embedded
            case Transactions.ON:
                return True
            case Transactions.OFF:
                return False
            case _:
                assert_never(self.transactions)

    def topic(self, name: str) -> str:
        """The full name of an internal topic: ``summaries`` -> ``driftline.summaries``."""
        return f"{self.prefix}{name}"


def embedded_at(address: str) -> str:
    """The ``bootstrap`` of an embedded broker that runs at ``host:port``."""
    return f"{_EMBEDDED_AT}{address}"


def input_consumer(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """Consumer of the input topics, for throughput: use it with ``consume(500)``.

    Offsets are committed by the caller, plainly or in its transaction. Memory: at most about
    64 MB are fetched ahead, whatever the number of partitions. One answer of the broker holds 4 MB
    (a larger message comes alone): for larger ones the system gives and takes back memory page by
    page, which costs up to a third of the consumer's CPU. CRCs are not checked again: the broker
    has checked them when it took the records.
    """
    return {
        **_client(settings, f"{group}-input"),
        **_group(settings, group, StartAt.EARLIEST),
        # Where to begin and what to do about a gap is decided by the worker, aloud.
        "auto.offset.reset": "error",
        "queued.max.messages.kbytes": 65_536,
        "queued.min.messages": 50_000,
        "fetch.max.bytes": 4 * 1024 * 1024,
        "fetch.message.max.bytes": 1024 * 1024,
        "fetch.queue.backoff.ms": 20,
        "check.crcs": False,
        "max.poll.interval.ms": 60_000,
    }


def results_consumer(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """Consumer of driftline's own topics, for prompt delivery: committed records, from the
    start."""
    return {
        **_client(settings, f"{group}-results"),
        **_group(settings, group, StartAt.EARLIEST),
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 20,
        "max.poll.interval.ms": 120_000,
    }


def whole_topic_consumer(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """Consumer of a view of a compacted topic: it keeps no position, so use ``assign`` and never
    commit. It reports the end of a partition, and makes no topic."""
    return {
        **results_consumer(settings, name),
        # The only way to know that the end was reached: positions stop short of it where the last
        # records of a partition are markers of transactions.
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
    }


def producer(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """Idempotent producer: in order and without duplicates as long as the process lives."""
    return {
        **_client(settings, name),
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": MOST_RECORD_BYTES,
        "queue.buffering.max.kbytes": 65_536,
        "message.timeout.ms": 30_000,
    }


def transactional_producer(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Transactional producer. Its id must be the same when the same worker starts again, and no
    other's: a second producer with the same id fences the first. Raises ValueError on the embedded
    broker, which could only pretend."""
    if settings.embedded:
        raise ValueError("the embedded broker has no real transactions: commit offsets plainly")
    return {
        **producer(settings, transactional_id),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_MS,
        "message.timeout.ms": TRANSACTION_MS - 5_000,
    }


def admin(settings: KafkaSettings, on_error: Callable[[Any], None] | None = None) -> dict[str, Any]:
    """Client that looks at and makes topics. ``on_error`` hears, instead of the log, why a call got
    no answer."""
    made = _client(settings, "admin")
    return made if on_error is None else {**made, "error_cb": on_error}


def _group(settings: KafkaSettings, group: str, start: StartAt) -> dict[str, Any]:
    return {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": start.value,
        "partition.assignment.strategy": "roundrobin",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 1_000,
        # A topic made later, and partitions added to one, are seen within this time.
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": settings.embedded,
        # The embedded broker answers an empty fetch only when the wait is over, see there.
        "fetch.wait.max.ms": 50 if settings.embedded else 500,
    }


def _client(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """What every client has. Logs and errors go to structlog, not to stderr; librdkafka hands them
    over in ``poll`` and ``flush``."""
    kafka_log = KafkaLog(name)
    return {
        **settings.properties,
        "bootstrap.servers": settings.servers,
        "client.id": f"driftline-{name}",
        "logger": kafka_log,
        "error_cb": kafka_log.error,
        "log.connection.close": False,  # idle connections close: that is not news
        "socket.keepalive.enable": True,
        # A connection may be dead without a word. librdkafka would wait for a minute.
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 2_000,
    }


def _check_servers(servers: str) -> None:
    for server in servers.split(","):
        found = _SERVER.fullmatch(server.strip())
        if found is None or not 1 <= int(found[1]) <= 65_535:
            # The text may hold a password in URL form: do not repeat it.
            raise ValueError(
                "kafka.bootstrap must be 'embedded' or 'host:port,host:port'"
                " (no scheme, no path, no user: those go to kafka.properties)"
            )
