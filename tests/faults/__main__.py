"""Runs cells of the fault matrix and prints what the checker found in each.

``python -m tests.faults [--tier nightly|change] [--only A3,A5] [--kills N] [--seed S]``
``python -m tests.faults --soak 60`` (minutes): random kills, and a flat line of memory.
``python -m tests.faults --outage 10`` (minutes): the store is away under load, and catches up.

Each cell is run as the code is, where nothing may be broken, and with its guard removed, where
something must be. The number of runs is counted: fewer than there are in the table is a failure.
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
from typing import Final

import structlog

from tests.faults.brokers import Brokers
from tests.faults.cells import Stage, Tier, outcome
from tests.faults.matrix import CELLS, EXPECTED, Planned, planned
from tests.faults.outage import outage
from tests.faults.scene import AS_IT_IS
from tests.faults.soak import soak

TRIES: Final = 3


def run_cell(plan: Planned, brokers: Brokers, folder: Path, kills: int, seed: int) -> str:
    """What is wrong with a run, "" if nothing; prints a line about it. Without its guard a cell has
    `TRIES` seeds to show what is broken then, with one kill more each: where one falls is luck."""
    cell, began = plan.cell, time.monotonic()
    change = AS_IT_IS if plan.guarded else cell.without
    run = cell.run if plan.guarded else cell.run_without or cell.run
    for number in range(1 if plan.guarded else TRIES):
        try:
            faults = kills if plan.guarded else min(number + 1, kills)
            stage = Stage(brokers.give(), folder, seed + number, faults, change)
            report = run(stage)
            wrong, said = outcome(cell, report, guarded=plan.guarded), str(report)
            said += "".join(f"; {note}" for note in report.notes)
        except Exception as error:
            # A cell that could not be played out is one that failed, and the next ones still run.
            traceback.print_exc()
            brokers.discard()
            wrong = said = f"{type(error).__name__}: {error}"
        if not wrong:
            break
    verdict = "FAILED" if wrong else "ok    "
    print(f"{verdict} {plan.name:28} {time.monotonic() - began:6.1f} s  {said}", flush=True)
    if wrong:
        print(f"       {wrong}", flush=True)
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
            return soak(brokers.give(), folder, options.seed, options.soak)
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
            if run_cell(plan, brokers, folder, kills, options.seed):
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
