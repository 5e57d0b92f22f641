"""What runs before and beside the roles in deploy/compose.yaml, on a real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.compose.prepare import MODEL, make_reference
from deploy.compose.producer import PARTITIONS, TOPICS
from deploy.kafka.server import RealKafka
from streams.internal_topics import REFERENCES, topic_specs
from streams.kafka import KafkaSettings
from streams.tied_process import tied

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

REPOSITORY = Path(__file__).resolve().parents[2]


def _read(
    kafka: RealKafka, topic: str, atleast: int, seconds: float
) -> list[confluent_kafka.Message]:
    """Messages of a topic, until there are so many or the time is over."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.address, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[confluent_kafka.Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < atleast and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    return found


def test_references_are_published_and_the_topics_made(
    real_kafka: RealKafka, unique: Callable[[str], str], tmp_path: Path
) -> None:
    make_reference(tmp_path)
    prefix = f"{unique('published')}."
    kafka = KafkaSettings(bootstrap=real_kafka.address, prefix=prefix, partitions=2)
    environment = {
        **os.environ,
        "DRIFTLINE__KAFKA__BOOTSTRAP": real_kafka.address,
        "DRIFTLINE__KAFKA__PREFIX": prefix,
        "DRIFTLINE__KAFKA__PARTITIONS": "2",
        "DRIFTLINE__REFERENCES__FILES": f'["{tmp_path}/{MODEL}.json"]',
    }
    command = [sys.executable, "-m", "streams", "references", "publish"]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    specs = topic_specs(kafka)
    assert f"{len(specs)} topics made; references published: {MODEL}" in done.stdout
    topics = AdminClient({"bootstrap.servers": real_kafka.address}).list_topics(timeout=10).topics
    assert {name: len(topics[name].partitions) for name in specs} == {
        name: spec.partitions for name, spec in specs.items()
    }
    messages = _read(real_kafka, kafka.topic(REFERENCES), 1, 60)
    assert [message.key() for message in messages] == [MODEL.encode()]
    environment["DRIFTLINE__REFERENCES__FILES"] = f'["{tmp_path}/none.json"]'
    refused = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "none.json" in refused.stderr


def test_the_producer_of_the_composition_sends_what_is_due(real_kafka: RealKafka) -> None:
    client = AdminClient({"bootstrap.servers": real_kafka.address})
    wanted = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in TOPICS]
    for made in client.create_topics(wanted).values():
        made.result(20)
    script = REPOSITORY / "deploy" / "compose" / "producer.py"
    producer = subprocess.Popen(
        tied(
            [
                *(sys.executable, str(script), "--bootstrap", real_kafka.address),
                *("--deployer", "http://127.0.0.1:9", "--replay-seconds", "600"),
            ]
        ),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        answers = _read(real_kafka, "answers", 20, 60)
        assert len(answers) == 20
        event = json.loads(answers[0].value() or b"")
        assert event["model"] == "gpt-4"
        assert producer.poll() is None
    finally:
        producer.terminate()
        producer.wait(20)
