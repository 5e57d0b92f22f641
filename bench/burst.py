"""``burst``: a worker that reads a steady stream is sent ten times as much, and more than it can.

The embedded broker and the worker of summarize run in processes of their own; this one sends, at a
steady rate, then ten times as fast, then at the steady rate again. In the second scene the burst is
as much as the broker can hold unread, all the time: more than the worker can take. Told are, for
before, during and after the burst: the time between flushes, how long one took, the worker's
resident memory, and how many events waited in Kafka.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
from rich.progress import Progress

from bench.events import generate
from bench.hotpath import PARTITIONS
from bench.hotpath_case import CASES, Case
from bench.measure import figure, percentile, report, resident_mb, show
from streams import embedded_broker
from streams.internal_topics import topic_specs
from streams.kafka import KafkaSettings, embedded_at
from streams.tied_process import tied

MOST_BETWEEN_S = 1.5
"""Between two flushes, for a flush interval of one second."""
MOST_MB = 500
"""Resident memory: about 200 MB are the process with its kernels."""
_EVENTS = 12_800
"""Different events; they are sent again and again. Their times span 1.3 s: none is late."""
_KEPT_BYTES = 0.8 * 5 * 1024 * 1024
"""What may wait unread of a partition: the broker keeps 5 MiB and forgets what is older."""
_TICK_S = 0.02
_START_S = _DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Scene:
    """``steady`` and ``burst``: events per second; None: as many as the broker can hold."""

    name: str
    case: Case
    steady: int
    burst: int | None


SCENES = (
    Scene("JSON, ten times as much", CASES[0], 10_000, 100_000),
    Scene("NDJSON, more than it can", CASES[2], 20_000, None),
)


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    began: float
    ended: float
    sent: int
    """Events."""
    waiting: int
    """Events in Kafka that were not read when it ended."""


@dataclass(slots=True)
class Watched:
    """What the worker's process tells of itself, and what is seen of it."""

    process: subprocess.Popen[str]
    flushes: list[dict[str, float]] = field(default_factory=list)
    resident: list[tuple[float, float]] = field(default_factory=list)

    @property
    def read(self) -> int:
        return int(self.flushes[-1]["read"]) if self.flushes else 0

    @property
    def least(self) -> int:
        """Of the partition of which the fewest messages were read."""
        return int(self.flushes[-1]["least"]) if self.flushes else 0

    def listen(self) -> None:
        for line in self.process.stdout or ():
            self.flushes.append(json.loads(line))

    def look(self) -> None:
        while self.process.poll() is None:
            try:
                self.resident.append((time.monotonic(), resident_mb(self.process.pid)))
            except (FileNotFoundError, ProcessLookupError):
                return  # it has just ended
            time.sleep(0.1)


def run(quick: bool) -> str:
    """Both scenes; returns the JSON line."""
    steady_s, burst_s = (4.0, 6.0) if quick else (10.0, 20.0)
    kafka = KafkaSettings()
    fields: dict[str, Any] = {"most_between_s": MOST_BETWEEN_S, "most_mb": MOST_MB}
    rows: list[list[str]] = []
    passed = True
    with Progress(transient=True) as progress:
        todo = progress.add_task("sending", total=len(SCENES) * 3)
        for scene in SCENES:
            topics = {scene.case.topic: PARTITIONS}
            topics |= {name: spec.partitions for name, spec in topic_specs(kafka).items()}
            phases: list[Phase] = []
            with (
                embedded_broker.running(topics) as address,
                _worker(address, scene.case) as worker,
            ):
                sender = Sender(address, scene.case, worker)
                sender.wait_for_worker()
                for name, rate, seconds in (
                    ("before", scene.steady, steady_s),
                    ("burst", scene.burst, burst_s),
                    ("after", scene.steady, steady_s),
                ):
                    phases.append(sender.send(name, rate, seconds))
                    progress.advance(todo)
                caught_up = sender.wait_until_read()
            counted = int(worker.flushes[-1]["counted"])
            sent = sum(phase.sent for phase in phases)
            told = [_told(phase, worker) for phase in phases]
            caught_up_s = caught_up - phases[1].ended
            for phase, each in zip(phases, told, strict=True):
                passed &= each["between_p99_s"] <= MOST_BETWEEN_S and each["peak_mb"] <= MOST_MB
                rows.append([f"{scene.name}: {phase.name}", *(f"{v:,.4g}" for v in each.values())])
            passed &= counted == sent
            fields[scene.name] = {
                **{phase.name: each for phase, each in zip(phases, told, strict=True)},
                "sent": sent,
                "counted": counted,
                "all_read_s_after_the_burst": figure(caught_up_s),
            }
    show(
        "A burst: times between flushes in seconds",
        (
            "",
            "events/s",
            "flushes",
            "between, median",
            "p99",
            "most",
            "one took at most",
            "peak MB",
            "unread at its end",
        ),
        rows,
    )
    return report("burst", "quick" if quick else "full", {**fields, "passed": bool(passed)})


