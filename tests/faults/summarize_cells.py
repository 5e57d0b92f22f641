"""A1 to A14: workers of stage one die, freeze, stop and are replaced."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tests.faults.cells import Cell, Stage, Tier
from tests.faults.checker import Report
from tests.faults.roles import RoleProcess, Trouble, wait_until
from tests.faults.scene import CAUGHT_UP_S, FAILPOINT_S, Change, Scene

STEPS: Final = (
    "summarize.polled",
    "summarize.taken",
    "summarize.drained",
    "summarize.begun",
    "summarize.produced",
    "summarize.sent",
    "summarize.committed",
)
PASSES: Final = (5, 15)
"""At which pass of a step: the first flushes after an assignment have nothing in them."""
COMMITS_FIRST: Final = Change("commits-first")
COMMITS_LONG_BEFORE: Final = Change(
    "commits-first", environment={"DRIFTLINE__SUMMARIZE__FLUSH_INTERVAL": "2s"}
)
"""The same, so that a kill at random comes in between as a rule."""
PLAINLY: Final = Change(environment={"DRIFTLINE__KAFKA__TRANSACTIONS": "off"})
"""Records, and after them the offsets: what most consumers do."""


def finish(scene: Scene) -> Report:
    """A worker that nobody harms reads the rest; then everything is checked."""
    last = scene.worker()
    last.wait_ready()
    scene.traffic.end()
    scene.wait_read()
    scene.stop(scene.living(last))
    return scene.check()


def killed_at(points: tuple[str, ...], stage: Stage) -> Report:
    """Killed ``stage.kills`` times at each of some points, each time at another pass."""
    chance = random.Random(stage.seed)
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for point in points:
            step, _, action = point.partition("=")
            for _ in range(stage.kills):
                at = f"{step}={action or 'kill'}:{chance.randrange(*PASSES)}"
                scene.kill_by("summarize", at)
                scene.bury("summarize")
        return finish(scene)


def _has(scene: Scene, messages: int) -> bool:
    return scene.traffic.log.total() >= messages


def _refused(worker: RoleProcess, since: int) -> bool:
    """Whether it has said so behind this place in its log, or has ended."""
    return not worker.alive() or b" refused, " in worker.log.read_bytes()[since:]


def frozen_at(step: str, stage: Stage) -> Report:
    """A worker hangs, another takes its partitions over, then the first one wakes up and goes on
    where it stood."""
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for _ in range(stage.kills):
            zombie = scene.start("summarize", f"{step}=stop:{PASSES[1]}")
            zombie.wait_frozen(FAILPOINT_S)
            scene.broker.leave(scene.internal("summarize"))
            scene.broker.end_transactions(f"{scene.topic}.")
            heir = scene.start("summarize")
            heir.wait_ready()
            enough = scene.traffic.log.total() + 200
            wait_until("more traffic", partial(_has, scene, enough), CAUGHT_UP_S)
            said = zombie.log.stat().st_size
            zombie.send(signal.SIGCONT)
            # It tries to commit what it had in hand, and is refused, whatever it has written.
            wait_until("the zombie is refused", partial(_refused, zombie, said), CAUGHT_UP_S)
            scene.report.kills += 1
            if not zombie.alive():
                scene.report.notes.append("the zombie ended itself")
            zombie.kill()
            heir.kill()
            scene.bury("summarize")
        return finish(scene)


def told_to_stop(stage: Stage) -> Report:
    """SIGTERM while it is at each step: once, twice, and with a SIGKILL a second later."""
    points = ("summarize.polled", "summarize.drained", "summarize.produced", "summarize.sent")
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for number, point in enumerate(points[: stage.kills + 1]):
            role = scene.start("summarize", f"{point}=wait-700:{PASSES[0]}")
            role.wait_ready()
            time.sleep(1.5)
            role.send(signal.SIGTERM)
            if number % 2:
                time.sleep(0.2)
            if number == 3:
                time.sleep(0.8)
                role.kill()
            else:
                scene.stop(role)
            scene.report.kills += 1
            scene.bury("summarize")
        return finish(scene)


def told_to_stop_at_once(stage: Stage) -> Report:
    """SIGTERM in the first moments, when the group is still giving partitions to it."""
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for number in range(4 * stage.kills):
            role = scene.start("summarize")
            role.wait_ready()
            time.sleep((0.0, 0.02, 0.05, 0.1)[number % 4])
            scene.stop(role)
            scene.report.kills += 1
        return finish(scene)


def upgraded(stage: Stage) -> Report:
    """In mid-window one worker stops and another, set up differently, goes on; the first message
    that it reads is late, which it can only know from its predecessor."""
    settings = (
        {"DRIFTLINE__SUMMARIZE__BATCH_MESSAGES": "7"},
        {"DRIFTLINE__SUMMARIZE__FLUSH_INTERVAL": "900ms"},
        {"DRIFTLINE__SUMMARIZE__MAX_BUFFERED_ROWS": "1000"},
    )
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for each in settings[: stage.kills]:
            role = scene.start("summarize", **each)
            role.wait_ready()
            time.sleep(2)
            scene.traffic.hold()
            scene.traffic.flush()
            scene.wait_read()
            scene.stop(role)
            scene.traffic.late()
            scene.report.kills += 1
        return finish(scene)


def killed_at_random(stage: Stage) -> Report:
    """Two workers; now and then one is killed and another started. Seeded."""
    chance = random.Random(stage.seed)
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        alive = [scene.start("summarize"), scene.start("summarize")]
        for _ in range(4 * stage.kills):
            for role in alive:
                role.wait_ready()
            time.sleep(chance.uniform(0.5, 3))
            gone = alive.pop(chance.randrange(2))
            gone.kill()
            scene.report.kills += 1
            alive.append(scene.start("summarize"))
        for role in alive:
            role.kill()
        scene.bury("summarize")
        return finish(scene)


def recovers(stage: Stage) -> Report:
    """Killed in its transaction, with nobody who tells the broker: how long until all is read and
    can be read by others? 30 s are promised."""
    with (
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        for _ in range(stage.kills):
            at = f"summarize.sent=kill:{PASSES[1]}"
            scene.start("summarize", at).wait_killed(FAILPOINT_S)
            began = time.monotonic()
            scene.report.kills += 1
            heir = scene.start("summarize")
            try:
                scene.wait_lag_below(5.0, 60)
            except Trouble as trouble:
                scene.report.notes.append(str(trouble))
            seconds = time.monotonic() - began
            scene.report.notes.append(f"recovered {seconds:.1f} s after SIGKILL")
            if seconds > 30:
                scene.report.add("stuck", 1, f"recovery took {seconds:.1f} s, 30 are promised")
            heir.kill()
            scene.bury("summarize")
        return finish(scene)


def _at(number: int, point: str, without: Change, breaks: tuple[str, ...]) -> Cell:
    return Cell(
        f"A{number}",
        f"SIGKILL of summarize at {point}",
        "deltas and offsets are one transaction",
        partial(killed_at, (point,)),
        without,
        breaks,
    )


_READ: Final = tuple(STEPS[:3])
_LOST: Final = ("lost", "gap")
_DOUBLED: Final = ("duplicate", "overlap")
_RUN: Final[Callable[[Stage], Report]] = partial(killed_at, STEPS)

CELLS: Final = (
    Cell(
        "A1-A8",
        "SIGKILL of summarize at every step, one after the other",
        "deltas and offsets are one transaction",
        _RUN,
        COMMITS_FIRST,
        _LOST,
        tier=Tier.CHANGE,
        kills=1,
    ),
    *(_at(i, step, COMMITS_FIRST, _LOST) for i, step in enumerate(STEPS[:5], 1)),
    Cell(
        "A6",
        "SIGKILL of summarize with the offsets in the transaction",
        "deltas and offsets are one transaction",
        partial(killed_at, ("summarize.sent",)),
        COMMITS_FIRST,
        _LOST,
    ),
    Cell(
        "A7",
        "SIGKILL of summarize while the commit is under way",
        "deltas and offsets are one transaction",
        partial(killed_at, ("summarize.sent=kill-in-1", "summarize.sent=kill-in-4")),
        COMMITS_FIRST,
        _LOST,
    ),
    Cell(
        "A8",
        "SIGKILL of summarize after the commit",
        "the successor starts at the committed offsets",
        partial(killed_at, ("summarize.committed",)),
        Change("reads-from-start"),
        _DOUBLED,
    ),
    Cell(
        "A9",
        "a worker freezes in its transaction, wakes up when another owns the partitions",
        "the transaction is fenced by the group's generation",
        partial(frozen_at, "summarize.sent"),
        PLAINLY,
        _DOUBLED,
        run_without=partial(frozen_at, "summarize.acknowledged"),
    ),
    Cell(
        "A10",
        "a worker freezes before its transaction, wakes up when another owns the partitions",
        "the transaction is fenced by the group's generation",
        partial(frozen_at, "summarize.drained"),
        PLAINLY,
        _DOUBLED,
        tier=Tier.CHANGE,
        guard_tier=Tier.CHANGE,
        kills=1,
    ),
    Cell(
        "A11",
        "SIGTERM in every step, twice, and SIGKILL after it",
        "SIGTERM ends the loop, and the last flush is a transaction too",
        told_to_stop,
        Change("ignores-sigterm"),
        ("stuck",),
    ),
    Cell(
        "A11 beginning",
        "SIGTERM when it has just begun, while the group gives it partitions",
        "who closes takes no partitions",
        told_to_stop_at_once,
        Change("answers-when-closing"),
        ("stuck",),
    ),
    Cell(
        "A12",
        "SIGKILL of one of two workers at random",
        "deltas and offsets are one transaction",
        killed_at_random,
        COMMITS_LONG_BEFORE,
        _LOST,
    ),
    Cell(
        "A14",
        "upgrade in mid-window to a worker that batches differently",
        "the clock of a partition is committed with its offset",
        upgraded,
        Change("forgets-the-clock"),
        ("miscounted",),
    ),
    Cell(
        "A16",
        "SIGKILL in a transaction, and nobody tells the broker: recovery within 30 s",
        "sessions and transactions of the dead end soon",
        recovers,
        Change("long-timeouts"),
        ("stuck",),
        kills=1,
    ),
)
