"""``consume``: what each setting of the consumer costs or saves, beside the setting that is used.

The embedded broker is filled once with small messages (JSON, one event each) and once with large
ones (Arrow, 1,000 rows each). Then, round after round, fresh processes read a topic to its end, one
with the settings of the role summarize, the others with one of them changed: all in one run, so
that ratios may be trusted. Nothing is decoded: what is compared is the CPU time of the whole
process, all threads, from its first partition to having left the group, and its memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress

from bench.hotpath import PARTITIONS, fill
from bench.hotpath_case import CASES, Case
from bench.measure import Spread, figure, report, show
from streams import embedded_broker
from streams.internal_topics import topic_specs
from streams.kafka import KafkaSettings, embedded_at
from streams.tied_process import tied

_READER_S = 120
MB = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """One thing changed: librdkafka ``properties``, how many messages one call asks for (None: as
    the worker does), or whether Python's garbage collector runs."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    collector: bool = False

    def described(self) -> str:
        """For the process that reads."""
        return json.dumps(
            {"properties": self.properties, "batch": self.batch, "collector": self.collector}
        )


USED = Setting("as summarize reads")
SETTINGS = (
    USED,
    Setting("batch 50", batch=50),
    Setting("batch 500", batch=500),
    Setting("batch 5,000", batch=5_000),
    Setting("check.crcs true", {"check.crcs": True}),
    Setting("queued.max.messages.kbytes 16,384", {"queued.max.messages.kbytes": 16_384}),
    Setting("queued.max.messages.kbytes 262,144", {"queued.max.messages.kbytes": 262_144}),
    Setting("queued.min.messages 5,000", {"queued.min.messages": 5_000}),
    Setting("queued.min.messages 500,000", {"queued.min.messages": 500_000}),
    Setting("fetch.max.bytes 1 MB", {"fetch.max.bytes": MB}),
    Setting("fetch.max.bytes 16 MB", {"fetch.max.bytes": 16 * MB}),
    Setting("fetch.max.bytes 50 MB, librdkafka's", {"fetch.max.bytes": 50 * MB}),
    Setting("fetch.message.max.bytes 4 MB", {"fetch.message.max.bytes": 4 * MB}),
    Setting("fetch.queue.backoff.ms 1,000", {"fetch.queue.backoff.ms": 1_000}),
    Setting("fetch.queue.backoff.ms 1", {"fetch.queue.backoff.ms": 1}),
    Setting("garbage collector on", collector=True),
)


def run(quick: bool) -> str:
    """All settings; returns the JSON line."""
    rounds, share = (2, 3) if quick else (5, 1)
    kafka = KafkaSettings()
    cases = (CASES[0], CASES[-1])
    topics = {case.topic: PARTITIONS for case in cases}
    topics |= {name: spec.partitions for name, spec in topic_specs(kafka).items()}
    measured: dict[tuple[Case, Setting], list[dict[str, float]]] = {
        (case, each): [] for case in cases for each in SETTINGS
    }
    with embedded_broker.running(topics) as address, Progress(transient=True) as progress:
        rows = {case: sum(fill(address, case, share)) for case in cases}
        reading = progress.add_task("reading", total=rounds * len(measured))
        for number in range(rounds):
            for at, ((case, each), found) in enumerate(measured.items()):
                messages = rows[case] // case.rows_per_message
                found.append(_read(address, case, each, messages, f"consume-{number}-{at}"))
                progress.advance(reading)
    return _told("quick" if quick else "full", rounds, cases, rows, measured)


def _read(address: str, case: Case, each: Setting, messages: int, group: str) -> dict[str, float]:
    kafka = embedded_at(address).removeprefix("embedded://")
    command = [sys.executable, "-m", "bench.consume_reader", kafka, case.topic]
    command += [str(messages), group, each.described()]
    done = subprocess.run(
        tied(command), capture_output=True, text=True, timeout=_READER_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{each.name}: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _told(
    form: str,
    rounds: int,
    cases: tuple[Case, ...],
    rows: Mapping[Case, int],
    measured: Mapping[tuple[Case, Setting], list[dict[str, float]]],
) -> str:
    fields: dict[str, Any] = {"rounds": rounds}
    for case in cases:
        messages = rows[case] // case.rows_per_message
        beside = [found["cpu_s"] for found in measured[case, USED]]
        lines = []
        told = fields[case.topic] = {"messages": messages, "settings": {}}
        for each in SETTINGS:
            found = measured[case, each]
            cpu = Spread.of([one["cpu_s"] / messages * 1e6 for one in found])
            # Of runs that stood side by side: the machine is not equally fast at all times.
            times = Spread.of([one["cpu_s"] / b for one, b in zip(found, beside, strict=True)])
            peak = Spread.of([one["peak_rss_mb"] for one in found])
            lines.append([each.name, str(cpu), str(times), f"{peak.median:.0f}"])
            told["settings"][each.name] = {
                "us_per_message": cpu.fields(),
                "times_used": times.fields(),
                "peak_rss_mb": figure(peak.median),
            }
        show(
            f"{case.name}: CPU of the whole process, median (lowest to highest)",
            ("setting", "µs/message", "times as used", "peak MB"),
            lines,
        )
    return report("consume", form, fields)
