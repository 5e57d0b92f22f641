"""Deliver and serve as processes of their own on an embedded broker, with the example deployer."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from confluent_kafka import Consumer, Producer, TopicPartition

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from examples.ledger import Ledger, Outcome, Running
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.credentials import SecretSource
from streams import embedded_broker as embedded
from streams.internal_topics import AUDIT, VERDICTS, topic_specs
from streams.kafka import KafkaSettings, embedded_at
from streams.tied_process import end
from streams.wire import encode_verdict, partition_for, verdict_key
from tests.ports import free_port

OPERATE = "operate-token-of-the-test"
HOOK = "hook-token-of-the-test-only"
READ = "read-token-of-the-test-only"
APPROVAL_KEY = "approval-key-of-the-test-only"
HOOK_SECRET = "grafana-secret-of-the-test"
ROLLBACK_KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
TOPICS = {name: spec.partitions for name, spec in topic_specs(KafkaSettings()).items()}


SOON_S = 60
"""Here things happen in a second; a busy machine with slow cores takes longer."""


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Line:
    """What a test talks to. ``api`` has the token of scope operate."""

    folder: Path
    api: httpx2.Client
    url: str
    links: ApprovalLinks
    ledger: Ledger
    kafka: KafkaSettings
    producer: Producer
    processes: dict[str, subprocess.Popen[bytes]]
    start: Callable[[str], subprocess.Popen[bytes]]
    sequence: int = 0

    def restart(self, role: str) -> None:
        """Another process takes over what the role has done."""
        end(self.processes[role], 10)
        self.processes[role] = self.start(role)

    def deploy(self, model: str, production: str = "1", canary: str = "2") -> None:
        self.ledger.deploy(Running(model, production, canary))

    def verdict(
        self, model: str, status: Status, version: str = "2", role: Role = Role.CANARY
    ) -> None:
        self.sequence += 1
        release = Release(model, version, role)
        said = Verdict(
            release,
            status,
            "scores.usable_code fell",
            self.sequence,
            0,
            0,
            60_000,
            "1",
            100 * self.sequence,
            1.0,
            1.0,
            (),
            self.sequence,
        )
        self.producer.produce(
            self.kafka.topic(VERDICTS),
            encode_verdict(said),
            verdict_key(release),
            partition_for(model, self.kafka.partitions),
        )
        self.producer.flush(10)

    def case(self, model: str) -> dict[str, Any]:
        """The model's rollback as the API shows it, {} while there is none."""
        for each in self.api.get("/v1/rollbacks").json():
            if each["model"] == model:
                found: dict[str, Any] = each
                return found
        return {}

    def executed(self, model: str) -> int:
        return sum(
            1
            for entry in self.ledger.log()
            if entry.outcome == Outcome.EXECUTED and entry.detail.startswith(f"{model}:")
        )

    def audited(self, model: str) -> list[str]:
        """The kinds of what the audit trail has of the model."""
        return [row["kind"] for row in self.trail(model)]

    def incidents(self, model: str, cause: str) -> list[str]:
        """What the trail says of the model's incidents with this cause: opened, closed."""
        return [
            row["kind"].removeprefix("incident.")
            for row in self.trail(model)
            if row["kind"].startswith("incident.") and json.loads(row["body"])["told"] == cause
        ]

    def trail(self, model: str) -> list[dict[str, Any]]:
        """What the audit trail has of the model."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap.removeprefix("embedded://"),
                "group.id": "reads-the-audit-trail",
                "enable.auto.commit": False,
            }
        )
        try:
            topic = self.kafka.topic(AUDIT)
            partitions = consumer.list_topics(topic, 10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            messages = consumer.consume(10_000, 0.5)
        finally:
            consumer.close()
        read = [json.loads(each.value() or b"") for each in messages if each.error() is None]
        rows = {row["hash"]: row for each in read for row in each["rows"] if row["model"] == model}
        return list(rows.values())

    def grafana(self, *alerts: dict[str, Any], secret: str = HOOK_SECRET, off_s: int = 0) -> int:
        """Send a notification as Grafana does; gives the status."""
        body = json.dumps({"status": "firing", "alerts": list(alerts)}).encode()
        stamp = str(int(time.time()) + off_s)
        mac = hmac.new(secret.encode(), stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        headers = {
            "x-grafana-alerting-signature": mac,
            "x-grafana-alerting-timestamp": stamp,
            "authorization": "",
        }
        reply = self.api.post("/v1/hooks/grafana", content=body, headers=headers)
        return reply.status_code


def alert(model: str, *, firing: bool = True, begun: int = 0, roll_back: bool = True) -> Any:
    labels = {"alertname": "Precision fell", "model": model, "version": "2"}
    if roll_back:
        labels["driftline_action"] = "rollback"
    return {
        "status": "firing" if firing else "resolved",
        "labels": labels,
        "annotations": {"summary": "precision below 0.8"},
        "startsAt": f"2026-11-21T10:{begun:02d}:00Z",
        "fingerprint": "c6eadffa33fcdf37",
    }


@contextlib.contextmanager
def line(
    folder: Path, policy: str = "{}", more: str = "", people: Mapping[str, int] | None = None
) -> Iterator[Line]:
    """Everything, ready; stopped afterwards whatever happens. ``people``: receivers of messages,
    with their ports."""
    port, deployer_port = free_port(), free_port()
    tokens = folder / "tokens"
    tokens.write_text(f"{READ}\n{OPERATE} operate alice\n{HOOK} hook monitoring\n", "ascii")
    url = f"http://127.0.0.1:{port}"
    ports = {"deployer": deployer_port, **(people or {})}
    places = [f"127.0.0.1:{each}" for each in ports.values()]
    webhooks = [
        f'{{name: {name}, url: "http://127.0.0.1:{at}/rollback",'
        f" kinds: [{'rollback' if name == 'deployer' else 'page, resolve'}]}}"
        for name, at in ports.items()
    ]
    config = folder / "driftline.yaml"
    config.write_text(
        f"policy: {policy}\n"
        f"receivers: {{webhooks: [{', '.join(webhooks)}]}}\n"
        f"egress: {{allow_private: {json.dumps(places)}}}\n"
        f"serve: {{port: {port}, token_file: {tokens}}}\n"
        f'approvals: {{url: "{url}"}}\n'
        f"store: {{path: {folder / 'store'}, http_port: 0}}\n{more}",
        "utf-8",
    )
    environ = {
        **os.environ,
        "DRIFTLINE_ROLLBACK_KEY": ROLLBACK_KEY,
        "DRIFTLINE_APPROVAL_KEY": APPROVAL_KEY,
        "DRIFTLINE_HOOK_SECRET": HOOK_SECRET,
    }
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(embedded.running(TOPICS))
        environ["DRIFTLINE__KAFKA__BOOTSTRAP"] = embedded_at(address)
        ledger_path = folder / "deployer.db"
        commands = {
            "deployer": [
                *("examples.deployer", "--port", str(deployer_port)),
                *("--state-file", str(ledger_path)),
            ],
            "deliver": ["streams", "deliver", "--config", str(config)],
            "serve": ["streams", "serve", "--config", str(config)],
        }

        def start(name: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            process = subprocess.Popen(
                [sys.executable, "-m", *commands[name]], env=environ, stdout=log, stderr=log
            )
            stack.callback(end, process, 10)
            return process

        processes = {name: start(name) for name in commands}
        settings = ApprovalSettings(url, SecretSource(env="K"))
        api = stack.enter_context(
            httpx2.Client(
                base_url=url, trust_env=False, headers={"authorization": f"Bearer {OPERATE}"}
            )
        )
        here = Line(
            folder,
            api,
            url,
            ApprovalLinks(settings, {"K": APPROVAL_KEY}),
            Ledger(ledger_path),
            KafkaSettings(embedded_at(address)),
            Producer({"bootstrap.servers": address, "linger.ms": 0}),
            processes,
            start,
        )
        until(lambda: _answers(api), 120, "serve is ready")
        yield here


def _answers(api: httpx2.Client) -> bool:
    try:
        return api.get("/readyz").status_code == 200
    except httpx2.HTTPError:
        return False
