"""``startup``: how long after its start a worker has summarized its first events, while kernels
compile and when they need not.

The role summarize is started as ``driftline up`` starts it, in turns with nothing in the cache of
compiled kernels, with a full cache, and with ``summarize.compiled: false``. Its topic is full
before, and is sent more all the time. The clock is the one on the wall: from the start of the
process to the arrival of the first summaries, and to the arrival of those of all that was there
before. With an empty cache the worker is watched until it says that kernels are ready: how many
events it had summarized by then is told.

Gated is the quickest start of each kind, for what other work does to the clock differs from start
to start and only adds, while compiling would delay each of them; and the worker's own CPU time
until then.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from rich.progress import Progress

from bench.events import generate, json_messages
from bench.measure import Spread, cpu_s_of, figure, report, show
from detectors.release import ALL
from streams import embedded_broker
from streams.internal_topics import SUMMARIES, topic_specs
from streams.kafka import KafkaSettings, embedded_at, producer, results_consumer
from streams.tied_process import end, tied
from streams.wire import Delta, decode, events_of

MOST: Final = 1.25
"""How much later than without kernels the first events may be summarized while they compile."""
TOPIC: Final = "predictions"
PARTITIONS: Final = 16
WAITING: Final = 64_000
"""Events in the topic before the start."""
STEADY: Final = 5_000
"""Events a second after it."""
_FLUSH_MS: Final = 100
"""Ten times as often as by default: waiting for a flush is nothing that kernels could delay."""
_GIVE_UP_S: Final = 600.0


class Way(StrEnum):
    """How a worker is started."""

    COLD = "nothing in the cache"
    WARM = "kernels in the cache"
    OFF = "without kernels"


@dataclass(slots=True)
class Watched:
    """Seconds after the start of the process; 0: not yet. ``first_cpu_s``: CPU time of its own,
    without that of the process that compiles, when the first summaries came. ``before_ready``:
    events summarized when kernels were ready."""

    began: float
    cpu_s: Callable[[], float]
    first_s: float = 0.0
    first_cpu_s: float = 0.0
    waiting_s: float = 0.0
    ready_s: float = 0.0
    events: int = 0
    before_ready: int = 0
    said: list[str] = field(default_factory=list)

    def add(self, events: int) -> None:
        now = time.monotonic() - self.began
        self.events += events
        if not self.first_s:
            self.first_s, self.first_cpu_s = now, self.cpu_s()
        if self.events >= WAITING:
            self.waiting_s = self.waiting_s or now

    def listen(self, lines: Iterable[str]) -> None:
        """What the worker logs."""
        for line in lines:
            self.said = [*self.said[-4:], line.strip()]
            if '"decoder kernels ready"' in line:
                self.before_ready = self.events
                self.ready_s = time.monotonic() - self.began


def run(quick: bool) -> str:
    """All three ways in turns; returns the JSON line."""
    if importlib.util.find_spec("numba") is None:
        sys.exit("there are no compiled kernels here: pip install driftline[fast]")
    rounds = 3 if quick else 5
    found: dict[Way, list[Watched]] = {way: [] for way in Way}
    events = json_messages(
        generate(WAITING // 4, 1, start_ms=int(time.time() * 1000) - 60_000, per_second=1_000.0)
    )
    with tempfile.TemporaryDirectory(prefix="driftline-startup-") as name:
        folder = Path(name)
        # Once before: from then on the system has read all files, and Python has compiled its own.
        _watch(Way.OFF, folder, folder / "none", events)
        with Progress(transient=True) as progress:
            todo = progress.add_task("starting", total=rounds * len(Way))
            for number in range(rounds):
                cache = folder / f"kernels-{number}"
                for way in Way:  # the first one leaves its kernels to the second
                    found[way].append(_watch(way, folder, cache, events))
                    progress.advance(todo)
    _show(found)
    return report("startup", "quick" if quick else "full", fields_of(found, rounds))


def _watch(way: Way, folder: Path, cache: Path, events: Sequence[bytes]) -> Watched:
    """One worker, from its start until it needs no more watching."""
    kafka = KafkaSettings()
    topics = {TOPIC: PARTITIONS}
    topics |= {name: spec.partitions for name, spec in topic_specs(kafka).items()}
    cache.mkdir(exist_ok=True)
    with embedded_broker.running(topics) as address:
        kafka = KafkaSettings(bootstrap=embedded_at(address))
        sender = confluent_kafka.Producer(producer(kafka, "bench"))
        _send(sender, events, WAITING)
        if sender.flush(60):
            raise RuntimeError("the broker did not take the events")
        with _summaries(kafka) as read, _worker(way, address, folder, cache) as watched:
            sent = WAITING
            while not _enough(way, watched):
                if time.monotonic() - watched.began > _GIVE_UP_S:
                    raise TimeoutError(f"{way}: {' | '.join(watched.said)}")
                due = WAITING + int((time.monotonic() - watched.began) * STEADY)
                _send(sender, events, due - sent)
                sent = due
                for delta in read():
                    groups = [each for each in delta.groups if each.segment == ALL]
                    watched.add(sum(events_of(each.summaries) for each in groups))
    return watched


def _enough(way: Way, watched: Watched) -> bool:
    return bool(watched.waiting_s and (watched.ready_s or way is Way.OFF))


def _send(sender: confluent_kafka.Producer, events: Sequence[bytes], count: int) -> None:
    for number in range(count):
        value = events[number % len(events)]
        sender.produce(TOPIC, value, partition=number // 100 % PARTITIONS)
    sender.poll(0)


@contextmanager
def _summaries(kafka: KafkaSettings) -> Iterator[Callable[[], Iterator[Delta]]]:
    """Gives what has come since it was asked last."""
    consumer = confluent_kafka.Consumer(results_consumer(kafka, "bench"))
    topic = kafka.topic(SUMMARIES)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(kafka.partitions)])

    def read() -> Iterator[Delta]:
        for message in consumer.consume(500, timeout=0.02):
            record = decode(message.value()) if message.error() is None else None
            if isinstance(record, Delta):
                yield record

    try:
        yield read
    finally:
        consumer.close()


@contextmanager
def _worker(way: Way, address: str, folder: Path, cache: Path) -> Iterator[Watched]:
    command = tied([sys.executable, "-m", "streams", "summarize"])
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_variables(way, address, folder, cache)},
    )
    watched = Watched(began, lambda: cpu_s_of(process.pid))
    try:
        listener = threading.Thread(
            target=watched.listen, args=(process.stderr or (),), daemon=True
        )
        listener.start()
        yield watched
    finally:
        end(process, 10)


def _variables(way: Way, address: str, folder: Path, cache: Path) -> Mapping[str, str]:
    return {
        "DRIFTLINE_LOG_FORMAT": "json",
        "DRIFTLINE__KAFKA__BOOTSTRAP": embedded_at(address),
        "DRIFTLINE__INPUTS": json.dumps([{"topic": TOPIC, "format": "json"}]),
        "DRIFTLINE__SUMMARIZE__FLUSH_INTERVAL": f"{_FLUSH_MS}ms",
        "DRIFTLINE__SUMMARIZE__COMPILED": "false" if way is Way.OFF else "true",
        "NUMBA_CACHE_DIR": str(cache),
        # Else a checkout that may not be written to would be compiled by Python at every start.
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "PYTHONDONTWRITEBYTECODE": "",
    }


def _times(found: Mapping[Way, Sequence[Watched]], way: Way, what: str) -> Spread:
    """Over the worker without kernels of the same round."""
    pairs = zip(found[way], found[Way.OFF], strict=True)
    return Spread.of([getattr(each, what) / getattr(off, what) for each, off in pairs])


def _show(found: Mapping[Way, Sequence[Watched]]) -> None:
    def told(way: Way, what: str) -> str:
        return str(Spread.of([getattr(each, what) for each in found[way]]))

    show(
        f"From the start of the process, in turns, {WAITING:,} events waiting: seconds",
        (
            "kernels",
            "first",
            "times without",
            "CPU until then",
            "all that waited",
            "times without",
            "ready",
        ),
        [
            [
                way.value,
                told(way, "first_s"),
                str(_times(found, way, "first_s")),
                told(way, "first_cpu_s"),
                told(way, "waiting_s"),
                str(_times(found, way, "waiting_s")),
                "" if way is Way.OFF else told(way, "ready_s"),
            ]
            for way in Way
        ],
    )
    before = [each.before_ready for each in found[Way.COLD]]
    print(f"events summarized while kernels compiled: {min(before):,} to {max(before):,}")


def fields_of(found: Mapping[Way, Sequence[Watched]], rounds: int) -> dict[str, Any]:
    """For the last line."""

    def seconds(what: str) -> dict[str, dict[str, float]]:
        return {
            way.name.lower(): Spread.of([getattr(each, what) for each in runs]).fields()
            for way, runs in found.items()
        }

    def lowest(way: Way, what: str) -> float:
        return Spread.of([getattr(each, what) for each in found[way]]).low

    def against_off(what: str) -> dict[str, Any]:
        times = lowest(Way.COLD, what) / lowest(Way.OFF, what)
        return {"gate": MOST, "times": figure(times), "passed": times <= MOST}

    before = [each.before_ready for each in found[Way.COLD]]
    gates: dict[str, dict[str, Any]] = {
        "first events, times without kernels": against_off("first_s"),
        "CPU time until then, times without kernels": against_off("first_cpu_s"),
        "events summarized while kernels compiled": {
            "gate": WAITING,
            "events": min(before),
            "passed": min(before) >= WAITING,
        },
    }
    return {
        "rounds": rounds,
        "first_s": seconds("first_s"),
        "first_cpu_s": seconds("first_cpu_s"),
        "waiting_s": seconds("waiting_s"),
        "ready_s": {way: s for way, s in seconds("ready_s").items() if way != Way.OFF.name.lower()},
        "first_times": {
            way.name.lower(): _times(found, way, "first_s").fields() for way in (Way.COLD, Way.WARM)
        },
        "waiting_times": {
            way.name.lower(): _times(found, way, "waiting_s").fields()
            for way in (Way.COLD, Way.WARM)
        },
        "events_before_ready": int(statistics.median(before)),
        "gates": gates,
        "passed": all(gate["passed"] for gate in gates.values()),
    }
