"""The rights of deploy/strimzi, on a real broker that asks everybody who he is: they are enough for
a rollback and for every row in the store, and each of them is needed.

The broker writes down every right that it grants and denies. Without TLS, which a test without a
certificate authority has no use for; the roles' TLS settings are those of librdkafka and aiokafka.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
import httpx2
import pytest
import yaml
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from deploy.access import ROLES, Kind, Operation, Right, rights
from deploy.kafka.server import KafkaCannotRun, RealKafka
from streams.tied_process import tied
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

INPUT = "predictions"
PASSWORD = "for-tests-only"
PATIENCE_S = 90.0
CONFIGURATION = """
time: {{pane: 1s, windows: [3s], out_of_orderness: 200ms, allowed_lateness: 5s, idle_timeout: 5s}}
detect:
  min_events: 20
  limits:
    - {{detector: error_rate, columns: error, above: 0.2, against: production, critical: true}}
judge: {{learn_events: 60}}
events: {{ratio: 1.0}}
summarize: {{flush_interval: 200ms, compiled: false, max_dead_ratio: 1.0}}
inputs: [{{topic: predictions}}]
kafka:
  bootstrap: "{bootstrap}"
  replication: 1
  properties: {{security.protocol: SASL_PLAINTEXT, sasl.mechanisms: PLAIN}}
store: {{path: "{folder}/store", http_port: {store}}}
serve: {{port: {serve}}}
receivers: {{webhooks: [{{name: nobody, url: "http://127.0.0.1:9/", secret: {{env: KEY}}}}]}}
egress: {{allow_private: ["127.0.0.1:9"]}}
"""


IDLE = {
    ("summarize", "Write", "driftline.pairs"),
    ("summarize", "Write", "driftline.shadows"),
    ("serve", "Write", "driftline.commands"),
    ("serve", "Write", "driftline.control"),
}
"""Rights that this test gives no occasion to use: there is no shadow, and nobody gives orders."""


class AskingKafka(RealKafka):
    """Its secure listener knows each role, and grants only what an ACL says. The open listener's
    clients may do everything. ``broker.log`` has a line for each right granted or denied."""

    def _java_command(self) -> list[str]:
        java, *rest = super()._java_command()
        return [java, "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=trace", *rest]

    def _format(self) -> Path:
        users = " ".join(f'user_driftline-{role}="{PASSWORD}"' for role in ROLES)
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        # Written before the storage is formatted, and again by the method itself: so the template
        # comes first, then this.
        properties = super()._format()
        with properties.open("a", encoding="utf-8") as file:
            file.write(
                "\nauthorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                "super.users=User:ANONYMOUS\n"
                f"listener.name.secure.plain.sasl.jaas.config={module} required {users};\n"
            )
        return properties

    def asked(self) -> set[tuple[bool, str, str, str, str]]:
        """What was asked on the secure listener: granted or not, role, operation, kind, name."""
        log = (self.folder / "broker.log").read_text(encoding="utf-8", errors="replace")
        return {
            (granted == "Allowed", role, operation, kind, name)
            for role, granted, operation, kind, name in _ASKED.findall(log)
        }


_ASKED = re.compile(
    r"Principal = User:driftline-(\w+) is (Allowed|Denied) operation = (\w+) from host = \S+ on"
    r" resource = (\w+):LITERAL:(\S+)"
)


def _harmless(denied: tuple[bool, str, str, str, str]) -> bool:
    """Clients list the cluster's topics, and the broker leaves out what they have no business with;
    and it looks for leave to make any topic before it looks for leave to make this one. Of an
    idempotent producer it asks for leave to be one, then for leave to write to a topic that is
    called "hardcode", before it is content with leave to write to some topic (KIP-679)."""
    _, role, operation, kind, name = denied
    if (operation, kind) in (("CREATE", "Cluster"), ("IDEMPOTENT_WRITE", "Cluster")):
        return True
    if (operation, kind, name) == ("WRITE", "Topic", "hardcode"):
        return True
    topics = [right for right in rights(role, (INPUT,)) if right.kind is Kind.TOPIC]
    return (operation, kind) == ("DESCRIBE", "Topic") and not any(
        name.startswith(right.name) if right.prefix else name == right.name for right in topics
    )


def _uses(
    asked: tuple[bool, str, str, str, str], role: str, right: Right, operation: Operation
) -> bool:
    """Whether a right was needed for what a role was granted."""
    _, who, what, kind, name = asked
    return (
        who == role
        and what.replace("_", "").lower() == operation.value.lower()
        and kind.replace("_", "").lower() == right.kind.value.lower()
        and (name.startswith(right.name) if right.prefix else name == right.name)
    )


@dataclass(frozen=True)
class Scene:
    """A broker with topics and rights, and where the roles are."""

    kafka: AskingKafka
    folder: Path
    store_port: int
    serve_port: int

    def rows(self, table: str) -> int:
        """How many rows the store has; 0 while nobody answers."""
        query = f"SELECT count() FROM driftline.{table}"  # noqa: S608 - our own names
        try:
            reply = httpx2.get(
                f"http://127.0.0.1:{self.store_port}/", params={"query": query}, timeout=5
            )
        except httpx2.HTTPError:
            return 0
        return int(reply.text) if reply.status_code == 200 else 0


def _resources(path: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def bindings(user: Mapping[str, Any]) -> list[AclBinding]:
    """The ACLs that Strimzi's user operator makes of a KafkaUser."""
    kinds = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactionalId": ResourceType.TRANSACTIONAL_ID,
    }
    patterns = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
    return [
        AclBinding(
            kinds[acl["resource"]["type"]],
            acl["resource"]["name"],
            patterns[acl["resource"]["patternType"]],
            f"User:{user['metadata']['name']}",
            acl["host"],
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
            AclPermissionType.ALLOW,
        )
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    ]


