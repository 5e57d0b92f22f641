"""What a Faust app needs to use the same Kafka as our librdkafka clients.

Six things are not Faust settings and are put right by a transport of our own. Faust reads
uncommitted records unless it writes in transactions itself: our judge must see committed ones
only, or an aborted summary would be counted. It waits up to 1.5 s in a fetch, which the embedded
broker takes literally (streams.embedded_broker). And it looks for gaps in the offsets that it may
commit, which the markers of transactions are: see `InOrder`. And it lets records in before it has
gone back to the committed offsets: see `SeekFirst`. And its producer waits 20 minutes for an answer
on a connection that may be dead: see `Answered`. And it takes a topic that was made again for the
old one: see :mod:`streams.faust_epochs`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.transport.drivers.aiokafka import (
    AIOKafkaConsumerThread,
    Consumer,
    Producer,
    Transport,
)

from streams import epochs
from streams.faust_epochs import Identified, IdentifiedThread, TopicIds
from streams.kafka import KafkaSettings
from streams.lease import SESSION_S

ANSWER_S = 12.0
"""How long a request may go without an answer before its connection is given up and the request is
made again on another: longer than a session (streams.lease) and than a rebalance may take, since
the broker answers who joins a group only when all others have."""
REBALANCE_S = 10.0
"""How long the broker waits in a rebalance for a member that does not join again."""
_LOOK_FOR_TOPICS_MS = 10_000
"""A topic that was away and is there again is not read before somebody looks; else after 5 min."""
_FETCH_WAIT_MS = 500
_EMBEDDED_FETCH_WAIT_MS = 50

_UNDERSTOOD = frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "sasl.kerberos.service.name",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
    }
)


def app_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for ``faust.App``: broker, credentials, how long to wait for the broker,
    and what it can do.

    Raises ValueError for a security property that Faust's client has no counterpart for, rather
    than connect with less than was asked for, and OSError for a certificate that cannot be read.
    """
    arguments: dict[str, Any] = {
        "broker": ";".join(f"kafka://{server.strip()}" for server in settings.servers.split(",")),
        "broker_credentials": _credentials(settings),
        "topic_replication_factor": settings.replication,
        # A killed worker's partitions are free after this time; Faust's own default is 60 s.
        "broker_session_timeout": SESSION_S,
        "broker_request_timeout": ANSWER_S,
        "broker_rebalance_timeout": REBALANCE_S,
        "consumer_metadata_max_age_ms": _LOOK_FOR_TOPICS_MS,
    }
    if settings.embedded:
        # The embedded broker makes topics itself and has no admin requests.
        arguments |= {"topic_allow_declare": False, "topic_disable_leader": True}
    return arguments


def connect(app: faust.App, settings: KafkaSettings) -> TopicIds:
    """Makes the app read committed records, promptly, and of the topics that it began to read.
    Returns what it knows of those. Call it right after the app is made."""
    topic_ids = TopicIds(epochs.ids_of(settings), lambda: bool(app.should_stop))

    class Thread(IdentifiedThread):
        ids = topic_ids

        def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
            consumer = super()._create_worker_consumer(transport)
            # Faust offers no setting; aiokafka reads both when the consumer starts.
            consumer._isolation_level = "read_committed"  # noqa: SLF001
            consumer._fetch_max_wait_ms = (  # noqa: SLF001
                _EMBEDDED_FETCH_WAIT_MS if settings.embedded else _FETCH_WAIT_MS
            )
            return consumer

    class CommittedConsumer(SeekFirst, Identified):
        ids = topic_ids
        _new_offset = InOrder._new_offset  # noqa: SLF001
        _add_gap = InOrder._add_gap  # noqa: SLF001

        def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
            return Thread(self, loop=self.loop, beacon=self.beacon)

    class AnsweredProducer(Answered):
        idempotent = not settings.embedded

    class CommittedTransport(Transport):
        Consumer = CommittedConsumer
        Producer = AnsweredProducer

    app.transport = CommittedTransport(app.conf.broker_consumer, app)
    return topic_ids


class Answered(Producer):
    """A request that gets no answer for `ANSWER_S` ends its connection and is made again.

    Faust has one setting for that and for how long a batch is kept at all, 20 minutes: a connection
    that was dead without a word held everything up for so long. What is asked for a second time may
    have been done the first time, even later than what came after it, which would leave an older
    entry as the last one in a changelog; so the producer is idempotent, where the broker can tell.
    """

    idempotent = True

    def _settings_extra(self) -> Mapping[str, Any]:
        more = {"acks": "all", "enable_idempotence": True} if self.idempotent else {}
        return {**super()._settings_extra(), **more}

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        made = super()._new_producer(transactional_id)
        # aiokafka takes one figure for all three; the third, that of batches, stays as it is.
        made.client._request_timeout_ms = int(1_000 * ANSWER_S)  # noqa: SLF001
        made._sender._request_timeout_ms = int(1_000 * ANSWER_S)  # noqa: SLF001
        return made


