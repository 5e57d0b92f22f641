"""B7, B8: messages are gone before anybody has read them, and somebody has to say so."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Final

import confluent_kafka
from confluent_kafka import TopicPartition

from detectors.verdict import Status, Verdict
from streams.internal_topics import DEADLETTERS, SUMMARIES, VERDICTS
from streams.wire import decode_verdict
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report, check_dead_letters, check_summaries
from tests.faults.judge_cells import end_judged
from tests.faults.roles import RoleProcess, Trouble, wait_until
from tests.faults.scene import CAUGHT_UP_S, Change, Scene
from tests.faults.topic_reading import ends, records, rows
from tests.faults.traffic import MODEL, PARTITIONS

NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})


def verdicts(scene: Scene) -> list[Verdict]:
    """All verdicts on the model with traffic, in their order."""
    found = [
        decode_verdict(record.value)
        for record in records(scene.address, scene.internal(VERDICTS))
        if record.value is not None
    ]
    return [verdict for verdict in found if verdict.release.model == MODEL]


def check_told(scene: Scene, reason: str) -> None:
    """Each release was BLIND for the gap, and is so no more."""
    told = verdicts(scene)
    for release in sorted({verdict.release for verdict in told}, key=str):
        own = [verdict for verdict in told if verdict.release == release]
        blind = [v for v in own if v.status is Status.BLIND and reason in v.reason]
        scene.report.add("unsaid", int(not blind), f"{release} was never BLIND for {reason!r}")
        late = blind and own[-1].status is Status.BLIND
        scene.report.add("stuck", int(bool(late)), f"{release} stays BLIND: {own[-1].reason}")
    scene.report.add("unsaid", int(not told), "no verdict at all")


def retention_is_told(stage: Stage) -> Report:
    """While no worker runs, messages that were not read are deleted: the verdicts say so until a
    window without a gap has closed."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        worker.kill()
        scene.bury("summarize")
        time.sleep(4)
        scene.traffic.flush()
        scene.overrun_retention(20)
        scene.report.kills += 1
        heir = scene.start("summarize")
        heir.wait_ready()
        time.sleep(2)
        end_judged(scene, heir, judge)
        scene.check()
        check_told(scene, "were deleted before they were read")
        return scene.report


def retention_while_running(stage: Stage) -> Report:
    """A worker hangs, and what it would have read next is deleted: it reads on after the gap. How
    much it had fetched before, only it knows: its letters have to add up."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.wait_committed()
        worker.send(signal.SIGSTOP)
        time.sleep(4)
        scene.traffic.flush()
        end = {p: at - 5 for p, at in ends(scene.address, scene.topic).items()}
        scene.broker.delete_before(scene.topic, end)
        worker.send(signal.SIGCONT)
        scene.report.kills += 1
        time.sleep(2)
        worker = _living(scene, worker)
        scene.traffic.end()
        scene.wait_read()
        scene.stop(worker)
        for row in rows(scene.address, scene.internal(DEADLETTERS)):
            count, _, words = row["reason"].partition(" ")
            if words == "messages were deleted before they were read":
                first = row["offset"]
                scene.missing[row["partition"]] = range(first, first + int(count))
        found = {p: gone.stop for p, gone in scene.missing.items()}
        scene.report.add("unsaid", int(found != end), f"letters up to {found}, deleted up to {end}")
        return scene.check()


def made_again(away_s: float, stage: Stage) -> Report:
    """The topic is deleted with all its messages, which have been read, and made again."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        for _ in range(stage.kills):
            scene.traffic.hold()
            scene.traffic.flush()
            scene.wait_read()
            scene.broker.delete_topic(scene.topic)
            time.sleep(away_s)
            scene.broker.make_topic(scene.topic, PARTITIONS)
            scene.traffic.go_on(topic_is_new=True)
            scene.report.kills += 1
            time.sleep(6)
        end_judged(scene, _living(scene, worker), judge)
        return _check_made_again(scene)


def made_again_while_down(kept: bool, stage: Stage) -> Report:
    """The topic is deleted and made again while no worker runs, and has more messages than were
    committed when one starts. ``kept``: the committed offsets outlive their topic, as they do when
    the broker dies before it has dropped them."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        scene.traffic.hold()
        scene.traffic.flush()
        scene.wait_read()
        worker.kill()
        scene.bury("summarize")
        committed = positions(scene, "summarize", _places(scene))
        _replace(scene, committed)
        if kept:
            commit(scene, "summarize", committed)
        scene.report.kills += 1
        heir = scene.start("summarize")
        heir.wait_ready()
        time.sleep(4)
        end_judged(scene, heir, judge)
        return _check_made_again(scene)


def made_again_while_frozen(stage: Stage) -> Report:
    """The same while a worker hangs, which has the position of the old topic."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        scene.traffic.hold()
        scene.traffic.flush()
        scene.wait_read()
        worker.send(signal.SIGSTOP)
        _replace(scene, positions(scene, "summarize", _places(scene)))
        worker.send(signal.SIGCONT)
        scene.report.kills += 1
        time.sleep(6)
        end_judged(scene, _living(scene, worker), judge)
        return _check_made_again(scene)


