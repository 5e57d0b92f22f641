"""``latency``: from an event to the rollback webhook, on the whole line as `driftline up` runs it.

Rollouts follow one another: each has a model of its own, whose canary is three times slower than
production in two windows of a minute. Event time is made up, so a window takes no minute. Once the
traffic of both windows is sent, and after a pause of random length (so that nothing is in step with
the flush), one event a partition moves the watermark past the end of the second window: the clock
runs from producing those to the arrival of the webhook at examples/deployer.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import confluent_kafka
import numpy as np
import structlog
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition
from rich.progress import Progress

from bench.events import Source, generate, json_messages
from bench.measure import figure, percentile, report, resident_mb, show
from detectors.release import Role
from detectors.verdict import Status
from examples.ledger import Ledger, Outcome
from streams.config import Config, load_config
from streams.internal_topics import SUMMARIES, VERDICTS
from streams.supervise import Supervisor
from streams.tied_process import tied
from streams.timeline import MINUTE
from streams.up import start_all
from streams.wire import Progress as Clocks
from streams.wire import decode, decode_verdict, partition_for

GATE_S = 3.0
"""The 95th percentile from event to webhook, at a flush interval of 1 s."""
PARTITIONS = 4
WINDOWS = 2
EVENTS_PER_WINDOW = 1_000
TOPIC = "predictions"
_SECRET = "whsec_" + "YmVuY2htYXJr" * 3  # not a secret: both sides live as long as this run
_WEBHOOK_S = 30.0
_START_S = 15.0
_LATENESS_MS = 2_000


@dataclass(frozen=True, slots=True)
class Rollout:
    """``produced_ms``: when the deciding events were produced; ``newest_ms``: their event time."""

    model: str
    produced_ms: int
    newest_ms: int
    webhook_ms: int


def run(quick: bool) -> str:
    """Returns the JSON line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    count = 8 if quick else 40
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        rollouts, stages, memory = _measured(Path(folder), count)
    whole = [(each.webhook_ms - each.produced_ms) / 1000 for each in rollouts]
    table = {"event to webhook": whole, **stages}
    show(
        f"Event to rollback webhook, {count} rollouts, flush every second (seconds)",
        ("from, to", "p50", "p95", "max"),
        [[name, *(f"{x:.2f}" for x in _summary(found))] for name, found in table.items()],
    )
    show("Resident memory", ("process", "MB"), [[n, f"{mb:.0f}"] for n, mb in memory.items()])
    return report(
        "latency",
        "quick" if quick else "full",
        {
            "rollouts": count,
            "seconds": {
                name: dict(zip(("p50", "p95", "max"), map(figure, _summary(found)), strict=True))
                for name, found in table.items()
            },
            "resident_mb": {name: figure(mb) for name, mb in memory.items()},
            "gate_p95_s": GATE_S,
            "passed": percentile(whole, 0.95) < GATE_S,
        },
    )


def _measured(
    folder: Path, count: int
) -> tuple[list[Rollout], dict[str, list[float]], dict[str, float]]:
    """The rollouts, the stages of their way, and the resident memory of each process after them.

    The roles keep their logs and their state in the folder they are started in.
    """
    path = folder / "driftline.yaml"
    with (
        contextlib.chdir(folder),
        deployer(folder, count) as port,
        Supervisor(folder / "log") as up,
    ):
        path.write_text(_CONFIG.format(port=port), encoding="utf-8")
        config = start_all(load_config(path, os.environ), path, up, PARTITIONS)
        rollouts = list(_roll_out(config, count, Ledger(folder / "deployer.db")))
        stages = _stages(config, rollouts)
        return rollouts, stages, {name: resident_mb(pid) for name, pid in up.pids().items()}


_CONFIG = """
inputs: [{{topic: predictions, format: json}}]
summarize: {{flush_interval: 1s}}
judge: {{learn_events: 0, blind_after: 1d, retire_after: 2d}}
receivers: {{webhooks: [{{name: deployer, url: "http://127.0.0.1:{port}/rollback"}}]}}
egress: {{allow_private: ["127.0.0.1:{port}"]}}
store: {{path: store, http_port: 0}}
serve: {{port: 0}}
"""


def _summary(seconds: list[float]) -> tuple[float, float, float]:
    return percentile(seconds, 0.5), percentile(seconds, 0.95), max(seconds)


def _model(number: int) -> str:
    return f"model-{number:03d}"


@contextlib.contextmanager
def deployer(folder: Path, models: int) -> Iterator[int]:
    """The example deployer with a canary of every model; gives its port."""
    os.environ["DRIFTLINE_ROLLBACK_KEY"] = _SECRET
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "examples.deployer", "--port", str(port)]
    command += ["--state-file", str(folder / "deployer.db")]
    for number in range(models):
        command += ["--deploy", f"{_model(number)}=1:2"]
    with (folder / "deployer.log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log)
    try:
        _until(lambda: _listens(port), _START_S, "the deployer did not start")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.01)


