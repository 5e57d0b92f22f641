"""What the design takes for granted of a real Kafka, and of the embedded broker where it differs.

These run against the client library and the broker that are installed: they fail when an upgrade
changes what the promises rest on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from deploy.kafka.server import PASSWORD, USER, KafkaCannotRun, RealKafka
from streams import embedded_broker as embedded
from streams import kafka
from streams.kafka import KafkaSettings, embedded_at
from streams.kafka_topics import (
    AccessDenied,
    NoBroker,
    TlsFailed,
    TopicMismatch,
    TopicMissing,
    TopicSpec,
    check_broker,
    ensure_topics,
)

Unique = Callable[[str], str]
WATERMARK = '{"watermark_ms": 1686650400123}'


def real(broker: RealKafka) -> KafkaSettings:
    return KafkaSettings(bootstrap=broker.address)


def topic_on(broker: RealKafka, name: str, partitions: int = 1) -> str:
    ensure_topics(real(broker), {name: TopicSpec(partitions)})
    return name


def read(consumer: Consumer, count: int, within_s: float = 60.0) -> list[bytes]:
    """Values of the next ``count`` records; fewer if they do not come in time."""
    values: list[bytes] = []
    deadline = time.monotonic() + within_s
    while len(values) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(values), 0.2):
            assert message.error() is None, message.error()
            values.append(message.value() or b"")
    return values


def from_start(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """As the worker's consumer; it decides itself where to begin, here that is the beginning."""
    return {**kafka.input_consumer(settings, group), "auto.offset.reset": "earliest"}


def reader(settings: KafkaSettings, topic: str, group: str) -> Consumer:
    consumer = Consumer(from_start(settings, group))
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


@pytest.mark.kafka
def test_a_group_reads_what_was_produced_once(real_kafka: RealKafka, unique: Unique) -> None:
    settings, topic = real(real_kafka), topic_on(real_kafka, unique("t"), partitions=4)
    producer = Producer(kafka.producer(settings, "test"))
    sent = [str(number).encode() for number in range(500)]
    for value in sent:
        producer.produce(topic, value, key=value)
    assert producer.flush(10) == 0
    consumer = Consumer(from_start(settings, unique("g")))
    consumer.subscribe([topic])
    try:
        assert sorted(read(consumer, 500)) == sorted(sent)
        assert read(consumer, 1, within_s=0.5) == []
    finally:
        consumer.close()


@pytest.mark.kafka
def test_aborted_records_are_never_read(real_kafka: RealKafka, unique: Unique) -> None:
    settings, topic = real(real_kafka), topic_on(real_kafka, unique("t"))
    producer = Producer(kafka.transactional_producer(settings, unique("x")))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(10)
    consumer = reader(settings, topic, unique("g"))
    try:
        assert read(consumer, 1, within_s=1.0) == [], "read before the transaction ended"
        producer.abort_transaction(10)
        producer.begin_transaction()
        producer.produce(topic, b"committed")
        producer.commit_transaction(10)
        assert read(consumer, 1) == [b"committed"]
        assert read(consumer, 1, within_s=1.0) == []
    finally:
        consumer.close()


@pytest.mark.kafka
def test_a_zombie_is_fenced_by_its_successor(real_kafka: RealKafka, unique: Unique) -> None:
    settings, topic = real(real_kafka), topic_on(real_kafka, unique("t"))
    name = unique("x")
    zombie = Producer(kafka.transactional_producer(settings, name))
    zombie.init_transactions(20)
    zombie.begin_transaction()
    zombie.produce(topic, b"from the zombie")
    zombie.flush(10)
    successor = Producer(kafka.transactional_producer(settings, name))
    successor.init_transactions(20)
    with pytest.raises(KafkaException) as raised:
        zombie.commit_transaction(10)
    error = raised.value.args[0]
    assert error.fatal()
    assert error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
    successor.begin_transaction()
    successor.produce(topic, b"from the successor")
    successor.commit_transaction(10)
    consumer = reader(settings, topic, unique("g"))
    try:
        assert read(consumer, 1) == [b"from the successor"]
        assert read(consumer, 1, within_s=1.0) == []
    finally:
        consumer.close()


