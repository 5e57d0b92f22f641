"""``actions``: from a verdict on the topic to the rollback that a deployer has executed, and what a
flood of findings does to it.

The role deliver runs as a process of its own on the embedded broker, with examples/deployer.py and
examples/pager.py as the far side. Idle: FAILs of one canary after the other; the clock runs from
producing the verdict to the deployer's log (so it includes the broker's two hops, the fleet's limit
being asked for, and the webhook). Flood: 10,000 failing findings in the verdicts of a thousand
shadows of ten models at once, and a canary's FAIL behind all of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path

import confluent_kafka
import httpx2

from bench.latency import _listens, _model, _until, deployer
from bench.measure import cpu_s_of, figure, percentile, report, show
from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from examples.ledger import Ledger
from examples.ledger import Outcome as Executed
from streams import embedded_broker as embedded
from streams.internal_topics import VERDICTS, topic_specs
from streams.kafka import KafkaSettings, embedded_at
from streams.supervise import READY_FILE_VARIABLE
from streams.tied_process import end, tied
from streams.wire import encode_verdict, partition_for, verdict_key

GATE_P95_MS = 300
GATE_FLOOD_MS = 1_000
FLOOD_MODELS = 10
FLOOD_SHADOWS = 100
FINDINGS_EACH = 10
_CONFIG = """
policy: {{blind_page_after: 0ms, hold_page_after: 0ms, max_rollbacks_per_hour: 1000}}
fleet: {{max_rollbacks_per_hour: 100000}}
pace: {{per_minute: 6000, burst: 100}}
receivers:
  webhooks: [{{name: deployer, url: "http://127.0.0.1:{deployer}/rollback"}}]
  pagerduty: [{{name: pager, url: "http://127.0.0.1:{pager}/v2/enqueue",
    routing_key: {{env: BENCH_PAGER_KEY}}}}]
egress: {{allow_private: ["127.0.0.1:{deployer}", "127.0.0.1:{pager}"]}}
"""


def run(quick: bool) -> str:
    """Returns the JSON line."""
    count = 20 if quick else 100
    with (
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as name,
        _line(Path(name), count + 1) as line,
    ):
        idle = [line.rolled_back(number) for number in range(count)]
        flood_ms, cpu_ms, incidents, most_pages = _flood(line, count)
    p95 = percentile(idle, 0.95)
    show(
        f"Verdict to executed rollback, {count} canaries (milliseconds)",
        ("", "p50", "p95", "max"),
        [
            ["idle outbox", *(f"{x:.0f}" for x in (percentile(idle, 0.5), p95, max(idle)))],
            ["behind 10,000 findings", "", "", f"{flood_ms:.0f}"],
        ],
    )
    return report(
        "actions",
        "quick" if quick else "full",
        {
            "rollbacks": count,
            "idle_ms": {
                "p50": figure(percentile(idle, 0.5)),
                "p95": figure(p95),
                "max": figure(max(idle)),
            },
            "gate_p95_ms": GATE_P95_MS,
            "flood_findings": FLOOD_MODELS * FLOOD_SHADOWS * FINDINGS_EACH,
            "flood_rollback_ms": figure(flood_ms),
            "flood_deliver_cpu_ms": figure(cpu_ms),
            "gate_flood_ms": GATE_FLOOD_MS,
            "flood_incidents": incidents,
            "most_pages_an_incident": most_pages,
            "passed": p95 < GATE_P95_MS and flood_ms < GATE_FLOOD_MS and most_pages == 1,
        },
    )


@dataclass
class Line:
    """What the benchmark talks to."""

    kafka: KafkaSettings
    producer: confluent_kafka.Producer
    ledger: Ledger
    pager: str
    deliver: int
    sequence: int = 0

    def say(self, release: Release, findings: tuple[Finding, ...] = ()) -> None:
        self.sequence += 1
        said = Verdict(
            release,
            Status.FAIL,
            "far off",
            self.sequence,
            0,
            0,
            60_000,
            "1",
            9,
            nan,
            nan,
            findings,
            self.sequence,
        )
        self.producer.produce(
            self.kafka.topic(VERDICTS),
            encode_verdict(said),
            verdict_key(release),
            partition_for(release.model, self.kafka.partitions),
        )

    def rolled_back(self, number: int) -> float:
        """Milliseconds from a canary's FAIL to its executed rollback."""
        asked_ms = time.time_ns() / 1e6
        self.say(Release(_model(number), "2", Role.CANARY))
        self.producer.flush(10)
        _until(lambda: self._executed_ms(number) > 0, 30, f"{_model(number)} was not rolled back")
        time.sleep(0.05)
        return self._executed_ms(number) - asked_ms

    def _executed_ms(self, number: int) -> float:
        for entry in reversed(self.ledger.log()):
            if entry.outcome == Executed.EXECUTED and entry.detail.startswith(f"{_model(number)}:"):
                return float(entry.at_ms)
        return 0.0


