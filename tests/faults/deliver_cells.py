"""A3 for rollbacks: deliver dies between a verdict and the answer of the deployer."""

from __future__ import annotations

import base64
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import nan
from typing import Final

import confluent_kafka

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from streams.internal_topics import VERDICTS, topic_specs
from streams.kafka import KafkaSettings
from streams.kafka_topics import ensure_topics
from streams.wire import encode_verdict, partition_for, verdict_key
from tests.faults.cells import Cell, Stage, Tier
from tests.faults.checker import Report, check_rollbacks
from tests.faults.roles import Trouble, wait_until
from tests.faults.scene import CAUGHT_UP_S, FAILPOINT_S, Change, Scene
from tests.faults.tcp_proxy import TcpProxy
from tests.faults.webhook_receiver import WebhookReceiver

PARTITIONS: Final = 2
SECRET: Final = {"DRIFTLINE_ROLLBACK_KEY": "whsec_" + base64.b64encode(b"k" * 32).decode()}
QUIET_S: Final = 4.0
"""So long nothing more may be executed at the end."""
SETTINGS: Final = """
receivers: {{webhooks: [{{name: deployer, url: "http://{place}/rollback"}}]}}
egress: {{allow_private: ["{place}"]}}
outbox: {{first_wait: 200ms, rollback_max_wait: 500ms}}
"""


class Verdicts:
    """What the judge would write."""

    def __init__(self, scene: Scene) -> None:
        self._topic = scene.internal(VERDICTS)
        self._producer = confluent_kafka.Producer({"bootstrap.servers": scene.address})
        self._sequence = 0

    def send(self, version: str, status: Status) -> None:
        self._sequence += 1
        release = Release("fraud", version, Role.CANARY)
        verdict = Verdict(
            release, status, "bad", self._sequence, 0, 0, 0, "1", 9, nan, nan, (), self._sequence
        )
        self._producer.produce(
            self._topic,
            encode_verdict(verdict),
            verdict_key(release),
            partition_for(release.model, PARTITIONS),
        )
        if self._producer.flush(CAUGHT_UP_S):
            raise Trouble("the verdict could not be written")


@contextmanager
def played(stage: Stage) -> Iterator[tuple[Scene, WebhookReceiver, Verdicts, TcpProxy]]:
    """A deployer behind a proxy, and the topics that deliver needs."""
    with (
        WebhookReceiver() as receiver,
        TcpProxy(receiver.port) as proxy,
        Scene(
            stage.address,
            stage.folder,
            stage.seed,
            change=Change(
                stage.change.mutant, ("deliver",), {**SECRET, **stage.change.environment}
            ),
            internal_partitions=PARTITIONS,
            extra=SETTINGS.format(place=proxy.place),
        ) as scene,
    ):
        kafka = KafkaSettings(stage.address, prefix=f"{scene.topic}.", partitions=PARTITIONS)
        ensure_topics(kafka, topic_specs(kafka))
        yield scene, receiver, Verdicts(scene), proxy


def finish(scene: Scene, receiver: WebhookReceiver, wanted: int) -> Report:
    """A process that nobody harms; then the log of the deployer is the truth."""
    last = scene.start("deliver")
    last.wait_ready()
    try:
        wait_until("executed", lambda: len(receiver.log.executed) >= wanted, CAUGHT_UP_S)
    except Trouble:
        scene.report.notes.append(last.said()[-300:])
    time.sleep(QUIET_S)
    scene.stop(last)
    check_rollbacks(scene.report, len(receiver.log.executed), wanted)
    scene.report.notes.append(f"{len(receiver.log.deliveries)} deliveries")
    return scene.report


def killed_at(steps: tuple[str, ...], stage: Stage) -> Report:
    """For each bad version: killed at a step, ``stage.kills`` times in a row."""
    with played(stage) as (scene, receiver, verdicts, _):
        for number, step in enumerate(steps, 2):
            verdicts.send(str(number), Status.FAIL)
            for again in range(stage.kills):
                role = scene.start("deliver", f"{step}=kill")
                try:
                    role.wait_killed(15 if again else FAILPOINT_S)
                except Trouble:
                    # What was done before the last kill is not done again.
                    if not again:
                        raise
                    role.kill()
                scene.report.kills += 1
                scene.bury("deliver")
        return finish(scene, receiver, len(steps))


