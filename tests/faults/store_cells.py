"""A5 to A9 for the store: it dies between an insert and its commit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Final

from streams.internal_topics import DEADLETTERS, INTAKE
from tests.faults.cells import Cell, Stage, Tier
from tests.faults.checker import Report
from tests.faults.engine import ask
from tests.faults.roles import RoleProcess, wait_until
from tests.faults.scene import CAUGHT_UP_S, Change, Scene
from tests.faults.topic_reading import rows
from tests.ports import free_port

STEPS: Final = ("store.taken", "store.inserted", "store.stored")


def killed_at(steps: tuple[str, ...], stage: Stage) -> Report:
    """Killed at each of some steps; what is in the tables at the end is what is in the topics."""
    port = free_port()
    with (
        Scene(
            stage.address, stage.folder, stage.seed, change=stage.change, store_port=port
        ) as scene,
        scene.traffic,
    ):
        worker = scene.worker()
        worker.wait_ready()
        for step in steps:
            scene.kill_at("store", step, 2, stage.kills)
        last = scene.start("store")
        last.wait_ready()
        scene.traffic.end()
        scene.wait_read()
        scene.stop(scene.living(worker))
        scene.check()
        check_stored(scene, port, last)
        scene.stop(last)
        return scene.report


def ledger(scene: Scene) -> list[str]:
    """What identifies each entry of the ledger."""
    return [
        f"{row['partition']}/{row['first_offset']}"
        for row in rows(scene.address, scene.internal(INTAKE))
    ]


def check_stored(scene: Scene, port: int, store: RoleProcess, before: Collection[str] = ()) -> None:
    """What is in the tables of the engine at ``port`` is what is in the topics; ``before``: entries
    of the ledger that were in another topic of its name."""
    wanted = {
        "intake": Counter([*before, *ledger(scene)]),
        "dead_letters": Counter(
            f"{row['partition']}/{row['offset']}"
            for row in rows(scene.address, scene.internal(DEADLETTERS))
        ),
    }
    queries = {
        "intake": "SELECT concat(toString(partition), '/', toString(first_offset))"
        " FROM driftline.intake FINAL FORMAT TSV",
        "dead_letters": "SELECT concat(toString(partition), '/', toString(offset))"
        " FROM driftline.dead_letters FINAL FORMAT TSV",
    }

    def found(table: str) -> Counter[str]:
        return Counter(row[0] for row in ask(port, queries[table]))

    def all_there() -> bool:
        return all(not (wanted[table] - found(table)) for table in wanted)

    try:
        wait_until("the store has everything", all_there, CAUGHT_UP_S)
    except AssertionError:
        scene.report.notes.append(store.said()[-300:])
    time.sleep(1)
    for table, counts in wanted.items():
        scene.report.compare(f"row of {table}", counts, found(table))


CELLS: Final = (
    Cell(
        "A5-A8 store",
        "SIGKILL of the store at every step",
        "offsets are committed after the rows are stored; a row's key is its identity",
        partial(killed_at, STEPS),
        Change("store-commits-first", ("store",)),
        ("lost",),
        tier=Tier.CHANGE,
        kills=1,
    ),
    Cell(
        "A6 store",
        "SIGKILL of the store after an insert",
        "offsets are committed after the rows are stored; a row's key is its identity",
        partial(killed_at, ("store.inserted",)),
        Change("store-commits-first", ("store",)),
        ("lost",),
        run_without=partial(killed_at, ("store.taken",)),
    ),
)
