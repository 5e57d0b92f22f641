"""Looks at the broker before work starts, and makes the topics that driftline needs.

Whatever is wrong becomes a `KafkaProblem` whose text is one line: what, where, what to do.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams import kafka
from streams.kafka import MOST_RECORD_BYTES, KafkaSettings

CHECK_MS = 8_000
_ATTEMPT_S = 0.5
_ADMIN_S = 20.0
_RESOLVE, _SSL, _AUTHENTICATION = (
    KafkaError._RESOLVE,  # noqa: SLF001 - public codes; librdkafka marks its own with "_"
    KafkaError._SSL,  # noqa: SLF001
    KafkaError._AUTHENTICATION,  # noqa: SLF001
)
_PREFIX = re.compile(r"^Failed to create [\w ]+: ")
_VALUE = re.compile(r'value "[^"]*"')
"""What librdkafka quotes of a property: it may be a secret in the wrong place."""

log = structlog.get_logger()


class KafkaProblem(Exception):
    """Kafka cannot be used as configured."""


class BadProperties(KafkaProblem):
    """The client refuses its properties before it asks anybody."""


class NoBroker(KafkaProblem):
    """Nobody answers at the address: not started, wrong port, a firewall, not a Kafka."""


class WrongAddress(KafkaProblem):
    """The name of a server does not resolve."""


class TlsFailed(KafkaProblem):
    """No TLS connection: the certificate, or TLS spoken to a port without it."""


class AccessDenied(KafkaProblem):
    """The broker does not accept the user, or does not allow what we need."""


class TopicMissing(KafkaProblem):
    """A topic to read does not exist."""


class TopicMismatch(KafkaProblem):
    """An internal topic exists and is not as it must be."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What an internal topic must be. ``compacted``: it keeps the last record of each key."""

    partitions: int
    compacted: bool = False


def check_broker(
    settings: KafkaSettings, topics: Iterable[str] = (), timeout_ms: int = CHECK_MS
) -> Mapping[str, int]:
    """Partitions of every topic of the cluster, once a broker answers and ``topics`` are there.

    Raises the `KafkaProblem` that fits: at once where waiting cannot help (refused user, TLS),
    else after ``timeout_ms``. On the embedded broker missing topics come into being.
    """
    seen = _Errors()
    client = _admin_client(settings, seen)
    partitions = _partitions(client, settings, seen, timeout_ms)
    missing = [name for name in topics if name not in partitions]
    if missing and settings.embedded:
        for name in missing:
            _call_into_being(client, settings, name)
        return _partitions(client, settings, seen, timeout_ms)
    if missing:
        raise TopicMissing(
            f"topic {', '.join(sorted(missing))} does not exist at {settings.servers}:"
            " create it, or correct the name in the configuration"
        )
    return partitions


def ensure_topics(
    settings: KafkaSettings, wanted: Mapping[str, TopicSpec], timeout_ms: int = CHECK_MS
) -> tuple[str, ...]:
    """Makes sure that the internal topics exist as wanted; returns the names of those it made.

    Safe to call from several processes at once. Raises `TopicMismatch` where a topic of that name
    has another number of partitions or another clean-up policy: keys would change partitions, or
    the state that a compacted topic keeps would expire. The embedded broker's process makes its
    topics itself; here they are only called into being.
    """
    seen = _Errors()
    client = _admin_client(settings, seen)
    if settings.embedded:
        check_broker(settings, wanted, timeout_ms)
        return ()
    present = _partitions(client, settings, seen, timeout_ms)
    for name, spec in wanted.items():
        if name in present and present[name] != spec.partitions:
            raise TopicMismatch(
                f"topic {name} at {settings.servers} has {present[name]} partitions and should"
                f" have {spec.partitions}: set kafka.partitions to {present[name]}, or take"
                " another kafka.prefix"
            )
    _check_policies(client, settings, {name: wanted[name] for name in wanted if name in present})
    absent = {name: spec for name, spec in wanted.items() if name not in present}
    made = tuple(name for name, spec in absent.items() if _create(client, settings, name, spec))
    if set(made) != set(absent):  # another process was quicker: then look at what it made
        return made + ensure_topics(settings, wanted, timeout_ms)
    return made


class _Errors:
    """The errors that a client reports on the side: they say why a call got no answer."""

    def __init__(self) -> None:
        self.codes: dict[int, str] = {}

    def note(self, error: KafkaError) -> None:
        self.codes[error.code()] = error.str()

    def tls(self) -> bool:
        return _SSL in self.codes or any("SSL" in text for text in self.codes.values())

    def hopeless(self) -> bool:
        """Whether trying again cannot help: a human has to change something."""
        return _AUTHENTICATION in self.codes or self.tls()


