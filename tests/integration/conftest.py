"""Brokers for the tests here: a real Apache Kafka where it can run, and the embedded one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from deploy.kafka.server import KafkaCannotRun, RealKafka
from streams import embedded_broker as embedded


@pytest.fixture(scope="session")
def real_kafka() -> Iterator[RealKafka]:
    """An Apache Kafka that all tests of the session share: use topics and groups of your own.

    A test that kills or pauses it starts it again before it ends; better, it runs its own.
    """
    try:
        kafka = RealKafka()
    except KafkaCannotRun as reason:
        pytest.skip(f"no real Kafka: {reason}")
    with kafka:
        yield kafka


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """``host:port`` of an embedded broker that all tests of the session share.

    Topics come into being at first use, with 4 partitions; `embedded.running` gives a test a
    broker of its own, with topics as it wants them.
    """
    with embedded.running({}) as address:
        yield address


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names of topics and groups that no other test uses."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:8]}"
