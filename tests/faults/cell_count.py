"""A count of the cells of the fault matrix that were played.

A cell is a test, or one of its parameters, whose id begins with its letter and number in the fault
matrix (``C2-hangs``). A file that is played as a whole must play as many as it has: one that is
left out is a failure and not a skip, unless this machine cannot play it (`UNPLAYABLE`).

A plugin of its own and not part of a conftest: where tests run in several processes, the one that
adds them up collects nothing itself and so never reads the folder's conftest.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import pytest

_CELL: Final = re.compile(r"[\[_-]([A-Ka-k])[0-9]{1,2}[-_]")
UNPLAYABLE: Final = ("C7: ", "D4: ")
"""How the reasons begin for which a cell may be left out."""
EXPECTED: Final = {
    "test_poison.py": 1_150,
    "test_store_faults.py": 29,
    "test_store_schema_faults.py": 7,
    "test_store_full_disk.py": 4,
    "test_late_rows.py": 13,
    "test_idle_partitions.py": 2,
    "test_absurd_times.py": 24,
    "test_clocks.py": 14,
    "test_late_labels.py": 1,
    "test_cardinality.py": 43,
    "test_configuration.py": 55,
    "test_two_clocks.py": 4,
    "test_security_cells.py": 11,
}
"""Cells of each file; if fewer were played, the run has failed."""

_played: Counter[str] = Counter()
_letters: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Counts a cell when it was played, and where this machine cannot play it."""
    found = _CELL.search(report.nodeid)
    if not report.nodeid.startswith("tests/faults/") or found is None:
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    excused = report.skipped and reason.removeprefix("Skipped: ").startswith(UNPLAYABLE)
    if excused or (report.when == "call" and not report.skipped):
        _played[report.nodeid.partition("::")[0].rpartition("/")[2]] += 1
        _letters[found[1].upper()] += not excused


def _whole(config: pytest.Config) -> bool:
    """Whether files are run as they are, and not a choice of their tests."""
    chosen = [config.getoption(name, "") for name in ("keyword", "markexpr", "deselect")]
    return not any(chosen) and not any("::" in each for each in config.args)


def _missing(config: pytest.Config) -> list[str]:
    if not _whole(config) or config.getoption("maxfail", 0):
        return []
    return [
        f"{name}: {_played[name]} of {expected}"
        for name, expected in EXPECTED.items()
        if 0 < _played[name] < expected
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and _missing(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _letters:
        played = ", ".join(f"{letter} {count}" for letter, count in sorted(_letters.items()))
        terminalreporter.section(f"fault cells played: {played}")
    for line in _missing(terminalreporter.config):
        terminalreporter.line(f"FAILED cells left out of {line}", red=True)
