"""A1 to A13 for stage two: the judge dies, freezes, and loses everything but Kafka."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import replace
from functools import partial
from typing import Final

from streams.faust_broker import ANSWER_S
from streams.internal_topics import SUMMARIES
from tests.faults.cells import Cell, Stage, Tier
from tests.faults.checker import Report
from tests.faults.roles import RoleProcess
from tests.faults.scene import CAUGHT_UP_S, FAILPOINT_S, Change, Scene
from tests.faults.topic_reading import ends, records

STEPS: Final = ("judge.taken", "judge.published", "judge.intervals", "judge.written")
PASSES: Final = 60
"""At which pass a step kills: in mid-window, with windows closed and offsets committed before."""


def finish(scene: Scene, worker: RoleProcess) -> Report:
    """A judge that nobody harms judges the rest; then everything is checked."""
    return checked(scene, worker, scene.start("judge"))


def checked(scene: Scene, worker: RoleProcess, judge: RoleProcess) -> Report:
    """The rest is read and judged; then everything is checked."""
    end_judged(scene, worker, judge)
    scene.check()
    scene.check_windows()
    return scene.report


def end_judged(scene: Scene, worker: RoleProcess, judge: RoleProcess) -> None:
    """Traffic ends, both take in what is left, and are stopped."""
    scene.traffic.end()
    scene.wait_read()
    scene.stop(scene.living(worker))
    wait_judged(scene)
    scene.stop(judge)


def wait_judged(scene: Scene, seconds: float = CAUGHT_UP_S, *, in_all: bool = False) -> float:
    """Until the judge has committed the last record of summaries. (Behind it stand the markers of
    transactions, which nobody reads.)"""
    wanted: dict[int, int] = {}
    for record in records(scene.address, scene.internal(SUMMARIES)):
        wanted[record.partition] = record.offset + 1
    return scene.wait_group("judge", scene.internal(SUMMARIES), seconds, wanted, in_all=in_all)


def killed_at(steps: tuple[str, ...], stage: Stage) -> Report:
    """Killed ``stage.kills`` times at each of some steps, while events keep coming."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        for step in steps:
            scene.kill_at("judge", step, PASSES, stage.kills)
        return finish(scene, worker)


def killed_later(stage: Stage) -> Report:
    """Killed some seconds after it began to judge, when offsets have been committed in mid-window:
    from there on only what is remembered can complete the windows."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        for _ in range(stage.kills + 1):
            role = scene.start("judge")
            role.wait_ready()
            time.sleep(4)
            role.kill()
            scene.report.kills += 1
            scene.bury("judge")
        return finish(scene, worker)


def _has(scene: Scene, records_: int) -> bool:
    return sum(ends(scene.address, scene.internal(SUMMARIES)).values()) >= records_


def keeps_up(stage: Stage) -> Report:
    """Nobody is harmed, for hundreds of records in transactions: what is judged is committed too,
    or the next judge would begin further and further back. (Without the guard it goes on by one or
    two offsets a second.)"""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        judge = scene.start("judge")
        judge.wait_ready()
        scene.wait("records to judge", partial(_has, scene, 300 * stage.kills), CAUGHT_UP_S)
        scene.traffic.end()
        scene.wait_read()
        scene.stop(scene.living(worker))
        seconds = wait_judged(scene, 30, in_all=True)
        scene.report.notes.append(f"committed {seconds:.1f} s after the last record")
        scene.stop(judge)
        scene.check()
        scene.check_windows()
        return scene.report


def slow_to_restore(stage: Stage) -> Report:
    """A judge is killed, and the next one waits in vain for an answer while it restores its tables:
    longer than any request may take."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        for _ in range(stage.kills):
            scene.kill_at("judge", "judge.written", PASSES, 1)
        judge = scene.start("judge", f"faust.restoring=hang-{int(1_000 * (ANSWER_S + 2))}")
        return checked(scene, worker, judge)


