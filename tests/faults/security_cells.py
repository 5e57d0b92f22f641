"""G1 to G11: what attackers reach, and what they reach when the guard against them is removed.

    python -m tests.faults.security_cells [--only G4,G10]

plays every cell as the code is, where nothing may get through, and without its guard, where
something must, or the cell proves nothing; it prints both counts of each.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from tests.faults import (
    egress_cells,
    hostile_client_cells,
    injection_cells,
    signature_cells,
)

EXPECTED: Final = 11
"""Cells of the table. Who takes one away takes it away here as well."""


class Play(Protocol):
    """Gives how often something happened that may not."""

    def __call__(self, *, guarded: bool) -> int: ...


def _awaited(play: Callable[..., Coroutine[Any, Any, int]]) -> Play:
    def played(*, guarded: bool) -> int:
        return asyncio.run(play(guarded=guarded))

    return played


@dataclass(frozen=True, slots=True)
class SecurityCell:
    """``play`` counts ``counted``. ``guard``: what is taken away."""

    id: str
    fault: str
    play: Play
    counted: str
    guard: str


CONNECTIONS: Final = "forbidden-connect"
CELLS: Final = (
    SecurityCell(
        "G1",
        "forged orders",
        signature_cells.forgeries,
        "orders let in",
        "signatures are checked",
    ),
    SecurityCell(
        "G2",
        "repeated and old orders, over restarts and replicas",
        signature_cells.replays,
        "late orders let in, and executions beyond the first",
        "ids are kept, and times are checked",
    ),
    SecurityCell(
        "G3",
        "secrets that are replaced",
        signature_cells.rotation,
        "genuine orders refused, and old secrets let in",
        "several secrets at a time",
    ),
    SecurityCell(
        "G4",
        "large, endless, ambiguous and malformed requests",
        hostile_client_cells.hostile_requests,
        "requests with success, and clients kept out",
        "bounds, deadlines and parsers of serve",
    ),
    SecurityCell(
        "G5",
        "spellings of forbidden addresses",
        _awaited(egress_cells.addresses),
        CONNECTIONS,
        "addresses are checked",
    ),
    SecurityCell(
        "G6",
        "a redirect",
        _awaited(egress_cells.redirects),
        CONNECTIONS,
        "redirects are not followed",
    ),
    SecurityCell(
        "G7",
        "a rebinding resolver",
        _awaited(egress_cells.rebinding),
        CONNECTIONS,
        "it is asked once",
    ),
    SecurityCell(
        "G8",
        "a proxy, and an answer of 500 kB",
        _awaited(egress_cells.proxies_and_answers),
        f"{CONNECTIONS}, and answers kept whole",
        "no proxy is used, and answers are cut",
    ),
    SecurityCell(
        "G9",
        "another's certificate",
        _awaited(egress_cells.certificates),
        "requests sent to a stranger",
        "certificates are checked",
    ),
    SecurityCell(
        "G10",
        "names that hold markup, quotes and line ends",
        injection_cells.injections,
        "messages and pages whose structure changed",
        "names are escaped",
    ),
    SecurityCell(
        "G11",
        "a flood of genuine orders",
        hostile_client_cells.floods,
        "orders beyond the rate",
        "a rate for each client",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.security_cells")
    parser.add_argument("--only", default="", help="ids of cells, with commas between")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    chosen = set(filter(None, options.only.split(",")))
    cells = [cell for cell in CELLS if not chosen or cell.id in chosen]
    if len(cells) != (len(chosen) or EXPECTED):
        print(f"FAILED: {len(cells)} cells of {len(chosen) or EXPECTED}", flush=True)
        return 1
    wrong = 0
    for cell in cells:
        began = time.monotonic()
        with redirect_stdout(io.StringIO()):  # the example deployer says what it does
            found = cell.play(guarded=True)
            without = cell.play(guarded=False)
        right = found == 0 and without > 0
        wrong += not right
        print(
            f"{'ok    ' if right else 'FAILED'} {cell.id:4} {cell.fault}: {found} {cell.counted};"
            f" without its guard ({cell.guard}): {without}; {time.monotonic() - began:.1f} s",
            flush=True,
        )
    print(f"cells: {len(cells)} of {EXPECTED}, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
