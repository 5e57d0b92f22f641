"""``hotpath``: from Kafka to summaries, per event and core.

The embedded broker runs in a process of its own and is filled first; then, round after round, a
fresh process reads each topic to its end, so that what is compared was measured side by side. The
main figure is the CPU time of that whole process per event, all threads; events per second and
core is its inverse. The steps alone are measured in this process, without Kafka.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import confluent_kafka
from rich.progress import Progress

from bench.hotpath_case import CASES, PLAIN_GATE, PLAIN_GOAL, Case, Reader, events_of
from bench.hotpath_steps import gates as step_gates
from bench.hotpath_steps import steps
from bench.measure import Spread, figure, report, show
from streams import embedded_broker
from streams.internal_topics import topic_specs
from streams.kafka import KafkaSettings, embedded_at
from streams.tied_process import tied

PARTITIONS = 64
_WORKER_S = 180


@dataclass(frozen=True, slots=True)
class Run:
    """One way of reading one topic, in all rounds."""

    case: Case
    reader: Reader

    @property
    def name(self) -> str:
        match self.reader:
            case Reader.DRIFTLINE:
                return self.case.name
            case Reader.PLAIN:
                return f"{self.case.name}, no kernels"
            case Reader.CONSUME_ONLY | Reader.NAIVE:
                return str(self.reader)
            case _:
                assert_never(self.reader)

    @property
    def limits(self) -> tuple[int, int] | None:
        """The gate and the goal in events per second and core; None where there are none."""
        if self.reader is Reader.DRIFTLINE:
            return self.case.gate, self.case.goal
        if self.reader is Reader.PLAIN and self.case is CASES[0]:
            return PLAIN_GATE, PLAIN_GOAL
        return None


RUNS = (
    *(Run(case, reader) for case in CASES for reader in (Reader.DRIFTLINE, Reader.PLAIN)),
    Run(CASES[0], Reader.CONSUME_ONLY),
    Run(CASES[0], Reader.NAIVE),
)


def run(quick: bool) -> str:
    """All cases; returns the JSON line."""
    rounds, share = (2, 3) if quick else (5, 1)
    kafka = KafkaSettings()
    topics = {case.topic: PARTITIONS for case in CASES}
    topics |= {name: spec.partitions for name, spec in topic_specs(kafka).items()}
    measured: dict[Run, list[dict[str, float]]] = {each: [] for each in RUNS}
    with embedded_broker.running(topics) as address, Progress(transient=True) as progress:
        filling = progress.add_task("filling the topics", total=len(CASES) * PARTITIONS)
        rows: dict[Case, int] = {}
        for case in CASES:
            rows[case] = 0
            for count in fill(address, case, share):
                rows[case] += count
                progress.advance(filling)
        reading = progress.add_task("reading", total=rounds * len(RUNS))
        for number in range(rounds):
            for each in RUNS:
                group = f"bench-{each.case.topic}-{each.reader.name.lower()}-{number}"
                measured[each].append(measure(address, each, rows[each.case], group))
                progress.advance(reading)
    figures = {each: _figures(rows[each.case], found) for each, found in measured.items()}
    alone = steps(quick)
    _show(figures, alone)
    return report("hotpath", "quick" if quick else "full", _fields(figures, alone, rows, rounds))


def fill(address: str, case: Case, share: int) -> Iterator[int]:
    """Write a topic, partition by partition; gives the number of events in each. Batches are large,
    because the broker walks a list to find one."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": address,
            "linger.ms": 50,
            "batch.size": 900_000,
            "message.max.bytes": 1_000_000,
            "queue.buffering.max.kbytes": 262_144,
            "enable.idempotence": True,
        }
    )
    for partition in range(PARTITIONS):
        events = events_of(case, partition, share)
        for message in case.write(events):
            while True:
                try:
                    producer.produce(case.topic, message, partition=partition)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
        yield len(events)
    if producer.flush(60):
        raise RuntimeError(f"the broker did not take all of {case.topic}")


@dataclass(frozen=True, slots=True)
class Figures:
    """Microseconds per event, but for ``rate`` (events per second and core), ``wall_rate`` (events
    per second on the wall), ``rss_mb`` and ``bytes`` (of records sent, per event)."""

    cpu: Spread
    rate: Spread
    wall_rate: Spread
    rss_mb: Spread
    parts: dict[str, Spread]


PARTS = ("decode_s", "summarise_s", "loop_s", "threads_s")


