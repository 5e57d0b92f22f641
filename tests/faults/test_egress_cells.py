"""G5 to G9: nothing reaches where it may not go; without its guard, each cell does."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.egress_cells import CELLS, EgressCell


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_no_forbidden_connection_is_made_and_without_its_guard_some_are(cell: EgressCell) -> None:
    assert asyncio.run(cell.play(guarded=True)) == 0
    assert asyncio.run(cell.play(guarded=False)) > 0
