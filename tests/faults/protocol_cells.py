"""B2, B3: errors of the protocol that a real broker gives seldom, from librdkafka's mock cluster.

On it offsets are committed plainly, so that a message may count twice after some of them, as the
embedded mode says. None may be lost, and the worker must live.
"""

from __future__ import annotations

import time
from typing import Final

from tests.faults.broker_cells import finish_alive
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.mock_broker import (
    COORDINATOR_NOT_AVAILABLE,
    FETCH,
    ILLEGAL_GENERATION,
    NOT_LEADER,
    OFFSET_COMMIT,
    PRODUCE,
    REBALANCE_IN_PROGRESS,
    REQUEST_TIMED_OUT,
    UNKNOWN_MEMBER_ID,
    MockBroker,
)
from tests.faults.scene import Change, Scene

Errors = tuple[int, tuple[int, ...]]
"""A kind of request, and how the next ones are answered."""

_AT_LEAST_ONCE: Final = ("duplicate", "overlap", "content", "miscounted")
"""What the embedded mode does not promise."""


def refusing(errors: tuple[Errors, ...], exact: bool, stage: Stage) -> Report:
    """The errors, one kind after the other, while events keep coming."""
    mock = MockBroker()
    try:
        with (
            Scene(
                mock.address,
                stage.folder,
                stage.seed,
                change=stage.change,
                bootstrap=f"embedded://{mock.address}",
                internal_partitions=4,
                mock=mock,
            ) as scene,
            scene.traffic,
        ):
            worker = scene.start("summarize")
            worker.wait_ready()
            time.sleep(3)
            for _ in range(stage.kills):
                for api, codes in errors:
                    mock.push_errors(api, *codes)
                    scene.report.kills += len(codes)
                    time.sleep(1.5)
            report = finish_alive(scene, worker)
    finally:
        mock.close()
    if not exact:
        for name in _AT_LEAST_ONCE:
            if report.broken.pop(name, 0):
                report.notes.append(f"{name}, which the embedded mode allows")
        report.examples = [e for e in report.examples if not e.startswith(_AT_LEAST_ONCE)]
    return report


def _passing(stage: Stage) -> Report:
    errors = (
        (PRODUCE, (NOT_LEADER, REQUEST_TIMED_OUT) * 3),
        (FETCH, (NOT_LEADER, REQUEST_TIMED_OUT) * 3),
    )
    return refusing(errors, True, stage)


def _commits(stage: Stage) -> Report:
    errors = (
        (OFFSET_COMMIT, (REBALANCE_IN_PROGRESS,) * 2),
        (OFFSET_COMMIT, (COORDINATOR_NOT_AVAILABLE,) * 2),
        (OFFSET_COMMIT, (ILLEGAL_GENERATION,)),
        (OFFSET_COMMIT, (UNKNOWN_MEMBER_ID,)),
    )
    return refusing(errors, False, stage)


CELLS: Final = (
    Cell(
        "B2",
        "errors of Produce and Fetch: not the leader, timed out",
        "the idempotent producer sends again",
        _passing,
        Change("sends-once"),
        ("lost", "stuck"),
    ),
    Cell(
        "B3",
        "errors of OffsetCommit: rebalance, unknown member, old generation, no coordinator",
        "offsets that are refused are kept and committed with the next ones",
        _commits,
        Change("dies-at-refused-commit"),
        ("stuck",),
        kills=1,
    ),
)