def _figures(rows: int, rounds: Sequence[dict[str, float]]) -> Figures:
    return Figures(
        Spread.of([each["cpu_s"] / rows * 1e6 for each in rounds]),
        Spread.of([rows / each["cpu_s"] for each in rounds]),
        Spread.of([rows / each["wall_s"] for each in rounds]),
        Spread.of([each["peak_rss_mb"] for each in rounds]),
        {
            part.removesuffix("_s"): Spread.of([each[part] / rows * 1e6 for each in rounds])
            for part in PARTS
            if part in rounds[0]
        },
    )


def measure(address: str, each: Run, rows: int, group: str) -> dict[str, float]:
    """Read a topic of so many rows in a process of its own; what that cost."""
    kafka = embedded_at(address).removeprefix("embedded://")
    command = [sys.executable, "-m", "bench.hotpath_worker", kafka, each.case.topic]
    command += [each.reader.value, str(rows), group]
    done = subprocess.run(
        tied(command), capture_output=True, text=True, timeout=_WORKER_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{each.name}: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(figures: dict[Run, Figures], alone: dict[str, Spread]) -> None:
    rows = []
    for each, found in figures.items():
        parts = [f"{spread.median:.2f}" for spread in found.parts.values()] or ["", "", "", ""]
        rows.append(
            [
                each.name,
                str(found.cpu),
                f"{found.rate.median:,.0f}",
                " / ".join(f"{limit / 1000:,.0f}k" for limit in each.limits or ()),
                f"{found.wall_rate.median:,.0f}",
                *parts,
                f"{found.rss_mb.median:.0f}",
            ]
        )
    show(
        "Kafka to summaries: CPU of the whole process, median (lowest to highest)",
        (
            "case",
            "µs/event",
            "events/s/core",
            "gate / goal",
            "events/s wall",
            "decode",
            "summarise",
            "loop",
            "librdkafka",
            "peak MB",
        ),
        rows,
    )
    show(
        "Steps alone, without Kafka, one core",
        ("step", "median (lowest to highest)"),
        [[name, str(spread)] for name, spread in alone.items()],
    )
    show(
        "Gates of the steps, with kernels",
        ("step", "median", "gate / goal", "passed"),
        [
            [
                name,
                f"{gate['figure']:,}",
                f"{gate['gate']:,} / {gate['goal']:,}",
                str(gate["passed"]),
            ]
            for name, gate in step_gates(alone).items()
        ],
    )


def _fields(
    figures: dict[Run, Figures], alone: dict[str, Spread], rows: dict[Case, int], rounds: int
) -> dict[str, Any]:
    by_reader = {each.reader: found for each, found in figures.items() if each.case is CASES[0]}
    json_case = by_reader[Reader.DRIFTLINE]
    limits = {each.name: each.limits for each in figures if each.limits is not None}
    rates = {each.name: found.rate.median for each, found in figures.items()}
    gates = {
        f"{name}, events/s/core": {
            "gate": gate,
            "goal": goal,
            "figure": figure(rates[name]),
            "passed": rates[name] >= gate,
        }
        for name, (gate, goal) in limits.items()
    } | step_gates(alone)
    return {
        "rounds": rounds,
        "events": {case.topic: count for case, count in rows.items()},
        "cpu_us_per_event": {each.name: f.cpu.fields() for each, f in figures.items()},
        "events_per_s_per_core": {each.name: f.rate.fields() for each, f in figures.items()},
        "events_per_s_wall": {each.name: f.wall_rate.fields() for each, f in figures.items()},
        "parts_us_per_event": {
            each.name: {name: spread.fields() for name, spread in f.parts.items()}
            for each, f in figures.items()
            if f.parts
        },
        "peak_rss_mb": {each.name: f.rss_mb.fields() for each, f in figures.items()},
        "steps": {name: spread.fields() for name, spread in alone.items()},
        "times_naive": round(by_reader[Reader.NAIVE].cpu.median / json_case.cpu.median, 2),
        "times_consume_only": round(
            json_case.cpu.median / by_reader[Reader.CONSUME_ONLY].cpu.median, 2
        ),
        "times_without_kernels": {
            case.name: round(
                figures[Run(case, Reader.PLAIN)].cpu.median
                / figures[Run(case, Reader.DRIFTLINE)].cpu.median,
                2,
            )
            for case in CASES
        },
        "gates": gates,
        "passed": all(gate["passed"] for gate in gates.values()),
    }