def endpoint_down_meanwhile(stage: Stage) -> Report:
    """The verdict is taken in and its offset committed, the deployer is down, deliver is killed:
    only what it remembers can still send the rollback."""
    with played(stage) as (scene, receiver, verdicts, _):
        receiver.log.down = True
        first = scene.start("deliver")
        first.wait_ready()
        verdicts.send("2", Status.FAIL)
        wait_until("a try", lambda: receiver.log.refused, CAUGHT_UP_S)
        time.sleep(3)  # offsets are committed every second
        first.kill()
        scene.report.kills += 1
        scene.bury("deliver")
        receiver.log.down = False
        return finish(scene, receiver, 1)


def frozen_with_the_answer(stage: Stage) -> Report:
    """A process freezes with the deployer's answer in hand; another takes over, more is decided,
    and the first one wakes up and writes what it remembers. Then the other one dies as well."""
    with played(stage) as (scene, receiver, verdicts, _):
        zombie = scene.start("deliver", "deliver.answered=stop")
        zombie.wait_ready()
        verdicts.send("2", Status.FAIL)
        zombie.wait_frozen(FAILPOINT_S)
        frozen = time.monotonic()
        scene.broker.leave(scene.internal("deliver"))
        heir = scene.start("deliver")
        heir.wait_ready()
        receiver.log.down = True
        refused = receiver.log.refused
        verdicts.send("3", Status.FAIL)
        wait_until("a try", lambda: receiver.log.refused > refused, CAUGHT_UP_S)
        time.sleep(max(3.0, 12.0 - (time.monotonic() - frozen)))
        heir.send(signal.SIGSTOP)
        zombie.send(signal.SIGCONT)
        time.sleep(2)
        zombie.kill()
        heir.kill()
        scene.report.kills += 1
        scene.bury("deliver")
        receiver.log.down = False
        return finish(scene, receiver, 2)


def none_wanted(stage: Stage) -> Report:
    """Verdicts that are no FAIL, and kills: nothing is rolled back."""
    with played(stage) as (scene, receiver, verdicts, _):
        for status in (Status.PASS, Status.BLIND, Status.INSUFFICIENT, Status.HOLD):
            verdicts.send("2", status)
        for _ in range(stage.kills):
            role = scene.start("deliver")
            role.wait_ready()
            time.sleep(1)
            role.kill()
            scene.report.kills += 1
            scene.bury("deliver")
        return finish(scene, receiver, 0)


_MISSED: Final = ("missed-rollback",)


def _cell(
    name: str, fault: str, guard: str, run: Callable[[Stage], Report], mutant: str, breaks: str
) -> Cell:
    return Cell(name, fault, guard, run, Change(mutant, ("deliver",)), (breaks,))


CELLS: Final = (
    Cell(
        "A3 deliver",
        "SIGKILL of deliver at every step, one bad version each",
        "a verdict is acknowledged when what follows from it is remembered",
        partial(
            killed_at,
            ("deliver.decided", "deliver.published", "deliver.kept", "deliver.answered"),
        ),
        Change("deliver-new-keys", ("deliver",)),
        ("double-rollback",),
        tier=Tier.CHANGE,
        kills=1,
    ),
    _cell(
        "A3 deliver decided",
        "SIGKILL of deliver after it has decided",
        "a verdict is acknowledged when what follows from it is remembered",
        partial(killed_at, ("deliver.decided",)),
        "deliver-acknowledges-first",
        "missed-rollback",
    ),
    _cell(
        "A3 deliver answered",
        "SIGKILL of deliver after the deployer has answered",
        "the id of a rollback is the same on every try",
        partial(killed_at, ("deliver.answered",)),
        "deliver-new-keys",
        "double-rollback",
    ),
    _cell(
        "A3 deliver remembers",
        "the deployer is down, and deliver is killed meanwhile",
        "what was decided is in the changelog before it is sent",
        endpoint_down_meanwhile,
        "deliver-forgets",
        "missed-rollback",
    ),
    _cell(
        "A10 deliver",
        "deliver freezes with an answer in hand, wakes up when another has decided more",
        "who was frozen for longer than its session writes nothing more",
        frozen_with_the_answer,
        "deliver-has-no-lease",
        "missed-rollback",
    ),
    _cell(
        "A0 deliver",
        "kills, and verdicts that are no FAIL",
        "only a FAIL rolls back",
        none_wanted,
        "deliver-fails-all",
        "false-rollback",
    ),
)