def positions(scene: Scene, group: str, places: list[TopicPartition]) -> list[TopicPartition]:
    """What a role's group has committed, with its metadata."""
    with _as_group(scene, group) as consumer:
        return consumer.committed(places, timeout=10)


def commit(scene: Scene, group: str, wanted: list[TopicPartition]) -> None:
    """Nobody of the group is alive: commit in its name."""
    with _as_group(scene, group) as consumer:
        consumer.commit(offsets=wanted, asynchronous=False)


@contextmanager
def _as_group(scene: Scene, group: str) -> Iterator[confluent_kafka.Consumer]:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": scene.address,
            "group.id": scene.internal(group),
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _places(scene: Scene) -> list[TopicPartition]:
    return [TopicPartition(scene.topic, partition) for partition in range(PARTITIONS)]


def _replace(scene: Scene, committed: list[TopicPartition]) -> None:
    """Another topic of the same name, with more messages than were committed of this one; quickly,
    for a worker that hangs is in the group for 10 s."""
    scene.broker.delete_topic(scene.topic)
    scene.broker.make_topic(scene.topic, PARTITIONS)
    scene.traffic.go_on(topic_is_new=True)
    scene.traffic.hurry(max(place.offset for place in committed))
    found = ends(scene.address, scene.topic)
    if any(found[place.partition] <= place.offset for place in committed):
        raise Trouble(f"the new topic ends at {found}, the old one was read up to {committed}")


def _check_made_again(scene: Scene) -> Report:
    """Everything of both topics is counted, and it is said that one has replaced the other."""
    log = scene.traffic.log
    summaries = records(scene.address, scene.internal(SUMMARIES))
    check_summaries(scene.report, log, scene.topic, summaries, scene.started_ms)
    letters = records(scene.address, scene.internal(DEADLETTERS))
    told = [each for each in letters if b"made again" in (each.value or b"")]
    scene.report.add("unsaid", int(not told), "no letter says that the topic was made again")
    check_told(scene, "was made again")
    others = [each for each in letters if each not in told]
    check_dead_letters(scene.report, log.expected(), others, scene.topic)
    return scene.report


def _living(scene: Scene, worker: RoleProcess) -> RoleProcess:
    """The worker, which must have lived through it; if not another, so that the rest is checked."""
    if worker.alive():
        return worker
    scene.report.add("stuck", 1, f"the worker did not live: {worker.said()[-400:]}")
    return scene.start("summarize")


def both(
    scene: Scene, settings: Mapping[str, str] = NO_SETTINGS, **of_the_worker: str
) -> tuple[RoleProcess, RoleProcess]:
    """A worker and a judge that has told of the first windows."""
    worker = scene.start("summarize", **settings, **of_the_worker)
    judge = scene.start("judge", **settings)
    judge.wait_ready()
    worker.wait_ready()
    wait_until("the first verdicts", lambda: verdicts(scene), CAUGHT_UP_S)
    return worker, judge


def _scene(stage: Stage) -> Scene:
    return Scene(stage.address, stage.folder, stage.seed, change=stage.change, pause_s=0.1)


CELLS: Final = (
    Cell(
        "B7",
        "the topic is deleted and made again while a worker runs",
        "offsets that went with their topic are known for that, and it is said",
        partial(made_again, 0.5),
        Change("passes-new-topics"),
        ("unsaid",),
        kills=1,
    ),
    Cell(
        "B7 down",
        "the topic is deleted and made again while no worker runs; its offsets go with it",
        "which topic was read is kept where it outlives offsets",
        partial(made_again_while_down, False),
        Change("takes-names-for-topics"),
        ("unsaid",),
        kills=1,
    ),
    Cell(
        "B7 kept",
        "the same, and its offsets stay: the new topic has more messages than were committed",
        "an offset is committed with the id of its topic",
        partial(made_again_while_down, True),
        Change("takes-names-for-topics"),
        ("lost",),
        kills=1,
    ),
    Cell(
        "B7 frozen",
        "the same while a worker hangs: its position is one that the new topic has",
        "before each commit the ids of the topics are compared with those that reading began in",
        made_again_while_frozen,
        Change("takes-names-for-topics"),
        ("lost",),
        kills=1,
    ),
    Cell(
        "B8 running",
        "retention passes the position of a worker that runs",
        "partitions are assigned anew: one whose position is gone cannot be sought in",
        retention_while_running,
        Change("seeks-after-gaps"),
        ("stuck",),
        kills=1,
    ),
    Cell(
        "B8 judge",
        "retention passes the committed offset: what the verdicts say",
        "a gap makes every model of the topic BLIND until a window without it has closed",
        retention_is_told,
        Change("judge-passes-gaps", ("judge",)),
        ("unsaid",),
        kills=1,
    ),
)
