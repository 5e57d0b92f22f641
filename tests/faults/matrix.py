"""The whole table of cells, and what of it is run when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.faults import (
    broker_cells,
    deliver_cells,
    gap_cells,
    judge_cells,
    network_cells,
    producer_cells,
    protocol_cells,
    results_network_cells,
    results_topics_cells,
    size_cells,
    store_cells,
    summaries_cells,
    summarize_cells,
)
from tests.faults.cells import Cell, Tier

CELLS: Final[tuple[Cell, ...]] = (
    *summarize_cells.CELLS,
    *judge_cells.CELLS,
    *store_cells.CELLS,
    *deliver_cells.CELLS,
    *broker_cells.CELLS,
    *producer_cells.CELLS,
    *protocol_cells.CELLS,
    *gap_cells.CELLS,
    *summaries_cells.CELLS,
    *results_topics_cells.CELLS,
    *network_cells.CELLS,
    *results_network_cells.CELLS,
    *size_cells.CELLS,
)


EXPECTED: Final = 70
"""Cells of the table. Who takes one away takes it away here as well."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of a cell: as the code is (``guarded``), or with its guard removed."""

    cell: Cell
    guarded: bool

    @property
    def name(self) -> str:
        return self.cell.id if self.guarded else f"{self.cell.id} without its guard"


def planned(tier: Tier) -> tuple[Planned, ...]:
    """What is run in a tier: NIGHTLY is everything."""
    found = []
    for cell in CELLS:
        if tier is Tier.NIGHTLY or cell.tier is Tier.CHANGE:
            found.append(Planned(cell, guarded=True))
        if tier is Tier.NIGHTLY or cell.guard_tier is Tier.CHANGE:
            found.append(Planned(cell, guarded=False))
    return tuple(found)
