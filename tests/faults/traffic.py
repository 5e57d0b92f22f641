"""Events with a known fate: what was sent, and what must become of it.

`expected` reckons from the log alone, in plain Python and by what the documents promise, not with
the code that is tested: which rows are counted in which pane, which are late, which are dead.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import confluent_kafka

PARTITIONS = 4
PANE_MS = 1_000
OUT_OF_ORDERNESS_MS = 500
LATENESS_MS = 5_000
MODEL = "fraud"
CLOCK = "clock"
"""A model whose only event in each partition comes last and closes all windows before it."""

Pane = tuple[str, str, int]
"""Model, version, start of the pane."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it was sent: its bytes, what stands in each row of it that can be read (event
    time, model, version), and how many rows or messages of it cannot be read."""

    body: bytes
    rows: tuple[tuple[int, str, str], ...]
    dead: int = 0


@dataclass(slots=True)
class Expected:
    """What must become of all rows."""

    events: Counter[Pane] = field(default_factory=Counter)
    late: Counter[int] = field(default_factory=Counter)
    dead: Counter[tuple[int, int]] = field(default_factory=Counter)
    messages: int = 0
    late_rows: int = 0


class ProducerLog:
    """Messages in the order of each partition: the offset of a message is its place."""

    def __init__(self) -> None:
        self.messages: dict[int, list[Sent]] = {p: [] for p in range(PARTITIONS)}
        self.offsets: dict[int, list[int]] = {}
        """As the broker gave them; the same as the places in the lists, unless others write too."""

    def expected(self, missing: Mapping[int, range] | None = None) -> Expected:
        """``missing``: offsets of partitions that were deleted before anybody could read them."""
        found = Expected()
        for partition, messages in list(self.messages.items()):
            newest = -(2**62)
            for offset, sent in zip(self.offsets.get(partition, ()), messages, strict=True):
                if offset in (missing or {}).get(partition, ()):
                    continue
                found.messages += 1
                if sent.dead:
                    found.dead[partition, offset] += sent.dead
                before = newest
                for ts, model, version in sent.rows:
                    pane = ts - ts % PANE_MS
                    newest = max(newest, ts)
                    if pane + PANE_MS + LATENESS_MS <= before - OUT_OF_ORDERNESS_MS:
                        found.late[partition] += 1
                    else:
                        found.events[model, version, pane] += 1
        found.late_rows = found.late.total()
        return found

    def total(self) -> int:
        return sum(map(len, self.messages.values()))


class Traffic:
    """Sends events of a production release and of a canary, second by second of event time, in a
    thread of its own, until told to stop. ``bad``: the canary's quality is bad."""

    def __init__(
        self, servers: str, topic: str, seed: int, pause_s: float = 0.05, bad: bool = False
    ) -> None:
        self.log = ProducerLog()
        self.base_ms = (time.time_ns() // 1_000_000 - 3 * 3_600_000) // 60_000 * 60_000
        self.seconds = 0
        self._random = random.Random(seed)
        self._topic = topic
        self._pause_s = pause_s
        self._bad = bad
        self._servers = servers
        self._producer = self._new_producer()
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._held = False
        self._refused: list[str] = []
        self._partitions = PARTITIONS
        self._left_out = -1
        self._thread = threading.Thread(target=self._run, name="traffic")

    def _new_producer(self) -> confluent_kafka.Producer:
        return confluent_kafka.Producer(
            {
                "bootstrap.servers": self._servers,
                "linger.ms": 5,
                "enable.idempotence": True,
                "message.timeout.ms": 120_000,
                "message.max.bytes": 100_000_000,
                "compression.type": "zstd",
                "topic.metadata.refresh.interval.ms": 1_000,
                "logger": _Silent(),
            }
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def halt(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()
        self.flush()

    def end(self) -> None:
        """Stop, and send one later event to each partition, so that every window closes."""
        self.halt()
        ts = self.base_ms + self.seconds * 1_000 + 30_000
        for partition in range(self._partitions):
            row = {"ts": ts, "model": CLOCK, "version": "1", "role": "production"}
            self.send(partition, Sent(json.dumps(row).encode(), ((ts, CLOCK, "1"),)))
        self.flush()

    def flush(self) -> None:
        left = self._producer.flush(60)
        if left or self._refused:
            raise AssertionError(f"the traffic itself was lost: {left} left, {self._refused[:3]}")

    def send(self, partition: int, sent: Sent) -> None:
        self.log.messages[partition].append(sent)
        while True:
            try:
                self._producer.produce(
                    self._topic, sent.body, partition=partition, on_delivery=self._delivered
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, error: Any, message: confluent_kafka.Message) -> None:
        if error is not None:
            self._refused.append(f"{message.partition()}: {error.name()}")
            return
        self.log.offsets.setdefault(message.partition() or 0, []).append(message.offset() or 0)

    def use_partitions(self, partitions: int) -> None:
        """From the next second on, so many; returns when the producer knows of them."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self._producer.list_topics(self._topic, timeout=5).topics[self._topic]
            if len(found.partitions) == partitions:
                break
            time.sleep(0.1)
        for partition in range(self._partitions, partitions):
            self.log.messages[partition] = []
        self._partitions = partitions

    def hold(self) -> None:
        """Send nothing more until `late` or `go_on` is called."""
        with self._sending:
            self._held = True

    def late(self) -> None:
        """What is sent next to each partition comes far too late; then all goes on."""
        start = self.base_ms + self.seconds * 1_000
        with self._sending:
            for partition in range(self._partitions):
                self.send(partition, _message([self._event(start - 60_000)]))
            self._held = False

    def leave_out(self, partition: int) -> None:
        """From the next second on nothing is sent to this partition, until the end."""
        with self._sending:
            self._left_out = partition

    def go_on(self, *, topic_is_new: bool = False) -> None:
        """After `hold`. A producer that knew a topic of this name cannot write to the new one."""
        with self._sending:
            if topic_is_new:
                self._producer = self._new_producer()
            self._held = False

    def hurry(self, seconds: int) -> None:
        """So many seconds of events at once."""
        with self._sending:
            for _ in range(seconds):
                self.second()
        self.flush()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._sending:
                if not self._held:
                    self.second()
            self._stop.wait(self._pause_s)

    def second(self) -> None:
        """One second of event time: single events, lines, and now and then what is late or cannot
        be read."""
        start = self.base_ms + self.seconds * 1_000
        for partition in range(self._partitions):
            event = self._event(start + self._random.randrange(1_000))
            self._unless_left_out(partition, _message([event]))
            lines = [self._event(start + self._random.randrange(1_000)) for _ in range(4)]
            self._unless_left_out(partition, _message(lines, broken=self.seconds % 11 == partition))
        if self.seconds % 7 == 3:
            self._unless_left_out(self.seconds % PARTITIONS, Sent(b"\xff\xfe broken", (), 1))
        if self.seconds % 5 == 4:
            late = [self._event(start - 20_000 - self._random.randrange(1_000))]
            self._unless_left_out(self.seconds % PARTITIONS, _message(late))
        self.seconds += 1

    def _unless_left_out(self, partition: int, sent: Sent) -> None:
        if partition != self._left_out:
            self.send(partition, sent)

    def _event(self, ts_ms: int) -> dict[str, Any]:
        canary = self._random.random() < 1 / 3
        good = 0.2 if canary and self._bad else 0.8
        return {
            "ts": ts_ms,
            "model": MODEL,
            "version": "2" if canary else "1",
            "role": "canary" if canary else "production",
            "features": {"amount": round(self._random.lognormvariate(3, 1), 3)},
            "scores": {"quality": float(self._random.random() < good)},
            "latency_ms": round(self._random.lognormvariate(4, 0.3), 3),
        }


class _Silent:
    """The broker is away on purpose: nobody wants to read about it."""

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Drops a line."""


def _message(events: list[dict[str, Any]], broken: bool = False) -> Sent:
    lines = [json.dumps(event).encode() for event in events]
    if broken:
        lines.insert(2, b'{"ts": 12, "model"')
    rows = tuple((event["ts"], event["model"], event["version"]) for event in events)
    return Sent(b"\n".join(lines), rows, int(broken))
