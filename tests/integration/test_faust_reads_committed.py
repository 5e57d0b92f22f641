"""A Faust worker sees committed records only, promptly, once it is connected by us.

The worker runs as its own process, as in production. On a real Kafka the same worker is also run
without our connection and then does see the aborted record: so the test proves something.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from deploy.kafka.server import RealKafka
from streams import kafka
from streams.kafka import KafkaSettings, embedded_at
from streams.kafka_topics import TopicSpec, check_broker, ensure_topics
from streams.tied_process import end

Unique = Callable[[str], str]

WORKER = """
import json, sys, time
import faust
from streams import faust_broker
from streams.kafka import KafkaSettings
bootstrap, topic, connection, folder = sys.argv[1:]
settings = KafkaSettings(bootstrap)
app = faust.App(f"app-{topic}", **faust_broker.app_arguments(settings), web_enabled=False,
                value_serializer="raw", consumer_auto_offset_reset="earliest", datadir=folder)
if connection == "ours":
    faust_broker.connect(app, settings)
out = open(folder + "/seen", "a", buffering=1)
@app.agent(app.topic(topic, value_type=bytes))
async def see(stream):
    async for value in stream:
        out.write(json.dumps([value.decode(), time.time()]) + "\\n")
sys.argv = ["worker", "worker", "-l", "error"]
app.main()
"""


@contextmanager
def worker(
    settings: KafkaSettings, topic: str, connection: str, folder: Path, repository: Path
) -> Iterator[Callable[[str], dict[str, float]]]:
    """Runs the worker; gives a function that waits for a value and returns all that was seen."""
    folder.mkdir()
    argv = [sys.executable, "-c", WORKER, settings.bootstrap, topic, connection, str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=repository, stdout=log, stderr=log)

    def seen_until(value: str) -> dict[str, float]:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            path = folder / "seen"
            lines = path.read_text().splitlines() if path.exists() else []
            seen = dict(json.loads(line) for line in lines)
            if value in seen:
                return seen
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.02)
        raise AssertionError((folder / "log").read_text()[-2000:])

    try:
        yield seen_until
    finally:
        end(process, 8)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("connection", "expected"),
    [("ours", ["committed", "last"]), ("stock", ["aborted", "committed", "last"])],
)
def test_aborted_records_do_not_reach_the_judge(
    real_kafka: RealKafka,
    unique: Unique,
    tmp_path: Path,
    repository: Path,
    connection: str,
    expected: list[str],
) -> None:
    settings, topic = KafkaSettings(real_kafka.address), unique("t")
    ensure_topics(settings, {topic: TopicSpec(1)})
    writer = Producer(kafka.transactional_producer(settings, unique("x")))
    writer.init_transactions(20)
    writer.begin_transaction()
    writer.produce(topic, b"aborted")
    writer.flush(10)
    writer.abort_transaction(10)
    for value in (b"committed", b"last"):
        writer.begin_transaction()
        writer.produce(topic, value)
        writer.commit_transaction(10)
    with worker(settings, topic, connection, tmp_path / "app", repository) as seen_until:
        assert list(seen_until("last")) == expected


@pytest.mark.embedded
def test_records_reach_the_judge_promptly_on_the_embedded_broker(
    embedded_broker: str, unique: Unique, tmp_path: Path, repository: Path
) -> None:
    settings, topic = KafkaSettings(embedded_at(embedded_broker)), unique("t")
    check_broker(settings, [topic])
    producer = Producer(kafka.producer(settings, "test"))
    producer.produce(topic, b"first", partition=0)
    producer.flush(5)
    with worker(settings, topic, "ours", tmp_path / "app", repository) as seen_until:
        seen_until("first")
        delays = []
        for number in range(7):
            time.sleep(0.1)  # let the consumer begin to wait in an empty fetch
            sent = time.time()
            producer.produce(topic, str(number).encode(), partition=0)
            producer.flush(5)
            delays.append(seen_until(str(number))[str(number)] - sent)
        assert sorted(delays)[3] < 0.4, delays