@contextmanager
def _worker(address: str, case: Case) -> Iterator[Watched]:
    command = [sys.executable, "-m", "bench.burst_worker", address, case.topic, "burst"]
    process = subprocess.Popen(tied(command), stdout=subprocess.PIPE, text=True)
    watched = Watched(process)
    threads = [threading.Thread(target=each) for each in (watched.listen, watched.look)]
    try:
        for thread in threads:
            thread.start()
        yield watched
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()


class Sender:
    """Sends the same messages again and again, to all partitions in turn."""

    def __init__(self, address: str, case: Case, worker: Watched) -> None:
        self._case, self._worker = case, worker
        events = generate(_EVENTS, 1, case.shape, per_second=10_000)
        self._messages = case.write(events)
        self._each = case.rows_per_message
        self._room = int(_KEPT_BYTES / max(map(len, self._messages)))
        self._sent = 0
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": address.removeprefix(embedded_at("")),
                "linger.ms": 20,
                "batch.size": 900_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,  # the broker ends before this does
            }
        )

    def send(self, name: str, rate: int | None, seconds: float) -> Phase:
        """``rate`` in events a second; None: whatever there is room for."""
        began = time.monotonic()
        before = due = self._sent
        while (passed := time.monotonic() - began) < seconds:
            room = (self._worker.least + self._room) * PARTITIONS - self._sent
            if rate is not None:
                due = before + int(passed * rate / self._each)
            self._produce(max(0, min(room, due - self._sent if rate is not None else room)))
            self._producer.poll(0)
            time.sleep(_TICK_S)
        self._producer.flush(30)
        return Phase(
            name,
            began,
            time.monotonic(),
            (self._sent - before) * self._each,
            (self._sent - self._worker.read) * self._each,
        )

    def _produce(self, count: int) -> None:
        for _ in range(count):
            message = self._messages[self._sent % len(self._messages)]
            try:
                self._producer.produce(self._case.topic, message, partition=self._sent % PARTITIONS)
            except BufferError:
                return  # the broker has more to do than it can; later
            self._sent += 1

    def wait_for_worker(self) -> None:
        """Until it has flushed once: before that, its start would be measured."""
        deadline = time.monotonic() + _START_S
        while not self._worker.flushes:
            if time.monotonic() > deadline or self._worker.process.poll() is not None:
                raise RuntimeError("the worker did not start")
            time.sleep(0.05)

    def wait_until_read(self) -> float:
        """When the worker had read everything."""
        deadline = time.monotonic() + _DRAIN_S
        while self._worker.read < self._sent:
            if time.monotonic() > deadline or self._worker.process.poll() is not None:
                raise RuntimeError(f"{self._worker.read} of {self._sent} messages were read")
            time.sleep(0.05)
        return self._worker.flushes[-1]["ended"]


def _told(phase: Phase, worker: Watched) -> dict[str, float]:
    """Figures of a phase; a time between flushes belongs to where it ended."""
    begins = [each["began"] for each in worker.flushes]
    pairs = itertools.pairwise(begins)
    between = [b - a for a, b in pairs if phase.began <= b < phase.ended] or [0.0]
    took = [e["ended"] - e["began"] for e in worker.flushes if _within(e["began"], phase)] or [0.0]
    peak = max((mb for at, mb in worker.resident if _within(at, phase)), default=0.0)
    return {
        "events_per_s": figure(phase.sent / (phase.ended - phase.began)),
        "flushes": len(between),
        "between_median_s": figure(percentile(between, 0.5)),
        "between_p99_s": figure(percentile(between, 0.99)),
        "between_most_s": figure(max(between)),
        "took_most_s": figure(max(took)),
        "peak_mb": figure(peak),
        "unread": phase.waiting,
    }


def _within(at: float, phase: Phase) -> bool:
    return phase.began <= at < phase.ended