def _admin_client(settings: KafkaSettings, seen: _Errors) -> AdminClient:
    try:
        return AdminClient(kafka.admin(settings, seen.note))
    except KafkaException as error:
        said = _PREFIX.sub("", error.args[0].str())
        raise BadProperties(
            f"kafka.properties make no client ({_VALUE.sub('a value', said)}):"
            " set what is missing, or correct them"
        ) from None


def _partitions(
    client: AdminClient, settings: KafkaSettings, seen: _Errors, timeout_ms: int
) -> Mapping[str, int]:
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            topics = client.list_topics(timeout=_ATTEMPT_S).topics
            return {name: len(topic.partitions) for name, topic in topics.items()}
        except KafkaException as error:
            client.poll(0)
            if seen.hopeless() or time.monotonic() > deadline:
                raise _unreachable(settings, seen) from error
            time.sleep(0.05)


def _unreachable(settings: KafkaSettings, seen: _Errors) -> KafkaProblem:
    """Why no broker answered, in the words of the most telling error."""
    where, text = settings.servers, " ".join(seen.codes.values())
    if _AUTHENTICATION in seen.codes:
        return AccessDenied(
            f"Kafka at {where} refuses the user: check sasl.mechanism, sasl.username and"
            " sasl.password in kafka.properties"
        )
    if seen.tls():
        return TlsFailed(
            f"no TLS connection to Kafka at {where}: check security.protocol, ssl.ca.location and"
            " the certificate's name, and that this port speaks TLS"
        )
    if _RESOLVE in seen.codes:
        return WrongAddress(f"the name in kafka.bootstrap ({where}) cannot be resolved: correct it")
    if "refused" in text:
        return NoBroker(
            f"no Kafka at {where} (connection refused): start it, or correct kafka.bootstrap"
        )
    if any(_accepts(server) for server in where.split(",")):
        return NoBroker(
            f"something listens at {where} but does not answer as Kafka does: check the port, and"
            " security.protocol in kafka.properties (does it ask for SASL or TLS?)"
        )
    return NoBroker(f"no answer from Kafka at {where}: check kafka.bootstrap and the network")


def _accepts(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _create(client: AdminClient, settings: KafkaSettings, name: str, spec: TopicSpec) -> bool:
    """Whether we made it; False if somebody else just did."""
    topic = NewTopic(
        name,
        num_partitions=spec.partitions,
        replication_factor=settings.replication,
        config={
            "cleanup.policy": "compact" if spec.compacted else "delete",
            "max.message.bytes": str(MOST_RECORD_BYTES),
        },
    )
    try:
        client.create_topics([topic], operation_timeout=_ADMIN_S)[name].result(_ADMIN_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise _refused(settings, f"make topic {name}", error.args[0]) from error
    log.info("topic_made", topic=name, partitions=spec.partitions, compacted=spec.compacted)
    return True


def _check_policies(
    client: AdminClient, settings: KafkaSettings, specs: Mapping[str, TopicSpec]
) -> None:
    if not specs:
        return
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in specs]
    for resource, answer in client.describe_configs(resources).items():
        try:
            policy = answer.result(_ADMIN_S)["cleanup.policy"].value or ""
        except KafkaException as error:
            # Reading settings may be forbidden where reading records is allowed: then trust.
            log.warning("topic_not_checked", topic=resource.name, code=error.args[0].name())
            continue
        wants = "compact" if specs[resource.name].compacted else "delete"
        if wants not in policy.split(","):
            raise TopicMismatch(
                f"topic {resource.name} at {settings.servers} has cleanup.policy={policy} and"
                f" should have {wants}: change it, or take another kafka.prefix"
            )


def _call_into_being(client: AdminClient, settings: KafkaSettings, name: str) -> None:
    try:
        client.list_topics(name, _ADMIN_S)
    except KafkaException as error:
        raise _refused(settings, f"look at topic {name}", error.args[0]) from error


def _refused(settings: KafkaSettings, what: str, error: KafkaError) -> KafkaProblem:
    if error.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        return AccessDenied(
            f"Kafka at {settings.servers} does not allow us to {what}: grant it, or make the"
            " topic yourself"
        )
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return KafkaProblem(
            f"Kafka at {settings.servers} has fewer than {settings.replication} brokers, cannot"
            f" {what}: lower kafka.replication"
        )
    return KafkaProblem(f"Kafka at {settings.servers} could not {what}: {error.name()}")