def _roll_out(config: Config, count: int, ledger: Ledger) -> Iterator[Rollout]:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": config.kafka.servers, "linger.ms": 0, "enable.idempotence": True}
    )
    pauses = random.Random(11)
    now_ms = time.time_ns() // 1_000_000
    start_ms = (now_ms // MINUTE - WINDOWS * count - 2) * MINUTE
    with Progress(transient=True) as progress:
        task = progress.add_task("rollouts", total=count)
        for number in range(count):
            begin_ms = start_ms + number * WINDOWS * MINUTE
            for at, message in enumerate(_traffic(number, begin_ms)):
                producer.produce(TOPIC, message, partition=at % PARTITIONS)
            producer.flush(10)
            time.sleep(pauses.uniform(1.2, 2.2))
            newest_ms = begin_ms + WINDOWS * MINUTE + _LATENESS_MS
            last = json_messages(
                generate(
                    PARTITIONS, number, known=[Source(_model(number), "1")], start_ms=newest_ms
                )
            )
            produced_ms = time.time_ns() // 1_000_000
            for partition, message in enumerate(last):
                producer.produce(TOPIC, message, partition=partition)
            producer.flush(10)
            webhook_ms = _arrival(ledger, _model(number))
            if webhook_ms < produced_ms:
                raise RuntimeError(f"{_model(number)} was rolled back before its windows closed")
            yield Rollout(_model(number), produced_ms, newest_ms, webhook_ms)
            progress.advance(task)


def _traffic(number: int, begin_ms: int) -> list[bytes]:
    """Two windows of production and of a canary that is three times slower."""
    rows = WINDOWS * EVENTS_PER_WINDOW
    production = Source(_model(number), "1")
    canary = Source(_model(number), "2", Role.CANARY)
    per_second = rows / (WINDOWS * MINUTE / 1000)
    events = generate(
        rows, number, known=[production, canary], start_ms=begin_ms, per_second=per_second
    )
    slower = events.numbers.copy()
    slower[:, 0] *= np.where(events.sources == 1, 3.0, 1.0)
    return json_messages(replace(events, numbers=slower))


def _arrival(ledger: Ledger, model: str) -> int:
    """When the deployer executed the rollback of the model, on the wall."""
    found: list[int] = []

    def look() -> bool:
        found.extend(
            entry.at_ms
            for entry in ledger.log()
            if entry.outcome == Outcome.EXECUTED and entry.detail.startswith(f"{model}:")
        )
        return bool(found)

    _until(look, _WEBHOOK_S, f"no rollback of {model} within {_WEBHOOK_S:g} s")
    return found[0]


def _stages(config: Config, rollouts: list[Rollout]) -> dict[str, list[float]]:
    """Where the time went, from the records on the topics: the flush that carried the deciding
    events, and the verdict that they led to."""
    kafka = config.kafka
    flushed: dict[str, int] = {}
    for message in _records(config, kafka.topic(SUMMARIES)):
        record = decode(message.value())
        if not isinstance(record, Clocks) or not record.partitions:
            continue
        newest_ms = min(partition.newest_ms for partition in record.partitions)
        for each in rollouts:
            mine = message.partition() == partition_for(each.model, kafka.partitions)
            if mine and newest_ms >= each.newest_ms:
                flushed.setdefault(each.model, record.wall_ms)
    judged: dict[str, int] = {}
    for message in _records(config, kafka.topic(VERDICTS)):
        verdict = decode_verdict(message.value() or b"")
        if verdict.status is Status.FAIL and verdict.release.role is Role.CANARY:
            judged.setdefault(verdict.release.model, message.timestamp()[1])
    return {
        "event to flush": [(flushed[r.model] - r.produced_ms) / 1000 for r in rollouts],
        "flush to verdict": [(judged[r.model] - flushed[r.model]) / 1000 for r in rollouts],
        "verdict to webhook": [(r.webhook_ms - judged[r.model]) / 1000 for r in rollouts],
    }


def _records(config: Config, topic: str) -> Iterator[Message]:
    """Everything that a topic holds, once."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": config.kafka.servers,
            "group.id": "bench-latency",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        for partition in range(config.kafka.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high <= low:
                continue
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
            offset = -1
            while offset < high - 1:
                message = consumer.poll(10)
                if message is None:
                    raise TimeoutError(f"{topic}[{partition}] cannot be read to its end")
                if message.error() is None:
                    offset = message.offset() or 0
                    yield message
    finally:
        consumer.close()
