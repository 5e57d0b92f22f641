"""B7 for the topics of results: one of them is deleted and made again under deliver or store."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from typing import Final

from confluent_kafka import TopicPartition

from detectors.verdict import Status
from streams.internal_topics import INTAKE, VERDICTS, topic_specs
from streams.kafka import KafkaSettings
from streams.kafka_topics import ensure_topics
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.deliver_cells import PARTITIONS, finish, played
from tests.faults.gap_cells import commit, positions
from tests.faults.roles import wait_until
from tests.faults.scene import CAUGHT_UP_S, Change, Scene
from tests.faults.store_cells import check_stored, ledger
from tests.faults.topic_reading import ends
from tests.ports import free_port

MORE: Final = 5
"""So many more records the new topic has than were read of the old one."""


def verdicts_made_again(stage: Stage) -> Report:
    """A verdict has rolled a release back. Then the topic is another one, the offsets stay, and the
    first verdict in it is the next release's FAIL."""
    with played(stage) as (scene, receiver, verdicts, _):
        first = scene.start("deliver")
        first.wait_ready()
        for status in (Status.PASS, Status.HOLD, Status.FAIL):
            verdicts.send("2", status)
        wait_until("executed", lambda: len(receiver.log.executed) == 1, CAUGHT_UP_S)
        places = [TopicPartition(scene.internal(VERDICTS), p) for p in range(PARTITIONS)]
        wait_until("all is committed", lambda: _sum(_committed(scene, "deliver", places)) == 3, 30)
        first.kill()
        scene.bury("deliver")
        before = _committed(scene, "deliver", places)
        _replace(scene, VERDICTS, PARTITIONS)
        verdicts.send("3", Status.FAIL)
        for _ in range(2 + MORE):
            verdicts.send("4", Status.INSUFFICIENT)
        commit(scene, "deliver", before)
        scene.report.kills += 1
        return finish(scene, receiver, 2)


def ledger_made_again(frozen: bool, stage: Stage) -> Report:
    """The store has stored the ledger. Then its topic is another one, and the store's offsets are
    in it; or the store hangs meanwhile (``frozen``) and goes on where it was."""
    port = free_port()
    with (
        Scene(
            stage.address, stage.folder, stage.seed, change=stage.change, store_port=port
        ) as scene,
        scene.traffic,
    ):
        worker, store = scene.start("summarize"), scene.start("store")
        worker.wait_ready()
        store.wait_ready()
        scene.wait_committed()
        scene.traffic.hold()
        scene.traffic.flush()
        scene.wait_read()
        scene.stop(worker)
        check_stored(scene, port, store)
        old = ledger(scene)
        places = [TopicPartition(scene.internal(INTAKE), p) for p in _ends(scene)]
        wait_until(
            "all is committed",
            lambda: _sum(_committed(scene, "store", places)) >= sum(_ends(scene).values()) - 1,
            CAUGHT_UP_S,
        )
        before = _committed(scene, "store", places)
        if frozen:
            store.send(signal.SIGSTOP)
        else:
            store.kill()
            scene.bury("store")
        _replace(scene, INTAKE, len(places))
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.traffic.go_on()
        wanted = _sum(before) + MORE
        wait_until("more entries", lambda: sum(_ends(scene).values()) > wanted, CAUGHT_UP_S)
        if frozen:
            store.send(signal.SIGCONT)
        else:
            commit(scene, "store", before)
            store = scene.start("store")
            store.wait_ready()
        scene.report.kills += 1
        scene.traffic.end()
        scene.wait_read()
        scene.stop(worker)
        check_stored(scene, port, store, old)
        scene.report.events = scene.traffic.log.expected().events.total()
        scene.stop(store)
        return scene.report


def _ends(scene: Scene) -> dict[int, int]:
    return dict(ends(scene.address, scene.internal(INTAKE)))


def _committed(scene: Scene, group: str, places: list[TopicPartition]) -> list[TopicPartition]:
    return [each for each in positions(scene, group, places) if each.offset >= 0]


def _sum(offsets: Sequence[TopicPartition]) -> int:
    return sum(each.offset for each in offsets)


def _replace(scene: Scene, short: str, partitions: int) -> None:
    """Another topic of the same name, made as the roles make it."""
    scene.broker.delete_topic(scene.internal(short))
    kafka = KafkaSettings(scene.address, prefix=f"{scene.topic}.", partitions=partitions)
    ensure_topics(kafka, topic_specs(kafka))


def _cell(name: str, fault: str, run: partial[Report], role: str, breaks: str) -> Cell:
    return Cell(
        name,
        fault,
        "offsets are committed with the id of their topic",
        run,
        Change("judge-takes-names-for-topics", (role,)),
        (breaks,),
        kills=1,
    )


CELLS: Final = (
    _cell(
        "B7 verdicts",
        "driftline.verdicts is deleted and made again while deliver is down, and its offsets stay",
        partial(verdicts_made_again),
        "deliver",
        "missed-rollback",
    ),
    _cell(
        "B7 intake",
        "driftline.intake is deleted and made again while the store is down, and its offsets stay",
        partial(ledger_made_again, False),
        "store",
        "lost",
    ),
    _cell(
        "B7 intake frozen",
        "driftline.intake is deleted and made again under a store that hangs meanwhile",
        partial(ledger_made_again, True),
        "store",
        "lost",
    ),
)
