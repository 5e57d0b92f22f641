"""A cell: one fault, what it must not break, and the guard that keeps it from doing so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.kafka.server import RealKafka
from tests.faults.checker import Report
from tests.faults.scene import AS_IT_IS, Change


class Tier(StrEnum):
    """CHANGE: with every change of the code (``make test``); NIGHTLY: by ``make faults``."""

    CHANGE = "change"
    NIGHTLY = "nightly"


@dataclass(frozen=True, slots=True)
class Stage:
    """What a cell runs on: the session's broker, a folder, a seed, how many faults to make, and
    what is changed about the roles."""

    kafka: RealKafka
    folder: Path
    seed: int
    kills: int
    change: Change = AS_IT_IS

    @property
    def address(self) -> str:
        return self.kafka.address


@dataclass(frozen=True, slots=True)
class Cell:
    """``run`` makes the fault and returns what the checker found, which must be nothing. With
    ``without`` (the ``guard`` is removed) one of ``breaks`` must be found, or the cell proves
    nothing. ``change``: the tiers in which the cell, and in which its removed guard, is run."""

    id: str
    fault: str
    guard: str
    run: Callable[[Stage], Report]
    without: Change
    breaks: tuple[str, ...]
    tier: Tier = Tier.NIGHTLY
    guard_tier: Tier = Tier.NIGHTLY
    kills: int = 3
    run_without: Callable[[Stage], Report] | None = None
    """The same fault where the guard's absence shows, if that is at another step."""


def outcome(cell: Cell, report: Report, *, guarded: bool) -> str:
    """What is wrong with a run of a cell; "" if nothing."""
    if guarded:
        return "" if not report.broken else "; ".join([str(report), *report.examples])
    if any(report.broken[name] for name in cell.breaks):
        return ""
    return (
        f"without its guard ({cell.guard}) none of {', '.join(cell.breaks)} was found: the cell"
        f" proves nothing. {report} {report.examples}"
    )
