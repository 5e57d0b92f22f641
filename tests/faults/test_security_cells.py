"""G1 to G11: nothing gets through; without its guard, in each cell something does."""

from __future__ import annotations

import pytest

from tests.faults.security_cells import CELLS, EXPECTED, SecurityCell


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.id}-{cell.fault}")
def test_nothing_gets_through(cell: SecurityCell) -> None:
    assert cell.play(guarded=True) == 0


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.id}-{cell.fault}-no-guard")
def test_without_its_guard_something_gets_through(cell: SecurityCell) -> None:
    assert cell.play(guarded=False) > 0


def test_no_cell_was_taken_away() -> None:
    assert [cell.id for cell in CELLS] == [f"G{n}" for n in range(1, EXPECTED + 1)]
