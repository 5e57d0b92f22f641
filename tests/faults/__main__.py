"""Runs cells of the fault matrix and prints what the checker found in each.

``python -m tests.faults [--tier nightly|change] [--only A3,A5] [--kills N] [--seed S]``
``python -m tests.faults --soak 60`` (minutes): random kills, and a flat line of memory.
``python -m tests.faults --outage 10`` (minutes): the store is away under load, and catches up.

Each cell is run as the code is, where nothing may be broken by three faults or more (``--kills``
says how many instead), and with its guard removed, where something must be. The number of runs is
counted: fewer than there are in the table is a failure.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from deploy.kafka.server import RealKafka
from tests.faults.brokers import Brokers
from tests.faults.cells import Stage, Tier, outcome
from tests.faults.checker import Report
from tests.faults.matrix import CELLS, EXPECTED, Planned, planned
from tests.faults.outage import outage
from tests.faults.roles import Trouble
from tests.faults.scene import AS_IT_IS
from tests.faults.soak import soak

TRIES: Final = 3
LEAST_FAULTS: Final = 3
"""Of each cell in the nightly tier; one that makes fewer in a play is played `TRIES` times."""


class Lending(Protocol):
    """Where cells get their broker from."""

    def give(self) -> RealKafka: ...
    def discard(self) -> None: ...


def run_cell(
    plan: Planned, brokers: Lending, folder: Path, kills: int, seed: int, least: int = 1
) -> str:
    """What is wrong with a run, "" if nothing; prints a line about it. As the code is, a cell is
    played with other seeds until it has made ``least`` faults. Without its guard it has `TRIES`
    seeds to show what is broken then, with one kill more each: where one falls is luck."""
    cell, began = plan.cell, time.monotonic()
    change = AS_IT_IS if plan.guarded else cell.without
    run = cell.run if plan.guarded else cell.run_without or cell.run
    told = Report()
    for number in range(TRIES):
        try:
            faults = kills if plan.guarded else min(number + 1, kills)
            stage = Stage(brokers.give(), folder, seed + number, faults, change)
            report = run(stage)
            wrong = outcome(cell, report, guarded=plan.guarded)
            told = told.and_then(report) if plan.guarded else report
            said = str(told) + "".join(f"; {note}" for note in told.notes)
        except Exception as error:
            # A cell that could not be played out is one that failed, and the next ones still run.
            traceback.print_exc()
            brokers.discard()
            wrong = said = f"{type(error).__name__}: {error}"
        if bool(wrong) == plan.guarded or (plan.guarded and max(told.kills, number + 1) >= least):
            break
    plays = number + 1
    said = f"{plays} plays, {said}" if plays > 1 else said
    verdict = "FAILED" if wrong else "ok    "
    print(f"{verdict} {plan.name:28} {time.monotonic() - began:6.1f} s  {said}", flush=True)
    if wrong:
        print(f"       {wrong}", flush=True)
    return wrong


def _soak(broker: RealKafka, folder: Path, seed: int, minutes: float) -> int:
    try:
        wrong = soak(broker, folder, seed, minutes)
    except Trouble as trouble:
        print(f"failed: {trouble}")
        wrong = 1
    if wrong:
        print(f"logs of all roles: {folder}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--tier", type=Tier, default=Tier.NIGHTLY, choices=list(Tier))
    parser.add_argument("--only", default="", help="ids of cells, with commas between")
    parser.add_argument("--guarded-only", action="store_true", help="no runs without guards")
    parser.add_argument("--kills", type=int, default=0, help="instead of what the table says")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--outage", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--rate", type=float, default=20_000.0, help="events a second (--outage)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = Path(tempfile.mkdtemp(prefix="driftline-faults-"))
    with Brokers() as brokers:
        if options.outage:
            minutes, rate = options.outage, options.rate
            return outage(brokers.give(), folder, options.seed, minutes, rate)
        if options.soak:
            return _soak(brokers.give(), folder, options.seed, options.soak)
        only = set(filter(None, options.only.split(",")))
        unknown = only - {cell.id for cell in CELLS}
        if unknown:
            parser.error(f"no such cells: {', '.join(sorted(unknown))}")
        plans = [each for each in planned(options.tier) if not only or each.cell.id in only]
        if options.guarded_only:
            plans = [each for each in plans if each.guarded]
        wrong = []
        for plan in plans:
            kills = options.kills or plan.cell.kills
            least = 1 if options.kills or options.tier is Tier.CHANGE else LEAST_FAULTS
            if run_cell(plan, brokers, folder, kills, options.seed, least):
                wrong.append(plan.name)
    seconds = time.monotonic() - began
    guarded = sum(plan.guarded for plan in plans)
    if len(CELLS) != EXPECTED:
        wrong.append(f"the table has {len(CELLS)} cells and should have {EXPECTED}")
    print(
        f"cells: {guarded} run, {len(plans) - guarded} of them without their guard as well,"
        f" {len(wrong)} failed, seed {options.seed}, {seconds:.0f} s"
    )
    for name in wrong:
        print(f"failed: {name}")
    if wrong:
        print(f"logs of all roles: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
