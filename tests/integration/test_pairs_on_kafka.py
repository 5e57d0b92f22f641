"""Pairs through a real Kafka: exact although workers are killed without warning."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.kafka.server import RealKafka
from detectors.pairs import Differences, HalfCounts, HalfKey, PairCounts
from streams.pair_delta import PairDelta, PairKey, decode_summaries
from tests.laws.pairing_line import add_up

REQUESTS = 3_000
PARTS, KILLS = 6, 3
MOST_S = 90.0
CONFIGURATION = """
inputs: [{{topic: {topic}}}]
kafka: {{bootstrap: "{kafka}", prefix: "{topic}.", partitions: 3}}
time: {{pane: 10s, windows: [1m]}}
summarize: {{flush_interval: 100ms, compiled: false}}
pairing: {{enabled: on, latency_tolerance: 0}}
"""


@dataclass
class Traffic:
    """Both answers of each request, and a score of each in an event of its own, in no common order,
    in parts; ``expected``: what their pairs add up to: pairs of answers, unlike labels, in how many
    the shadow is slower, pairs of scores and the sum of their differences, in steps."""

    rng: random.Random
    expected: dict[PairKey, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        timed: list[tuple[int, bytes]] = []
        start_ms = int(time.time() * 1000) - 60_000
        for request in range(REQUESTS):
            ts = start_ms + 10 * request
            ours, taken, score = self._answer(timed, request, ts, "shadow", "2")
            theirs, usual, other = self._answer(timed, request, ts, "production", "1")
            key = "2", "1", ts - ts % 10_000
            more = (1, ours != theirs, taken > usual, 1, (score - other) * 2**17)
            before = self.expected.get(key, (0,) * 5)
            self.expected[key] = tuple(a + b for a, b in zip(before, more, strict=True))
        # Within a second or so of their time, so that no event is late.
        self._values = [value for _, value in sorted(timed)]

    def _answer(
        self, timed: list[tuple[int, bytes]], request: int, ts: int, role: str, version: str
    ) -> tuple[str, int, int]:
        label, latency = self.rng.choice("AAB"), self.rng.randrange(1, 100)
        eighths = self.rng.randrange(9)
        head = {
            "ts": ts,
            "model": "m",
            "version": version,
            "role": role,
            "request_id": f"q-{request}",
        }
        answer = head | {"prediction": {"label": label}, "latency_ms": latency}
        timed += [
            (ts + self.rng.randrange(1_000), json.dumps(event).encode())
            for event in (answer, head | {"scores": {"s": eighths / 8}})
        ]
        return label, latency, eighths

    def produce(self, producer: confluent_kafka.Producer, topic: str, count: int) -> None:
        """The next ``count`` of them."""
        some, self._values = self._values[:count], self._values[count:]
        for value in some:
            producer.produce(topic, value, partition=self.rng.randrange(2))
        assert producer.flush(30) == 0


class Counts:
    """All committed counts of pairs, added up as they come."""

    def __init__(self, servers: str, topic: str) -> None:
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{topic}-test",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 500,
            }
        )
        self._consumer.subscribe([f"{topic}.summaries"])
        self.pairs: dict[PairKey, PairCounts] = {}
        self.halves: dict[HalfKey, HalfCounts] = {}

    def close(self) -> None:
        self._consumer.close()

    def read(self, seconds: float) -> int:
        """Reads on for so long; how many pairs of answers and of scores there are."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for message in self._consumer.consume(500, timeout=0.1):
                delta = None if message.error() else decode_summaries(message.value())
                if isinstance(delta, PairDelta):
                    add_up(delta, self.pairs, self.halves)
        return sum(counts.pairs + _scores(counts).n for counts in self.pairs.values())


def _scores(counts: PairCounts) -> Differences:
    return counts.scored.get(("scores.s", 1.0), Differences())


def test_pairs_are_counted_exactly_once_although_workers_are_killed(
    real_kafka: RealKafka, unique: Callable[[str], str], tmp_path: Path
) -> None:
    topic, rng = unique("pairs"), random.Random(5)
    servers = real_kafka.address
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
    config = tmp_path / "pairs.yaml"
    config.write_text(CONFIGURATION.format(topic=topic, kafka=servers), encoding="utf-8")
    log = tmp_path / "workers.log"
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, "-m", "streams", "summarize", "--config", str(config)]
        with log.open("ab") as output:
            running.append(subprocess.Popen(command, stdout=output, stderr=output))

    counts = Counts(servers, topic)
    try:
        start()
        start()
        traffic = Traffic(rng)
        producer = confluent_kafka.Producer({"bootstrap.servers": servers})
        for part in range(PARTS):
            before = counts.read(0.1)
            traffic.produce(producer, topic, 4 * REQUESTS // PARTS)
            if 0 < part <= KILLS:
                victim = running.pop(0)
                victim.kill()
                victim.wait()
                start()
            deadline = time.monotonic() + MOST_S
            while counts.read(0.1) == before:
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-3000:]
        deadline = time.monotonic() + MOST_S
        while counts.read(0.5) < 2 * REQUESTS and time.monotonic() < deadline:
            pass
        counts.read(3.0)  # nothing may come twice
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(20)
        counts.close()
    found = {
        key: (
            each.pairs,
            each.differ,
            each.measures["latency_ms", 1024.0].higher,
            _scores(each).n,
            _scores(each).first,
        )
        for key, each in counts.pairs.items()
    }
    assert found == traffic.expected, log.read_text(encoding="utf-8")[-3000:]
    for score in ("", "scores.s"):
        halves = [each.halves for (_, _, of), each in counts.halves.items() if of == score]
        assert sum(halves) == 2 * REQUESTS
    assert sum(each.repeated for each in counts.halves.values()) == 0
