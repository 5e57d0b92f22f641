"""H3: a model so wide that one of its summaries, or an entry of the judge's state, is larger
than a record may be."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.judge_cells import wait_judged
from tests.faults.scene import Change, Scene
from tests.faults.traffic import PANE_MS, PARTITIONS, Sent

COLUMNS: Final = 900
VALUES: Final = 60
LETTERS: Final = 180
MODEL: Final = "wide"


def compressible(number: int, column: int) -> str:
    """The value of a column in an event: 180 bytes, of which nearly all are the same."""
    return f"{number:03d}" + "x" * (LETTERS - 3)


def incompressible(number: int, column: int) -> str:
    """300 bytes, another text each time."""
    chance = random.Random(number * COLUMNS + column)
    return "".join(map(chr, chance.choices(range(0x4E00, 0x9FA0), k=100)))


def wide_events(scene: Scene, text: Callable[[int, int], str]) -> None:
    """As many events as one column keeps values, all in one pane: 900 x 60 texts."""
    ts = scene.traffic.base_ms - scene.traffic.base_ms % PANE_MS
    for number in range(VALUES):
        event = {
            "ts": ts,
            "model": MODEL,
            "version": "1",
            "role": "production",
            "features": {f"c{column}": text(number, column) for column in range(COLUMNS)},
        }
        body = json.dumps(event).encode()
        scene.traffic.send(number % PARTITIONS, Sent(body, ((ts, MODEL, "1"),)))


def wide_model(text: Callable[[int, int], str], stage: Stage) -> Report:
    """Its events are counted and judged, also by a judge that has to load its state again."""
    with Scene(
        stage.address,
        stage.folder,
        stage.seed,
        change=stage.change,
        input_settings={"max.message.bytes": str(10 * 1024 * 1024)},
    ) as scene:
        # All of them in one flush, before any other event.
        wide_events(scene, text)
        scene.traffic.flush()
        with scene.traffic:
            settings = {
                "DRIFTLINE__SUMMARIZE__FLUSH_INTERVAL": "5s",
                "DRIFTLINE__SUMMARIZE__BATCH_MESSAGES": "10",
            }
            worker = scene.start("summarize", **settings)
            judge = scene.start("judge")
            judge.wait_ready()
            worker.wait_ready()
            for _ in range(stage.kills):
                time.sleep(7)
                judge.kill()
                scene.report.kills += 1
                scene.bury("judge")
                judge = scene.start("judge")
            scene.traffic.end()
            scene.wait_read(30)
            scene.stop(worker)
            if scene.report.broken:
                return scene.report
            wait_judged(scene)
            scene.stop(judge)
            scene.check()
            scene.check_windows()
            return scene.report


CELLS: Final = (
    Cell(
        "H3",
        "a model of 900 columns of long texts: one summary of 10 MB",
        "a group that fits no record is cut into parts that add up to it",
        partial(wide_model, compressible),
        Change("keeps-groups-whole"),
        ("stuck",),
        kills=1,
    ),
    Cell(
        "H3 judge",
        "the same of texts that do not compress: an entry of the judge's state of 16 MB",
        "an entry that fits no record is stored in parts, which its head commits",
        partial(wide_model, incompressible),
        Change("judge-keeps-entries-whole", ("judge",)),
        ("stuck",),
        kills=1,
    ),
)
