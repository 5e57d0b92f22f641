"""How often a cell of the matrix is played: until it has made enough faults, and not beyond what is
broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from deploy.kafka.server import RealKafka
from tests.faults.__main__ import run_cell
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.matrix import Planned
from tests.faults.scene import Change


class NoBroker:
    """These cells ask nothing of a broker."""

    def give(self) -> RealKafka:
        return cast(RealKafka, None)

    def discard(self) -> None:
        """There is none."""


def played(run: Callable[[Stage], Report], *, guarded: bool = True, least: int = 3) -> str:
    cell = Cell("X1", "a fault", "a guard", run, Change("removed"), ("lost",), kills=1)
    return run_cell(Planned(cell, guarded), NoBroker(), Path(), 1, 7, least)


def test_a_cell_of_one_fault_is_played_with_three_seeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seeds: list[int] = []

    def once(stage: Stage) -> Report:
        seeds.append(stage.seed)
        return Report(events=10, kills=1)

    assert played(once) == ""
    assert seeds == [7, 8, 9]
    assert "3 plays, 30 events, 3 kills" in capsys.readouterr().out


def test_one_with_faults_enough_is_played_once() -> None:
    plays: list[Stage] = []

    def many(stage: Stage) -> Report:
        plays.append(stage)
        return Report(kills=4)

    assert played(many) == ""
    assert len(plays) == 1


@pytest.mark.parametrize("faults", [1, 0], ids=["one", "none by its nature"])
def test_where_one_fault_is_enough_a_cell_is_played_once(faults: int) -> None:
    plays: list[Stage] = []

    def once(stage: Stage) -> Report:
        plays.append(stage)
        return Report(kills=faults)

    assert played(once, least=1) == ""
    assert len(plays) == 1


def test_what_one_play_of_three_has_broken_is_no_pass() -> None:
    def second(stage: Stage) -> Report:
        report = Report(kills=1)
        report.add("lost", int(stage.seed == 8), "an event")
        return report

    assert "lost=1" in played(second)


def test_without_its_guard_a_cell_has_three_seeds_to_show_something() -> None:
    kills: list[int] = []

    def third(stage: Stage) -> Report:
        kills.append(stage.kills)
        report = Report(kills=1)
        report.add("lost", int(stage.seed == 9), "an event")
        return report

    assert played(third, guarded=False) == ""
    assert len(kills) == 3
    assert "proves nothing" in played(lambda _: Report(kills=1), guarded=False)


def test_a_cell_that_could_not_be_played_out_has_failed() -> None:
    def breaks_off(_: Stage) -> Report:
        raise AssertionError("a role did not start")

    assert "a role did not start" in played(breaks_off)