class SeekFirst(Consumer):
    """Nothing of a stream is let in before the seek to the committed offsets has ended, and nothing
    is thrown away that was fetched meanwhile.

    When tables are restored, Faust resumes the partitions of streams first and seeks then. What is
    fetched in between, or while a partition is not active, is handed out or thrown away, and its
    offsets count as read. Where nothing is committed yet, Faust does not seek at all. Measured with
    faust-streaming 0.15.3 on a real Kafka: records were missing after 2 of 9 restarts of a judge.

    So partitions are resumed after the seek; what was fetched across a seek, or too early, is
    fetched again from where the seek went; and that is the beginning where nothing is committed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._held: set[Any] = set()
        self._seeks = 0
        self._seeks_done = 0
        self._sought: dict[Any, int] = {}

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        held = {tp for tp in tps if not self._is_changelog_tp(tp)}
        self._held |= held
        super().resume_partitions(set(tps) - held)

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        for tp in (tps := set(tps)):
            self._held.discard(tp)
            self._sought.pop(tp, None)
        super().pause_partitions(tps)

    async def perform_seek(self) -> None:
        self._seeks += 1
        try:
            await super().perform_seek()
            streams = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
            fresh = [tp for tp in streams if not self._read_offset[tp]]
            starts = dict(await self.earliest_offsets(*fresh)) if fresh else {}
            for tp, offset in starts.items():
                await self._seek(tp, offset)
            for tp in streams:
                self._sought[tp] = starts.get(tp) or self._read_offset[tp] or 0
            self._seeks_done += 1
        finally:
            self._seeks -= 1
            # Of several at once, the last one; it may be one that was cancelled.
            ready = {tp for tp in self._held if tp in self._sought}
            if ready and not self._seeks:
                self._held -= ready
                super().resume_partitions(ready)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        before = self._seeks_done
        records = dict(await super()._getmany(active_partitions, timeout))
        for tp in [tp for tp in records if not self._is_changelog_tp(tp)]:
            if before == self._seeks_done and tp in self._active_partitions:
                continue
            early = records.pop(tp)
            if early:
                await self._seek(tp, self._sought.get(tp, early[0].offset))
        return records


class InOrder:
    """Which offset a partition is committed at, for apps whose one agent takes the records of a
    partition one after the other: when one is acknowledged, all before it are.

    Faust's own reckoning waits for every offset in between, and takes the ends of the gaps that the
    markers of transactions leave for acknowledged twice, after which it goes on by one or two
    offsets a commit. Measured with faust-streaming 0.15.3 on a real Kafka: of 1071 records read,
    63 committed, and all others kept in memory.
    """

    _acked: dict[Any, list[int]]
    _acked_index: dict[Any, set[int]]

    def _new_offset(self, tp: Any) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Gaps do not matter here."""


def _credentials(settings: KafkaSettings) -> Any:
    given = settings.properties
    unknown = sorted(
        name
        for name in given
        if name.startswith(("sasl.", "ssl.", "security.", "enable.ssl.", "enable.sasl."))
        and name not in _UNDERSTOOD
    )
    if unknown:
        raise ValueError(
            f"kafka.properties: {', '.join(unknown)} cannot be used by the judge's Kafka client;"
            f" it understands {', '.join(sorted(_UNDERSTOOD))}"
        )
    protocol = given.get("security.protocol", "plaintext").upper()
    context = _tls(settings) if protocol in ("SSL", "SASL_SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if protocol not in ("SASL_SSL", "SASL_PLAINTEXT"):
        raise ValueError(
            "kafka.properties: security.protocol must be plaintext, ssl, sasl_plaintext or sasl_ssl"
        )
    # librdkafka's own default is GSSAPI.
    mechanism = given.get("sasl.mechanism", given.get("sasl.mechanisms", "GSSAPI")).upper()
    if mechanism == "GSSAPI":
        service = given.get("sasl.kerberos.service.name", "kafka")
        return faust.GSSAPICredentials(
            kerberos_service_name=service, ssl_context=context, mechanism=mechanism
        )
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise ValueError(
            "kafka.properties: sasl.mechanism must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or"
            " GSSAPI: the judge's Kafka client has no other"
        )
    return faust.SASLCredentials(
        username=given.get("sasl.username"),
        password=given.get("sasl.password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    given = settings.properties
    context = ssl.create_default_context(
        cafile=given.get("ssl.ca.location"), cadata=given.get("ssl.ca.pem")
    )
    if given.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if given.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = given.get("ssl.certificate.location")
    if certificate is not None:
        context.load_cert_chain(
            certificate, given.get("ssl.key.location"), given.get("ssl.key.password")
        )
    return context
