"""The doctor at a real Kafka: what it says is what the broker has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from deploy.kafka.server import RealKafka
from streams.doctor import Check, Level
from streams.doctor_kafka import group_checks, topic_checks
from streams.doctor_kafka_ask import ask_group, ask_topics
from streams.intake import encode_clock
from streams.kafka import KafkaSettings
from streams.kafka_topics import TopicSpec, check_broker, ensure_topics
from tests.faults.roles import wait_until

pytestmark = pytest.mark.kafka
NOW = 1_700_000_000_000


def make(address: str, name: str, partitions: int, **config: str) -> None:
    client = AdminClient({"bootstrap.servers": address})
    topic = NewTopic(
        name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()}
    )
    client.create_topics([topic])[name].result(10)
    # It is made when the controller has made it, and there when the broker has heard of it.
    wait_until(f"{name} is there", lambda: name in client.list_topics(timeout=10).topics, 30)


def said(checks: list[Check], level: Level) -> set[str]:
    return {check.subject for check in checks if check.level is level}


def test_topics_are_described_as_the_broker_has_them(
    real_kafka: RealKafka, unique: Callable[[str], str]
) -> None:
    kafka = KafkaSettings(bootstrap=real_kafka.address)
    good, bad, gone, source = (unique(n) for n in ("good", "bad", "gone", "source"))
    ensure_topics(kafka, {good: TopicSpec(2, compacted=True)})
    make(real_kafka.address, bad, 3, cleanup_policy="delete", max_message_bytes="500000")
    make(real_kafka.address, source, 1, retention_ms="60000")
    known = check_broker(kafka, [good, bad, source])
    wanted = {name: TopicSpec(2, compacted=True) for name in (good, bad, gone)}
    facts = ask_topics(kafka, [source, *wanted], known)
    settings, allowed = facts[good].settings, facts[good].allowed
    assert settings is not None
    assert settings["max.message.bytes"] == "8388608"
    assert allowed is not None
    assert {"READ", "WRITE", "DESCRIBE"} <= allowed
    checks = topic_checks(wanted, [source], facts)
    wrong = [check for check in checks if check.level is Level.WRONG]
    assert said(wrong, Level.WRONG) == {f"topic {bad}", f"topic {gone}", f"topic {source}"}
    assert len([check for check in wrong if check.subject == f"topic {bad}"]) == 3


def test_a_group_is_seen_without_being_joined(
    real_kafka: RealKafka, unique: Callable[[str], str]
) -> None:
    kafka = KafkaSettings(bootstrap=real_kafka.address)
    topic, group = unique("in"), unique("group")
    make(real_kafka.address, topic, 1)
    producer = Producer({"bootstrap.servers": real_kafka.address})
    for _ in range(10):
        producer.produce(topic, b"x")
    producer.flush(10)
    consumer = Consumer({"bootstrap.servers": real_kafka.address, "group.id": group})
    place = TopicPartition(topic, 0, 4, encode_clock(NOW - 5_000))
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    facts = ask_group(kafka, group, "summarize", {topic: 1})
    (found,) = facts.places
    assert (found.committed, found.low, found.high) == (4, 0, 10)
    assert found.newest_ms == NOW - 5_000
    assert facts.members == 0
    texts = [check.what for check in group_checks(facts, NOW, 60_000)]
    assert texts == ["nobody reads", "6 messages behind", "the newest event is 5 s old"]


def test_messages_deleted_before_they_were_read_are_said(
    real_kafka: RealKafka, unique: Callable[[str], str]
) -> None:
    kafka = KafkaSettings(bootstrap=real_kafka.address)
    topic, group = unique("in"), unique("group")
    make(real_kafka.address, topic, 1)
    producer = Producer({"bootstrap.servers": real_kafka.address})
    for _ in range(10):
        producer.produce(topic, b"x")
    producer.flush(10)
    consumer = Consumer({"bootstrap.servers": real_kafka.address, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    consumer.close()
    client = AdminClient({"bootstrap.servers": real_kafka.address})
    for deleted in client.delete_records([TopicPartition(topic, 0, 7)]).values():
        deleted.result(10)
    checks = group_checks(ask_group(kafka, group, "summarize", {topic: 1}), NOW, 60_000)
    assert any("5 messages" in check.what and check.level is Level.WRONG for check in checks)
