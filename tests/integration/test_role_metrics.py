"""Roles as processes: what they tell Prometheus while they work, on the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams import embedded_broker
from streams.internal_topics import topic_specs
from streams.kafka import KafkaSettings, embedded_at
from tests.ports import free_port

pytestmark = pytest.mark.embedded
EVENTS = 50
ROLES = ("store", "judge", "deliver", "summarize")


def scraped(port: int) -> dict[str, float]:
    """The sum of each metric over its labels; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@contextmanager
def role(name: str, broker: str, folder: Path) -> Iterator[int]:
    port = free_port()
    environment = {
        **os.environ,
        "DRIFTLINE__KAFKA__BOOTSTRAP": embedded_at(broker),
        "DRIFTLINE__STORE__PATH": str(folder / "store"),
        "DRIFTLINE__STORE__HTTP_PORT": "0",
        "DRIFTLINE__SUMMARIZE__COMPILED": "false",
        "DRIFTLINE__METRICS__PORT": str(port),
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", name],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, (folder / f"{name}.log").read_text()[-2_000:]
    finally:
        process.kill()
        process.wait(10)


def test_every_role_answers_prometheus_and_counts_what_went_through(tmp_path: Path) -> None:
    topics = {name: spec.partitions for name, spec in topic_specs(KafkaSettings()).items()}
    with ExitStack() as stack:
        broker = stack.enter_context(embedded_broker.running({"predictions": 1, **topics}))
        ports = {name: stack.enter_context(role(name, broker, tmp_path)) for name in ROLES}
        producer = Producer({"bootstrap.servers": broker})
        for number in range(EVENTS):
            ts = int(time.time() * 1000)
            event = {"ts": ts, "model": "m", "version": "1", "features": {"x": number}}
            producer.produce("predictions", json.dumps(event).encode())
        producer.produce("predictions", b"no event")
        assert producer.flush(10) == 0
        wanted = {
            "summarize": ("driftline_intake_messages_total", EVENTS + 1),
            "judge": ("driftline_judge_records_total", 1),
            "store": ("driftline_store_rows_total", 1),
            "deliver": ("driftline_deliveries_waiting", 0),
        }
        until = time.monotonic() + 60
        found: dict[str, dict[str, float]] = {}
        while time.monotonic() < until:
            found = {name: scraped(port) for name, port in ports.items()}
            if all(
                found[name].get(metric, -1) >= least for name, (metric, least) in wanted.items()
            ):
                break
            time.sleep(0.5)
        for name, (metric, least) in wanted.items():
            log = (tmp_path / f"{name}.log").read_text()[-2_000:]
            assert found[name].get(metric, -1) >= least, (name, found[name], log)
            assert found[name]["process_resident_memory_bytes"] > 0
        assert found["summarize"]["driftline_intake_rows_total"] == EVENTS + 1
        assert found["summarize"]["driftline_input_lag_messages"] == 0
        assert 0 <= found["summarize"]["driftline_input_watermark_age_seconds"] < 60
        assert found["store"]["driftline_table_rows"] >= 0
        assert found["store"]["driftline_store_answers"] == 1
    left = {each.name for each in tmp_path.iterdir()} - {f"{name}.log" for name in ROLES}
    assert left == {"store"}, "only the store has anything to keep"
