"""``python -m bench NAME [--quick]``, NAME one of those below: a table, and as the last line one
JSON object with the figures. Exit code 1 where one of its gates is missed."""

from __future__ import annotations

import argparse
import json
import sys

from bench import (
    actions,
    boards,
    burst,
    canary,
    consume,
    detection,
    detector_costs,
    hotpath,
    judge,
    latency,
    memory,
    peers,
    scaling,
    startup,
    store,
    wire,
)

BENCHMARKS = {
    "actions": actions.run,
    "boards": boards.run,
    "burst": burst.run,
    "canary": canary.run,
    "consume": consume.run,
    "detection": detection.run,
    "detectors": detector_costs.run,
    "hotpath": hotpath.run,
    "judge": judge.run,
    "latency": latency.run,
    "memory": memory.run,
    "peers": peers.run,
    "scaling": scaling.run,
    "startup": startup.run,
    "store": store.run,
    "wire": wire.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="shorter and rougher")
    given = parser.parse_args()
    last = BENCHMARKS[given.benchmark](given.quick)
    print(last, flush=True)
    return exit_code(last)


def exit_code(last: str) -> int:
    """Of a benchmark with this last line: 1 if it has gates and missed one."""
    return 0 if json.loads(last).get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
