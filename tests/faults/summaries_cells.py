"""B7 for ``driftline.summaries``: a topic of ours is deleted and made again under its reader."""

from __future__ import annotations

from functools import partial
from typing import Final

from confluent_kafka import TopicPartition

from streams.internal_topics import SUMMARIES
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report, check_summaries
from tests.faults.gap_cells import both, check_told, commit, positions
from tests.faults.judge_cells import end_judged, wait_judged
from tests.faults.roles import RoleProcess, wait_until
from tests.faults.scene import CAUGHT_UP_S, Change, Scene
from tests.faults.topic_reading import Read, ends, records

PASSED: Final = 40
"""So many seconds of events are in the new topic before the judge reads on."""


def made_again_while_down(kept: bool, stage: Stage) -> Report:
    """The judge has read all and is killed; the topic is deleted and made again, and others write
    to it. ``kept``: the judge's committed offsets outlive their topic, and are in the new one."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        _read_all(scene)
        scene.stop(worker)
        judge.kill()
        scene.bury("judge")
        name = scene.internal(SUMMARIES)
        committed = positions(scene, "judge", [TopicPartition(name, 0)])
        old = _replace(scene)
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.traffic.go_on()
        if kept:
            wanted = committed[0].offset + 5
            wait_until(
                "more records than of the old topic", lambda: _end(scene) > wanted, CAUGHT_UP_S
            )
            commit(scene, "judge", committed)
        else:
            scene.traffic.hurry(PASSED)
        heir = scene.start("judge")
        heir.wait_ready()
        scene.report.kills += 1
        return _checked(scene, worker, heir, old)


def made_again_while_it_runs(stage: Stage) -> Report:
    """Worker and judge go on meanwhile. The judge notices and ends, and another goes on: as its
    supervisor would, the cell starts it."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene)
        _read_all(scene)
        old = _replace(scene)
        scene.traffic.go_on()
        scene.report.kills += 1
        if scene.change.mutant:  # it notices nothing: let it read what it reads
            wait_until("more records", lambda: _end(scene) > 2 * PASSED, CAUGHT_UP_S)
            return _checked(scene, worker, judge, old)
        wait_until(f"the judge has ended: {judge.log}", lambda: not judge.alive(), CAUGHT_UP_S)
        scene.bury("judge")
        judge = scene.start("judge")
        # What the one before committed last is an offset of the old topic, beyond the new one's.
        wait_until("it is at work in the new topic", partial(_commits_anew, scene), CAUGHT_UP_S)
        return _checked(scene, worker, judge, old)


def _commits_anew(scene: Scene) -> bool:
    (found,) = positions(scene, "judge", [TopicPartition(scene.internal(SUMMARIES), 0)])
    return 0 <= found.offset <= _end(scene)


def _read_all(scene: Scene) -> None:
    """Nothing of the old topic is left unread: what is missing later was in the new one."""
    scene.traffic.hold()
    scene.traffic.flush()
    scene.wait_read()
    wait_judged(scene)


def _replace(scene: Scene) -> list[Read]:
    """Another topic of the same name; what was in the old one."""
    name = scene.internal(SUMMARIES)
    old = records(scene.address, name)
    scene.broker.delete_topic(name)
    scene.broker.make_topic(name, 1)
    return old


def _end(scene: Scene) -> int:
    return ends(scene.address, scene.internal(SUMMARIES))[0]


def _checked(scene: Scene, worker: RoleProcess, judge: RoleProcess, old: list[Read]) -> Report:
    end_judged(scene, worker, judge)
    new = records(scene.address, scene.internal(SUMMARIES))
    log = scene.traffic.log
    check_summaries(scene.report, log, scene.topic, [*old, *new], scene.started_ms)
    scene.check_windows()
    check_told(scene, "was made again")
    return scene.report


def _scene(stage: Stage) -> Scene:
    return Scene(stage.address, stage.folder, stage.seed, change=stage.change, pause_s=0.1)


_BY_NAME: Final = Change("judge-takes-names-for-topics", ("judge",))

CELLS: Final = (
    Cell(
        "B7 summaries",
        "driftline.summaries is deleted and made again while the judge is down",
        "the judge's state keeps the id of the topic, and numbers records across topics",
        partial(made_again_while_down, False),
        _BY_NAME,
        ("lost",),
        kills=1,
    ),
    Cell(
        "B7 summaries kept",
        "the same, and the judge's offsets stay: the new topic has more records than were read",
        "offsets are committed with the id of their topic",
        partial(made_again_while_down, True),
        _BY_NAME,
        ("lost",),
        kills=1,
    ),
    Cell(
        "B7 summaries running",
        "driftline.summaries is deleted and made again while worker and judge run",
        "what was fetched is let in when the topic is the one that reading began in",
        made_again_while_it_runs,
        _BY_NAME,
        ("lost", "unsaid"),
        kills=1,
    ),
)