def with_nothing_left(stage: Stage) -> Report:
    """Killed, and its working folder is emptied or full of rubbish: all it needs is in Kafka."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        for number in range(stage.kills):
            scene.kill_at("judge", "judge.written", PASSES, 1)
            for each in scene.folder.iterdir():
                if each.name in ("line.yaml", worker.log.name):
                    continue
                if number % 2 and each.is_file():
                    each.write_bytes(b"\0rubbish\xff" * 3)
                elif each.is_dir():
                    shutil.rmtree(each)
                else:
                    each.unlink()
        return finish(scene, worker)


def frozen_at(step: str, stage: Stage) -> Report:
    """A judge hangs, another takes its partitions over and goes on; the first one wakes up and
    writes what it had in hand. Then both die, so that the next one has only what is in Kafka."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.worker()
        for _ in range(stage.kills):
            zombie = scene.start("judge", f"{step}=stop:{PASSES}")
            zombie.wait_frozen(FAILPOINT_S)
            frozen = time.monotonic()
            scene.broker.leave(scene.internal("judge"))
            heir = scene.start("judge")
            heir.wait_ready()
            # Longer than a session lasts: before, the broker would not have given them away.
            time.sleep(max(4.0, 12.0 - (time.monotonic() - frozen)))
            heir.kill()
            zombie.send(signal.SIGCONT)
            time.sleep(2)
            zombie.kill()
            scene.report.kills += 1
            scene.bury("judge")
        return finish(scene, worker)


def frozen_often(step: str, stage: Stage) -> Report:
    """Whether what a zombie writes is the last of its key is a matter of luck: several times."""
    return frozen_at(step, replace(stage, kills=3))


def _scene(stage: Stage) -> Scene:
    return Scene(
        stage.address,
        stage.folder,
        stage.seed,
        change=stage.change,
        pause_s=0.1,
        internal_partitions=2,
    )


def _only_the_judge(mutant: str) -> Change:
    return Change(mutant, ("judge",))


_LOST: Final = ("lost",)
_FORGETS: Final = _only_the_judge("judge-forgets")

CELLS: Final = (
    Cell(
        "A1-A8 judge",
        "SIGKILL of the judge at every step, one after the other",
        "state is in the changelogs, and names the record it has taken in",
        partial(killed_at, STEPS),
        _FORGETS,
        _LOST,
        tier=Tier.CHANGE,
        kills=1,
        run_without=killed_later,
    ),
    Cell(
        "A1 judge",
        "SIGKILL of the judge with a record in hand",
        "a record is acknowledged after its results",
        partial(killed_at, ("judge.taken",)),
        _only_the_judge("judge-acknowledges-first"),
        _LOST,
    ),
    Cell(
        "A5 judge",
        "SIGKILL of the judge between results and state",
        "state is in the changelogs",
        partial(killed_at, ("judge.published",)),
        _FORGETS,
        _LOST,
        run_without=killed_later,
    ),
    Cell(
        "A6 judge",
        "SIGKILL of the judge between intervals and the model's state",
        "each interval names the record that changed it last",
        partial(killed_at, ("judge.intervals",)),
        _only_the_judge("judge-applies-twice"),
        ("duplicate",),
    ),
    Cell(
        "A8 judge",
        "SIGKILL of the judge between state and offset",
        "the state names the record it has taken in",
        partial(killed_at, ("judge.written",)),
        _only_the_judge("judge-applies-twice"),
        ("duplicate",),
    ),
    Cell(
        "A17 judge",
        "nothing but transactions, whose markers take up offsets",
        "a partition is taken in order, so the newest acknowledged record is what is committed",
        keeps_up,
        _only_the_judge("judge-counts-gaps"),
        ("stuck",),
        tier=Tier.CHANGE,
        kills=1,
    ),
    Cell(
        "A18 judge",
        "SIGKILL of the judge, and the next one starts while records keep coming",
        "no record is let in before the seek to the committed offsets has ended",
        partial(killed_at, ("judge.written",)),
        _only_the_judge("judge-lets-in-early"),
        ("lost", "stuck"),
        run_without=partial(killed_at, ("judge.taken",)),
    ),
    Cell(
        "A19 judge",
        "SIGKILL of the judge, and the broker does not answer the next one while it restores",
        "what was not answered in time is asked again",
        slow_to_restore,
        _only_the_judge("judge-restores-once"),
        ("stuck",),
        kills=1,
    ),
    Cell(
        "A10 judge",
        "a judge freezes before it writes its state, wakes up when another owns the partitions",
        "who was frozen for longer than its session writes nothing more",
        partial(frozen_at, "judge.published"),
        _only_the_judge("judge-has-no-lease"),
        ("lost", "duplicate"),
        run_without=partial(frozen_often, "judge.published"),
    ),
    Cell(
        "A12 judge",
        "SIGKILL of the judge when it has committed, in mid-window",
        "state is in the changelogs",
        killed_later,
        _FORGETS,
        _LOST,
    ),
    Cell(
        "A13 judge",
        "SIGKILL of the judge, and its folder is emptied or full of rubbish",
        "all state is in Kafka",
        with_nothing_left,
        _FORGETS,
        _LOST,
        run_without=killed_later,
    ),
)
