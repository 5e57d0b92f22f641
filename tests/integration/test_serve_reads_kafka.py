"""The role serve as a process of its own, on the embedded broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import httpx2
import pytest
from confluent_kafka import Producer

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from streams import embedded_broker as embedded
from streams.wire import encode_verdict, verdict_key
from tests.ports import free_port


def verdict(version: str, status: Status, sequence: int) -> Verdict:
    return Verdict(
        release=Release("m", version, Role.CANARY),
        status=status,
        reason="because",
        sequence=sequence,
        as_of_ms=time.time_ns() // 1_000_000,
        window_start_ms=0,
        window_ms=60_000,
        baseline_version="1",
        events=5,
        p95_latency_ms=1.0,
        p99_latency_ms=1.0,
        findings=(),
        offset=0,
    )


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.embedded
def test_serve_reads_every_verdict_follows_new_ones_and_stops_on_sigterm() -> None:
    port = free_port()
    with embedded.running({"driftline.verdicts": 8}) as address:
        producer = Producer({"bootstrap.servers": address})

        def publish(version: str, status: Status, sequence: int) -> None:
            said = verdict(version, status, sequence)
            producer.produce("driftline.verdicts", encode_verdict(said), verdict_key(said.release))
            producer.flush(10)

        for number in range(20):
            publish(str(number), Status.PASS, 1)
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "serve"],
            env={
                **os.environ,
                "DRIFTLINE__KAFKA__BOOTSTRAP": f"embedded://{address}",
                "DRIFTLINE__SERVE__PORT": str(port),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

                def ready() -> bool:
                    try:
                        return client.get("/readyz").status_code == 200
                    except httpx2.HTTPError:
                        return False

                def decision() -> str:
                    answer = client.get("/v1/verdict", params={"model": "m", "version": "7"})
                    return str(answer.json()["verdict"])

                until(ready, 120)
                assert client.get("/v1/releases").json()["total"] == 20
                assert decision() == "pass"
                publish("7", Status.FAIL, 2)
                until(lambda: decision() == "fail", 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.communicate(timeout=10)
