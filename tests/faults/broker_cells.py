"""B1 to B12: the broker goes away, freezes, moves partitions, and keeps what nobody expects.

B10 and B11, which are about producers, are in tests.faults.producer_cells."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from tests.faults.cells import Cell, Stage, Tier
from tests.faults.checker import Report
from tests.faults.roles import RoleProcess, Trouble
from tests.faults.scene import Change, Scene
from tests.faults.soak import resident_mb
from tests.faults.summarize_cells import COMMITS_LONG_BEFORE, PLAINLY, finish, killed_at_random
from tests.faults.traffic import PARTITIONS, Sent

DOWN_S: Final = 10.0
"""How long a broker is away for each fault of a cell: 10 s, and 30 s with three."""
FROZEN_S: Final = 26.0
"""Longer than a session, and than a transaction may be open."""
MOST_RESIDENT_MB: Final = 600.0
_LEFT_OUT: Final = "client_left_messages_out"
"""What a worker says when such messages have come after all."""


def finish_alive(scene: Scene, worker: RoleProcess) -> Report:
    """The same worker (where one is supervised: or who went on for it) must have lived through it,
    and reads the rest; then all is checked."""
    worker = scene.living(worker)
    if not worker.alive():
        scene.report.add("stuck", 1, f"{worker.name} did not live through it: {worker.said()}")
        return finish(scene)
    scene.traffic.end()
    scene.wait_read()
    scene.stop(scene.living(worker))
    return scene.check()


def broker_down(stage: Stage) -> Report:
    """kill -9 of the broker in the middle of everything; it comes back with its data."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.wait_committed()  # "in the middle" also where a start takes long
        time.sleep(2)
        stage.kafka.kill()
        try:
            time.sleep(DOWN_S * stage.kills)
        finally:
            stage.kafka.start()
        scene.report.kills += 1
        scene.supervise(worker)
        try:
            seconds = scene.wait_lag_below(5.0, 60)
            scene.report.notes.append(f"lag below 5 s {seconds:.1f} s after its return")
        except Trouble as trouble:
            scene.report.add("stuck", 1, str(trouble))
        return finish_alive(scene, worker)


def broker_down_for_long(stage: Stage) -> Report:
    """For as long as with three kills: a worker without patience gives up in that time."""
    return broker_down(replace(stage, kills=3))


def broker_frozen(step: str, stage: Stage) -> Report:
    """The broker answers nothing from a step of the worker on, and wakes up when session and
    transaction have ended."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize", f"{step}=hang-1500:10")
        worker.wait_ready()
        time.sleep(2)  # in the hang, or close to it
        stage.kafka.pause()
        try:
            time.sleep(FROZEN_S)
        finally:
            stage.kafka.resume()
        scene.report.kills += 1
        scene.supervise(worker)
        return finish_alive(scene, worker)


def rebalance_storm(stage: Stage) -> Report:
    """Six workers; every two seconds one leaves, in order or killed, and another joins."""
    chance = random.Random(stage.seed)
    with _scene(stage, pause_s=0.1) as scene, scene.traffic:
        alive = [scene.start("summarize") for _ in range(6)]
        for role in alive:
            role.wait_ready()
        for number in range(10 * stage.kills):
            time.sleep(2)
            gone = alive.pop(chance.randrange(len(alive)))
            if number % 2:
                gone.kill()
            else:
                gone.send(signal.SIGTERM)
            alive.append(scene.start("summarize"))
            scene.report.kills += 1
        for role in alive[1:]:
            role.kill()
        return finish_alive(scene, alive[0])


def too_slow(step: str, stage: Stage) -> Report:
    """A worker takes longer than max.poll.interval allows, at a bad moment."""
    with _scene(stage, pause_s=0.2) as scene, scene.traffic:
        worker = scene.start("summarize", f"{step}=hang-66000:10")
        worker.wait_ready()
        time.sleep(70)
        scene.report.kills += 1
        return finish_alive(scene, worker)


def retention_passed(stage: Stage) -> Report:
    """While no worker runs, messages that were not read are deleted. They cannot be counted, but
    nobody may take that for silence: the dead letters say how many, and the rest is counted."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.wait_committed()
        worker.kill()
        scene.bury("summarize")
        time.sleep(1)
        scene.traffic.flush()
        scene.overrun_retention()
        scene.report.kills += 1
        return finish(scene)


