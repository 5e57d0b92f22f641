"""The store is away for minutes while thousands of events a second come: nothing is lost, and it
catches up in time.

``python -m tests.faults --outage MINUTES [--rate EVENTS_PER_SECOND]``
"""

# ruff: noqa: S608 - the names in these statements are our own
from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Final, Self

import confluent_kafka

from deploy.kafka.server import RealKafka
from streams.internal_topics import INTAKE
from streams.store_loop import STORED
from tests.faults.engine import Engine
from tests.faults.lag import LAG_S, Lag
from tests.faults.roles import wait_until
from tests.faults.scene import WINDOW_MS, Scene
from tests.faults.soak import resident_mb
from tests.faults.traffic import MODEL, PARTITIONS

CAUGHT_UP_S: Final = 300.0
"""How long after its return the store may take to a lag below `LAG_S`."""
LINES: Final = 100
"""Events of one message, all of one time."""
_SETTLED_S: Final = 20.0


class Flood:
    """Events of one release at a steady rate, as messages of many lines, in a thread. ``sent``:
    events that the broker has acknowledged."""

    def __init__(self, servers: str, topic: str, rate: float, seed: int) -> None:
        chance = random.Random(seed)
        self._bodies = [self._body(chance) for _ in range(20)]
        self._topic, self._rate = topic, rate
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": servers,
                "linger.ms": 20,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "queue.buffering.max.kbytes": 200_000,
            }
        )
        self.sent = 0
        self.refused = 0
        self.late_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flood")

    @staticmethod
    def _body(chance: random.Random) -> bytes:
        lines = [
            {
                "ts": "@",
                "model": MODEL,
                "version": "1",
                "role": "production",
                "features": {f"f{i}": round(chance.lognormvariate(3, 1), 3) for i in range(6)},
                "scores": {"quality": float(chance.random() < 0.8)},
                "latency_ms": round(chance.lognormvariate(4, 0.3), 3),
            }
            for _ in range(LINES)
        ]
        return "\n".join(map(json.dumps, lines)).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop, and have everything acknowledged."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(60)

    def close_windows(self) -> None:
        """One event to each partition, much later than all others."""
        for partition in range(PARTITIONS):
            self._send(0, partition, time.time_ns() // 1_000_000 + 10 * WINDOW_MS, LINES)
        self._producer.flush(60)

    def _run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = began + number * LINES / self._rate
            wait = due - time.monotonic()
            if wait > 0.002:
                self._producer.poll(0)
                time.sleep(wait)
            self.late_s = max(self.late_s, -wait)
            now_ms = time.time_ns() // 1_000_000
            self._send(number, number % PARTITIONS, now_ms, LINES)
            number += 1

    def _send(self, number: int, partition: int, ts_ms: int, events: int) -> None:
        body = self._bodies[number % len(self._bodies)].replace(b'"@"', str(ts_ms).encode())

        def delivered(error: object, _: confluent_kafka.Message) -> None:
            if error is None:
                self.sent += events
            else:
                self.refused += events

        while True:
            try:
                self._producer.produce(
                    self._topic, body, partition=partition, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return


def outage(kafka: RealKafka, folder: Path, seed: int, minutes: float, rate: float) -> int:
    """Runs it and prints what came of it. Returns the exit code."""
    quick = {
        "DRIFTLINE__SUMMARIZE__COMPILED": "true",
        "DRIFTLINE__SUMMARIZE__FLUSH_INTERVAL": "1s",
    }
    with (
        Engine(folder) as engine,
        Scene(kafka.address, folder, seed) as scene,
    ):
        worker = scene.start("summarize", **quick)
        judge = scene.start("judge")
        store = scene.start("store", DRIFTLINE__STORE__URL=f"http://127.0.0.1:{engine.port}")
        for role in (worker, judge, store):
            role.wait_ready()
        with Flood(kafka.address, scene.topic, rate, seed) as flood:
            began = time.monotonic()
            time.sleep(_SETTLED_S)
            engine.kill()
            away = time.monotonic()
            most_mb = 0.0
            while time.monotonic() - away < 60 * minutes:
                time.sleep(2)
                if store.alive():
                    most_mb = max(most_mb, resident_mb(store))
            engine.start()
            lag = Lag(scene, "store", tuple(STORED))
            try:
                seconds = wait_until("the store has caught up", lag.caught_up, 2 * CAUGHT_UP_S)
            finally:
                lag.close()
            flood.end()
            real_rate = flood.sent / (time.monotonic() - began)
            flood.close_windows()
        scene.wait_read()
        scene.stop(worker)
        wanted = flood.sent
        counted = f"SELECT sum(events) FROM driftline.{INTAKE} FINAL FORMAT TSV"
        in_windows = (
            "SELECT sum(events) FROM (SELECT argMax(events, revision) AS events"
            " FROM driftline.windows FINAL WHERE segment = 'all' AND column = 'error'"
            f" AND window_ms = {WINDOW_MS} GROUP BY version, role, window_start) FORMAT TSV"
        )
        last = LINES * PARTITIONS  # in the window that nothing closes

        def number(query: str) -> int:
            rows = engine.ask(query)
            return int(rows[0][0]) if rows and rows[0][0].isdigit() else -1

        def all_there() -> bool:
            return number(counted) >= wanted and number(in_windows) >= wanted - last

        try:
            wait_until("everything is in the store", all_there, 60)
        except AssertionError:
            print(store.said()[-500:])
        found = {"ledger": number(counted), "windows": number(in_windows) + last}
    late = seconds > CAUGHT_UP_S
    wrong = {name: count - wanted for name, count in found.items() if count != wanted}
    print(
        f"{wanted} events, {real_rate:.0f} a second (asked for {rate:.0f}, {flood.late_s:.1f} s"
        f" behind at worst); store away for {minutes:g} min; lag below {LAG_S:g} s"
        f" {seconds:.1f} s after its return; store {most_mb:.0f} MB resident at most;"
        f" differences: {wrong or 'none'}; refused by the broker: {flood.refused}"
    )
    return 1 if late or wrong or flood.refused else 0