@pytest.fixture
def scene(tmp_path: Path, repository: Path) -> Iterator[Scene]:
    try:
        kafka = AskingKafka()
    except KafkaCannotRun as reason:
        pytest.skip(f"no real Kafka: {reason}")
    with kafka:
        client = AdminClient({"bootstrap.servers": kafka.address})
        strimzi = repository / "deploy" / "strimzi"
        topics = [
            NewTopic(
                each["metadata"]["name"],
                num_partitions=each["spec"]["partitions"],
                replication_factor=1,
                config=each["spec"]["config"],
            )
            for each in _resources(strimzi / "topics.yaml")
        ]
        topics.append(NewTopic(INPUT, num_partitions=2, replication_factor=1))
        for made in client.create_topics(topics).values():
            made.result(30)
        acls = [acl for user in _resources(strimzi / "users.yaml") for acl in bindings(user)]
        for granted in client.create_acls(acls).values():
            granted.result(30)
        yield Scene(kafka, tmp_path, free_port(), free_port())


def _start(stack: ExitStack, scene: Scene, role: str) -> Callable[[], bool]:
    """Starts a role as its user; says whether it is ready, and fails the test if it has ended."""
    ready = scene.folder / f"{role}.ready"
    log = (scene.folder / f"{role}.log").open("wb")
    stack.callback(log.close)
    process = subprocess.Popen(
        tied([sys.executable, "-m", "streams", role, "--log-format", "json"]),
        cwd=scene.folder,
        env={
            **os.environ,
            "DRIFTLINE_CONFIG": str(scene.folder / "line.yaml"),
            "DRIFTLINE_READY_FILE": str(ready),
            "DRIFTLINE__KAFKA__PROPERTIES__sasl.username": f"driftline-{role}",
            "DRIFTLINE__KAFKA__PROPERTIES__sasl.password": PASSWORD,
            "KEY": "whsec_" + "a2tr" * 8,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        },
        stdout=log,
        stderr=log,
    )
    stack.callback(process.wait, 20)
    stack.callback(process.terminate)

    def is_ready() -> bool:
        if process.poll() is not None:
            said = (scene.folder / f"{role}.log").read_text(encoding="utf-8", errors="replace")
            pytest.fail(f"{role} ended with {process.returncode}: {said[-2000:]}")
        return ready.exists()

    return is_ready


def _produce(producer: confluent_kafka.Producer, number: int) -> None:
    """Production that works, a canary that fails every other time, and a line that is no event."""
    for role, version in (("production", "1"), ("canary", "2")):
        bad = role == "canary" and number % 2 == 0
        event = {
            "ts": time.time(),
            "model": "fraud",
            "version": version,
            "role": role,
            "request_id": f"{role}-{number}",
            "features": {"amount": float(number % 17)},
            "status": "error" if bad else "ok",
            "latency_ms": 5.0,
        }
        producer.produce(INPUT, json.dumps(event).encode(), partition=number % 2)
    if number % 50 == 0:
        producer.produce(INPUT, b"{not an event", partition=0)
    producer.poll(0)


def test_the_rights_that_are_granted_are_enough_and_none_is_idle(scene: Scene) -> None:
    (scene.folder / "line.yaml").write_text(
        CONFIGURATION.format(
            bootstrap=scene.kafka.secure_address,
            folder=scene.folder,
            store=scene.store_port,
            serve=scene.serve_port,
        ),
        encoding="utf-8",
    )
    tables = (
        *("windows", "findings", "verdicts", "actions", "dead_letters", "intake", "events"),
        "configurations",
    )
    with ExitStack() as stack:
        waiting = {role: _start(stack, scene, role) for role in ROLES}
        producer = confluent_kafka.Producer({"bootstrap.servers": scene.kafka.address})
        deadline = time.monotonic() + PATIENCE_S
        number, stored = 0, dict.fromkeys(tables, 0)
        while not all(stored.values()):
            if time.monotonic() > deadline:
                refused = sorted(each for each in scene.kafka.asked() if not each[0])
                pytest.fail(f"after {PATIENCE_S:g} s: rows {stored}; denied: {refused}")
            for _ in range(20):
                number += 1
                _produce(producer, number)
            time.sleep(0.1)
            if number % 200 == 0 and all(ready() for ready in waiting.values()):
                stored = {table: scene.rows(table) for table in tables}
        url = f"http://127.0.0.1:{scene.serve_port}/v1/verdict?model=fraud&version=2"
        assert httpx2.get(url, timeout=5).json()["status"] == "fail"
    asked = scene.kafka.asked()
    denied = {each for each in asked if not each[0] and not _harmless(each)}
    assert not denied, "a role asked for what it may not do"
    idle = {
        (role, operation.value, right.name)
        for role in ROLES
        for right in rights(role, (INPUT,))
        for operation in right.operations
        if not any(_uses(each, role, right, operation) for each in asked)
    }
    assert idle == IDLE