def partitions_grow(stage: Stage) -> Report:
    """The topic has four partitions, and then eight, while a worker runs."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        time.sleep(2)
        scene.broker.add_partitions(scene.topic, 2 * PARTITIONS)
        scene.traffic.use_partitions(2 * PARTITIONS)
        scene.report.kills += 1
        time.sleep(4)
        return finish_alive(scene, worker)


def messages_left_out(stage: Stage) -> Report:
    """The worker's client gives it the messages behind two others, and never those two."""
    faulty = stage.change if stage.change.mutant else Change("client-leaves-out")
    with _scene(replace(stage, change=faulty)) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.wait_committed()
        time.sleep(3)
        scene.report.kills += 1
        report = finish_alive(scene, worker)
        if not stage.change.mutant and _LEFT_OUT not in worker.log.read_text(encoding="utf-8"):
            raise Trouble("the client has left nothing out")
        return report


def oversized(stage: Stage) -> Report:
    """Messages of 9 and 5 MB, and one of 60 MB that is some kB on the wire."""
    with (
        _scene(stage, input_settings={"max.message.bytes": str(10 * 1024 * 1024)}) as scene,
        scene.traffic,
    ):
        worker = scene.start("summarize")
        worker.wait_ready()
        for size in (9, 60, 5)[: stage.kills]:
            scene.traffic.send(size % PARTITIONS, Sent(b"x" * (size * 1024 * 1024), (), 1))
            scene.report.kills += 1
            time.sleep(1)
        scene.traffic.flush()
        time.sleep(3)
        if worker.alive():
            resident = resident_mb(worker)
            scene.report.notes.append(f"{resident:.0f} MB resident")
            over = resident > MOST_RESIDENT_MB
            scene.report.add("stuck", int(over), f"{resident:.0f} MB resident")
        return finish_alive(scene, worker)


def _scene(
    stage: Stage, pause_s: float = 0.05, input_settings: Mapping[str, str] | None = None
) -> Scene:
    return Scene(
        stage.address,
        stage.folder,
        stage.seed,
        change=stage.change,
        pause_s=pause_s,
        input_settings=input_settings,
    )


_STUCK: Final = ("stuck",)
_SURVIVES: Final = "calls are made again until a broker answers, and a fenced producer is replaced"

CELLS: Final = (
    Cell(
        "B1",
        "the broker is killed and comes back later",
        _SURVIVES,
        broker_down,
        Change("gives-up"),
        _STUCK,
        tier=Tier.CHANGE,
        run_without=broker_down_for_long,
    ),
    Cell(
        "B4",
        "the broker freezes between poll and commit, longer than session and transaction last",
        _SURVIVES,
        partial(broker_frozen, "summarize.sent"),
        Change("gives-up"),
        _STUCK,
        kills=1,
    ),
    Cell(
        "B5",
        "rebalance storm: six workers, one leaves and one joins every two seconds",
        "deltas and offsets are one transaction",
        rebalance_storm,
        COMMITS_LONG_BEFORE,
        ("lost", "gap"),
        run_without=killed_at_random,
    ),
    Cell(
        "B6",
        "a worker is slower than max.poll.interval",
        "the transaction is fenced by the group's generation",
        partial(too_slow, "summarize.drained"),
        PLAINLY,
        ("duplicate", "overlap"),
        kills=1,
        run_without=partial(too_slow, "summarize.acknowledged"),
    ),
    Cell(
        "B8",
        "retention passes the committed offset",
        "what was deleted unread becomes a dead letter",
        retention_passed,
        Change("skips-silently"),
        ("lost",),
        kills=1,
    ),
    Cell(
        "B9",
        "the partitions of an input topic grow from 4 to 8",
        "topics are looked at again every 10 s",
        partitions_grow,
        Change("looks-once"),
        _STUCK,
        kills=1,
    ),
    Cell(
        "B9 left out",
        "the client leaves two messages out, and says nothing",
        "what was read is read again before a hole is believed",
        messages_left_out,
        Change("believes-the-client"),
        ("lost",),
        kills=1,
    ),
    Cell(
        "B12",
        "messages of 5, 9 and (compressed to some kB) 60 MB",
        "a dead letter keeps 64 kB",
        oversized,
        Change("keeps-whole-letters"),
        _STUCK,
    ),
)
