"""H3: a model so wide that one of its summaries is larger than a record may be."""

from __future__ import annotations

import json
import time
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


def wide_events(scene: Scene) -> None:
    """As many events as one column keeps values, all in one pane: 900 x 60 texts of 180 bytes."""
    ts = scene.traffic.base_ms - scene.traffic.base_ms % PANE_MS
    for number in range(VALUES):
        value = f"{number:03d}" + "x" * (LETTERS - 3)
        event = {
            "ts": ts,
            "model": MODEL,
            "version": "1",
            "role": "production",
            "features": {f"c{column}": value for column in range(COLUMNS)},
        }
        body = json.dumps(event).encode()
        scene.traffic.send(number % PARTITIONS, Sent(body, ((ts, MODEL, "1"),)))


def wide_model(stage: Stage) -> Report:
    """Its events are counted and judged, also by a judge that has to load its state again."""
    with Scene(
        stage.address,
        stage.folder,
        stage.seed,
        change=stage.change,
        input_settings={"max.message.bytes": str(10 * 1024 * 1024)},
    ) as scene:
        # All of them in one flush, before any other event.
        wide_events(scene)
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
        wide_model,
        Change("keeps-groups-whole"),
        ("stuck",),
        kills=1,
    ),
)
