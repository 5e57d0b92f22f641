"""A count of the cells of the fault matrix that were played.

A cell is a test, or one of its parameters, whose id begins with its letter and number in the fault
matrix (``C2-hangs``); one that plays it with its guard removed has ``no-guard`` in it. A file that
is played as a whole must play as many as it has: one that is left out is a failure and not a skip,
unless this machine cannot play it (`UNPLAYABLE`). And each cell of the file must also have been
played without its guard, or it proves nothing.

A plugin of its own and not part of a conftest: where tests run in several processes, the one that
adds them up collects nothing itself and so never reads the folder's conftest.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import pytest

_CELL: Final = re.compile(r"[\[_-]([A-Ka-k][0-9]{1,2})[-_]")
_NO_GUARD: Final = re.compile(r"no[-_]guard|without-its-guard")
UNPLAYABLE: Final = ("C7: ", "D4: ")
"""How the reasons begin for which a cell may be left out."""
EXPECTED: Final = {
    "test_poison.py": 1_202,
    "test_store_faults.py": 36,
    "test_store_schema_faults.py": 8,
    "test_store_full_disk.py": 4,
    "test_late_rows.py": 13,
    "test_idle_partitions.py": 5,
    "test_absurd_times.py": 40,
    "test_clocks.py": 20,
    "test_late_labels.py": 2,
    "test_cardinality.py": 70,
    "test_configuration.py": 89,
    "test_two_clocks.py": 4,
    "test_security_cells.py": 22,
}
"""Cells of each file; if fewer were played, the run has failed."""

_played: Counter[str] = Counter()
_letters: Counter[str] = Counter()
_unguarded: Counter[str] = Counter()
_cells: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
"""The files and cells that were played with the guard (True), and without."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Counts a cell when it was played, and where this machine cannot play it."""
    found = _CELL.search(report.nodeid)
    if not report.nodeid.startswith("tests/faults/") or found is None:
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    excused = report.skipped and reason.removeprefix("Skipped: ").startswith(UNPLAYABLE)
    if excused or (report.when == "call" and not report.skipped):
        file = report.nodeid.partition("::")[0].rpartition("/")[2]
        cell = found[1].upper()
        guarded = _NO_GUARD.search(report.nodeid) is None
        _played[file] += 1
        _cells[guarded].add((file, cell))
        if not excused:
            (_letters if guarded else _unguarded)[cell[0]] += 1


def _whole(config: pytest.Config) -> bool:
    """Whether files are run as they are, and not a choice of their tests."""
    chosen = [config.getoption(name, "") for name in ("keyword", "markexpr", "deselect")]
    return not any(chosen) and not any("::" in each for each in config.args)


def _missing(config: pytest.Config) -> list[str]:
    if not _whole(config) or config.getoption("maxfail", 0):
        return []
    few = [
        f"{name}: {_played[name]} of {expected}"
        for name, expected in EXPECTED.items()
        if 0 < _played[name] < expected
    ]
    bare = sorted(each for each in _cells[True] - _cells[False] if each[0] in EXPECTED)
    return few + [f"{name}: {cell} without its guard" for name, cell in bare]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and _missing(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{letter} {count}" for letter, count in sorted(counts.items()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _letters or _unguarded:
        without = f"; without their guard: {_said(_unguarded)}" if _unguarded else ""
        terminalreporter.section(f"fault cells played: {_said(_letters)}{without}")
    for line in _missing(terminalreporter.config):
        terminalreporter.line(f"FAILED cells left out of {line}", red=True)
