"""The questions the doctor asks a broker; :mod:`streams.doctor_kafka` judges the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import confluent_kafka
from confluent_kafka import (
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)

from streams import kafka
from streams.doctor_kafka import GroupFacts, PlaceFacts, TopicFacts
from streams.intake import decode_clock
from streams.kafka import KafkaSettings

_WAIT_S: Final = 10.0


def ask_topics(
    settings: KafkaSettings, names: Iterable[str], known: Mapping[str, int]
) -> dict[str, TopicFacts]:
    """What the broker says of those of ``names`` that exist (``known``: their partitions)."""
    present = [name for name in names if name in known]
    if settings.embedded or not present:
        return {name: TopicFacts(name, known[name], 1) for name in present}
    client = AdminClient(kafka.admin(settings))
    described = client.describe_topics(
        TopicCollection(present), include_authorized_operations=True, request_timeout=_WAIT_S
    )
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in present]
    configured = client.describe_configs(resources, request_timeout=_WAIT_S)
    settings_of = {each.name: _answer(answer) for each, answer in configured.items()}
    found = {}
    for name in present:
        topic = _answer(described[name])
        entries = settings_of.get(name)
        found[name] = TopicFacts(
            name,
            known[name],
            min((len(p.replicas) for p in topic.partitions), default=1) if topic else 1,
            None if entries is None else {n: str(e.value) for n, e in entries.items()},
            _operations(None if topic is None else topic.authorized_operations),
        )
    return found


def _operations(operations: Any) -> frozenset[str] | None:
    if operations is None:
        return None
    return frozenset(
        each.name if isinstance(each, AclOperation) else str(each) for each in operations
    )


def _answer(future: Future[Any]) -> Any:
    """What was answered; None if we may not ask, or the broker does not know the question."""
    try:
        return future.result(_WAIT_S)
    except KafkaException as error:
        if error.args[0].code() in _NOT_SAID:
            return None
        raise


_NOT_SAID: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - its public name
        KafkaError.UNSUPPORTED_VERSION,
    }
)


def ask_group(
    settings: KafkaSettings, group: str, role: str, topics: Mapping[str, int]
) -> GroupFacts:
    """Where a group stands in ``topics`` (name to number of partitions). It does not join it."""
    members, rebalancing = _members(settings, group)
    client = confluent_kafka.Consumer(
        {
            **kafka.results_consumer(settings, "doctor"),
            "group.id": group,
            "client.id": "driftline-doctor",
        }
    )
    places = [TopicPartition(name, p) for name, count in topics.items() for p in range(count)]
    try:
        found = []
        for committed in client.committed(places, timeout=_WAIT_S):
            if committed.error is not None:
                raise KafkaException(committed.error)
            place = TopicPartition(committed.topic, committed.partition)
            low, high = client.get_watermark_offsets(place, timeout=_WAIT_S)
            found.append(
                PlaceFacts(
                    committed.topic,
                    committed.partition,
                    max(committed.offset, -1),
                    low,
                    high,
                    decode_clock(committed.metadata),
                )
            )
    finally:
        client.close()
    return GroupFacts(group, role, members, rebalancing, tuple(found))


def _members(settings: KafkaSettings, group: str) -> tuple[int | None, bool]:
    if settings.embedded:  # its broker does not describe groups
        return None, False
    client = AdminClient(kafka.admin(settings))
    described = _answer(client.describe_consumer_groups([group], request_timeout=_WAIT_S)[group])
    if described is None:
        return None, False
    moving = (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING)
    return len(described.members), described.state in moving
