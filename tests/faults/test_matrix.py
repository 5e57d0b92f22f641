"""The cells that are run with every change; ``make faults`` runs all of them, with more kills.

Where Java or Kafka's jars cannot be had, these are counted as not run, as all tests on a real Kafka
are; ``make faults`` fails there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from deploy.kafka.server import KafkaCannotRun, RealKafka
from tests.faults import matrix
from tests.faults.cells import Stage, Tier, outcome
from tests.faults.matrix import CELLS, Planned, planned

PLANNED = planned(Tier.CHANGE)
EXPECTED = 8
"""Runs of this tier. Fewer is no pass: who takes a cell away takes it away here as well."""
SEED = 1


@pytest.fixture(scope="module")
def kafka() -> Iterator[RealKafka]:
    """A broker for these cells alone: some of them kill it."""
    try:
        broker = RealKafka()
    except KafkaCannotRun as reason:
        pytest.skip(f"no real Kafka: {reason}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with broker:
        yield broker
    structlog.reset_defaults()


def test_the_table_has_as_many_cells_as_it_should() -> None:
    assert len(PLANNED) == EXPECTED
    assert len({cell.id for cell in CELLS}) == len(CELLS) == matrix.EXPECTED
    assert len(planned(Tier.NIGHTLY)) == 2 * matrix.EXPECTED


@pytest.mark.kafka
@pytest.mark.timeout(900)
@pytest.mark.parametrize("plan", PLANNED, ids=lambda plan: plan.name.replace(" ", "-"))
def test_nothing_is_broken_with_its_guard_and_something_without(
    plan: Planned, kafka: RealKafka, tmp_path: Path
) -> None:
    cell = plan.cell
    if plan.guarded:
        report = cell.run(Stage(kafka, tmp_path, SEED, 1))
    else:
        run = cell.run_without or cell.run
        report = run(Stage(kafka, tmp_path, SEED, 1, cell.without))
    print(f"{plan.name}: {report} {'; '.join(report.notes)}")
    wrong = outcome(cell, report, guarded=plan.guarded)
    assert not wrong, wrong