@pytest.mark.kafka
def test_offset_metadata_survives_a_transaction(real_kafka: RealKafka, unique: Unique) -> None:
    settings, topic = real(real_kafka), topic_on(real_kafka, unique("t"))
    group = unique("g")
    consumer = Consumer(from_start(settings, group))
    consumer.subscribe([topic])
    producer = Producer(kafka.transactional_producer(settings, unique("x")))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"one")
    producer.commit_transaction(10)
    try:
        assert read(consumer, 1) == [b"one"]
        offset = TopicPartition(topic, 0, 1, WATERMARK)
        producer.begin_transaction()
        producer.send_offsets_to_transaction([offset], consumer.consumer_group_metadata(), 10)
        producer.abort_transaction(10)
        assert committed(consumer, topic)[0] < 0, "an aborted transaction moved the group"
        producer.begin_transaction()
        producer.send_offsets_to_transaction([offset], consumer.consumer_group_metadata(), 10)
        producer.commit_transaction(10)
    finally:
        consumer.close()
    # Another process, later: a new member of the same group.
    successor = Consumer(from_start(settings, group))
    try:
        assert committed(successor, topic) == (1, WATERMARK)
    finally:
        successor.close()


@pytest.mark.kafka
def test_offset_metadata_survives_a_plain_commit_and_a_crash(unique: Unique) -> None:
    with own_kafka() as broker:
        settings, topic = real(broker), topic_on(broker, unique("t"))
        group = unique("g")
        consumer = Consumer(from_start(settings, group))
        consumer.commit(offsets=[TopicPartition(topic, 0, 7, WATERMARK)], asynchronous=False)
        consumer.close()
        broker.kill()
        broker.start()
        successor = Consumer(from_start(settings, group))
        try:
            assert committed(successor, topic) == (7, WATERMARK)
        finally:
            successor.close()


@pytest.mark.embedded
def test_offset_metadata_survives_a_plain_commit_on_the_embedded_broker(
    embedded_broker: str, unique: Unique
) -> None:
    settings = KafkaSettings(bootstrap=embedded_at(embedded_broker))
    topic, group = unique("t"), unique("g")
    check_broker(settings, [topic])
    consumer = Consumer(from_start(settings, group))
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, WATERMARK)], asynchronous=False)
    consumer.close()
    successor = Consumer(from_start(settings, group))
    try:
        assert committed(successor, topic) == (7, WATERMARK)
    finally:
        successor.close()


@pytest.mark.embedded
def test_the_embedded_broker_has_the_topics_it_was_asked_for(unique: Unique) -> None:
    with embedded.running({"predictions": 8, "verdicts": 1}) as address:
        settings = KafkaSettings(bootstrap=embedded_at(address))
        found = check_broker(settings, ["predictions", "verdicts", "made-at-first-use"])
        assert found["predictions"] == 8
        assert found["verdicts"] == 1
        assert found["made-at-first-use"] == embedded.AUTO_PARTITIONS


@pytest.mark.embedded
def test_records_on_the_embedded_broker_arrive_promptly(
    embedded_broker: str, unique: Unique
) -> None:
    settings, topic = KafkaSettings(bootstrap=embedded_at(embedded_broker)), unique("t")
    check_broker(settings, [topic])
    producer = Producer(kafka.producer(settings, "test"))
    consumer = reader(settings, topic, unique("g"))
    try:
        producer.produce(topic, b"first", partition=0)
        assert read(consumer, 1) == [b"first"]
        delays = []
        for _ in range(7):
            time.sleep(0.07)  # let the consumer begin to wait in an empty fetch
            sent = time.monotonic()
            producer.produce(topic, b"x", partition=0)
            assert read(consumer, 1) == [b"x"]
            delays.append(time.monotonic() - sent)
        assert sorted(delays)[3] < 0.3, delays
    finally:
        consumer.close()


