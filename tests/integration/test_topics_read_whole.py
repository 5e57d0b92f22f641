"""What the checker of the fault cells reads of a topic is all that is committed in it, also where
somebody who was killed has left a transaction open in front of it."""

from __future__ import annotations

import threading
import uuid

import pytest
from confluent_kafka import Producer

from deploy.kafka.server import RealKafka
from tests.faults.broker_requests import Broker
from tests.faults.topic_reading import ends, records


def begun(servers: str, topic: str, *values: bytes) -> Producer:
    """A producer whose records are in the topic, in a transaction that is open."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions()
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush()
    return producer


@pytest.mark.kafka
def test_an_open_transaction_is_waited_for(real_kafka: RealKafka) -> None:
    servers, topic = real_kafka.address, f"whole-{uuid.uuid4().hex[:8]}"
    Broker(servers).make_topic(topic, 1)
    left = begun(servers, topic, b"never committed")
    begun(servers, topic, b"a", b"b").commit_transaction()
    assert ends(servers, topic, committed=True) == {0: 0}
    ender = threading.Timer(2, left.abort_transaction)
    ender.start()
    try:
        assert [each.value for each in records(servers, topic)] == [b"a", b"b"]
    finally:
        ender.join()