def _flood(line: Line, number: int) -> tuple[float, float, int, int]:
    """How long the canary's rollback took behind the flood, the CPU time that deliver had for it,
    how many incidents were told, and the most pages that one of them got."""
    before_s = cpu_s_of(line.deliver)
    for model in range(FLOOD_MODELS):
        for shadow in range(FLOOD_SHADOWS):
            release = Release(f"flood-{model}", f"s{shadow}", Role.SHADOW)
            line.say(release, tuple(_finding(release, n) for n in range(FINDINGS_EACH)))
    line.producer.flush(30)
    waited_ms = line.rolled_back(number)
    cpu_ms = 1_000 * (cpu_s_of(line.deliver) - before_s)
    time.sleep(5)
    pages = httpx2.get(f"{line.pager}/pages", trust_env=False).json()["pages"]
    told = Counter(
        page["dedup_key"]
        for page in pages
        if page["action"] == "trigger" and "flood-" in page["summary"]
    )
    return waited_ms, cpu_ms, len(told), max(told.values(), default=0)


def _finding(release: Release, number: int) -> Finding:
    return Finding(
        release=release,
        segment="all",
        column=f"c{number}",
        window_ms=60_000,
        window_start_ms=0,
        revision=0,
        detector="psi",
        against="",
        statistic=1.0,
        threshold=0.2,
        n=1_000,
        n_against=0,
        outcome=Outcome.FAIL,
        reason="far off",
        decides=True,
        critical=False,
    )


@contextlib.contextmanager
def _line(folder: Path, models: int) -> Iterator[Line]:
    topics = {name: spec.partitions for name, spec in topic_specs(KafkaSettings()).items()}
    os.environ["BENCH_PAGER_KEY"] = "0" * 32
    with (
        contextlib.ExitStack() as stack,
        deployer(folder, models) as deployer_port,
        embedded.running(topics) as address,
    ):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            pager_port = int(probe.getsockname()[1])
        _start(stack, folder, "pager", ["examples.pager", "--port", str(pager_port)], {})
        _until(lambda: _listens(pager_port), 15, "the pager did not start")
        config = folder / "driftline.yaml"
        config.write_text(_CONFIG.format(deployer=deployer_port, pager=pager_port), "utf-8")
        ready = folder / "ready"
        environment = {
            "DRIFTLINE__KAFKA__BOOTSTRAP": embedded_at(address),
            READY_FILE_VARIABLE: str(ready),
        }
        arguments = ["streams", "deliver", "--config", str(config), "--log-level", "error"]
        deliver = _start(stack, folder, "deliver", arguments, environment)
        _until(ready.exists, 30, "deliver did not start")
        kafka = KafkaSettings(embedded_at(address))
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": address, "linger.ms": 0, "log_level": 0}
        )
        ledger = Ledger(folder / "deployer.db")
        yield Line(kafka, producer, ledger, f"http://127.0.0.1:{pager_port}", deliver)


def _start(
    stack: contextlib.ExitStack, folder: Path, name: str, arguments: list[str], more: dict[str, str]
) -> int:
    """Runs a module until the stack is left; gives its pid."""
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(tied(command), stdout=log, stderr=log, env={**os.environ, **more})
    stack.callback(end, process, 10)
    return process.pid