@pytest.mark.kafka
def test_topics_are_made_as_wanted_and_once(real_kafka: RealKafka, unique: Unique) -> None:
    settings = real(real_kafka)
    wanted = {unique("a"): TopicSpec(3), unique("b"): TopicSpec(1, compacted=True)}
    assert set(ensure_topics(settings, wanted)) == set(wanted)
    assert ensure_topics(settings, wanted) == ()
    assert {name: check_broker(settings)[name] for name in wanted} == {
        name: spec.partitions for name, spec in wanted.items()
    }


@pytest.mark.kafka
def test_a_topic_that_is_not_as_wanted_is_refused(real_kafka: RealKafka, unique: Unique) -> None:
    settings, name = real(real_kafka), topic_on(real_kafka, unique("t"), partitions=2)
    with pytest.raises(TopicMismatch, match="has 2 partitions and should have 8"):
        ensure_topics(settings, {name: TopicSpec(8)})
    with pytest.raises(TopicMismatch, match=r"cleanup\.policy=delete and should have compact"):
        ensure_topics(settings, {name: TopicSpec(2, compacted=True)})


@pytest.mark.kafka
def test_a_missing_topic_is_named(real_kafka: RealKafka, unique: Unique) -> None:
    name = unique("nowhere")
    with pytest.raises(TopicMissing, match=f"topic {name} does not exist at .*: create it"):
        check_broker(real(real_kafka), [name])


@pytest.mark.kafka
def test_a_user_with_the_right_password_gets_in(real_kafka: RealKafka) -> None:
    assert check_broker(secure(real_kafka, PASSWORD)) is not None


@pytest.mark.kafka
def test_a_user_with_a_wrong_password_is_told_at_once(real_kafka: RealKafka) -> None:
    began = time.monotonic()
    with pytest.raises(AccessDenied, match=r"refuses the user: check sasl\.mechanism") as raised:
        check_broker(secure(real_kafka, "wrong-horse"), timeout_ms=20_000)
    assert time.monotonic() - began < 10
    assert "wrong-horse" not in str(raised.value)


@pytest.mark.kafka
def test_tls_to_a_port_without_it_is_told_at_once(real_kafka: RealKafka) -> None:
    settings = KafkaSettings(real_kafka.address, properties={"security.protocol": "ssl"})
    with pytest.raises(TlsFailed, match=r"no TLS connection.*ssl\.ca\.location"):
        check_broker(settings, timeout_ms=20_000)


@pytest.mark.kafka
def test_a_plain_client_at_a_port_with_sasl_is_told(real_kafka: RealKafka) -> None:
    with pytest.raises(NoBroker, match=r"something listens.*check the port"):
        check_broker(KafkaSettings(real_kafka.secure_address), timeout_ms=500)


@pytest.mark.kafka
def test_a_paused_broker_goes_on_where_it_was(unique: Unique) -> None:
    with own_kafka() as broker:
        settings, topic = real(broker), topic_on(broker, unique("t"))
        producer = Producer(kafka.producer(settings, "test"))
        broker.pause()
        producer.produce(topic, b"while it was frozen")
        assert producer.flush(1) == 1
        broker.resume()
        assert producer.flush(15) == 0
        consumer = reader(settings, topic, unique("g"))
        try:
            assert read(consumer, 1) == [b"while it was frozen"]
        finally:
            consumer.close()


def own_kafka() -> RealKafka:
    """A broker of the test's own, to be killed or frozen."""
    try:
        return RealKafka()
    except KafkaCannotRun as reason:
        pytest.skip(f"no real Kafka: {reason}")


def committed(consumer: Consumer, topic: str) -> tuple[int, str | None]:
    (found,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    return found.offset, found.metadata


def secure(broker: RealKafka, password: str) -> KafkaSettings:
    return KafkaSettings(
        broker.secure_address,
        properties={
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        },
    )
